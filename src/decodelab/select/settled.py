"""When a vote is settled before all samples are drawn: rules on the counts so far.

Counts are those of the answers in the order in which they were first seen, so that a tie goes to the earlier one, as
`vote` breaks it. Samples without an answer are drawn but not counted.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray


def counted(answers: Sequence[Hashable | None]) -> list[int]:
    """How often each answer was given, in the order in which they were first seen.

    >>> counted(["7", None, "8", "7"])
    [2, 1]
    """
    counts: dict[Hashable, int] = {}
    for answer in answers:
        if answer is not None:
            counts[answer] = counts.get(answer, 0) + 1
    return list(counts.values())


def agree(answers: Sequence[Hashable | None]) -> bool:
    """Whether all samples give the same answer.

    >>> agree(["7", "7"]), agree(["7", None]), agree([None, None])
    (True, False, False)
    """
    return None not in answers and len(set(answers)) == 1


def beta_confidence(counts: Sequence[int]) -> float:
    """The posterior probability that the leader is more probable than the second, if there were only these two.

    The prior is uniform. With v votes for the leader and u for the second it is P(X <= v) for X binomial
    (v + u + 1, 1/2), Aggarwal et al. 2023, equation 5.

    >>> beta_confidence([4]), beta_confidence([1, 1])
    (0.96875, 0.5)
    """
    if not counts:
        return 0.0
    first, second = sorted([*counts, 0], reverse=True)[:2]
    trials = first + second + 1
    return sum(math.comb(trials, k) for k in range(first + 1)) / 2**trials


def dirichlet_confidence(counts: Sequence[int]) -> float:
    """The posterior probability that the leader is the most probable of the answers seen; of fewer than two, of two.

    The prior is uniform over their probabilities, Aggarwal et al. 2023, equation 3. It is the probability that a gamma
    variable of shape v + 1 is the largest of independent ones, integrated numerically over it. The authors' code
    integrates by Monte Carlo and over the five most frequent answers only.

    >>> round(dirichlet_confidence([4, 1]), 6) == round(beta_confidence([4, 1]), 6)
    True
    """
    if not counts:
        return 0.0
    first, *others = sorted([*counts, 0] if len(counts) == 1 else counts, reverse=True)
    most = first + 1 + 12 * math.sqrt(first + 1) + 40  # the gamma's tail beyond it is below 1e-15
    grid, step = np.linspace(0.0, most, 4001, retstep=True)
    inside = grid[1:]  # at 0 nothing is below it
    density = np.exp(first * np.log(inside) - inside - math.lgamma(first + 1))
    below = {count: _gamma_cdf(inside, count) for count in set(others)}
    for count in others:
        density = density * below[count]
    return min(1.0, float(density.sum() * step))


def _gamma_cdf(x: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """P(G <= x) for a gamma variable of shape count + 1."""
    term = np.exp(-x)
    above = term.copy()
    for j in range(1, count + 1):
        term = term * x / j
        above += term
    return np.clip(1.0 - above, 0.0, 1.0)


def surely_ahead(counts: Sequence[int], drawn: int, total: int, error: float) -> bool:
    """Whether the leader wins the vote of all samples, or is wrong about it with probability at most `error`.

    The samples drawn first are a random subset of all, because samples are exchangeable. Let all of them hold N_b votes
    for answer b. The leader a settles the vote when every other answer w is ruled out as the winner. For that,

        S(w) = N_a / (N - N_w - empty) * mean over k of L(k, m - k) / L(N_a, N_w)

    must reach 1 / error for all numbers N_a, N_w that are possible and let w win over a. L(x, y) is the probability
    that the votes for a and w come in the order seen when there are x and y of them, m = N_a + N_w, k runs over the
    numbers of votes with which a would win, `empty` of the samples drawn have no answer.

    Why it holds: for the true winner w and the true numbers, each ratio of likelihoods is a martingale that begins at 1
    (its prior over its posterior, Waudby-Smith and Ramdas), the factors before them sum to at most 1 over all a, hence
    their sum is a nonnegative martingale that begins at or below 1, and by Ville's inequality it ever reaches 1 / error
    with probability at most `error`. Only the true winner's matters, so there is nothing to correct for the number of
    answers or of looks. Numbers that would have w win but are no longer possible drop out: with `error` 0 this is
    curtailment, the leader can no longer be overtaken.

    Args:
        counts: of the answers, in the order in which they were first seen.
        drawn: samples drawn, those without an answer included.
        total: samples that the vote would be of.
        error: from 0 to below 1.

    >>> surely_ahead([6], 6, 40, 0.05), surely_ahead([6], 6, 40, 0.01), surely_ahead([20, 19], 39, 40, 0.0)
    (True, False, True)
    """
    left = total - drawn
    if left <= 0:
        return True
    if not counts:
        return False
    place = max(range(len(counts)), key=lambda i: counts[i])  # of equal ones the first
    voters = total - (drawn - sum(counts))
    rivals = {(count, at < place) for at, count in enumerate(counts) if at != place} | {(0, False)}
    return all(_ruled_out(counts[place], *rival, left, voters, error) for rival in sorted(rivals, reverse=True))


def _ruled_out(leading: int, rival: int, earlier: bool, left: int, voters: int, error: float) -> bool:
    """Whether an answer is ruled out as the winner by the one that leads.

    Args:
        leading, rival: votes of both.
        earlier: whether the rival was seen first, so that it wins a tie.
        left: samples that are not drawn.
        voters: samples that have an answer or are not drawn.
        error: how probable it may be that this is wrong.
    """

    def most(pair: int) -> int:
        """The most votes of the leader, of all for these two, with which the rival wins."""
        return pair // 2 if earlier else (pair - 1) // 2

    largest = leading + rival + left
    if most(largest) < leading:
        return True
    if error == 0 or rival >= leading:
        return False
    ways = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, largest + 1)))])  # log factorials
    of_leader, of_rival = _log_choose(ways, leading), _log_choose(ways, rival)
    needed = -math.log(error)
    # Of the numbers with which the rival wins, a tie or next to it makes S smallest, because the leader is ahead: among
    # those of one sum only that need be looked at.
    for pair in range(largest, leading + rival, -1):
        tie = most(pair)
        if tie < leading:
            break
        won = np.arange(tie + 1, pair - rival + 1)
        mean = np.logaddexp.reduce(of_leader[won] + of_rival[pair - won]) - math.log(pair - tie)
        share = math.log(tie) - math.log(voters - (pair - tie))
        if share + mean - of_leader[tie] - of_rival[pair - tie] < needed:
            return False
    return True


def _log_choose(ways: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Logarithms of n over k for all n from 0 on; minus infinity below k."""
    found = np.full(len(ways), -np.inf)
    found[k:] = ways[k:] - ways[: len(ways) - k] - ways[k]
    return found
