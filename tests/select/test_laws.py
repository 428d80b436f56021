"""With which probability each answer wins: computed exactly on an enumerable model, and met by sampled winners."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import combinations_with_replacement
from typing import Literal, NamedTuple

import pytest
from scipy import stats

import decodelab as dl
from decodelab.core.protocols import Question, Selection
from decodelab.core.values import Candidate

N, GROUPS = 4, 1500
P = 1e-4

MODEL = dl.TableModel(
    ["7", "8", "well", "x"],
    {
        (): {"7": 0.4, "8": 0.25, "well": 0.35},
        "7": {"</s>": 0.7, "x": 0.3},
        "8": {"</s>": 1.0},
        ("7", "x"): {"</s>": 1.0},
        "well": {"8": 0.5, "7": 0.2, "x": 0.3},
        ("well", "8"): {"</s>": 1.0},
        ("well", "7"): {"</s>": 1.0},
        ("well", "x"): {"</s>": 1.0},
    },
    bos="<s>",
)
"""It says `7`, `7 x`, `8`, `well 8`, `well 7` or, without an answer, `well x`."""


class Kind(NamedTuple):
    """A text that the model can write."""

    text: str
    probability: float
    answer: str | None
    candidate: Candidate


@pytest.fixture(scope="module")
def samples() -> list[Candidate]:
    (found,) = dl.generate(MODEL, "", f"sample(n={N * GROUPS}) | best_of(by=confidence)", seed=5)
    return sorted(found.candidates, key=lambda c: c.sample)


@pytest.fixture(scope="module")
def kinds(samples: list[Candidate]) -> list[Kind]:
    one_each = {c.text: c for c in samples}
    outcomes = [(MODEL.vocab.decode(o.tokens), math.exp(o.logprob)) for o in MODEL.enumerate("", 4)]
    return [Kind(text, probability, _answer(text), one_each[text]) for text, probability in outcomes]


def _answer(text: str) -> str | None:
    return next((word for word in text.split() if word in "78"), None)


def draws(kinds: list[Kind]) -> Iterator[tuple[float, Counter[int]]]:
    """Every way in which N samples may fall on the texts, as counts, with its multinomial probability."""
    for drawn in combinations_with_replacement(range(len(kinds)), N):
        counts = Counter(drawn)
        ways = math.factorial(N) / math.prod(map(math.factorial, counts.values()))
        yield ways * math.prod(kinds[i].probability ** count for i, count in counts.items()), counts


Winners = Callable[[list[Kind], Counter[int]], dict[str, float]]
"""The probability with which each text or answer wins, once it is known how often each text came."""


def law(kinds: list[Kind], winners: Winners) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for probability, counts in draws(kinds):
        for what, share in winners(kinds, counts).items():
            found[what] += probability * share
    assert math.fsum(found.values()) == pytest.approx(1)
    return found


def meets(selection: Selection, samples: list[Candidate], expected: dict[str, float], of: Callable[[str], str]) -> bool:
    """Whether the winners of groups of samples follow a law."""
    won = Counter(
        of(selection.rank(samples[at : at + N], Question.of("", (1,), seed=at))[0][0].text)
        for at in range(0, len(samples), N)
    )
    assert won.keys() <= expected.keys()
    names = [name for name in expected if expected[name] > 0]
    return stats.chisquare([won[name] for name in names], [GROUPS * expected[name] for name in names]).pvalue > P


def most(weight: Callable[[Kind], float]) -> Winners:
    """The answer with most weight wins. Of equal votes each was seen first equally often: samples are exchangeable."""

    def winners(kinds: list[Kind], counts: Counter[int]) -> dict[str, float]:
        weights: dict[str, float] = defaultdict(float)
        for i, count in counts.items():
            if (answer := kinds[i].answer) is not None:
                weights[answer] += count * weight(kinds[i])
        if not weights:
            return {"none": 1.0}
        best = max(weights.values())
        tied = [answer for answer, sum_ in weights.items() if math.isclose(sum_, best)]
        return {answer: 1 / len(tied) for answer in tied}

    return winners


def test_a_vote(kinds: list[Kind], samples: list[Candidate]) -> None:
    expected = law(kinds, most(lambda kind: 1.0))
    assert expected["7"] > 0.5 > sum(k.probability for k in kinds if k.answer == "7")  # a vote sharpens
    assert meets(dl.Vote(), samples, expected, lambda text: _answer(text) or "none")


@pytest.mark.parametrize("by", ["probability", "mean_probability", "self_certainty", "confidence"])
def test_a_weighted_vote(by: str, kinds: list[Kind], samples: list[Candidate]) -> None:
    stage = dl.WeightedVote(by=by)
    weights = stage.rating.of([k.candidate for k in kinds], Question.of(""))
    by_text = {k.text: weight for k, weight in zip(kinds, weights, strict=True)}
    expected = law(kinds, most(lambda kind: by_text[kind.text]))
    assert meets(stage, samples, expected, lambda text: _answer(text) or "none")


@pytest.mark.parametrize("by", ["logprob", "mean_logprob", "entropy", "lowest_group"])
def test_best_of_n(by: str, kinds: list[Kind], samples: list[Candidate]) -> None:
    # The winner's rating is at most r with probability F(r)^n. Of equal ratings each sample came first equally often.
    stage = dl.BestOf(by=by, window=1)
    by_rating: dict[float, list[Kind]] = defaultdict(list)
    for rating, kind in zip(stage.rating.of([k.candidate for k in kinds], Question.of("")), kinds, strict=True):
        by_rating[round(rating, 9)].append(kind)
    expected, below = {}, 0.0
    for _, tied in sorted(by_rating.items()):
        own = sum(kind.probability for kind in tied)
        wins = (below + own) ** N - below**N
        expected |= {kind.text: wins * kind.probability / own for kind in tied}
        below += own
    assert meets(stage, samples, expected, lambda text: text)


@pytest.mark.parametrize("temperature", [0.3, 2.0])
def test_soft_best_of_n(temperature: float, kinds: list[Kind], samples: list[Candidate]) -> None:
    def winners(kinds: list[Kind], counts: Counter[int]) -> dict[str, float]:
        weights = {kinds[i].text: n * math.exp(len(kinds[i].text) / temperature) for i, n in counts.items()}
        return {text: weight / sum(weights.values()) for text, weight in weights.items()}

    stage = dl.SoftBestOf(temperature=temperature, by=lambda prompt, texts: [float(len(t)) for t in texts])
    assert meets(stage, samples, law(kinds, winners), lambda text: text)


@pytest.mark.parametrize("weight", ["count", "probability"])
def test_minimum_bayes_risk(
    weight: Literal["count", "probability"], kinds: list[Kind], samples: list[Candidate]
) -> None:
    def shared(hypothesis: str, reference: str) -> float:
        a, b = set(hypothesis.split()), set(reference.split())
        return len(a & b) / len(a | b)

    def winners(kinds: list[Kind], counts: Counter[int]) -> dict[str, float]:
        weights = {i: count if weight == "count" else kinds[i].probability for i, count in counts.items()}
        expected = {i: sum(w * shared(kinds[i].text, kinds[j].text) for j, w in weights.items()) for i in counts}
        tied = {i for i in counts if math.isclose(expected[i], max(expected.values()))}
        # Of equal ones the first wins, and each sample came first equally often.
        return {kinds[i].text: counts[i] / sum(counts[j] for j in tied) for i in tied}

    assert meets(dl.MBR(utility=shared, weight=weight), samples, law(kinds, winners), lambda text: text)


def test_a_selection_in_a_strategy_is_the_selection_of_its_samples(samples: list[Candidate]) -> None:
    (plain,) = dl.generate(MODEL, "", f"sample(n={N})", seed=5)
    (voted,) = dl.generate(MODEL, "", f"sample(n={N}) | vote", seed=5)
    ranked = dl.Vote().rank(plain.candidates, Question.of(""))
    assert [c.text for c in voted.candidates] == [c.text for c, _ in ranked]
