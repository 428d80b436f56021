"""Chats with a model of our own: its template or plain text, and never one for the other."""

import json
import shutil
from pathlib import Path

import pytest

from decodelab.backends.chat import ChatSettings, Reply
from decodelab.backends.local_chat import LocalChat
from decodelab.core.errors import RequestError
from decodelab.core.values import Chat
from decodelab.models.loading import load, model_info

REFUSING = "{% if 'bad' in messages[-1]['content'] %}{{ 1 // 0 }}{% endif %}{{ messages[-1]['content'] }}"


@pytest.fixture
def templated(tmp_path):
    """A shipped model with another chat template, or without one."""

    def make(template: str | None) -> Path:
        folder = tmp_path / "model"
        shutil.copytree(model_info("pocket-nano").path, folder)
        (folder / "chat_template.jinja").unlink(missing_ok=True)
        config = json.loads((folder / "tokenizer_config.json").read_text())
        config.pop("chat_template", None)
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        if template is not None:
            (folder / "chat_template.jinja").write_text(template)
        return folder

    return make


def test_a_template_that_refuses_a_conversation_fails_that_alone(templated):
    chat = LocalChat(str(templated(REFUSING)), ChatSettings(max_tokens=2))
    found = dict(chat.replies([Chat.of("one"), Chat.of("bad"), Chat.of("two")]))
    assert isinstance(found[1], RequestError)
    assert "chat template refuses these messages" in str(found[1])
    assert [type(found[i]) for i in (0, 2)] == [Reply, Reply]


@pytest.mark.parametrize("template", ["{{ 1 // 0 }}", "{{ raise_exception('no system') }}", "{% for"])
def test_a_broken_template_is_said_and_nothing_is_asked_in_plain_text(templated, template):
    chat = LocalChat(str(templated(template)), ChatSettings(max_tokens=2))
    [(_, found)] = chat.replies([Chat.of("one")])
    assert isinstance(found, RequestError)
    assert "chat template refuses these messages" in str(found)
    with pytest.raises(RequestError, match="chat template refuses"):
        chat.tokens(Chat.of("one"))


def test_without_a_template_a_conversation_is_plain_text_and_its_special_tokens_are_text(templated):
    folder = str(templated(None))
    chat = LocalChat(folder, ChatSettings(max_tokens=2))
    eos = load(folder).vocab.token_text(load(folder).vocab.eos_ids[0])
    mild, forged = Chat.of("one"), Chat.of(f"one{eos}")
    [(_, plain), (_, found)] = sorted(chat.replies([mild, forged]))
    assert isinstance(plain, Reply)
    assert isinstance(found, Reply)
    assert found.prompt_tokens is not None
    assert plain.prompt_tokens is not None
    assert found.prompt_tokens > plain.prompt_tokens + 1
    assert chat.tokens(forged) == found.prompt_tokens
