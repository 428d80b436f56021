"""Models that are read without transformers are those of transformers: the same bits, tokens, texts and digest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

import decodelab as dl
from decodelab.core.errors import RequestError
from decodelab.core.quiet import quiet
from decodelab.core.values import Chat
from decodelab.models.cache import KeyValueCache
from decodelab.models.transformers_vocab import TransformersVocab

REAL = ["pocket-nano", "pocket-small", "stories260K"]

Pair = tuple[dl.LlamaModel, dl.TransformersModel]


def pair(where: str | Path, **options: Any) -> Pair:
    """A model as it is read here, and as transformers reads and computes it."""
    ours, theirs = dl.load(where, **options), dl.load_transformers(where, **options)
    assert isinstance(ours, dl.LlamaModel)
    theirs._direct = None
    return ours, theirs


@pytest.fixture(scope="module")
def real(request: pytest.FixtureRequest) -> Callable[[str], Pair]:
    """A function that gives a real model both ways, loaded once."""

    @cache
    def loaded(name: str) -> Pair:
        return pair(request.getfixturevalue("stories260k_dir") if name == "stories260K" else name)

    return loaded


@pytest.fixture
def saved(build_network: Callable[..., Any], word_tokenizer: Any, tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a random small Llama with these settings."""

    def write(**settings: Any) -> Path:
        with quiet():
            build_network("llama", **settings).save_pretrained(tmp_path, max_shard_size="40KB")
            word_tokenizer.save_pretrained(tmp_path)
        return tmp_path

    return write


def logits_of(model: dl.LlamaModel | dl.TransformersModel) -> list[Tensor]:
    """Logits of ragged rows through a prefill, steps, a selection, a fork, a rewind, a join and a stored prefix."""
    out: list[Tensor] = []

    def step(cache: Any, tokens: list[list[int]]) -> Any:
        logits, cache = model.decode(cache, torch.tensor(tokens))
        out.append(logits)
        return cache

    first = (3, 1, 4, 1, 5, 9, 2, 6)
    logits, cache = model.prefill([first, (5, 3, 5)])
    out.append(logits)
    cache = step(step(cache, [[8], [9]]), [[7, 9, 3], [2, 3, 8]])
    cache = step(cache.select(torch.tensor([1, 0])), [[4], [6]])
    assert isinstance(cache, KeyValueCache)
    fork = step(cache.fork(torch.tensor([1, 0, 1])), [[1], [2], [3]])
    fork = step(fork.rewind([12, 7, 13]), [[1, 1], [2, 2], [3, 3]])
    more = model.prefill([(7, 7), (1, 2, 3)])[1]
    step(fork.join(more), [[1, 2]] * 5)
    segment = model.store_prefix(model.prefill([first])[1], 0, 0, 5)
    out.append(model.load_prefix([[segment]] * 2, [5, 4], torch.tensor([[9, 9], [8, 8]]))[0])
    return out


def inside(model: dl.LlamaModel | dl.TransformersModel) -> list[Tensor]:
    """Embeddings, hidden states and what the head makes of them."""
    _, hidden, held = model.prefill_with_hidden_states([(3, 1, 4, 1), (4, 4)], range(model.depth + 1))
    later = model.decode_with_hidden_states(held, torch.tensor([[1, 2], [3, 4]]), [0, model.depth])
    return [hidden[:, :, -2:], model.early_exit_logits(hidden[1, :, -1]), *later[:2], model.unit_embeddings]


def assert_equal(ours: dl.LlamaModel, theirs: dl.TransformersModel) -> None:
    """The same bits."""
    for tensors in (logits_of, inside):
        for mine, other in zip(tensors(ours), tensors(theirs), strict=True):
            assert mine.dtype == other.dtype
            assert torch.equal(mine, other)


@pytest.mark.parametrize("name", REAL)
def test_logits_are_equal_to_the_last_bit(real, name):
    assert_equal(*real(name))


@pytest.mark.parametrize("name", REAL)
def test_what_a_model_is_known_by_is_the_same(real, name):
    ours, theirs = real(name)
    for attribute in ("digest", "context_length", "generation_config", "depth", "tied", "dtype", "eos_ids", "bos_id"):
        assert getattr(ours, attribute) == getattr(theirs, attribute), attribute
    assert ours.arithmetic() == theirs.arithmetic()
    assert ours.unfollowed() == theirs.unfollowed()
    assert ours.cache_bytes(9, 3, 5) == theirs.cache_bytes(9, 3, 5)
    assert sum(w.numel() for w in ours.weights) == sum(w.numel() for w in theirs.weights)


@pytest.mark.parametrize(
    "strategy", ["temperature=0.9 | sample(n=3)", "beam(width=3)", "contrastive_search(k=3)", "dola | greedy"]
)
def test_every_kind_of_strategy_says_the_same(real, strategy):
    prompts = ["Once upon", "What is 2 + 3?"]
    both = real("pocket-nano")
    mine, other = (dl.generate(model, prompts, strategy, seed=1, max_new_tokens=9) for model in both)
    assert [[c.tokens for c in g.candidates] for g in mine] == [[c.tokens for c in g.candidates] for g in other]


@pytest.mark.parametrize(
    ("settings", "dtype"),
    [
        ({"attention_bias": True, "mlp_bias": True}, "float32"),
        ({"tie_word_embeddings": True, "num_key_value_heads": 1}, "bfloat16"),
        ({"num_key_value_heads": 4, "head_dim": 12, "rms_norm_eps": 1e-3, "pad_token_id": 0}, "float32"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}, "eos_token_id": [3, 63]}, "float16"),
    ],
    ids=str,
)
def test_every_setting_that_is_read_here_means_what_it_means_to_transformers(saved, settings, dtype):
    ours, theirs = pair(saved(**settings), dtype=dtype)
    assert_equal(ours, theirs)
    assert ours.digest == theirs.digest
    assert ours.arithmetic() == theirs.arithmetic()


@pytest.mark.parametrize(
    ("file", "left_out"),
    [
        ("config.json", ["head_dim", "num_key_value_heads", "bos_token_id", "rms_norm_eps", "dtype", "attention_bias"]),
        ("config.json", ["eos_token_id", "mlp_bias", "tie_word_embeddings", "pad_token_id", "use_cache"]),
        ("generation_config.json", ["eos_token_id", "bos_token_id", "_from_model_config"]),
    ],
)
def test_a_field_that_is_not_there_means_what_it_means_to_transformers(saved, file, left_out):
    directory = saved(num_key_value_heads=4)
    edit(directory / file, **dict.fromkeys(left_out, ...))
    ours, theirs = pair(directory)
    assert (ours.eos_ids, ours.bos_id, ours.digest) == (theirs.eos_ids, theirs.bos_id, theirs.digest)
    assert torch.equal(ours.prefill([(1, 2, 3)])[0], theirs.prefill([(1, 2, 3)])[0])


def test_without_a_generation_config_the_configuration_counts_as_in_transformers(saved):
    directory = saved(eos_token_id=[3, 63])
    (directory / "generation_config.json").unlink()
    ours, theirs = pair(directory)
    assert (ours.eos_ids, ours.digest) == (theirs.eos_ids, theirs.digest)


def edit(file: Path, **changes: Any) -> None:
    """Change fields of a JSON file; ... takes one out."""
    data = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in data.items() if value is not ...}))


ROPE = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}
PADDING = {"strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": None, "pad_id": 0,
           "pad_type_id": 0, "pad_token": "w0"}  # fmt: skip


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"hidden_act": "gelu"}),
        ("config.json", {"rope_parameters": ROPE}),
        ("config.json", {"rope_theta": 77.0}),
        ("config.json", {"num_hidden_layers": 2.0}),
        ("config.json", {"something_new": 1}),
        ("generation_config.json", {"forced_eos_token_id": 63, "max_length": 20}),
        ("tokenizer_config.json", {"split_special_tokens": True}),
        ("tokenizer_config.json", {"unk_token": "w5"}),
        ("tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer"}),
        ("tokenizer.json", {"padding": PADDING}),
        ("added_tokens.json", {}),
        ("chat_template.jinja2", {}),
    ],
    ids=str,
)
def test_anything_else_is_left_to_transformers(saved, file, changes):
    directory = saved()
    with pytest.MonkeyPatch.context() as patch:
        # Whether transformers can do something with it is another matter.
        patch.setattr("decodelab.models.loading._with_transformers", lambda *_: pytest.skip.Exception)
        patch.setattr("decodelab.models.loading._note_unfollowed", lambda _: None)
        assert isinstance(dl.load(directory), dl.LlamaModel)
        if not (directory / file).exists():
            (directory / file).write_text("{}")
        edit(directory / file, **changes)
        assert dl.load(directory) is pytest.skip.Exception


def test_tensors_that_do_not_fit_are_left_to_transformers_which_tells_why(saved):
    directory = saved()
    edit(directory / "config.json", num_hidden_layers=2)
    with pytest.raises(dl.DecodelabError, match=r"hold 9 tensors that config\.json"):
        dl.load(directory)
    assert isinstance(dl.load(directory, ignore_unexpected=True), dl.TransformersModel)


def test_weights_that_overlap_in_their_file_are_refused(stories260k_dir, tmp_path):
    directory = Path(shutil.copytree(stories260k_dir, tmp_path / "copy", copy_function=shutil.copyfile))
    file = directory / "model.safetensors"
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    norms = [tensor for name, tensor in header.items() if name.endswith("input_layernorm.weight")]
    norms[0]["data_offsets"] = norms[1]["data_offsets"]
    written = json.dumps(header).encode()
    file.write_bytes(len(written).to_bytes(8, "little") + written + data[8 + length :])
    with pytest.raises(dl.DecodelabError, match=r"cannot be loaded .*; get a complete copy"):
        dl.load(directory)


# --- tokens and texts -----------------------------------------------------------------------------

NAMES = [
    "<s>",
    "</s>",
    "<pad>",
    "<unk>",
    "<|user|>",
    "<|assistant|>",
    "<0xE2>",
    "\u2581",
    " ",
    "\n",
    "(A)",
    "é",
    "👩‍🚀",
]
texts = st.lists(st.one_of(st.text(max_size=6), st.sampled_from(NAMES))).map("".join)


def vocabs(models: Pair) -> tuple[TransformersVocab, TransformersVocab]:
    return models[0].vocab, models[1].vocab


@pytest.mark.parametrize("name", ["pocket-nano", "stories260K"])
@settings(max_examples=60)
@given(data=st.data())
def test_texts_have_the_same_tokens_and_tokens_the_same_text(real, name, data):
    ours, theirs = vocabs(real(name))
    text, tokens = data.draw(texts), data.draw(st.lists(st.integers(0, ours.size - 1)))
    assert ours.encode(text) == theirs.encode(text)
    assert ours.encode_literal(text) == theirs.encode_literal(text)
    assert ours.encode_completion(tuple(tokens), text) == theirs.encode_completion(tuple(tokens), text)
    assert ours.decode(tokens) == theirs.decode(tokens)
    assert ours.decode_completion(tokens[:3], tokens[3:]) == theirs.decode_completion(tokens[:3], tokens[3:])
    # What transformers itself says, with all its defaults.
    assert list(ours._ids(text, special=True)) == theirs.tokenizer(text)["input_ids"]


@pytest.mark.parametrize("name", ["pocket-nano", "stories260K"])
def test_every_token_is_shown_and_spelt_the_same(real, name):
    ours, theirs = vocabs(real(name))
    assert ours.special_tokens == theirs.special_tokens
    assert ours.unknown_id == theirs.unknown_id
    for token in range(ours.size):
        assert ours.token_text(token) == theirs.token_text(token)
        assert [ours.token_bytes(token, first) for first in (False, True)] == [
            theirs.token_bytes(token, first) for first in (False, True)
        ]


# --- chats ----------------------------------------------------------------------------------------

TEMPLATE = """{%- set seen = namespace(count=0, self='s') -%}
{%- for message in messages if message.role != 'tool' -%}
    {%- if loop.index > 3 %}{% break %}{% endif -%}
    {% set seen.count = seen.count + 1 %}
    {{ message | tojson }}{{ message.thinking }}
    {% generation %}{% set inside = 1 %}{{ message.content }}{% endgeneration %}{{ inside is defined }}
{%- endfor %}
{{ bos_token }}{{ seen.count }}{{ seen.self }}{{ tools | tojson(indent=2) if tools }}{{ documents }}
{{ dict(a=1) }}{{ dict.fromkeys([1]) }}{{ raise_exception('<') if seen.count == 2 }}{{ add_generation_prompt }}"""

words = st.one_of(st.text(max_size=4), st.sampled_from(NAMES))
said = st.one_of(words, st.none(), st.integers(), st.lists(words, max_size=2), st.dictionaries(words, st.floats()))
message = st.dictionaries(st.sampled_from(["content", "reasoning", "thinking", "tool_calls", "x"]), said).flatmap(
    lambda fields: st.sampled_from(["system", "user", "assistant", "tool"]).map(lambda role: {"role": role, **fields})
)


def rendered(model: dl.LlamaModel | dl.TransformersModel, template: str | None, chat: Chat) -> Any:
    """The text and tokens of a chat, written by the model's own or another template, or why it is refused."""
    own, vocab = model.tokenizer.chat_template, model.vocab
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.tokenizer, "chat_template", template or own)
        patch.setattr("secrets.randbits", lambda _: 7)  # marks show where a template writes a list as it is
        try:
            vocab = TransformersVocab(model.tokenizer, vocab.size, vocab.eos_ids, vocab.bos_id)
            return vocab.render_chat(chat)
        except RequestError as refusal:
            return str(refusal)


@pytest.mark.parametrize("template", [None, TEMPLATE], ids=["own", "other"])
@settings(max_examples=40)
@given(messages=st.lists(message, max_size=4), tools=st.lists(st.dictionaries(words, words), max_size=1))
@example(messages=[{"role": "user", "content": "hi"}], tools=[])
@example(messages=[], tools=[])
@example(messages=[{"role": "user", "content": "a"}] * 2, tools=[])
def test_chats_are_written_the_same(real, template, messages, tools):
    ours, theirs = real("pocket-nano")
    chat = Chat(tuple(messages), tools=tuple(tools))
    assert rendered(ours, template, chat) == rendered(theirs, template, chat)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{% set n = namespace(_x=1) %}",
        "{% set n = namespace() %}{% set n._x = 1 %}",
        "{{ messages[0].content.format.__globals__ }}",
    ],
)
def test_a_template_gets_nowhere_from_its_sandbox(real, template):
    ours, theirs = real("pocket-nano")
    found = rendered(ours, template, Chat.of("a"))
    assert found == ("", ()) or "refuses these messages" in found
    assert found == rendered(theirs, template, Chat.of("a"))
