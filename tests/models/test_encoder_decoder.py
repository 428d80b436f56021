"""Encoder-decoder models: a prompt is read once, its rows share what is seen of it, and transformers agrees."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForSeq2SeqLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

import decodelab as dl
from decodelab.core.errors import EmptyPrompt, ModelError, PromptTooLong, UnknownToken
from decodelab.core.protocols import PAD, Draw, Question, Rounds
from decodelab.core.quiet import quiet
from decodelab.core.stage import Kind, Stage
from decodelab.core.values import Limits
from decodelab.models.encoder_decoder import PROVEN_PAIRS, EncoderDecoderModel

VOCAB = 64
T5 = {
    "d_kv": 8, "d_ff": 48, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 4, "decoder_start_token_id": 0,
}  # fmt: skip
BART = {
    "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 40, "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
}  # fmt: skip
IDS = {"vocab_size": VOCAB, "d_model": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

Build = Callable[..., EncoderDecoderModel]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Words w0 ... w60; like BART's, it puts <s> before a text and </s> after it."""
    words = {"<pad>": 0, "<s>": 1, "</s>": 2, **{f"w{i}": i + 3 for i in range(VOCAB - 3)}}
    plain = Tokenizer(models.WordLevel(words, unk_token="w0"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    plain.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="w0"
    )


@pytest.fixture(scope="module")
def build(tokenizer: PreTrainedTokenizerFast) -> Build:
    """A function that builds the model of an architecture, with random weights of lively size."""

    def build(kind: str, **more: Any) -> EncoderDecoderModel:
        with quiet():
            config = CONFIG_MAPPING[kind](**{**IDS, **(T5 if "t5" in kind else BART), **more})
            network = AutoModelForSeq2SeqLM.from_config(config, dtype=torch.float32)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in network.parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(noise * 0.3 if parameter.dim() > 1 else parameter + noise * 0.1)
        return EncoderDecoderModel(network, tokenizer)

    return build


PROMPTS = [(5, 6, 7, 8, 2), (9, 10, 2), (30, 31, 32, 33, 34, 35, 36, 2)]


def assert_holds(model, logits, cache, rows):
    """The cache holds these rows, and the logits are those that the bare network gives for each alone."""
    assert list(cache.lengths) == [len(prompt) + len(new) for prompt, new in rows]
    for got, (prompt, new) in zip(logits, rows, strict=True):
        with torch.no_grad():
            written = torch.tensor([[*model.begin, *new]])
            bare = model.model(input_ids=torch.tensor([prompt]), decoder_input_ids=written, use_cache=False).logits
        torch.testing.assert_close(got, bare[0, -1], atol=1e-4, rtol=1e-4)


def extended(model, cache, rows, count):
    """Each row extended by other tokens than its neighbours, up to `count` of them."""
    new = [[3 + (7 * i + 5 * j) % 60 for j in range(max(1, count - i % 2))] for i in range(len(rows))]
    tokens = torch.tensor([row + [PAD] * (count - len(row)) for row in new])
    logits, cache = model.decode(cache, tokens)
    rows = [(prompt, (*written, *more)) for (prompt, written), more in zip(rows, new, strict=True)]
    cache = cache.rewind([len(prompt) + len(written) for prompt, written in rows])
    assert_holds(model, [logits[i, len(more) - 1] for i, more in enumerate(new)], cache, rows)
    return rows, cache


@pytest.mark.parametrize("kind", sorted(PROVEN_PAIRS))
def test_ragged_batches_forks_rewinds_and_joins_change_nothing(build, kind):
    model = build(kind)
    logits, cache = model.prefill(PROMPTS)
    rows = [(prompt, ()) for prompt in PROMPTS]
    assert_holds(model, logits, cache, rows)
    rows, cache = extended(model, cache, rows, 1)
    rows, cache = extended(model, cache, rows, 3)
    order = [2, 0, 0, 0, 2]
    cache, rows = cache.select(torch.tensor(order)), [rows[i] for i in order]
    rows, cache = extended(model, cache, rows, 2)
    left = [0, 1, 2, 3, 1]
    cache = cache.rewind([len(prompt) + n for (prompt, _), n in zip(rows, left, strict=True)])
    rows = [(prompt, new[:n]) for (prompt, new), n in zip(rows, left, strict=True)]
    rows, cache = extended(model, cache, rows, 2)
    longer = tuple(range(3, 20))
    _, other = model.prefill([longer])
    cache, rows = cache.join(other), [*rows, (longer, ())]
    extended(model, cache, rows, 2)


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(["extend", "select", "fork", "join"]), st.integers(0, 5)), max_size=5))
def test_any_sequence_of_operations_leaves_the_rows_one_expects(build, steps):
    model = build("bart")
    _, cache = model.prefill(PROMPTS[:2])
    rows = [(prompt, ()) for prompt in PROMPTS[:2]]
    for kind, number in steps:
        if kind == "extend":
            rows, cache = extended(model, cache, rows, 1 + number % 2)
        elif kind == "join":
            _, other = model.prefill([PROMPTS[number % 3]])
            cache, rows = cache.join(other), [*rows, (PROMPTS[number % 3], ())]
        else:
            order = [(number + i * i) % len(rows) for i in range(1 + number % 4)]
            if kind == "fork":
                before = list(cache.lengths)
                forked = cache.fork(torch.tensor(order))
                extended(model, cache, rows, 1)
                assert before == [len(prompt) + len(new) for prompt, new in rows]
                cache = forked
            else:
                cache = cache.select(torch.tensor(order))
            rows = [rows[i] for i in order]
    extended(model, cache, rows, 1)


@dataclass(frozen=True)
class InTwoDraws(Stage):
    """Two samples, each drawn for some tokens and then to its end."""

    n: int = 2
    peak_rows: int = 2
    name: ClassVar[str] = "in_two_draws"
    kind: ClassVar[Kind] = "search"
    source: ClassVar[str] = "this test"
    searches_in_rounds: ClassVar[bool] = True

    def rounds(self, question: Question, limits: Limits) -> Rounds:
        begun = yield [Draw(1, i, most=3 + i) for i in range(2)]
        going = [(i, one) for i, (one,) in enumerate(begun) if not one.finished]
        drawn = yield [Draw(1, i, one.candidate) for i, one in going]
        ends = {i: one for (i, _), (one,) in zip(going, drawn, strict=True)}
        return [(ends.get(i, one).candidate, -i) for i, (one,) in enumerate(begun)]


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_a_search_over_texts_goes_on_behind_what_was_written(build, kind):
    """Also beside a longer prompt, and answers of different lengths."""
    model = build(kind)
    found = dl.generate(model, PROMPTS, [dl.RepetitionPenalty(1.3), InTwoDraws()], max_new_tokens=9, min_new_tokens=7)
    samples = dl.generate(model, PROMPTS, "repetition_penalty=1.3 | sample(n=2)", max_new_tokens=9, min_new_tokens=7)
    for two, whole in zip(found, samples, strict=True):
        assert [c.tokens for c in two.candidates] == [c.tokens for c in whole.candidates]


def test_a_prompt_is_held_once_however_many_rows_read_it(build):
    model = build("t5")
    _, cache = model.prefill([tuple(range(3, 53)), (5, 6)])
    prompts = 50 * 2 * 2 * 2 * 32 * 4  # positions, prompts, layers, keys and values, width, bytes
    assert cache.nbytes - cache.own.nbytes == prompts
    cache = cache.select(torch.zeros(25, dtype=torch.int64))
    assert cache.nbytes - cache.own.nbytes == prompts / 2  # the other one is let go
    assert cache.nbytes <= model.cache_bytes(50, 25, 1)


SETTINGS = [
    ("greedy", {}),
    ("no_repeat_ngram=1 | greedy", {"no_repeat_ngram_size": 1}),
    ("beam(width=4)", {"num_beams": 4}),
    ("no_repeat_ngram=2 | beam(width=3, length_penalty=2.0, scores=model)", {
        "num_beams": 3, "length_penalty": 2.0, "no_repeat_ngram_size": 2,
    }),
    ("repetition_penalty=1.4 | greedy", {"repetition_penalty": 1.4}),
    ("forced_bos=7 | greedy", {"forced_bos_token_id": 7}),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["t5", "bart", "marian"])
@pytest.mark.parametrize(("strategy", "theirs"), SETTINGS, ids=[s for s, _ in SETTINGS])
def test_transformers_generates_the_same_tokens(build, kind, strategy, theirs):
    model = build(kind)
    ours = dl.generate(model, PROMPTS, strategy, max_new_tokens=12, min_new_tokens=3)
    for prompt, generation in zip(PROMPTS, ours, strict=True):
        with quiet():
            out = model.model.generate(
                torch.tensor([prompt]), do_sample=False, max_new_tokens=12, min_new_tokens=3, **theirs
            )
        tokens = out[0].tolist()
        assert tokens[:1] == list(model.begin)
        expected = [t for t in tokens[1:] if t != 0]  # what follows EOS is padding
        assert list(generation.best.tokens) == expected


def test_default_is_what_the_model_generates_by_itself(build):
    model = build("bart")
    own = {"num_beams": 3, "forced_bos_token_id": 1, "max_length": 14}
    model.model.generation_config.update(**own, forced_eos_token_id=2)
    model = EncoderDecoderModel(model.model, model.vocab.tokenizer)
    ours = dl.generate(model, PROMPTS, "default", max_new_tokens=13)
    for prompt, generation in zip(PROMPTS, ours, strict=True):
        with quiet():
            out = model.model.generate(torch.tensor([prompt]))[0].tolist()
        assert [2, *generation.best.tokens] == [t for t in out if t != 0]
        assert generation.best.tokens[0] == 1
    # Without a length that says where it would be forced, EOS is not.
    model.model.generation_config.max_length = None
    assert "forced_eos_token_id" not in EncoderDecoderModel(model.model, model.vocab.tokenizer).generation_config


def test_samples_are_the_same_alone_and_in_any_batch(build):
    model = build("t5")
    together = dl.generate(model, PROMPTS, "temperature=0.9 | sample(n=3)", max_new_tokens=10, seed=1)
    for prompt, generation in zip(PROMPTS, together, strict=True):
        alone = dl.generate(model, [prompt], "temperature=0.9 | sample(n=3)", max_new_tokens=10, seed=1)[0]
        assert [c.tokens for c in generation.candidates] == [c.tokens for c in alone.candidates]
        assert generation.cost.prefill_tokens == len(prompt)


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_speculation_changes_nothing(build, kind):
    model = build(kind)
    for search in ("greedy", "temperature=0.9 | sample(n=2)"):
        plain, drafted = (
            dl.generate(model, PROMPTS, search + more, max_new_tokens=10)
            for more in ("", " | speculative(draft=ngram, k=3)")
        )
        for a, b in zip(plain, drafted, strict=True):
            assert [c.tokens for c in a.candidates] == [c.tokens for c in b.candidates]


def test_jobs_that_join_later_say_what_they_say_alone(build):
    model = build("bart")
    engine = dl.Engine(model, max_rows=6)
    asked = [(PROMPTS[i % 3], ("greedy", "beam(width=3)", "sample(n=2)")[i % 2], 3 + 4 * (i % 3)) for i in range(9)]
    asked.append((tuple(range(3, 43)), "greedy", 5))
    for prompt, strategy, new in asked:
        engine.submit(prompt, strategy, max_new_tokens=new)
    found = {done.index: done for done in engine.run()}
    for i, (prompt, strategy, new) in enumerate(asked):
        alone = dl.generate(model, [prompt], strategy, max_new_tokens=new)[0]
        mine = found[i]
        assert isinstance(mine, dl.Generation)
        assert [c.tokens for c in mine.candidates] == [c.tokens for c in alone.candidates]


def test_a_long_prompt_is_never_cut_in_two(build):
    model = build("t5")
    engine = dl.Engine(model)
    engine.submit(PROMPTS[0], "greedy", max_new_tokens=8, min_new_tokens=8)
    list(engine.step())
    long = tuple(3 + i % 60 for i in range(300))
    number = engine.submit(long, "greedy", max_new_tokens=4)
    found = {done.index: done for done in engine.run()}[number]
    assert isinstance(found, dl.Generation)
    assert found.best.tokens == dl.generate(model, [long], "greedy", max_new_tokens=4)[0].best.tokens


def test_scores_are_the_losses_of_transformers(build):
    model = build("bart")
    found = dl.score(model, "w5 w6 w7", "w9 w1 w30")
    labels = torch.tensor([[1, 12, 4, 33]])  # BART learns to write <s> first
    assert found.tokens == (1, 12, 4, 33)
    with torch.no_grad():
        loss = model.model(input_ids=torch.tensor([[1, 8, 9, 10, 2]]), labels=labels).loss
    assert found.logprob == pytest.approx(-4 * float(loss), abs=1e-4)


def test_text_goes_in_with_its_frame_and_comes_out_without(build):
    model = build("t5")
    assert model.vocab.encode("w5 w6") == (1, 8, 9, 2)
    (generation,) = dl.generate(model, "w5 w6", "greedy", max_new_tokens=5, stop="w9999")
    assert generation.prompt_tokens == (1, 8, 9, 2)
    assert generation.best.text == model.vocab.decode(generation.best.tokens)


class TestBounds:
    def test_prompt_and_answer_have_a_bound_each(self, build):
        model = build("bart")
        assert (model.context_length, model.longest_prompt, model.longest_answer) == (None, 40, 40)
        prompt = tuple(3 + i % 60 for i in range(40))
        (generation,) = dl.generate(model, [prompt], "greedy", max_new_tokens=100, min_new_tokens=100)
        assert (len(generation.best.tokens), generation.best.finish_reason) == (40, "length")
        with pytest.raises(PromptTooLong, match="prompt 0 has 41 tokens, bart can read 40; shorten it"):
            dl.generate(model, [(*prompt, 5)], "greedy")

    def test_relative_positions_have_none(self, build):
        model = build("t5")
        assert (model.longest_prompt, model.longest_answer) == (None, None)

    @pytest.mark.parametrize(
        ("prompts", "error"), [([()], EmptyPrompt), ([(64,)], UnknownToken), ([(5,) * 41], PromptTooLong)]
    )
    def test_prompts_it_cannot_read_are_refused(self, build, prompts, error):
        with pytest.raises(error):
            build("bart").prefill(prompts)

    def test_an_answer_beyond_the_positions_is_refused(self, build):
        model = build("bart")
        _, cache = model.prefill([(5, 6)])
        with pytest.raises(PromptTooLong, match="41 tokens exceed the 40 positions of the decoder"):
            model.decode(cache, torch.full((1, 40), 5))

    def test_a_rewind_into_the_prompt_is_refused(self, build):
        _, cache = build("t5").prefill([(5, 6)])
        with pytest.raises(ValueError, match="rewind"):
            cache.rewind([1])


class TestLoading:
    @pytest.mark.parametrize("kind", ["t5", "bart"])
    def test_a_saved_directory_is_recognised(self, build, tmp_path: Path, kind):
        model = build(kind)
        model.model.save_pretrained(tmp_path)
        model.vocab.tokenizer.save_pretrained(tmp_path)
        loaded = dl.load(tmp_path)
        assert isinstance(loaded, EncoderDecoderModel)
        mine, theirs = (dl.generate(m, "w5 w6 w7", "beam(width=3)", max_new_tokens=8)[0] for m in (model, loaded))
        assert [c.tokens for c in mine.candidates] == [c.tokens for c in theirs.candidates]
        assert loaded.digest == dl.load(tmp_path).digest
        with pytest.raises(ModelError, match="is an encoder-decoder model; load gives its network, too"):
            dl.load_transformers(tmp_path)

    def test_an_untested_architecture_is_refused_by_name(self, build, tokenizer):
        network = build("t5").model
        network.config.model_type = "longt5"
        with pytest.raises(
            ModelError, match=r"encoder-decoder model of type 'longt5', which is not supported yet; use"
        ):
            EncoderDecoderModel(network, tokenizer)
        network.config.model_type = "t5"

    def test_a_decoder_that_begins_with_nothing_is_refused(self, build, tokenizer):
        network = build("t5").model
        for place in (network.config, network.generation_config):
            place.decoder_start_token_id = place.bos_token_id = None
        with pytest.raises(ModelError, match="decoder_start_token_id"):
            EncoderDecoderModel(network, tokenizer)


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_trees_go_on_from_forks_of_the_decoder(build, kind):
    model = build(kind)
    (g,) = dl.generate(model, "w1 w2 w3", "k_best(n=3, rows=3, budget=60)", max_new_tokens=4)
    for c in g.candidates:
        assert c.score == pytest.approx(dl.score(model, "w1 w2 w3", list(c.tokens)).logprob, abs=1e-3)
