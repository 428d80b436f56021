"""Entropy, cross-entropy and divergences of distributions, exact, or streamed over the logits of two models."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from decodelab.core.errors import InvalidData, VocabularyMismatch
from decodelab.metrics.checks import Floats, at_least, distributions

Unit = Literal["nats", "bits"]


def in_unit_of(nats: Floats | float, unit: Unit) -> Floats:
    """Quantities of information in nats, in the unit asked for (1 nat is 1.4427 bits).

    Raises:
        InvalidData: for another unit.
    """
    if unit not in ("nats", "bits"):
        raise InvalidData(f"unit must be 'nats' or 'bits', got {unit!r}")
    # + 0.0: minus zero reads badly.
    return np.asarray((nats if unit == "nats" else nats / math.log(2)) + 0.0)


def entropy(p: ArrayLike, *, unit: Unit = "nats") -> Floats:
    """Entropy H(p) = -sum p log p over the last axis, float64 [...].

    0 for a certain outcome, log of the number of outcomes for a uniform distribution. exp(H) in nats (2^H in bits) is
    the perplexity of the distribution itself, not to be confused with that of a text under it.

    Args:
        p: probabilities, [..., outcomes].
        unit: nats or bits.

    Raises:
        InvalidData: for what is not a distribution.

    Source: Shannon 1948.

    >>> float(entropy([0.5, 0.25, 0.25], unit="bits"))
    1.5
    """
    from scipy.special import entr

    return in_unit_of(entr(distributions("p", p)).sum(-1), unit)


def cross_entropy(p: ArrayLike, q: ArrayLike, *, unit: Unit = "nats") -> Floats:
    """Cross-entropy H(p, q) = -sum p log q over the last axis: the cost of coding p with a code made for q.

    Infinite where q rules out what p allows. With p the empirical distribution of data it is the mean negative
    log-likelihood of q.

    Args:
        p: the distribution of what happens, [..., outcomes].
        q: the distribution that predicts, [..., outcomes].
        unit: nats or bits.

    Raises:
        InvalidData: for what are not distributions over the same outcomes.

    >>> float(cross_entropy([0.5, 0.5], [0.25, 0.75], unit="bits").round(4))
    1.2075
    """
    from scipy.special import xlogy

    x, y = _pair(p, q)
    with np.errstate(divide="ignore"):
        return in_unit_of(-xlogy(x, y).sum(-1), unit)


def kl_divergence(p: ArrayLike, q: ArrayLike, *, unit: Unit = "nats") -> Floats:
    """Kullback-Leibler divergence KL(p || q) = sum p log(p / q) = H(p, q) - H(p) over the last axis.

    At least 0, and 0 only for equal distributions; infinite where q rules out what p allows. Not symmetric: which
    distribution is the truth matters.

    Args and errors: as `cross_entropy`.

    Source: Kullback and Leibler 1951.

    >>> float(kl_divergence([0.5, 0.5], [0.25, 0.75], unit="bits").round(4))
    0.2075
    """
    from scipy.special import rel_entr

    x, y = _pair(p, q)
    return in_unit_of(np.maximum(rel_entr(x, y).sum(-1), 0.0), unit)


def jensen_shannon(p: ArrayLike, q: ArrayLike, *, unit: Unit = "nats") -> Floats:
    """Jensen-Shannon divergence: the mean KL divergence of p and q from their midpoint, over the last axis.

    Symmetric, never infinite, between 0 and 1 bit (ln 2 nats). scipy's `jensenshannon` is its square root, the
    distance.

    Args and errors: as `cross_entropy`.

    Source: Lin 1991.

    >>> float(jensen_shannon([1, 0], [0, 1], unit="bits"))
    1.0
    """
    return in_unit_of(np.clip(_from_midpoint(*_pair(p, q)), 0.0, math.log(2)), unit)


def _from_midpoint(x: Floats, y: Floats) -> Floats:
    """The mean KL divergence of two distributions from their midpoint, over the last axis, in nats."""
    from scipy.special import rel_entr

    # Twice the midpoint: half of the smallest float is 0, which nothing may be measured from.
    both = x + y
    return (rel_entr(2 * x, both).sum(-1) + rel_entr(2 * y, both).sum(-1)) / 4


def empirical(outcomes: Iterable[int], size: int) -> Floats:
    """The empirical distribution of outcomes 0 to size - 1: their relative frequencies, float64 [size].

    The distribution q that minimises KL(empirical || q) within a family is its maximum-likelihood fit.

    Raises:
        InvalidData: for no outcomes, or one outside.

    >>> empirical([0, 2, 2, 1], 3).tolist()
    [0.25, 0.25, 0.5]
    """
    values = np.fromiter(outcomes, dtype=np.int64)
    at_least("size", size, 1)
    if len(values) == 0 or values.min() < 0 or values.max() >= size:
        raise InvalidData(f"outcomes must be 0 to {size - 1} and at least one")
    return np.bincount(values, minlength=size) / len(values)


@dataclass(frozen=True)
class LogitComparison:
    """The difference of two models with one vocabulary, averaged over positions; add blocks of logits one by one.

    All quantities are means over positions, in nats; p is the first model, q the second. Each `add` returns a new
    value, so a comparison over a long text needs the logits of one block at a time.

    Attributes:
        positions: how many positions were compared.
        vocab: size of the vocabulary, 0 before the first block.

    >>> block = LogitComparison().add([[0.0, 0.0]], [[0.0, 0.0]])
    >>> round(block.entropy_p, 4), block.kl_pq, block.agreement
    (0.6931, 0.0, 1.0)
    """

    positions: int = 0
    vocab: int = 0
    _sums: tuple[float, ...] = (0.0,) * 6

    def add(self, logits_p: Any, logits_q: Any) -> LogitComparison:
        """Take the logits of both models at the same positions, [..., vocab]; -inf is a token of probability 0.

        Raises:
            VocabularyMismatch: if the vocabularies differ in size.
            InvalidData: for different numbers of positions, NaN, or positions where no token is possible.
        """
        from scipy.special import rel_entr

        p, q = _distribution_of("logits_p", logits_p), _distribution_of("logits_q", logits_q)
        if p.shape[-1] != q.shape[-1] or self.vocab not in (0, p.shape[-1]):
            sizes = sorted({p.shape[-1], q.shape[-1]} | ({self.vocab} - {0}))
            raise VocabularyMismatch(
                f"vocabularies have {' and '.join(map(str, sizes))} tokens; compare models that share a tokenizer"
            )
        if p.shape != q.shape:
            raise InvalidData(f"both models need the same positions, got shapes {p.shape} and {q.shape}")
        p, q = p.reshape(-1, p.shape[-1]), q.reshape(-1, q.shape[-1])
        sums = (
            float(entropy(p).sum()),
            float(entropy(q).sum()),
            float(np.maximum(rel_entr(p, q).sum(-1), 0).sum()),
            float(np.maximum(rel_entr(q, p).sum(-1), 0).sum()),
            float(_from_midpoint(p, q).sum()),
            float((p.argmax(-1) == q.argmax(-1)).sum()),
        )
        return LogitComparison(
            self.positions + len(p),
            p.shape[-1],
            tuple(a + b for a, b in zip(self._sums, sums, strict=True)),
        )

    @property
    def entropy_p(self) -> float:
        """Mean entropy of p."""
        return self._mean(0)

    @property
    def entropy_q(self) -> float:
        """Mean entropy of q."""
        return self._mean(1)

    @property
    def kl_pq(self) -> float:
        """Mean KL(p || q)."""
        return self._mean(2)

    @property
    def kl_qp(self) -> float:
        """Mean KL(q || p)."""
        return self._mean(3)

    @property
    def cross_entropy_pq(self) -> float:
        """Mean H(p, q) = KL(p || q) + H(p)."""
        return self.kl_pq + self.entropy_p

    @property
    def jensen_shannon(self) -> float:
        """Mean Jensen-Shannon divergence."""
        return self._mean(4)

    @property
    def agreement(self) -> float:
        """Share of positions at which both have the same most probable token (ties by lowest id)."""
        return self._mean(5)

    def _mean(self, i: int) -> float:
        return self._sums[i] / self.positions if self.positions else math.nan


def _distribution_of(what: str, logits: Any) -> Floats:
    from scipy.special import softmax

    if hasattr(logits, "detach"):
        logits = logits.detach().double().cpu().numpy()
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim == 0 or values.size == 0:
        raise InvalidData(f"{what} must be [..., vocab], got shape {values.shape}")
    if bool(np.isnan(values).any()) or not bool(np.isfinite(values.max(-1)).all()):
        raise InvalidData(f"{what} must be finite or -inf with some token possible, got NaN, +inf or only -inf")
    return softmax(values, axis=-1)


def _pair(p: ArrayLike, q: ArrayLike) -> tuple[Floats, Floats]:
    x, y = distributions("p", p), distributions("q", q)
    if x.shape[-1] != y.shape[-1]:
        raise InvalidData(f"p and q must range over the same outcomes, got {x.shape[-1]} and {y.shape[-1]}")
    return x, y
