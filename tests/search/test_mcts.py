"""Monte Carlo tree search: what it finds on trees that are known, its values, its draws and its bad input."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.errors import EmptySupport, InvalidParameter, ScorerFailed

TRAP = {
    (): {"a": 0.6, "b": 0.4},
    ("a",): dict.fromkeys("abc", 1 / 3),
    ("b",): {"c": 1.0},
}


@pytest.fixture
def trap() -> dl.TableModel:
    """Greedy search and a first simulation go to a, the most probable sequence begins with b."""
    return dl.TableModel(["a", "b", "c"], TRAP, bos="<s>", missing="eos")


def test_simulations_find_what_greedy_search_misses(trap):
    texts = [dl.generate(trap, "", f"mcts(simulations={n})", max_new_tokens=2)[0].best.text for n in (1, 4)]
    assert texts == ["a a", "b c"]


@given(seed=st.integers(0, 2**32 - 1), limit=st.integers(1, 4), rollout=st.sampled_from(["greedy", "sample"]))
@settings(max_examples=15)
def test_with_simulations_enough_it_comes_to_the_best_of_a_small_tree(random_table, seed, limit, rollout):
    model = random_table(seed, size=2)
    best = max(
        model.enumerate("", limit),
        key=lambda outcome: outcome.logprob / len(outcome.tokens),
    )
    strategy = dl.MCTS(simulations=400, c_puct=4.0, rollout=rollout)
    (g,) = dl.generate(model, "", strategy, max_new_tokens=limit)
    assert g.best.score == pytest.approx(best.logprob / len(best.tokens), abs=1e-6)


def test_a_sequence_is_worth_its_normalised_log_probability(trap):
    for penalty in (0.0, 0.5, 1.0):
        strategy = dl.MCTS(simulations=6, length_penalty=penalty, n=9)
        (g,) = dl.generate(trap, "", strategy, max_new_tokens=2)
        assert g.best.score == pytest.approx(math.log(0.4) / 2**penalty)
        for c in g.candidates:
            assert c.score == pytest.approx(c.processed_logprob / len(c.tokens) ** penalty)
        assert [c.score for c in g.candidates] == sorted((c.score for c in g.candidates), reverse=True)


def test_a_scorer_says_what_a_sequence_is_worth(trap):
    asked: list[tuple[str, str]] = []

    def wants_c(prompt: str, texts: Sequence[str]) -> list[float]:
        asked.extend((prompt, text) for text in texts)
        return [float(text.count("c")) for text in texts]

    (g,) = dl.generate(trap, "", dl.MCTS(simulations=20, scorer=wants_c, n=9), max_new_tokens=2)
    assert g.best.text in ("a c", "b c")
    assert [c.score for c in g.candidates] == sorted((c.text.count("c") for c in g.candidates), reverse=True)
    assert len(asked) == len(set(asked)) == len(g.candidates)  # every finished text is judged once


def test_a_scorer_that_fails_is_named_with_its_text(trap):
    strategy = dl.MCTS(simulations=2, scorer=lambda prompt, texts: [math.nan for _ in texts])
    with pytest.raises(ScorerFailed, match='must give a finite number, got nan for the text "a a"'):
        dl.generate(trap, "", strategy, max_new_tokens=2)


def test_sampled_rollouts_depend_on_the_seed_and_on_nothing_else(random_table):
    model = random_table(3, size=4)
    strategy = "mcts(simulations=5, rollout=sample, n=3)"

    def run(prompts, seed):
        return [g.candidates for g in dl.generate(model, prompts, strategy, max_new_tokens=5, seed=seed)]

    one = run([(5,), (5, 1)], 0)
    assert run([(5, 1), (5,)], 0) == one[::-1]
    assert any(run([(5,), (5, 1)], seed) != one for seed in range(1, 4))


def test_what_was_played_once_costs_nothing_again():
    model = dl.TableModel(["a"], {...: {"a": 1.0}}, eos=None, bos="<s>")
    (g,) = dl.generate(model, "", "mcts(simulations=50)", max_new_tokens=6)
    assert g.cost.decode_tokens == 5
    assert len(g.candidates) == 1


def test_dead_ends_are_left():
    table = {(): {"a": 0.9, "b": 0.1}, ("a",): {"a": 1.0}}
    model = dl.TableModel(["a", "b"], table, bos="<s>", missing="eos")
    (g,) = dl.generate(model, "", "no_repeat_ngram=1 | mcts(simulations=5)", max_new_tokens=4)
    assert g.best.text == "b"
    nowhere = dl.TableModel(["a"], {...: {"a": 1.0}}, eos=None, bos="<s>")
    with pytest.raises(EmptySupport, match="no_repeat_ngram=1 left no token"):
        dl.generate(nowhere, "", "no_repeat_ngram=1 | mcts(simulations=5)", max_new_tokens=4)


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("mcts", "mcts needs simulations"),
        ("mcts(simulations=0)", "mcts: simulations must be an integer, at least 1, got 0"),
        ("mcts(simulations=2, c_puct=-1)", "mcts: c_puct must be a finite number, at least 0, got -1"),
        ("mcts(simulations=2, rollout=beam)", "mcts: rollout must be one of greedy, sample, got beam"),
        ("mcts(simulations=2, scorer=logprop)", "mcts: scorer must be one of .*, got logprop; did you mean 'logprob'"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(strategy, message):
    with pytest.raises(InvalidParameter, match=message) as error:
        dl.parse(strategy)
    assert "\n" not in str(error.value)
