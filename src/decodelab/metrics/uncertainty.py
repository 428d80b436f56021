"""Uncertainty from a set of samples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from decodelab.core.errors import InvalidData
from decodelab.metrics.checks import Floats, Ints, same_length
from decodelab.metrics.information import Unit, in_unit_of

Equivalent = Callable[[str, str], bool]
"""Whether two texts mean the same."""


def majority_share(answers: Sequence[Hashable | None]) -> float:
    """The share of samples that give the most frequent answer; those without one (None) count against it.

    Raises:
        InvalidData: for no samples.

    Source: Wang et al. 2023 (self-consistency).

    >>> majority_share(["4", "4", "5", None])
    0.5
    """
    _some(answers)
    votes = Counter(a for a in answers if a is not None)
    return max(votes.values(), default=0) / len(answers)


def answer_entropy(answers: Sequence[Hashable | None], *, unit: Unit = "nats") -> float:
    """Entropy of the empirical distribution over answers; None is an answer of its own.

    0 when all agree, log n when all of n differ. With few samples it is too low on average.

    Raises:
        InvalidData: for no samples.

    >>> round(answer_entropy(["4", "4", "5", "5"], unit="bits"), 4)
    1.0
    """
    _some(answers)
    counts = np.array(list(Counter(answers).values()), dtype=np.float64)
    return _entropy(counts / counts.sum(), unit)


def meanings(texts: Sequence[str], equivalent: Equivalent) -> Ints:
    """Group texts by meaning: each joins the first group whose first member it is equivalent to, int64 [n].

    Source: Kuhn et al. 2023, algorithm 1. An equivalence that is not transitive makes the groups depend on the order.

    >>> meanings(["Paris.", "paris", "Rome"], lambda a, b: a.strip(".").lower() == b.strip(".").lower()).tolist()
    [0, 0, 1]
    """
    firsts: list[str] = []
    groups: list[int] = []
    for text in texts:
        group = next((i for i, first in enumerate(firsts) if text == first or equivalent(first, text)), len(firsts))
        if group == len(firsts):
            firsts.append(text)
        groups.append(group)
    return np.array(groups, dtype=np.int64)


def semantic_entropy(groups: Sequence[int] | Ints, logprobs: ArrayLike | None = None, *, unit: Unit = "nats") -> float:
    """Entropy over meanings rather than over wordings.

    Without log-probabilities a meaning is as probable as its share of the samples (discrete semantic entropy); with
    them as the sum of its sequences' probabilities, made to sum to 1 over what was sampled.

    Args:
        groups: the meaning of each sample, as `meanings` gives it, [n].
        logprobs: log-probability of each *different* sequence, in nats, [n]; give each text once, and divide by the
            length if long answers should not count less.
        unit: nats or bits.

    Raises:
        InvalidData: for no samples, or other lengths.

    Source: Kuhn et al. 2023, section 4; Farquhar et al. 2024, equations 5 (normalised) and 8 (discrete). Kuhn et al.
    average -log p over meanings instead of weighting them by p.

    >>> round(semantic_entropy([0, 0, 1, 1], unit="bits"), 4), semantic_entropy([0, 0, 0])
    (1.0, 0.0)
    >>> round(semantic_entropy([0, 0, 1], np.log([0.25, 0.25, 0.5]), unit="bits"), 4)
    1.0
    """
    _some(groups)
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    if logprobs is None:
        weight = np.ones(len(member))
    else:
        values = np.asarray(logprobs, dtype=np.float64)
        same_length(groups=member, logprobs=values)
        if bool(np.isnan(values).any()) or values.max() in (math.inf, -math.inf):
            raise InvalidData("logprobs must be log-probabilities, not NaN and not all -inf; check the model")
        weight = np.exp(values - values.max())
    mass = np.bincount(member, weights=weight)
    return _entropy(mass / mass.sum(), unit)


def predictive_entropy(logprobs: ArrayLike, lengths: ArrayLike | None = None, *, unit: Unit = "nats") -> float:
    """Monte Carlo estimate of the entropy over whole sequences: the mean of -log p of samples.

    Args:
        logprobs: of each sample under the distribution it was drawn from, in nats, [n].
        lengths: tokens of each; with them each is divided by its length (length-normalised).
        unit: nats or bits.

    Raises:
        InvalidData: for no samples, NaN, or lengths below 1.

    Source: Malinin and Gales 2021, equations 6 and 8 (length-normalised).

    >>> predictive_entropy([-2.0, -4.0]), predictive_entropy([-2.0, -4.0], [2, 4])
    (3.0, 1.0)
    """
    values = np.asarray(logprobs, dtype=np.float64)
    _some(values)
    if bool(np.isnan(values).any()):
        raise InvalidData("logprobs must be log-probabilities, got NaN")
    if lengths is not None:
        tokens = np.asarray(lengths, dtype=np.float64)
        same_length(logprobs=values, lengths=tokens)
        if bool((tokens < 1).any()):
            raise InvalidData("lengths must be at least 1, got 0; an empty sample has no mean")
        values = values / tokens
    return float(in_unit_of(-values.mean(), unit))


def p_true(logprob_true: float, logprob_false: float) -> float:
    """P(True): how probable the model finds "True" against "False" after being asked whether an answer is right.

    Args:
        logprob_true: log-probability of the completion that says true, in nats.
        logprob_false: of the one that says false.

    Raises:
        InvalidData: for NaN or +inf, or when both are impossible.

    Source: Kadavath et al. 2022, section 4.

    >>> round(p_true(-1.0, -2.0), 4)
    0.7311
    """
    from decodelab.metrics.confidence import option_probabilities

    return float(option_probabilities([logprob_true, logprob_false])[0])


def p_true_prompt(question: str, proposed: str, others: Sequence[str] = ()) -> str:
    """The question whose answer " (A)" (true) or " (B)" (false) gives P(True); other samples may be shown first.

    Source: Kadavath et al. 2022, section 4.1 (and 4.2 with other samples).

    >>> print(p_true_prompt("What is 2 + 3?", "5"))
    Question: What is 2 + 3?
    Possible answer: 5
    Is the possible answer:
     (A) True
     (B) False
    The possible answer is:
    """
    shown = f"Here are some brainstormed ideas: {chr(10).join(others)}\n" if others else ""
    return (
        f"Question: {question}\n{shown}Possible answer: {proposed}\n"
        "Is the possible answer:\n (A) True\n (B) False\nThe possible answer is:"
    )


def _some(values: Sequence[object] | np.ndarray) -> None:
    if len(values) == 0:
        raise InvalidData("needs at least one sample, got none")


def _entropy(p: Floats, unit: Unit) -> float:
    from scipy.special import entr

    return float(in_unit_of(entr(p).sum(), unit))
