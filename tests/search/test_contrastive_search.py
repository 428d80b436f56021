"""Contrastive search: what transformers 4 gave, step by step, alone and in any batch."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import decodelab as dl
from decodelab.core.errors import ForwardFailed, InvalidParameter, TooLarge, UnsupportedStrategy
from decodelab.core.protocols import Cache, HiddenStates
from decodelab.core.values import Tokens
from decodelab.strategy.strategy import Strategy
from decodelab.testing import check_search

PROMPTS = ["Once upon a time", "What is 27 + 35?", "", "Tom has a red ball and"]


@pytest.fixture(scope="module")
def model() -> dl.TransformersModel:
    """pocket-small."""
    return dl.load_transformers("pocket-small")


@pytest.fixture(scope="module")
def nano() -> dl.TransformersModel:
    """pocket-nano, for what does not depend on the model."""
    return dl.load_transformers("pocket-nano")


@torch.inference_mode()
def reference(model: dl.TransformersModel, prompt: Tokens, k: int, alpha: float, limit: int) -> tuple[int, ...]:
    """The loop that transformers 4.44 runs, by whole forward passes without a cache."""
    network, new = model.model, ()
    while len(new) < limit and not (new and new[-1] in model.vocab.eos_ids):
        out = network(input_ids=torch.tensor([[*prompt, *new]]), output_hidden_states=True)
        probabilities, tokens = out.logits[0, -1].softmax(-1).topk(k)
        rows = torch.tensor([[*prompt, *new, token] for token in tokens.tolist()])
        states = network(input_ids=rows, output_hidden_states=True).hidden_states[-1]
        unit = states / states.norm(dim=-1, keepdim=True)
        likeness = (unit[:, :-1] @ unit[:, -1:].transpose(1, 2))[..., 0].amax(-1)
        new = (*new, int(tokens[((1 - alpha) * probabilities - alpha * likeness).argmax()]))
    return new


@pytest.mark.parametrize(("k", "alpha"), [(4, 0.6), (8, 0.4), (3, 1.0)])
@pytest.mark.parametrize("prompt", PROMPTS[:3])
def test_it_gives_token_for_token_what_transformers_4_gave(model, prompt, k, alpha):
    (found,) = dl.generate(model, prompt, dl.ContrastiveSearch(k, alpha), max_new_tokens=16)
    assert found.best.tokens == reference(model, model.vocab.encode(prompt), k, alpha, 16)


def test_text_that_ends_ends_where_transformers_ends_it(model):
    (found,) = dl.generate(model, "What is 2 + 3?", "contrastive_search(k=3, alpha=0.2)", max_new_tokens=60)
    assert found.best.finish_reason == "eos"
    assert found.best.tokens == reference(model, model.vocab.encode("What is 2 + 3?"), 3, 0.2, 60)


@pytest.mark.parametrize("strategy", ["contrastive_search(k=1)", "contrastive_search(alpha=0)"])
def test_one_candidate_or_no_penalty_is_greedy_search(model, strategy):
    with pytest.warns(UserWarning, match="is greedy search, which is cheaper"):
        found = dl.generate(model, PROMPTS, strategy, max_new_tokens=12)
    greedy = dl.generate(model, PROMPTS, "greedy", max_new_tokens=12)
    assert [g.best.tokens for g in found] == [g.best.tokens for g in greedy]
    assert [g.best.logprob for g in found] == pytest.approx([g.best.logprob for g in greedy], abs=1e-4)


def test_it_repeats_itself_less_than_greedy_search():
    model = dl.load("pocket-nano")
    texts = {
        s: dl.generate(model, ["The cat", "A dog", "He said that"], s, max_new_tokens=60, min_new_tokens=60)
        for s in ("greedy", "contrastive_search(k=6, alpha=0.6)")
    }

    def distinct(generations: Sequence[dl.Generation]) -> float:
        pairs = [set(itertools.pairwise(g.best.tokens)) for g in generations]
        return sum(map(len, pairs)) / sum(len(g.best.tokens) - 1 for g in generations)

    greedy, contrastive = (distinct(found) for found in texts.values())
    assert contrastive > greedy


# --- the engine -----------------------------------------------------------------------------------


def test_neither_the_batch_nor_the_order_nor_other_strategies_matter(nano):
    engine = dl.Engine(nano, max_rows=9)
    asked = [*itertools.product(PROMPTS, ["contrastive_search", "beam(width=3)", "contrastive_search(k=2)"])]
    for prompt, strategy in asked:
        engine.submit(prompt, strategy, max_new_tokens=10)
    found = {g.index: g for g in engine.run() if isinstance(g, dl.Generation)}
    for number, (prompt, strategy) in enumerate(asked):
        (alone,) = dl.generate(nano, prompt, strategy, max_new_tokens=10)
        assert found[number].best.tokens == alone.best.tokens


def test_processors_change_what_it_chooses_from(nano):
    (banned,) = dl.generate(nano, "Once upon a time", 'ban=[","] | contrastive_search', max_new_tokens=12)
    assert "," not in banned.best.text
    three = dl.generate(nano, PROMPTS, "top_k=3 | contrastive_search(k=50)", max_new_tokens=10)
    # The distribution it goes by is the processed one, in which the three are more probable.
    assert all(g.best.processed_logprob > g.best.logprob for g in three)
    assert {g.cost.decode_tokens for g in three} == {3 * 10}
    one = dl.generate(nano, PROMPTS, "min_p=1.0 | contrastive_search", max_new_tokens=10)
    assert [g.best.tokens for g in one] == [
        g.best.tokens for g in dl.generate(nano, PROMPTS, "greedy", max_new_tokens=10)
    ]


def test_stop_strings_and_limits_hold(nano):
    (whole,) = dl.generate(nano, "Once upon a time", "contrastive_search", max_new_tokens=20)
    (cut,) = dl.generate(nano, "Once upon a time", "contrastive_search", max_new_tokens=20, stop=".")
    assert cut.best.text == whole.best.text[: whole.best.text.index(".")]
    assert cut.best.finish_reason == "stop"
    (full,) = dl.generate(nano, [[5] * 509], "contrastive_search", max_new_tokens=20)
    assert (len(full.best.tokens), full.best.finish_reason) == (3, "length")


def test_equal_prompts_are_prefilled_once_and_every_candidate_is_counted(nano):
    found = dl.generate(nano, ["Once upon a time"] * 3, "contrastive_search(k=5)", max_new_tokens=6)
    length = len(nano.vocab.encode("Once upon a time"))
    assert sorted(g.cost.prefill_tokens for g in found) == [0, 0, length]
    assert {g.cost.decode_tokens for g in found} == {5 * 6}
    assert {g.cost.forward_passes for g in found} == {7}
    assert len({g.best.tokens for g in found}) == 1


def test_its_text_can_be_streamed(nano):
    pieces: list[str] = []
    stream = dl.TextStream(nano.vocab, lambda generation, sample, text: pieces.append(text))
    (found,) = dl.generate(nano, "Once upon a time", "contrastive_search", max_new_tokens=12, observers=[stream])
    assert len(pieces) > 3
    assert "".join(pieces) == found.best.text


def test_a_job_that_is_cancelled_gives_nothing_and_the_others_go_on(nano):
    engine = dl.Engine(nano)
    numbers = [engine.submit(prompt, "contrastive_search", max_new_tokens=8) for prompt in PROMPTS]
    assert not [*engine.step()]
    assert not [*engine.step()]
    assert engine.rows == 4
    assert engine.cancel(numbers[1])
    assert not engine.cancel(numbers[1])
    later = engine.submit("A dog", "contrastive_search", max_new_tokens=8)
    assert engine.cancel(later)
    assert sorted(g.index for g in engine.run() if isinstance(g, dl.Generation)) == [0, 2, 3]
    assert not engine.busy


def test_what_was_begun_is_given_when_it_is_interrupted(nano):
    engine = dl.Engine(nano)
    engine.submit("Once upon a time", "contrastive_search", max_new_tokens=50)
    for _ in range(5):
        assert not [*engine.step()]
    (begun,) = engine.interrupted()
    assert isinstance(begun, dl.Generation)
    assert [c.finish_reason for c in begun.candidates] == ["interrupted"]
    assert len(begun.best.tokens) == 5
    assert not engine.busy


# --- a model whose hidden states are written down ---------------------------------------------------


class Shown:
    """A table whose last hidden state is a vector for each word, whatever came before it."""

    depth = 1
    tied = False

    def __init__(self, table: dl.TableModel, vectors: Tensor) -> None:
        self.table, self.vectors = table, vectors

    def __getattr__(self, name: str) -> Any:
        return getattr(self.table, name)

    def prefill_with_hidden_states(
        self, prompts: Sequence[Tokens], layers: Sequence[int]
    ) -> tuple[Tensor, Tensor, Cache]:
        longest = max(map(len, prompts))
        hidden = torch.full((1, len(prompts), longest, self.vectors.shape[1]), torch.nan)
        for row, prompt in enumerate(prompts):
            hidden[0, row, longest - len(prompt) :] = self.vectors[list(prompt)]
        return self.table.prefill(prompts)[0], hidden, self.table.prefill(prompts)[1]

    def decode_with_hidden_states(
        self, cache: Cache, tokens: Tensor, layers: Sequence[int]
    ) -> tuple[Tensor, Tensor, Cache]:
        logits, cache = self.table.decode(cache, tokens)
        return logits, self.vectors[tokens][None], cache

    def early_exit_logits(self, hidden: Tensor) -> Tensor:
        return hidden


def test_a_step_by_hand():
    # p = 0.5, 0.3, 0.2; a is like the prompt's a (cosine 1), b like it by 0.6, c by -1.
    table = dl.TableModel(list("abc"), {...: {"a": 0.5, "b": 0.3, "c": 0.2}}, eos=None, bos="<s>")
    shown = Shown(table, torch.tensor([[2.0, 0.0], [0.6, 0.8], [-3.0, 0.0], [0.0, -1.0]]))
    assert isinstance(shown, HiddenStates)

    def text(k: int, alpha: float, limit: int = 1) -> str:
        return dl.generate(shown, "a", dl.ContrastiveSearch(k, alpha), max_new_tokens=limit)[0].best.text

    # alpha 0.2: a 0.4 - 0.2 = 0.2, b 0.24 - 0.12 = 0.12, c 0.16 + 0.0 (nearest is <s>, cosine 0) = 0.16
    assert text(3, 0.2) == " a"
    # alpha 0.5: a 0.25 - 0.5, b 0.15 - 0.3, c 0.1 - 0
    assert text(3, 0.5) == " c"
    # among the two most probable b is the less alike
    assert text(2, 0.5) == " b"
    # after c, b is 0.6 like a, c is 1 like c: 0.15 - 0.3 > 0.1 - 0.5
    assert text(3, 0.5, 2) == " c b"


def test_equal_scores_go_to_the_more_probable_and_then_the_lowest_id():
    table = dl.TableModel(list("abc"), {...: {"a": 0.3, "b": 0.4, "c": 0.3}}, eos=None, bos="<s>")
    same = Shown(table, torch.ones(4, 2))
    (found,) = dl.generate(same, "a", dl.ContrastiveSearch(3, 1.0), max_new_tokens=2)  # pyright: ignore[reportArgumentType]
    assert found.best.text == " b b"
    flat = dl.TableModel(list("abc"), {...: {"a": 0.5, "c": 0.5}}, eos=None, bos="<s>")
    (found,) = dl.generate(Shown(flat, torch.ones(4, 2)), "b", dl.ContrastiveSearch(3, 0.5), max_new_tokens=2)  # pyright: ignore[reportArgumentType]
    assert found.best.text == " a a"


# --- as a stage, and bad input --------------------------------------------------------------------


@pytest.mark.parametrize("search", [dl.ContrastiveSearch(), dl.ContrastiveSearch(2, 0.9), dl.ContrastiveSearch(99, 1)])
def test_it_is_a_search_like_any_other(search):
    check_search(search)


@pytest.mark.parametrize(
    ("strategy", "complaint"),
    [
        ("contrastive_search(k=0)", r"k must be an integer, at least 1, got 0"),
        ("contrastive_search(k=1.5)", r"k must be an integer, at least 1, got 1.5"),
        ("contrastive_search(alpha=1.1)", r"alpha must be in \[0, 1\], got 1.1"),
        ("contrastive_search(alpha=-0.1)", r"alpha must be in \[0, 1\], got -0.1"),
    ],
)
def test_bad_parameters_are_refused(strategy, complaint):
    with pytest.raises(InvalidParameter, match=complaint):
        Strategy.of(strategy)


def test_a_model_that_shows_no_hidden_states_is_named():
    table = dl.TableModel(["a"], {...: {"a": 1.0}}, eos=None, bos="<s>", name="coin")
    with pytest.raises(
        UnsupportedStrategy, match=r"contrastive_search: needs hidden states, which coin does not expose"
    ):
        dl.generate(table, "a", "contrastive_search", max_new_tokens=2)
    with pytest.raises(UnsupportedStrategy, match=r"which pocket-nano with guidance\(scale=2.0\) does not expose"):
        dl.generate("pocket-nano", "a", "guidance=2 | contrastive_search", max_new_tokens=2)


def test_what_can_never_fit_the_memory_is_refused(nano):
    engine = dl.Engine(nano, memory=10_000)
    with pytest.raises(TooLarge, match=r"under contrastive_search may need .* bytes"):
        engine.submit("Once upon a time", "contrastive_search", max_new_tokens=20)


def test_a_pass_that_fails_fails_its_jobs_and_no_others(nano, monkeypatch):
    def fail(*_: Any) -> Any:
        raise RuntimeError("out of memory")

    engine = dl.Engine(nano)
    engine.submit("Once", "contrastive_search", max_new_tokens=4)
    other = engine.submit("Once", "greedy", max_new_tokens=4)
    monkeypatch.setattr(nano, "decode_with_hidden_states", fail)
    failed, done = sorted(engine.run(), key=lambda outcome: outcome.index)
    assert isinstance(failed, dl.Failed)
    assert isinstance(failed.error, ForwardFailed)
    assert "pocket-nano: the forward pass failed: out of memory" in str(failed.error)
    assert isinstance(done, dl.Generation)
    assert done.index == other
