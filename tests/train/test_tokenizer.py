"""The pocket tokenizer: any text comes back, digits stand alone, chats render as trained."""

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from decodelab.pocket import TASKS, task
from decodelab.pocket.paths import SUBMIT_PATHS
from decodelab.train.tokenizer import EOS, ROLES, VOCABULARY, load_tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A tokenizer trained on a little data, saved and read back as users do."""
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(documents=150).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


@given(texts)
def test_any_text_comes_back(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


@given(texts)
def test_bos_comes_first_and_once(tokenizer, text):
    assert tokenizer.encode(text) == [
        tokenizer.bos_token_id,
        *tokenizer.encode(text, add_special_tokens=False),
    ]


@given(st.integers(0, 10**12), st.sampled_from(["{}", "x={}", "{} apples", "0->1:{}\n"]))
def test_every_digit_is_a_token_of_its_own(tokenizer, number, frame):
    pieces = [tokenizer.decode([token]) for token in tokenizer.encode(frame.format(number))]
    assert all(piece.isdigit() == (len(piece) == 1 and piece in "0123456789") for piece in pieces)
    assert "".join(piece for piece in pieces if piece.isdigit()).endswith(str(number))


def test_size_and_special_tokens(tokenizer):
    assert len(tokenizer) <= VOCABULARY
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert [len(tokenizer.encode(role, add_special_tokens=False)) for role in ROLES] == [1] * len(ROLES)
    assert tokenizer.padding_side == "left"


@pytest.mark.parametrize("name", TASKS)
def test_prompt_and_answer_do_not_merge_across_their_border(tokenizer, name):
    for seed in range(30):
        item = task(name).generate(seed, "train")
        apart = tokenizer.encode(item.prompt) + tokenizer.encode(item.reference, add_special_tokens=False)
        assert tokenizer.encode(item.prompt + item.reference) == apart


def test_a_chat_renders_in_turns(tokenizer):
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is 1 + 2?"},
        {"role": "assistant", "content": "The answer is 3."},
        {"role": "user", "content": "Thanks."},
    ]
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert text == (
        "<s><|system|>Be brief.<|user|>What is 1 + 2?<|assistant|>The answer is 3.</s><|user|>Thanks.<|assistant|>"
    )
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert ids == tokenizer.encode(text, add_special_tokens=False)
    assert ids.count(tokenizer.bos_token_id) == 1


def test_tools_and_tool_calls_render_compactly(tokenizer):
    arguments = {"paths": [[0, 2]], "weights": [3]}
    call = {"type": "function", "function": {"name": "submit_paths", "arguments": arguments}}
    chat = [{"role": "user", "content": "Go."}, {"role": "assistant", "tool_calls": [call]}]
    text = tokenizer.apply_chat_template(chat, tools=[SUBMIT_PATHS], tokenize=False)
    assert text == (
        "<s><|system|>Tools:\nsubmit_paths(paths, weights)<|user|>Go.<|assistant|>"
        f"submit_paths(paths=[[0, 2]], weights=[3]){EOS}"
    )


def test_an_unknown_role_is_refused(tokenizer):
    with pytest.raises(jinja2.TemplateError, match="roles are system"):
        tokenizer.apply_chat_template([{"role": "narrator", "content": "Hm."}], tokenize=False)


def test_loading_from_a_directory_gives_the_same_tokenizer(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path).get_vocab() == tokenizer.get_vocab()
