"""Strengths from pairwise judgements."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from decodelab.core.errors import InvalidData
from decodelab.metrics.checks import Floats, in_unit
from decodelab.metrics.estimate import Estimate

Judgement = tuple[str, str, float]
"""Two names and the first one's share of the win: 1, 0, or 0.5 for a tie."""


@dataclass(frozen=True, eq=False)
class BradleyTerry:
    """Strengths of players: a beats b with probability 1 / (1 + exp(strength of b - strength of a)).

    Attributes:
        names: the players, strongest first.
        strengths: log-odds, float64 [players], mean 0.
        covariance: of the strengths, float64 [players, players].
        judgements: number of judgements.
    """

    names: tuple[str, ...]
    strengths: Floats
    covariance: Floats
    judgements: int

    def probability(self, a: str, b: str) -> float:
        """The probability that a is judged better than b."""
        return 1 / (1 + math.exp(self._strength(b) - self._strength(a)))

    def strength(self, name: str, *, level: float = 0.95) -> Estimate:
        """A player's strength in log-odds over the average player, with a normal interval."""
        i = self.names.index(name)
        return self._estimate(self._strength(name), math.sqrt(self.covariance[i, i]), level)

    def difference(self, a: str, b: str, *, level: float = 0.95) -> Estimate:
        """How much stronger a is than b in log-odds, with a normal interval (400 / ln 10 Elo points each)."""
        i, j = self.names.index(a), self.names.index(b)
        variance = self.covariance[i, i] + self.covariance[j, j] - 2 * self.covariance[i, j]
        return self._estimate(self._strength(a) - self._strength(b), math.sqrt(max(variance, 0.0)), level)

    def _strength(self, name: str) -> float:
        return float(self.strengths[self.names.index(name)])

    def _estimate(self, value: float, error: float, level: float) -> Estimate:
        from scipy.stats import norm

        margin = float(norm.ppf((1 + in_unit("level", level)) / 2)) * error
        return Estimate(value, value - margin, value + margin, error, self.judgements, self.judgements, level)


def bradley_terry(judgements: Iterable[Judgement]) -> BradleyTerry:
    """Fit strengths to pairwise judgements by maximum likelihood; a tie is half a win for each.

    Args:
        judgements: (name, other name, outcome): 1 when the first is better, 0 when the second is, 0.5 for a tie.

    Raises:
        InvalidData: for outcomes outside [0, 1], a player against itself, or players that cannot be ranked: some group
            never lost to (or never met) the rest, so that its strength would be infinite.

    Source: Bradley and Terry 1952; as a logistic regression by statsmodels. Existence: Ford 1957.

    >>> fit = bradley_terry([("beam", "greedy", 1)] * 3 + [("beam", "greedy", 0)])
    >>> fit.names, round(fit.probability("beam", "greedy"), 3)
    (('beam', 'greedy'), 0.75)
    """
    rows = list(judgements)
    for a, b, outcome in rows:
        if a == b:
            raise InvalidData(f"bradley_terry: {a!r} is judged against itself; leave out such judgements")
        if not 0 <= outcome <= 1:
            raise InvalidData(f"bradley_terry: outcome must be in [0, 1], got {outcome}; 1 if the first is better")
    names = sorted({name for a, b, _ in rows for name in (a, b)})
    if len(names) < 2:
        raise InvalidData("bradley_terry: needs judgements between at least 2 players, got none")
    index = {name: i for i, name in enumerate(names)}
    wins = np.zeros((len(names), len(names)))
    for a, b, outcome in rows:
        wins[index[a], index[b]] += outcome
        wins[index[b], index[a]] += 1 - outcome
    _check_rankable(names, wins)
    strengths, covariance = _fit(wins)
    order = np.argsort(-strengths, kind="stable")
    return BradleyTerry(tuple(names[i] for i in order), strengths[order], covariance[np.ix_(order, order)], len(rows))


def _check_rankable(names: list[str], wins: Floats) -> None:
    """Each player must be joined to each other by a chain of wins, both ways."""
    from scipy.sparse.csgraph import connected_components

    groups, label = connected_components(wins > 0, directed=True, connection="strong")
    if groups > 1:
        group = [n for n, g in zip(names, label, strict=True) if g == np.bincount(label).argmin()]
        shown = ", ".join(map(repr, group[:3])) + (", ..." if len(group) > 3 else "")
        raise InvalidData(
            f"bradley_terry: {shown} always won, always lost or never met the others, so no finite strength exists; "
            "add judgements or ties"
        )


def _fit(wins: Floats) -> tuple[Floats, Floats]:
    from statsmodels.genmod.families import Binomial
    from statsmodels.genmod.generalized_linear_model import GLM

    count = len(wins)
    i, j = np.triu_indices(count, 1)
    met = (wins[i, j] + wins[j, i]) > 0
    i, j = i[met], j[met]
    # The first player is the origin; the others' strengths are coefficients.
    design = np.zeros((len(i), count))
    design[np.arange(len(i)), i] = 1
    design[np.arange(len(i)), j] = -1
    counts = np.column_stack([wins[i, j], wins[j, i]])
    # With two players nothing is left over to estimate a scale from, which nobody asks for.
    with np.errstate(divide="ignore", invalid="ignore"):
        found = GLM(counts, design[:, 1:], family=Binomial()).fit(tol=1e-12)
    # Centre: strengths around their mean do not depend on the choice of origin.
    raw = np.concatenate([[0.0], found.params])
    spread = np.zeros((count, count))
    spread[1:, 1:] = found.cov_params()
    centre = np.eye(count) - 1 / count
    return centre @ raw, centre @ spread @ centre.T
