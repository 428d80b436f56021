"""Beam search against enumeration, against a slow beam written from its definition, and on published examples."""

import math
from typing import Any, Literal, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.protocols import LanguageModel

Tokens = tuple[int, ...]
Early = bool | Literal["never", "no stop"]
PENALTIES = [0.0, 0.6, 1.0, 2.0, -1.0]


class Found(NamedTuple):
    tokens: Tokens
    score: float


def next_logprobs(model: LanguageModel, prefix: Tokens, chain: str = "") -> list[float]:
    """Log-probabilities after a prefix in the engine's own arithmetic: float32 logits, then float64."""
    logits = model.start([(model.vocab.bos_id or 0, *prefix)])[0]
    for stage in dl.Strategy.of(f"{chain} | greedy").processors if chain else ():
        logits = stage.apply(logits, None)
    return logits[0].double().log_softmax(0).tolist()


def enumerated(model: LanguageModel, limit: int, penalty: float) -> list[Found]:
    """All finished sequences by their score, best first."""
    found: list[Found] = []

    def visit(prefix: Tokens, score: float) -> None:
        for token, logprob in enumerate(next_logprobs(model, prefix)):
            if logprob == -math.inf:
                continue
            tokens = (*prefix, token)
            if token in model.vocab.eos_ids or len(tokens) == limit:
                found.append(Found(tokens, (score + logprob) / len(tokens) ** penalty))
            else:
                visit(tokens, score + logprob)

    visit((), 0.0)
    return sorted(found, key=lambda f: -f.score)


def slow_beam(
    model: LanguageModel, width: int, penalty: float, early: Early, limit: int, chain: str = ""
) -> list[Found]:
    """Beam search from its definition (the docstring of `Beam`), in lists, one hypothesis at a time."""
    live: list[tuple[float, Tokens]] = [(0.0, ())]
    pool: list[tuple[float, int, Tokens]] = []
    born = 0
    for length in range(1, limit + 1):
        continuations = [
            (score + logprob, rank, token, (*prefix, token))
            for rank, (score, prefix) in enumerate(live)
            for token, logprob in enumerate(next_logprobs(model, prefix, chain))
            if logprob > -math.inf
        ]
        continuations.sort(key=lambda c: (-c[0], c[1], c[2]))
        live = []
        for place, (score, _, token, tokens) in enumerate(
            continuations[: width * max(2, 1 + len(model.vocab.eos_ids))]
        ):
            if token in model.vocab.eos_ids or length == limit:
                if place < width:
                    pool.append((score / length**penalty, born, tokens))
                    born += 1
            elif len(live) < width:
                live.append((score, tokens))
        pool = sorted(pool, key=lambda f: (-f[0], f[1]))[:width]
        if not live:
            break
        if len(pool) == width and early != "no stop":
            horizon = limit if early == "never" and penalty > 0 else length
            if early is True or live[0][0] / horizon**penalty <= pool[-1][0]:
                break
    return [Found(tokens, score) for score, _, tokens in pool]


def run(model: LanguageModel, limit: int, chain: str = "", **parameters: Any) -> list[Found]:
    beam = dl.Beam(**{"n": parameters["width"], **parameters})
    stages = [*([chain] if chain else []), beam]
    (g,) = dl.generate(model, "", stages, max_new_tokens=limit)
    assert [c.sample for c in g.candidates] == list(range(len(g.candidates)))
    return [Found(c.tokens, c.score) for c in g.candidates]


def assert_same(ours: list[Found], theirs: list[Found]) -> None:
    assert [f.tokens for f in ours] == [f.tokens for f in theirs]
    assert [f.score for f in ours] == pytest.approx([f.score for f in theirs], rel=1e-12, abs=1e-12)


# --- published examples -------------------------------------------------------------------------


def test_the_two_step_example_keeps_the_best_of_all_continuations_not_of_each():
    model = dl.TableModel(
        ["A", "B", "C"],
        {
            (): {"A": 0.5, "B": 0.3, "C": 0.2},
            ("A",): {"A": 0.6, "B": 0.2, "C": 0.2},
            ("B",): {"C": 0.4, "end": 0.3, "A": 0.3},
            ("C",): {"A": 0.5, "B": 0.5},
        },
        eos="end",
        bos="<s>",
    )
    (g,) = dl.generate(model, "", "beam(width=2, length_penalty=0.0, n=2)", max_new_tokens=2)
    assert [c.text for c in g.candidates] == ["A A", "B C"]
    assert [round(c.score, 3) for c in g.candidates] == [-1.204, -2.12]
    assert [round(c.logprob, 3) for c in g.candidates] == [-1.204, -2.12]


def test_normalising_by_length_to_the_power_0_6_ranks_the_five_lengths_as_published():
    lengths, scores = [10, 12, 10, 15, 8], [-5.2, -5.3, -5.3, -5.8, -5.9]
    fillers = 10_000
    share = (1 - math.fsum(map(math.exp, scores))) / fillers
    words = [*(f"branch{i}" for i in range(5)), "on", *(f"filler{i}" for i in range(fillers))]
    first = [*map(math.exp, scores), 0.0, *[share] * fillers, 0.0, 0.0]

    def row(prefix: tuple[str, ...]) -> Any:
        if not prefix:
            return first
        branch = prefix[0].removeprefix("branch")
        ends = not branch.isdecimal() or len(prefix) == lengths[int(branch)] - 1
        return {"end": 1.0} if ends else {"on": 1.0}

    model = dl.TableModel(words, row, eos="end", bos="<s>")
    strategy = 'beam(width=5, length_penalty=0.6, early_stopping="never", n=5)'
    (g,) = dl.generate(model, "", strategy, max_new_tokens=20)
    assert [len(c.tokens) for c in g.candidates] == [15, 12, 10, 10, 8]
    assert [round(c.logprob, 3) for c in g.candidates] == [-5.8, -5.3, -5.2, -5.3, -5.9]
    assert [c.score for c in g.candidates] == pytest.approx(
        [-5.8 / 15**0.6, -5.3 / 12**0.6, -5.2 / 10**0.6, -5.3 / 10**0.6, -5.9 / 8**0.6], abs=1e-5
    )


def test_beam_search_finds_what_greedy_misses():
    model = dl.TableModel(
        ["nice", "dog", "woman", "house", "has", "runs"],
        {
            (): {"nice": 0.5, "dog": 0.4, "house": 0.1},
            "nice": {"woman": 0.4, "house": 0.3, "runs": 0.3},
            "dog": {"has": 0.9, "runs": 0.1},
            "house": {"runs": 1.0},
        },
        bos="<s>",
    )
    greedy = dl.generate(model, "", "greedy", max_new_tokens=2)[0].best
    beam = dl.generate(model, "", "beam(width=2)", max_new_tokens=2)[0].best
    assert (greedy.text, round(math.exp(greedy.logprob), 2)) == ("nice woman", 0.2)
    assert (beam.text, round(math.exp(beam.logprob), 2)) == ("dog has", 0.36)


# --- enumeration --------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("eos_ids", [0, 1, 2])
def test_a_beam_wide_enough_for_everything_ranks_everything(penalty, eos_ids, random_table):
    model = random_table(seed=7, size=3, eos_ids=eos_ids)
    everything = enumerated(model, 4, penalty)
    found = run(model, 4, width=len(everything), length_penalty=penalty, early_stopping="never")
    assert_same(found, everything)


@given(seed=st.integers(0, 2**32 - 1), penalty=st.sampled_from(PENALTIES), eos_ids=st.integers(0, 2))
@settings(max_examples=30)
def test_a_wide_beam_returns_the_best_of_random_tables(random_table, seed, penalty, eos_ids):
    model = random_table(seed, size=3, eos_ids=eos_ids, impossible=0.3)
    everything = enumerated(model, 3, penalty)
    n = min(5, len(everything))
    found = run(model, 3, width=200, length_penalty=penalty, early_stopping="never", n=n)
    assert_same(found, everything[:n])


def test_a_beam_of_everything_holds_the_whole_probability(random_table):
    found = run(random_table(seed=2, size=3), 3, width=200, length_penalty=0.0, early_stopping="never")
    assert math.fsum(math.exp(f.score) for f in found) == pytest.approx(1, abs=1e-5)


# --- the slow reference -------------------------------------------------------------------------

tables = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "size": st.integers(1, 5),
        "eos_ids": st.integers(0, 2),
        "impossible": st.sampled_from([0.0, 0.4]),
        "steps": st.sampled_from([0.0, 1.5]),
    }
).filter(lambda t: t["eos_ids"] <= t["size"])


@given(
    table=tables,
    width=st.integers(1, 5),
    penalty=st.sampled_from(PENALTIES),
    early=st.sampled_from([True, False, "never"]),
    limit=st.integers(1, 6),
)
@settings(max_examples=150)
def test_beams_of_random_tables_equal_the_slow_reference(random_table, table, width, penalty, early, limit):
    model = random_table(**table)
    ours = run(model, limit, width=width, length_penalty=penalty, early_stopping=early)
    assert_same(ours, slow_beam(model, width, penalty, early, limit))


@given(table=tables, width=st.integers(1, 4), chain=st.sampled_from(["temperature=0.5", "top_k=2", "top_p=0.8"]))
@settings(max_examples=30)
def test_a_beam_after_processors_searches_the_processed_normalised_law(random_table, table, width, chain):
    model = random_table(**table)
    assert_same(run(model, 4, chain, width=width), slow_beam(model, width, 1.0, False, 4, chain))


@given(table=tables, width=st.integers(1, 4), penalty=st.sampled_from(PENALTIES), limit=st.integers(1, 6))
@settings(max_examples=60)
def test_never_stops_early_without_changing_the_result(random_table, table, width, penalty, limit):
    model = random_table(**table)
    ours = run(model, limit, width=width, length_penalty=penalty, early_stopping="never")
    assert_same(ours, slow_beam(model, width, penalty, "no stop", limit))


# --- what the parameters do -----------------------------------------------------------------------


def test_ties_go_to_the_better_beam_then_to_the_lowest_id():
    half = {"a": 0.25, "b": 0.25, "c": 0.25, "d": 0.25}
    model = dl.TableModel(["a", "b", "c", "d"], {...: half}, eos=None, bos="<s>")
    (g,) = dl.generate(model, "", "beam(width=3, n=3)", max_new_tokens=2)
    assert [c.text for c in g.candidates] == ["a a", "a b", "a c"]


def test_fewer_sequences_than_beams_give_fewer_candidates():
    model = dl.TableModel(["a", "b"], {(): {"a": 0.9, "b": 0.1}, "a": {"</s>": 1.0}, "b": {"</s>": 1.0}}, bos="<s>")
    (g,) = dl.generate(model, "", "beam(width=25, n=25)", max_new_tokens=9)
    assert [c.text for c in g.candidates] == ["a", "b"]
    assert [c.finish_reason for c in g.candidates] == ["eos", "eos"]


def test_early_stopping_true_takes_the_first_full_pool_and_never_looks_on():
    # One token and out is likely; the better mean comes later.
    model = dl.TableModel(
        ["a", "b"],
        {(): {"</s>": 0.6, "a": 0.4}, ("a",): {"a": 1.0}, ("a", "a"): {"a": 1.0}, ("a", "a", "a"): {"</s>": 1.0}},
        bos="<s>",
    )

    def text(early: str) -> str:
        return dl.generate(model, "", f"beam(width=1, early_stopping={early})", max_new_tokens=8)[0].best.text

    assert text("true") == ""
    assert text("never") == "a a a"


def test_a_positive_length_penalty_favours_long_and_a_negative_short_sequences():
    model = dl.TableModel(["a"], {...: {"a": 0.7, "</s>": 0.3}}, bos="<s>")

    def length(penalty: float) -> int:
        strategy = f"beam(width=4, length_penalty={penalty}, early_stopping=never)"
        return len(dl.generate(model, "", strategy, max_new_tokens=8)[0].best.tokens)

    assert length(2.0) == 8
    assert length(-1.0) == 1


@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.integers(1, 5),
    early=st.sampled_from([True, False, "never"]),
    order=st.permutations(range(5)),
    max_rows=st.integers(1, 30),
)
@settings(max_examples=30)
def test_jobs_in_a_batch_are_what_they_are_alone(random_table, seed, width, early, order, max_rows):
    model = random_table(seed)
    prompts = [(5,), (5, 0), (5, 1, 1), (5, 0, 2, 3), (5, 2)]
    beam = dl.Beam(width=width, early_stopping=early, n=width)
    together = dl.generate(model, [prompts[i] for i in order], beam, max_new_tokens=5, max_rows=max_rows)
    for place, i in enumerate(order):
        alone = dl.generate(model, [prompts[i]], beam, max_new_tokens=5)[0]
        assert together[place].candidates == alone.candidates


def test_beams_do_not_depend_on_the_seed(random_table):
    model = random_table(1)
    one, two = (dl.generate(model, "", "beam(width=3, n=3)", max_new_tokens=5, seed=s)[0] for s in (0, 1))
    assert one.candidates == two.candidates


def test_scores_are_summed_in_float64():
    model = dl.TableModel(["a", "b"], {...: {"a": 1 / 3, "b": 2 / 3}}, eos=None, bos="<s>")
    (g,) = dl.generate(model, "", "beam(width=1, length_penalty=0.0)", max_new_tokens=1000)
    exact = math.fsum(g.best.law_logprobs)
    assert g.best.score == pytest.approx(exact, rel=1e-13)
    in_float32 = torch.tensor(0.0)
    for logprob in g.best.law_logprobs:
        in_float32 += logprob
    assert abs(float(in_float32) - exact) > 1e-4
