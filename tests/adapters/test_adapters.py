"""Strategies inside transformers.generate, llama-cpp-python and vLLM; transformers' processors inside a strategy.

llama-cpp-python and vLLM are not installed here: the first is a callable of two arrays, which is called as it calls it;
of the second there is a stand-in with the classes, fields and order of operations that its documentation states.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

import decodelab as dl
from decodelab.adapters.run import Run
from decodelab.core.errors import (
    EmptySupport,
    InvalidParameter,
    NonFiniteLogits,
    RequestError,
    UnsupportedStrategy,
    VocabularyMismatch,
)
from decodelab.testing import check_processor

SIZE = 30
PAD = 0


@pytest.fixture(scope="module")
def llama() -> Any:
    """A small Llama of random weights, sharp enough that processors matter, under transformers itself."""
    config = LlamaConfig(
        vocab_size=SIZE, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        bos_token_id=None, eos_token_id=2, pad_token_id=PAD,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in model.parameters():
            weights.copy_(0.6 * torch.randn(weights.shape, generator=generator))
    return model


def generated(
    llama: Any, prompts: list[list[int]], *processors: Any, seed: int = 0, **settings: Any
) -> list[list[int]]:
    """The new tokens of transformers.generate, prompts padded on the left."""
    width = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (width - len(p)) + p for p in prompts])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        out = llama.generate(
            ids, attention_mask=(ids != PAD).long(), logits_processor=list(processors), max_new_tokens=12, **settings
        )
    return out[:, width:].tolist()


PROMPTS = [[5, 6, 7, 5, 6], [9, 9, 3, 4, 9]]
PENALTIES = "repetition_penalty=1.4 | no_repeat_ngram=2"


@pytest.mark.parametrize("search", [{}, {"num_beams": 3}, {"num_beams": 4, "num_return_sequences": 3}])
def test_penalties_in_generate_say_what_transformers_own_say_also_where_beams_are_reordered(llama, search):
    ours = generated(llama, PROMPTS, dl.to_logits_processor(dl.parse(PENALTIES)), **search)
    theirs = generated(llama, PROMPTS, repetition_penalty=1.4, no_repeat_ngram_size=2, **search)
    plain = generated(llama, PROMPTS, **search)
    assert ours == theirs != plain


def test_sampling_in_generate_draws_what_transformers_own_warpers_draw(llama):
    strategy = dl.parse("temperature=1.3 | top_p=0.8 | min_p=0.02")
    for seed in range(3):
        ours = generated(llama, PROMPTS, dl.to_logits_processor(strategy), seed=seed, do_sample=True, top_k=0)
        own = {"temperature": 1.3, "top_p": 0.8, "min_p": 0.02, "top_k": 0}
        assert ours == generated(llama, PROMPTS, seed=seed, do_sample=True, **own)


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}])
def test_a_padded_prompt_gives_what_it_gives_alone_when_the_padding_is_named(llama, settings):
    prompts = [[5, 6, 7, 5, 6], [9, 4], [3, 3, 8]]
    # Counts the prompt and bans pairs: padding that were taken for text would show.
    strategy = dl.parse("presence_penalty(penalty=3, prompt=true) | logit_bias=[[0, 30]] | no_repeat_ngram=2")
    together = generated(llama, prompts, dl.to_logits_processor(strategy, pad_token_id=PAD), **settings)
    for prompt, tokens in zip(prompts, together, strict=True):
        (alone,) = generated(llama, [prompt], dl.to_logits_processor(strategy), **settings)
        assert tokens[: len(alone)] == alone


def test_greedy_leaves_only_the_most_probable_token(llama):
    processor = dl.to_logits_processor(dl.parse("repetition_penalty=1.4 | greedy"))
    sampled = generated(llama, PROMPTS, processor, do_sample=True, top_k=0)
    assert sampled == generated(llama, PROMPTS, repetition_penalty=1.4)


def test_a_controller_has_a_state_for_each_row_inside_generate(llama):
    strategy = "mirostat(tau=2.0, eta=0.5)"
    run: Any = dl.to_logits_processor(dl.parse(strategy))
    rows = generated(llama, PROMPTS, run, do_sample=True, top_k=0, num_return_sequences=2)
    assert run.run.rows == [(*PROMPTS[i // 2], *row[:-1]) for i, row in enumerate(rows)]
    assert len(run.run.states[0].mu.unique()) == 4


# --- rows followed from outside ---------------------------------------------------------------------

STATEFUL = (
    "frequency_penalty(penalty=0.7, prompt=true) | dry(allowed_length=1) | ban=[[3, 4]] | mirostat(tau=2, eta=0.7)"
)


def test_rows_that_fork_move_and_die_have_the_state_of_their_own_past():
    generator = torch.Generator().manual_seed(0)
    vocab = dl.TableModel([f"w{i}" for i in range(8)], {}, eos=None).vocab
    run = Run(dl.parse(STATEFUL), vocab, 0)
    rows: list[tuple[tuple[int, ...], list[Any]]] = [((1, 3), []), ((2,), []), ((3, 4, 3), [])]
    for _ in range(8):
        logits = 2 * torch.randn(len(rows), 8, generator=generator)
        got = run.process([tokens for tokens, _ in rows], logits)
        for i, (tokens, past) in enumerate(rows):
            alone = Run(dl.parse(STATEFUL), vocab, 0)
            for end, earlier in enumerate(past, len(tokens) - len(past)):
                alone.process([tokens[:end]], earlier)
            assert torch.equal(got[i : i + 1], alone.process([tokens], logits[i : i + 1]))
        parents = torch.randint(len(rows), (4,), generator=generator).tolist()
        # Forks differ in their tokens, for what is told apart from outside is the tokens.
        rows = [
            ((*rows[p][0], token), [*rows[p][1], logits[p : p + 1]])
            for p, token in {(p, int(torch.randint(8, (1,), generator=generator))): None for p in parents}
        ]


def test_a_step_that_is_asked_for_twice_is_answered_twice():
    run = Run(dl.parse("frequency_penalty=1"), None, 0)
    run.process([(1,)], torch.zeros(1, 3))
    first = run.process([(1, 2)], torch.zeros(1, 3))
    assert torch.equal(run.process([(1, 2)], torch.zeros(1, 3)), first)
    assert first.tolist() == [[0.0, 0.0, -1.0]]


def test_a_past_that_was_not_seen_is_replayed_from_its_prompt():
    run = Run(dl.parse("frequency_penalty=1"), None, 0)
    run.process([(1,)], torch.zeros(1, 3))
    # Three tokens at once, then one of them taken back, as speculation does; the prompt is still not counted.
    assert run.process([(1, 2, 2, 0)], torch.zeros(1, 3)).tolist() == [[-1.0, 0.0, -2.0]]
    assert run.process([(1, 2, 1)], torch.zeros(1, 3)).tolist() == [[0.0, -1.0, -1.0]]
    # Another prompt begins another generation.
    assert run.process([(2, 2)], torch.zeros(1, 3)).tolist() == [[0.0, 0.0, 0.0]]


def test_coins_are_replayed_with_the_tokens():
    strategy = dl.parse("xtc(probability=0.5, threshold=0.1)")
    step, jump = Run(strategy, None, 3), Run(strategy, None, 3)
    logits = torch.tensor([[1.0, 0.9, 0.8]])
    outcomes = [step.process([(1, 2, 0, 1, 2)[:end]], logits) for end in range(1, 6)]
    jump.process([(1,)], logits)
    assert torch.equal(jump.process([(1, 2, 0, 1, 2)], logits), outcomes[-1])


def test_what_learns_from_logits_refuses_a_past_whose_logits_it_has_not_seen():
    run = Run(dl.parse("mirostat"), None, 0)
    run.process([(1,)], torch.zeros(1, 3))
    with pytest.raises(UnsupportedStrategy, match=r"^mirostat updates its state from every step's logits"):
        run.process([(1, 2, 2)], torch.zeros(1, 3))


def test_equal_prompts_toss_different_coins():
    run = Run(dl.parse("xtc(probability=0.5, threshold=0.1)"), None, 0)
    outcomes = run.process([(1,)] * 40, torch.tensor([[1.0, 0.9, 0.8]] * 40)).isfinite().sum(-1)
    assert outcomes.unique().tolist() == [1, 3]


@pytest.mark.parametrize("written", ["beam(width=3)", "sample(n=2)", "default", "sample | vote"])
def test_what_is_more_than_processors_is_refused(written):
    strategy = dl.parse(written)
    for make in (
        lambda: dl.to_logits_processor(strategy),
        lambda: dl.to_llama_cpp_logits_processor(strategy),
        lambda: dl.to_vllm_logits_processor(strategy, interface=LogitsProcessor),
    ):
        with pytest.raises(UnsupportedStrategy, match="cannot run inside another system's generation"):
            make()


def test_a_stage_that_needs_the_vocabulary_asks_for_it_by_name():
    run = Run(dl.parse("min_new_tokens=2"), None, 0)
    with pytest.raises(UnsupportedStrategy, match=r"^min_new_tokens=2 needs the vocabulary; pass vocab=model\.vocab"):
        run.process([(1,)], torch.zeros(1, 3))
    vocab = dl.TableModel(["a"], {}).vocab
    assert Run(dl.parse("min_new_tokens=2"), vocab, 0).process([(0,)], torch.zeros(1, 2)).isfinite().tolist() == [
        [True, False]
    ]


def test_logits_that_are_no_distribution_and_chains_that_leave_none_are_named():
    vocab = dl.TableModel(["a", "b"], {}).vocab
    with pytest.raises(VocabularyMismatch, match=r"^the vocabulary has 3 tokens, the logits 4"):
        Run(dl.parse("ban=a"), vocab, 0).process([(0,)], torch.zeros(1, 4))
    with pytest.raises(NonFiniteLogits, match="the model returned NaN"):
        Run(dl.parse("top_p=0.9"), None, 0).process([(0,)], torch.tensor([[0.0, torch.nan]]))
    with pytest.raises(EmptySupport, match=r"^ban=\[0, 1\] left no token to choose from"):
        Run(dl.parse("top_p=0.9 | ban=[0, 1]"), None, 0).process([(0,)], torch.zeros(1, 2))


# --- transformers' processors as stages -------------------------------------------------------------


def test_their_warpers_in_our_engine_draw_what_our_stages_draw():
    model = dl.TableModel(list("abcdef"), random_table(3))
    theirs = dl.Temperature(1.0) | dl.from_logits_processor([TemperatureLogitsWarper(0.7), TopKLogitsWarper(3)])
    (ours,) = dl.generate(model, "a", "temperature=0.7 | top_k=3 | sample(n=6)", max_new_tokens=8, seed=1)
    with pytest.warns(dl.NoEffectWarning, match="temperature 1 changes nothing"):
        (got,) = dl.generate(model, "a", theirs | dl.Sample(6), max_new_tokens=8, seed=1)
    assert [c.tokens for c in got.candidates] == [c.tokens for c in ours.candidates]


@pytest.mark.parametrize("search", ["greedy", "sample(n=4)", "beam(width=3, n=3)"])
def test_their_penalties_in_our_engine_see_each_rows_own_tokens(search):
    model = dl.TableModel(list("abcdef"), random_table(4))
    theirs = [RepetitionPenaltyLogitsProcessor(1.3), NoRepeatNGramLogitsProcessor(2)]
    prompts = ["a", "b c", "a b c d"]
    ours = dl.generate(model, prompts, f"repetition_penalty=1.3 | no_repeat_ngram=2 | {search}", max_new_tokens=6)
    strategy = dl.from_logits_processor(theirs) | dl.parse(search).stages[0]
    for a, b in zip(dl.generate(model, prompts, strategy, max_new_tokens=6), ours, strict=True):
        assert [c.tokens for c in a.candidates] == [c.tokens for c in b.candidates]


def test_their_processors_keep_the_promises_of_ours():
    check_processor(dl.from_logits_processor(TopPLogitsWarper(0.9)))
    check_processor(dl.from_logits_processor([RepetitionPenaltyLogitsProcessor(1.5), TopKLogitsWarper(2)]))


def test_a_processor_must_be_callable():
    with pytest.raises(InvalidParameter, match=r"^from_logits_processor: a processor must be callable, got 5"):
        dl.from_logits_processor(5)


# --- llama-cpp-python -------------------------------------------------------------------------------


def random_table(seed: int) -> Any:
    """A model over a to f whose distribution after a prefix is drawn for that prefix."""

    def row(prefix: tuple[str, ...]) -> dict[str, float]:
        rng = Random(f"{seed}{prefix}")
        weights = [rng.random() ** 3 + 0.02 for _ in range(6)]
        return {word: w / sum(weights) for word, w in zip("abcdef", weights, strict=True)}

    return row


STRATEGIES = ["greedy", f"{PENALTIES} | greedy", "dry(allowed_length=1) | ban=c | typical_p=0.4 | greedy"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_as_a_logits_processor_of_llama_cpp_python_it_says_what_the_engine_says(strategy):
    model = dl.TableModel(list("abcdef"), random_table(1), eos=None)
    processor = dl.to_llama_cpp_logits_processor(dl.parse(strategy), model.vocab)
    for prompt in ("a b", "f", "a b c"):
        (expected,) = dl.generate(model, prompt, strategy, max_new_tokens=8)
        ids = list(expected.prompt_tokens)
        for _ in range(8):
            # As Llama.generate does: all ids as intc, the last logits as single, taken back as single.
            logits = model.prefill([tuple(ids)])[0][0].numpy().astype(np.single)
            given = logits.copy()
            out = processor(np.array(ids, dtype=np.intc), logits)
            assert (out.dtype, out.shape) == (np.single, logits.shape)
            assert np.array_equal(logits, given)
            ids.append(int(out.argmax()))
        assert tuple(ids) == (*expected.prompt_tokens, *expected.best.tokens)


# --- vLLM -------------------------------------------------------------------------------------------


class MoveDirectionality(Enum):
    UNIDIRECTIONAL = auto()
    SWAP = auto()


@dataclass(frozen=True)
class BatchUpdate:
    batch_size: int
    removed: Sequence[int]
    added: Sequence[tuple[int, Any, list[int] | None, list[int]]]
    moved: Sequence[tuple[int, int, MoveDirectionality]]


class LogitsProcessor(ABC):
    """The interface of vllm.v1.sample.logits_processor."""

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        return None

    @abstractmethod
    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None: ...

    @abstractmethod
    def apply(self, logits: torch.Tensor) -> torch.Tensor: ...

    @abstractmethod
    def is_argmax_invariant(self) -> bool: ...

    @abstractmethod
    def update_state(self, batch_update: BatchUpdate | None) -> None: ...


@dataclass
class SamplingParams:
    extra_args: dict[str, Any] | None = None
    seed: int | None = None


@dataclass
class Served:
    prompt: tuple[int, ...]
    params: SamplingParams
    wanted: int
    output: list[int] = field(default_factory=list)


def serve(processor: Any, model: dl.TableModel, waiting: list[Served], places: int) -> None:
    """Generate greedily, requests joining and leaving a batch of few places as in vLLM's persistent batch."""
    batch: list[Served | None] = [None] * places
    swaps = 0
    while waiting or any(batch):
        removed = [i for i, r in enumerate(batch) if r is not None and len(r.output) >= r.wanted]
        for i in removed:
            batch[i] = None
        added, moved = [], []
        for i in range(places):
            if batch[i] is None and waiting:
                request = waiting.pop(0)
                batch[i] = request
                added.append((i, request.params, list(request.prompt), request.output))
        # A place that is taken again is not reported as removed; then the batch is condensed, and sometimes reordered.
        removed = [i for i in removed if batch[i] is None]
        for empty in range(places):
            last = max((i for i, r in enumerate(batch) if r is not None), default=-1)
            if batch[empty] is None and last > empty:
                batch[empty], batch[last] = batch[last], None
                moved.append((last, empty, MoveDirectionality.UNIDIRECTIONAL))
        if places > 1 and all(batch[:2]) and swaps % 2 == 0:
            batch[0], batch[1] = batch[1], batch[0]
            moved.append((0, 1, MoveDirectionality.SWAP))
        swaps += 1
        live = [r for r in batch if r is not None]
        if not live:
            break
        change = bool(removed or added or moved)
        processor.update_state(BatchUpdate(len(live), removed, added, moved) if change else None)
        logits = torch.cat([model.prefill([(*r.prompt, *r.output)])[0] for r in live]).to(torch.bfloat16)
        for request, row in zip(live, processor.apply(logits), strict=True):
            request.output.append(int(row.argmax()))


def bfloat16(model: dl.TableModel) -> Any:
    """The model with logits rounded as the stand-in for vLLM rounds them."""

    class Rounded:
        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

        def start(self, prompts: Any) -> Any:
            logits, cache = model.prefill(prompts)
            return logits.bfloat16().float(), cache

        def extend(self, cache: Any, tokens: Any) -> Any:
            logits, cache = model.decode(cache, tokens)
            return logits.bfloat16().float(), cache

    return Rounded()


@pytest.mark.parametrize("places", [1, 2, 4])
def test_in_a_batch_of_vllm_every_request_gets_what_the_engine_gives_it_alone(places):
    model = dl.TableModel(list("abcdef"), random_table(2), eos=None)
    cls = dl.to_vllm_logits_processor(dl.parse(f"{PENALTIES} | greedy"), model.vocab, interface=LogitsProcessor)
    assert issubclass(cls, LogitsProcessor)
    processor = cls(None, torch.device("cpu"), False)
    assert not processor.is_argmax_invariant()
    own = ["greedy", "ban=c | typical_p=0.4 | greedy", None, None, "dry(allowed_length=1) | greedy"]
    texts = ["a b", "c", "a b", "d e f a", "f", "b", "c c", "e"]
    waiting = []
    for i, text in enumerate(texts):
        extra = {"decodelab": own[i % 5]} if own[i % 5] else None
        waiting.append(Served(model.vocab.encode(text), SamplingParams(extra), wanted=3 + i % 4))
    requests = list(waiting)
    serve(processor, model, waiting, places)
    for i, request in enumerate(requests):
        strategy = own[i % 5] or f"{PENALTIES} | greedy"
        (expected,) = dl.generate(bfloat16(model), [request.prompt], strategy, max_new_tokens=request.wanted)
        assert tuple(request.output) == expected.best.tokens, texts[i]


def test_a_request_that_vllm_preempted_comes_back_with_its_tokens():
    cls = dl.to_vllm_logits_processor(dl.parse("frequency_penalty=1"), interface=LogitsProcessor)
    processor = cls(None, torch.device("cpu"), False)
    processor.update_state(BatchUpdate(1, [], [(0, SamplingParams(), [1], [2, 2])], []))
    assert processor.apply(torch.zeros(1, 3)).tolist() == [[0.0, 0.0, -2.0]]


def test_a_request_whose_strategy_is_wrong_is_refused_when_it_comes():
    cls = dl.to_vllm_logits_processor(dl.parse("top_p=0.9"), interface=LogitsProcessor)
    cls.validate_params(SamplingParams({"decodelab": "temperature=0.5"}))  # pyright: ignore
    cls.validate_params(SamplingParams())  # pyright: ignore
    with pytest.raises(ValueError, match=r"^decodelab: unknown stage 'topp'; did you mean"):
        cls.validate_params(SamplingParams({"decodelab": "topp=0.9"}))  # pyright: ignore
    with pytest.raises(ValueError, match=r"^decodelab: beam\(width=2\) cannot run inside"):
        cls.validate_params(SamplingParams({"decodelab": "beam(width=2)"}))  # pyright: ignore


def test_what_vllm_has_not_told_is_not_guessed():
    cls = dl.to_vllm_logits_processor(dl.parse("frequency_penalty=1"), interface=LogitsProcessor)
    processor = cls(None, torch.device("cpu"), False)
    with pytest.raises(RequestError, match=r"^vllm: a strategy needs the prompt's tokens"):
        processor.update_state(BatchUpdate(1, [], [(0, SamplingParams(), None, [])], []))
    processor.update_state(BatchUpdate(1, [], [(0, SamplingParams(), [1], [-1])], []))
    with pytest.raises(RequestError, match=r"^vllm: output tokens are not known yet"):
        processor.apply(torch.zeros(1, 3))
