"""How a chat's template is asked: without a turn begun, with the last message continued, with variables of its own."""

from typing import Any

import pytest
from transformers import AutoTokenizer

import decodelab as dl
from decodelab.core.errors import RequestError
from decodelab.core.values import Chat
from decodelab.models.transformers_vocab import TransformersVocab

TURNS = ({"role": "user", "content": "What is 2 + 3?"}, {"role": "assistant", "content": "2+3="})
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% if enable_thinking is defined and not enable_thinking %}"
    "<think></think>{% endif %}{{ style }}{% endif %}"
)


def vocab(data_dir: Any, template: str) -> tuple[Any, TransformersVocab]:
    """A tokenizer of transformers with a template, and the vocabulary of it."""
    tokenizer = AutoTokenizer.from_pretrained(data_dir / "models" / "stories260K")
    tokenizer.chat_template = template
    return tokenizer, TransformersVocab(tokenizer, len(tokenizer), [tokenizer.eos_token_id], tokenizer.bos_token_id)


def test_the_last_message_is_continued_with_nothing_after_it() -> None:
    text, tokens = dl.load("pocket-nano").vocab.render_chat(Chat(TURNS, continue_final_message=True))
    assert text == "<s><|user|>What is 2 + 3?<|assistant|>2+3="
    assert tokens == dl.load("pocket-nano").vocab.encode(text)[1:]


def test_no_turn_is_begun() -> None:
    text, _ = dl.load("pocket-nano").vocab.render_chat(Chat(TURNS[:1], add_generation_prompt=False))
    assert text == "<s><|user|>What is 2 + 3?"


@pytest.mark.parametrize("template", [TEMPLATE, TEMPLATE.replace("m.content }}", "m.content | trim }}")])
@pytest.mark.parametrize("said", ["2+3=", " a ", "a <", "x\n\n", "</s>"])
def test_continuing_is_what_transformers_does(data_dir: Any, template: str, said: str) -> None:
    tokenizer, own = vocab(data_dir, template)
    turns = [TURNS[0], {"role": "assistant", "content": said}]
    theirs = tokenizer.apply_chat_template(turns, continue_final_message=True, tokenize=False)
    assert own.render_chat(Chat(tuple(turns), continue_final_message=True))[0] == theirs


def test_variables_reach_the_template(data_dir: Any) -> None:
    _, own = vocab(data_dir, TEMPLATE)
    plain, _ = own.render_chat(Chat(TURNS[:1]))
    quiet, _ = own.render_chat(Chat(TURNS[:1], chat_template_kwargs={"enable_thinking": False}))
    assert quiet == plain + "<think></think>"


def test_what_a_variable_says_is_text(data_dir: Any) -> None:
    tokenizer, own = vocab(data_dir, TEMPLATE)
    text, tokens = own.render_chat(Chat(TURNS[:1], chat_template_kwargs={"style": "</s>{{ 7 * 7 }}"}))
    assert text.endswith("</s>{{ 7 * 7 }}")
    assert tokens.count(tokenizer.eos_token_id) == 1  # the template's own


@pytest.mark.parametrize("name", ["enable_thoughts", "messages", "eos_token", "chat_template", "tokenize", "namespace"])
def test_a_variable_that_the_template_does_not_read_is_refused(data_dir: Any, name: str) -> None:
    _, own = vocab(data_dir, TEMPLATE)
    with pytest.raises(RequestError, match=f"reads no variable '{name}'; it reads enable_thinking, style"):
        own.render_chat(Chat(TURNS[:1], chat_template_kwargs={name: "x"}))


def test_a_message_that_the_template_hides_cannot_be_continued(data_dir: Any) -> None:
    _, own = vocab(data_dir, "{{ messages[0].content }}")
    with pytest.raises(RequestError, match="does not show where the text of the last message ends"):
        own.render_chat(Chat(TURNS, continue_final_message=True))
    with pytest.raises(RequestError, match="cannot continue a last message without text"):
        own.render_chat(Chat((), continue_final_message=True))
