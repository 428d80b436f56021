"""Searches over chunks: what each finds, its law, and that it draws as `sample` does."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import pytest

import decodelab as dl
from decodelab.core.errors import InvalidParameter, ScorerFailed
from decodelab.core.stage import Stage
from decodelab.core.values import Generation
from decodelab.search.rebase import shares
from decodelab.strategy.strategy import StrategyLike

Scorer = Callable[[str, Sequence[str]], list[float]]


@pytest.fixture(scope="module")
def table() -> dl.TableModel:
    """Lines of one word: `a`, `b` or `c`, one to three of them."""
    line = {"a": 0.5, "b": 0.3, "c": 0.2}
    more = {"a": 0.3, "b": 0.2, "c": 0.1, "</s>": 0.4}
    return dl.TableModel(["a", "b", "c", "\n"], {(): line, "\n": more, ...: {"\n": 1.0}}, bos="<s>", separator="")


def lines(prompt: str, texts: Sequence[str]) -> list[float]:
    """`b` is good, `c` better after `b`, `a` bad."""
    return [0.4 * text.count("b") + 0.9 * text.count("b\nc") - 0.3 * text.count("a") for text in texts]


def share_of_b(prompt: str, texts: Sequence[str]) -> list[float]:
    """A probability."""
    return [(1 + text.count("b")) / (2 + text.count("\n")) for text in texts]


LENGTH = 6
"""Tokens of three lines, the most there are."""


def answers(most: int = 3) -> dict[str, float]:
    """All answers of at most so many lines, with their probabilities."""
    first, more = {"a": 0.5, "b": 0.3, "c": 0.2}, {"a": 0.3, "b": 0.2, "c": 0.1}
    found: dict[str, float] = {}
    for n in range(1, most + 1):
        for words in itertools.product("abc", repeat=n):
            p = first[words[0]] * math.prod(more[w] for w in words[1:])
            found["".join(f"{w}\n" for w in words)] = p * (0.4 if n < most else 1.0)
    assert sum(found.values()) == pytest.approx(1)
    return found


def run(model: dl.TableModel, search: StrategyLike, *, seed: int = 0, length: int = LENGTH) -> Generation:
    return dl.generate(model, "", search, seed=seed, max_new_tokens=length)[0]


ALL: list[Stage] = [
    dl.StepBeam(3, 2, lines, n=2),
    dl.DVTS(3, 2, lines, join="mean"),
    dl.Rebase(6, share_of_b, join="prod"),
    dl.StepParticles(6, lines, weight=2),
    dl.StepParticles(6, share_of_b, "odds", threshold=1),
]

each = pytest.mark.parametrize("search", ALL, ids=["step_beam", "dvts", "rebase", "particles", "odds"])


@each
def test_a_prompt_gives_the_same_alone_and_beside_others(table, search):
    alone = dl.generate(table, "b\n", search, seed=3, max_new_tokens=LENGTH)[0]
    beside = dl.generate(table, ["", "a\n", "b\n", "c\n"], search, seed=3, max_rows=13, max_new_tokens=LENGTH)[2]
    assert alone.candidates == beside.candidates
    assert alone.cost.forward_tokens == beside.cost.forward_tokens
    assert any(
        dl.generate(table, "b\n", search, seed=s, max_new_tokens=LENGTH)[0].candidates != alone.candidates
        for s in range(4, 9)
    )


@each
def test_candidates_are_finished_and_come_best_first(table, search):
    found = run(table, search).candidates
    assert all(c.finish_reason in ("eos", "length") for c in found)
    assert [c.score for c in found] == sorted((c.score for c in found), reverse=True)
    assert [c.sample for c in found] == list(range(len(found)))


def test_a_wide_step_beam_finds_the_best_of_all_answers(table):
    best = max(lines("", [text])[0] for text in answers())
    (found,) = run(table, dl.StepBeam(width=40, expand=6, scorer=lines)).candidates
    assert found.score == pytest.approx(best) == lines("", [found.text])[0]


def test_a_beam_over_whole_answers_is_best_of_its_samples():
    model = dl.TableModel(["a", "b"], {...: {"a": 0.4, "b": 0.4, "</s>": 0.2}}, bos="<s>", separator="")
    best = run(model, [dl.Sample(n=12), dl.BestOf(by=lines)]).candidates[:3]
    found = run(model, dl.StepBeam(width=4, expand=3, scorer=lines, n=3)).candidates
    assert found[0].score == best[0].score == max(c.score for c in best)
    assert {c.tokens for c in found} <= {c.tokens for c in run(model, "sample(n=12)").candidates}


def test_one_tree_is_a_beam_of_one(table):
    for seed in range(5):
        (tree,) = run(table, dl.DVTS(1, 4, lines), seed=seed).candidates
        (beam,) = run(table, dl.StepBeam(1, 4, lines), seed=seed).candidates
        assert (tree.tokens, tree.score) == (beam.tokens, beam.score)


def test_trees_do_not_compete(table):
    """However good one is, each gives an answer."""
    found = run(table, dl.DVTS(5, 2, lines)).candidates
    assert len(found) == 5
    assert len({c.score for c in found}) > 1


def test_a_finished_answer_competes_with_what_is_drawn_later(table):
    """All that is drawn after it is worse: the first answer that ends wins."""

    def shrinking(prompt: str, texts: Sequence[str]) -> list[float]:
        return [-float(len(text)) for text in texts]

    for search in (dl.StepBeam(2, 8, shrinking), dl.DVTS(2, 8, shrinking), dl.StepBeam(2, 8, shrinking, join="min")):
        assert len(run(table, search).best.text) == len("a\n")


def test_rebase_divides_its_budget_as_the_paper_says():
    """Shares of 16 in proportion to e^(value / 0.2), worked by hand: 9.07, 5.50 and 1.43 round to 9, 6 and 1."""
    assert shares([0.8, 0.7, 0.43], temperature=0.2, budget=16) == [9, 6, 1]
    weights = [math.exp(v / 0.2) for v in (0.8, 0.7, 0.43)]
    assert [round(16 * w / sum(weights)) for w in weights] == [9, 6, 1]
    assert shares([0.0, 0.0, 0.0], temperature=1.0, budget=1) == [1, 0, 0]  # rounding would spend nothing
    assert sum(shares([0.1 * i for i in range(9)], temperature=0.3, budget=13)) == 13


def test_rebase_finishes_its_budget(table):
    sizes: list[int] = []

    def counting(prompt: str, texts: Sequence[str]) -> list[float]:
        sizes.append(len(texts))
        return lines(prompt, texts)

    found = run(table, dl.Rebase(8, counting, temperature=0.5)).candidates
    assert len(found) == 8
    assert sizes[0] == 8
    assert sizes == sorted(sizes, reverse=True)


def shares_found(model: dl.TableModel, search: Stage, runs: int) -> dict[str, float]:
    """The mean share of the weight that each answer gets."""
    total = dict.fromkeys(answers(2), 0.0)
    for generation in (run(model, search, seed=seed, length=4) for seed in range(runs)):
        assert math.fsum(math.exp(c.score) for c in generation.candidates) == pytest.approx(1)
        for c in generation.candidates:
            total[c.text] += math.exp(c.score) / runs
    return total


def odds(text: str) -> float:
    """The product of the odds of its steps."""
    steps = ["".join(text.splitlines(keepends=True)[: k + 1]) for k in range(text.count("\n"))]
    return math.prod(r / (1 - r) for r in share_of_b("", steps))


@pytest.mark.parametrize(
    ("search", "tilt"),
    [
        (dl.StepParticles(400, lines, weight=1.5), lambda text: math.exp(1.5 * lines("", [text])[0])),
        (dl.StepParticles(400, share_of_b, "odds", threshold=1), odds),
    ],
    ids=["exp", "odds, always resampled"],
)
def test_particles_follow_the_stated_law(table, search, tilt):
    law = {text: p * tilt(text) for text, p in answers(2).items()}
    whole = sum(law.values())
    found = shares_found(table, search, runs=8)
    assert 0.5 * sum(abs(found[text] - p / whole) for text, p in law.items()) < 0.05


@pytest.mark.filterwarnings("ignore::decodelab.core.notices.NoEffectWarning")
def test_particles_of_weight_0_are_samples():
    model = dl.TableModel(["a", "b"], {...: {"a": 0.5, "b": 0.3, "</s>": 0.2}}, bos="<s>", separator="")
    samples = {c.tokens for c in run(model, "sample(n=6)").candidates}
    assert {c.tokens for c in run(model, dl.StepParticles(6, lines, weight=0)).candidates} == samples


def test_scores_that_are_no_probabilities_have_no_odds(table):
    with pytest.raises(ScorerFailed, match=r"must give probabilities for potential=odds, got -?\d"):
        run(table, dl.StepParticles(4, lambda prompt, texts: [-2.0] * len(texts), "odds"))


def test_a_constraint_that_leaves_nothing_costs_a_particle_its_weight(table):
    chain = [*dl.Strategy.of("no_repeat_ngram=1 | sample").stages[:-1], dl.StepParticles(20, lines)]
    found = dl.generate(table, "", chain, max_new_tokens=LENGTH, min_new_tokens=2)[0].candidates
    assert math.fsum(math.exp(c.score) for c in found) == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step_beam(width=0, expand=2, scorer=logprob)", "step_beam: width must be an integer, at least 1, got 0"),
        ("step_beam(width=2, expand=2, scorer=logprob, n=3)", r"step_beam: n must be an integer in \[1, 2\], got 3"),
        (
            "dvts(trees=2, expand=2, scorer=logprop)",
            "dvts: scorer must be one of .*, got logprop; did you mean 'logprob'",
        ),
        ("rebase(budget=4, scorer=logprob, temperature=0)", "temperature must be a finite number, greater than 0"),
        (
            "rebase(budget=4, scorer=logprob, every=token)",
            "rebase: every must be one of line, step, sentence, got token",
        ),
        (
            "step_beam(width=2, expand=2, scorer=logprob, join=sum)",
            "join must be one of last, min, prod, mean, got sum",
        ),
        ("step_particles(particles=4, scorer=logprob, potential=log)", "potential must be one of exp, odds, got log"),
    ],
)
def test_bad_parameters_are_refused(text, message):
    with pytest.raises(InvalidParameter, match=message):
        dl.parse(text)


def test_a_search_that_chooses_nothing_says_so():
    for text in ("step_beam(width=1, expand=1, scorer=logprob)", "dvts(trees=3, expand=1, scorer=logprob)"):
        assert "sample" in dl.parse(text).no_effects()[0]
