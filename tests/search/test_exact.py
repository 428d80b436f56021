"""Exact search, the n best and A* against brute force, within their budgets and beyond."""

import math
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.errors import EmptySupport, InvalidParameter
from decodelab.core.key import Keys
from decodelab.core.protocols import LanguageModel
from decodelab.core.values import Certificate

Tokens = tuple[int, ...]
CHAINS = [
    "",
    "temperature=0.5",
    "top_k=2",
    "repetition_penalty=1.7",
    "repetition_penalty=1.3 | temperature=2.0 | top_p=0.8",
    "mirostat=2.0",
]


class Found(NamedTuple):
    tokens: Tokens
    score: float


def brute_force(
    model: LanguageModel, limit: int, chain: str = "", penalty: float = 0.0, cut: bool = True
) -> list[Found]:
    """Every finished sequence with its processed score, best first, one forward pass a prefix."""
    stages = dl.parse(f"{chain} | greedy").processors if chain else ()
    prompt = (model.vocab.bos_id or 0,)
    found: list[Found] = []

    def visit(prefix: Tokens, score: float, states: list[Any]) -> None:
        logits = model.prefill([(*prompt, *prefix)])[0].float()
        given = []
        for stage, state in zip(stages, states, strict=True):
            given.append(logits)
            logits = stage.apply(logits, state)
        for token, logprob in enumerate(logits[0].double().log_softmax(0).tolist()):
            if not logprob > -math.inf:
                continue
            tokens = (*prefix, token)
            over = token in model.vocab.eos_ids
            if over or len(tokens) == limit:
                if over or cut:
                    found.append(Found(tokens, (score + logprob) / len(tokens) ** penalty))
                continue
            after = [
                None if state is None else stage.update(state, seen, torch.tensor([token]))
                for stage, state, seen in zip(stages, states, given, strict=True)
            ]
            visit(tokens, score + logprob, after)

    visit((), 0.0, [stage.init([prompt], model.vocab, Keys.of(0, prompt, [0])) for stage in stages])
    return sorted(found, key=lambda f: -f.score)


def run(model: LanguageModel, limit: int, strategy: Any, **limits: Any) -> dl.Generation:
    return dl.generate(model, "", strategy, max_new_tokens=limit, **limits)[0]


def assert_best(generation: dl.Generation, everything: list[Found], n: int) -> None:
    """The scores of the n best; of equal ones any, but each sequence with its own score."""
    best = [f.score for f in everything[:n]]
    assert [c.score for c in generation.candidates] == pytest.approx(best, abs=1e-9)
    scores = {f.tokens: f.score for f in everything}
    for candidate in generation.candidates:
        assert candidate.score == pytest.approx(scores[candidate.tokens], abs=1e-9)
        assert candidate.processed_logprob == pytest.approx(scores[candidate.tokens], abs=1e-9) or candidate.score != (
            candidate.processed_logprob
        )


tables = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "size": st.integers(2, 4),
        "eos_ids": st.integers(0, 2),
        "impossible": st.sampled_from([0.0, 0.4]),
        "steps": st.sampled_from([0.0, 1.5]),
    }
)


@given(
    table=tables, limit=st.integers(1, 4), chain=st.sampled_from(CHAINS), n=st.integers(1, 5), rows=st.integers(1, 4)
)
@settings(max_examples=20)
def test_every_search_finds_the_n_best_of_random_tables(random_table, table, limit, chain, n, rows):
    model = random_table(**table)
    everything = brute_force(model, limit, chain)
    for search in (
        dl.KBest(n=n, rows=rows),
        dl.AStar(n=n, rows=rows),
        dl.AStar(n=n, rows=rows, heuristic="mean"),
    ):
        generation = run(model, limit, [*([chain] if chain else []), search])
        assert_best(generation, everything, n)
        assert generation.certificate is not None
        assert generation.certificate.proved
        assert generation.certificate.bound <= generation.candidates[-1].score
    exact = run(model, limit, [*([chain] if chain else []), dl.Exact(rows=rows)])
    assert_best(exact, everything, 1)


@given(table=tables, limit=st.integers(1, 4), penalty=st.sampled_from([0.6, 1.0, 2.0, -1.0]), n=st.integers(1, 3))
@settings(max_examples=15)
def test_astar_finds_the_best_normalised_score(random_table, table, limit, penalty, n):
    model = random_table(**table)
    everything = brute_force(model, limit, penalty=penalty)
    for heuristic in ("bound", "mean"):
        generation = run(model, limit, dl.AStar(heuristic=heuristic, n=n, length_penalty=penalty))
        assert_best(generation, everything, n)


@given(
    table=tables,
    limit=st.integers(1, 4),
    n=st.integers(1, 4),
    rows=st.integers(1, 3),
    budget=st.integers(1, 20),
    name=st.sampled_from(["exact", "k_best", "astar", "mean"]),
    penalty=st.sampled_from([0.0, 1.0]),
)
@settings(max_examples=15)
def test_within_any_budget_the_bound_holds(random_table, table, limit, n, rows, budget, name, penalty):
    model = random_table(**table)
    search = {
        "exact": dl.Exact(budget=budget, rows=rows),
        "k_best": dl.KBest(n=n, budget=budget, rows=rows),
        "astar": dl.AStar(n=n, budget=budget, rows=rows, length_penalty=penalty),
        "mean": dl.AStar(heuristic="mean", n=n, budget=budget, rows=rows, length_penalty=penalty),
    }[name]
    everything = brute_force(model, limit, penalty=getattr(search, "length_penalty", 0.0))
    generation = run(model, limit, search)
    certificate = generation.certificate
    assert certificate is not None
    assert certificate.evaluated <= budget
    assert generation.cost.decode_tokens == certificate.evaluated
    returned = {c.tokens for c in generation.candidates if c.finish_reason != "pruned"}
    others = [f.score for f in everything if f.tokens not in returned]
    assert max(others, default=-math.inf) <= certificate.bound + 1e-9
    if certificate.proved:
        assert_best(generation, everything, search.n)


@given(table=tables, limit=st.integers(1, 4))
@settings(max_examples=12)
def test_without_cut_only_sequences_that_end_by_themselves_count(random_table, table, limit):
    model = random_table(**table)
    everything = brute_force(model, limit, cut=False)
    for search in (dl.Exact(cut=False), dl.AStar(cut=False)):
        generation = run(model, limit, search)
        if everything:
            assert_best(generation, everything, 1)
            assert generation.best.finish_reason == "eos"
        else:
            assert generation.best.finish_reason == "pruned"
        assert generation.certificate is not None
        assert generation.certificate.proved


@given(table=tables, limit=st.integers(1, 4), budget=st.integers(1, 30))
@settings(max_examples=12)
def test_no_search_proves_the_optimum_with_fewer_prefixes_than_astar(random_table, table, limit, budget):
    model = random_table(**table)
    exact, astar = (run(model, limit, search).certificate for search in (dl.Exact(), dl.AStar()))
    assert astar is not None
    assert exact is not None
    assert astar.evaluated <= exact.evaluated


def test_the_mode_is_not_where_greedy_and_narrow_beams_look():
    rows = {
        (): {"a": 0.5, "b": 0.3, "c": 0.2},
        ("a",): dict.fromkeys("abc", 1 / 3),
        ("b",): dict.fromkeys("abc", 1 / 3),
        ("c",): {"c": 1.0},
    }
    model = dl.TableModel(["a", "b", "c"], rows, bos="<s>", missing="eos")
    texts = {s: run(model, 2, s).best.text for s in ("greedy", "beam(width=2, length_penalty=0.0)", "exact")}
    assert texts == {"greedy": "a a", "beam(width=2, length_penalty=0.0)": "a a", "exact": "c c"}


def test_the_empty_sequence_wins_where_the_model_says_so():
    model = dl.TableModel(["a"], {...: {"a": 0.8, "</s>": 0.2}}, bos="<s>")
    assert run(model, 9, "exact").best.text == ""  # 0.2 against 0.8^9 = 0.13
    assert run(model, 7, "exact").best.text == "a a a a a a a"  # 0.8^7 = 0.21
    assert run(model, 10, "exact", min_new_tokens=2).best.text == "a a"


def test_stop_strings_and_stop_tokens_end_sequences():
    model = dl.TableModel(["a", "b"], {...: {"a": 0.9, "b": 0.1}}, eos=None, bos="<s>")
    (best, second) = run(model, 4, "k_best(n=2)", stop=["a b"]).candidates
    assert (best.text, best.finish_reason) == ("a a a a", "length")
    assert (second.text, second.finish_reason) == ("", "stop")
    assert run(model, 9, "exact", stop_token_ids=[1]).best.finish_reason == "length"
    assert run(model, 30, "exact", stop_token_ids=[1]).best.tokens == (1,)


def test_a_budget_too_small_for_one_sequence_gives_the_prefix_that_came_furthest():
    model = dl.TableModel(["a", "b"], {...: {"a": 0.9, "b": 0.1}}, eos=None, bos="<s>")
    generation = run(model, 9, "exact(budget=3)")
    assert (generation.best.text, generation.best.finish_reason) == ("a a a", "pruned")
    certificate = generation.certificate
    assert certificate is not None
    assert certificate == Certificate(False, certificate.bound, 3)
    assert certificate.bound == pytest.approx(4 * math.log(0.9))
    assert generation.to_dict()["certificate"]["proved"] is False


def test_prompts_in_a_batch_are_what_they_are_alone(random_table):
    model = random_table(4, size=4, eos_ids=1)
    prompts = [(5,), (5, 0), (5, 1, 1), (5, 2)]
    for strategy in ("k_best(n=3)", "astar(n=2, rows=3)", "best_first(width=3)"):
        together = dl.generate(model, prompts, strategy, max_new_tokens=4)
        for generation, prompt in zip(together, prompts, strict=True):
            alone = dl.generate(model, [prompt], strategy, max_new_tokens=4)[0]
            assert (generation.candidates, generation.certificate) == (alone.candidates, alone.certificate)


def test_dead_ends_are_left_and_nothing_but_dead_ends_is_an_error():
    model = dl.TableModel(["a", "b"], {(): {"a": 0.9, "b": 0.1}, ("a",): {"a": 1.0}}, bos="<s>", missing="eos")
    generation = run(model, 4, "no_repeat_ngram=1 | exact")
    assert generation.best.text == "b"  # after a only a could follow, which is forbidden
    with pytest.raises(EmptySupport, match=r"no_repeat_ngram=1 left no token to choose from .* at new token 2"):
        run(dl.TableModel(["a"], {...: {"a": 1.0}}, eos=None, bos="<s>"), 4, "no_repeat_ngram=1 | exact")


def test_a_selection_chooses_among_the_n_best():
    model = dl.TableModel(
        ["1", "2"], {(): {"1": 0.4, "2": 0.6}, "1": {"1": 0.9, "</s>": 0.1}}, bos="<s>", missing="eos"
    )
    assert run(model, 9, "k_best(n=5)").best.text == "2"
    assert run(model, 9, "k_best(n=5) | best_of(by=mean_logprob)").best.text == "1 1 1 1 1 1 1 1 1"


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("exact(budget=0)", "exact: budget must be an integer, at least 1, got 0"),
        ("exact(rows=1.5)", "exact: rows must be an integer, at least 1, got 1.5"),
        ("exact(cut=1)", "exact: cut must be one of true, false, got 1"),
        ("k_best", "k_best needs n"),
        ("k_best(n=0)", "k_best: n must be an integer, at least 1, got 0"),
        ("astar(heuristic=zero)", "astar: heuristic must be one of bound, mean, got zero"),
        ("astar(length_penalty=inf)", "astar: length_penalty must be a finite number, got"),
        ("best_first(width=2, n=3)", "best_first: n must be an integer in \\[1, 2\\], got 3"),
        ("exact(rows=5000)", "needs 5000 rows at once, but at most 4096 are possible"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(strategy, message):
    model = dl.TableModel(["a"], {...: {"a": 0.5, "</s>": 0.5}}, bos="<s>")
    with pytest.raises(InvalidParameter, match=message) as error:
        run(model, 3, strategy)
    assert "\n" not in str(error.value)
