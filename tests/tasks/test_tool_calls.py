"""The graph task asked with its tool: the model is shown it, or made to begin with the call of it."""

import json

import pytest

import decodelab as dl
from decodelab.core.errors import InvalidData, RequestError
from decodelab.core.values import Chat
from decodelab.models.transformers_vocab import TransformersVocab
from decodelab.pocket.paths import SUBMIT_PATHS
from decodelab.tasks.graph import Graph, published_row
from decodelab.tasks.path_answers import read_call

# As Qwen3 writes them, in small: tools in the system turn, calls as JSON between tags, thoughts before the last turn's.
HERMES = (
    "{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}{{ '\n' }}"
    "{% if message.role == 'assistant' and loop.last %}<think>{{ '\n\n' }}</think>{{ '\n\n' }}{% endif %}"
    "{{ message.content }}"
    "{% for call in message.tool_calls or [] %}"
    '<tool_call>{{ \'\n{"name": "\' + call.function.name + \'", "arguments": \' }}'
    "{{ call.function.arguments | tojson }}{{ '}\n' }}</tool_call>{% endfor %}<|im_end|>{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{{ '\n' }}{% endif %}"
)
PLAIN = "{% for message in messages %}{{ message.content }}{% endfor %}{% if add_generation_prompt %}>{% endif %}"


@pytest.fixture
def vocab():
    """The pocket tokenizer with another chat template."""

    def made(template: str) -> TransformersVocab:
        from copy import deepcopy

        own = dl.load("pocket-nano").vocab
        assert isinstance(own, TransformersVocab)
        tokenizer = deepcopy(own.tokenizer)
        tokenizer.chat_template = template
        return TransformersVocab(tokenizer, own.size, own.eos_ids, own.bos_id)

    return made


def asked(tools: str) -> Chat:
    prompt = Graph(tools=tools).generate(0).prompt
    assert isinstance(prompt, Chat)
    return prompt


def test_free_the_model_is_shown_the_tool(vocab):
    text, _ = vocab(HERMES).render_chat(asked("free"))
    assert text.startswith(json.dumps(SUBMIT_PATHS))
    assert text.endswith("<|im_start|>assistant\n")


def test_forced_its_turn_begins_with_the_call_up_to_the_arguments(vocab):
    text, tokens = vocab(HERMES).render_chat(asked("forced"))
    assert text.endswith(
        '<|im_start|>assistant\n<think>\n\n</think>\n\n<tool_call>\n{"name": "submit_paths", "arguments":'
    )
    assert vocab(HERMES).decode(tokens) == text


def test_the_pocket_models_call_as_their_own_template_writes_calls():
    text, _ = dl.load("pocket-nano").vocab.render_chat(asked("forced"))
    assert text.endswith("<|assistant|>submit_paths(")


def test_a_template_that_does_not_tell_how_a_call_begins_is_refused(vocab):
    with pytest.raises(RequestError, match="does not show how a call of submit_paths begins"):
        vocab(PLAIN).render_chat(asked("forced"))
    assert vocab(PLAIN).render_chat(asked("free"))[0].endswith(">")


def test_a_tool_that_is_not_there_cannot_be_called(vocab):
    with pytest.raises(RequestError, match=r"tool_choice must be one of the tools \(submit_paths\), got 'other'"):
        vocab(HERMES).render_chat(Chat.of("?", tools=[SUBMIT_PATHS], tool_choice="other"))


PAIRS = [((0, 1, 3), 4)]


@pytest.mark.parametrize(
    "text",
    [
        ' {"paths": [[0, 1, 3]], "weights": [4]}}\n</tool_call>',
        "paths=[[0, 1, 3]], weights=[4])",
        "weights=[4], paths=[[0, 1, 3]])",
        '<tool_call>\n{"name": "submit_paths", "arguments": {"paths": [[0, 1, 3]], "weights": [4]}}\n</tool_call>',
        "<think>\n{0} or {1}? Perhaps submit_paths(paths=[[0, 3]], weights=[9]).\n</think>\n\n<tool_call>\n"
        '{"name": "submit_paths", "arguments": {"paths": [[0, 1, 3]], "weights": [4]}}\n</tool_call>',
        "<think>" + "{set} " * 100 + '</think>I call it: {"paths": [[0, 1, 3]], "weights": [4]}',
        '{"like": "this"} <tool_call>{"arguments": "{\\"paths\\": [[0, 1, 3]], \\"weights\\": [4]}"}</tool_call>',
        "<think>submit_paths(paths=[[0, 1, 3]], weights=[4])</think>There it is.",
    ],
)
def test_a_call_is_read_whether_it_was_forced_or_free_and_thought_about(text):
    assert read_call(text) == PAIRS


@pytest.mark.parametrize("text", ["", "<tool_call>", "</think>", "paths=", '<tool_call>{"name": "other"}</tool_call>'])
def test_a_text_without_a_call_gives_none(text):
    assert read_call(text) is None


def test_the_tool_changes_how_an_item_is_asked_and_not_what_it_is():
    free, plain = Graph(tools="free"), Graph()
    assert published_row(free.generate(3)) == published_row(plain.generate(3))
    path, weight = plain.generate(3).reference[0].values()
    text = json.dumps({"name": "submit_paths", "arguments": {"paths": [path], "weights": [weight]}})
    assert free.judge(free.generate(3), f"<tool_call>{text}</tool_call>").score > 0


def test_other_ways_to_ask_are_refused():
    with pytest.raises(InvalidData, match="tools must be none, free or forced, got 'auto'"):
        Graph(tools="auto")
