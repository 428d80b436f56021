"""How often a vote that `until` ends early differs from the vote of all samples, and how many samples it draws.

    python benchmarks/until.py                   the table of the documentation; two minutes on one core
    python benchmarks/until.py --exact           the largest error over all possible votes, looking after each sample

Answers are drawn from given distributions, no text is generated. The same answers are given to all rules.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from decodelab.select.settled import agree, beta_confidence, counted, dirichlet_confidence, surely_ahead

N = 40
DISTRIBUTIONS: dict[str, list[float]] = {
    "0.95, rest alike": [0.95] + [0.005] * 10,
    "0.8, rest alike": [0.8] + [0.02] * 10,
    "0.6, 0.4": [0.6, 0.4],
    "0.52, 0.48": [0.52, 0.48],
    "0.5, 0.3, 0.2": [0.5, 0.3, 0.2],
    "0.3, rest alike": [0.3] + [0.035] * 20,
    "0.2, 0.18, rest alike": [0.2, 0.18] + [0.031] * 20,
    "ten alike": [0.1] * 10,
}
Rule = Callable[[tuple[int, ...], Sequence[int], int], bool]
"""Whether drawing ends, given the counts, the answers and how many there are."""


@functools.cache
def error_rule(counts: tuple[int, ...], drawn: int, error: float, total: int = N) -> bool:
    """The rule with a guarantee."""
    return surely_ahead(counts, drawn, total, error)


beta = functools.cache(beta_confidence)
dirichlet = functools.cache(dirichlet_confidence)


def rules() -> dict[str, tuple[int, Rule]]:
    """All rules with their windows."""
    return {
        "error=0": (5, lambda counts, answers, n: error_rule(counts, n, 0.0)),
        "error=0.01": (5, lambda counts, answers, n: error_rule(counts, n, 0.01)),
        "error=0.05": (5, lambda counts, answers, n: error_rule(counts, n, 0.05)),
        "beta, 0.95": (5, lambda counts, answers, n: beta(counts) >= 0.95),
        "beta, 0.95, window=1": (1, lambda counts, answers, n: beta(counts) >= 0.95),
        "dirichlet, 0.95": (5, lambda counts, answers, n: dirichlet(counts) >= 0.95),
        "dirichlet, 0.95, window=1": (1, lambda counts, answers, n: dirichlet(counts) >= 0.95),
        "window=5": (5, lambda counts, answers, n: agree(answers[n - 5 : n])),
    }


def winner(answers: Sequence[int]) -> int:
    """The answer of a vote; ties go to the one seen first."""
    return max(dict.fromkeys(answers), key=list(answers).count)


def ended(rule: Rule, window: int, answers: Sequence[int]) -> int:
    """How many samples are drawn."""
    for n in range(window, len(answers), window):
        if rule(tuple(counted(answers[:n])), answers, n):
            return n
    return len(answers)


def table(runs: int) -> Iterator[str]:
    """The table in Markdown: for each distribution and rule the share of other answers, and the samples drawn."""
    names = list(rules())
    yield "| answers | " + " | ".join(names) + " |"
    yield "|---" * (len(names) + 1) + "|"
    generator = np.random.default_rng(0)
    for name, p in DISTRIBUTIONS.items():
        shares = np.array(p) / sum(p)
        drawn = [generator.choice(len(p), size=N, p=shares).tolist() for _ in range(runs)]
        cells: list[str] = []
        for window, rule in rules().values():
            lengths = [ended(rule, window, answers) for answers in drawn]
            other = [winner(answers) != winner(answers[:n]) for answers, n in zip(drawn, lengths, strict=True)]
            cells.append(f"{100 * np.mean(other):.2f} % ({np.mean(lengths):.1f})")
        yield f"| {name} | " + " | ".join(cells) + " |"


State = tuple[tuple[int, int], ...]
"""The answers seen with their counts, in the order in which they were first seen."""


def exact_error(votes: Sequence[int], stops: Callable[[tuple[int, ...], int], bool], window: int) -> float:
    """The exact probability that a rule on the counts gives another answer, all orders of these votes being alike."""
    total, most = sum(votes), max(votes)
    best = [a for a, n in enumerate(votes) if n == most]
    states: dict[State, float] = {(): 1.0}
    wrong = 0.0
    for n in range(1, total + 1):
        after: dict[State, float] = {}
        for seen, p in states.items():
            so_far = dict(seen)
            for a, count in enumerate(votes):
                left = count - so_far.get(a, 0)
                state = tuple((so_far | {a: so_far.get(a, 0) + 1}).items())
                after[state] = after.get(state, 0.0) + p * left / (total - n + 1)
        states = {state: p for state, p in after.items() if p > 0}
        for state in [*states] if n % window == 0 and n < total else ():
            if stops(tuple(count for _, count in state), n):
                p = states.pop(state)
                leader = max(state, key=lambda pair: pair[1])[0]
                first = next((a for a, _ in state if a in best), None)
                wrong += p * (leader != first)
    return wrong


def partitions(total: int, most: int, parts: int) -> Iterator[list[int]]:
    """All ways to write a number as a sum of at most this many parts, largest first."""
    if total == 0:
        yield []
    elif parts:
        for first in range(min(most, total), 0, -1):
            for rest in partitions(total - first, first, parts - 1):
                yield [first, *rest]


def exact_rules(total: int) -> dict[str, Callable[[tuple[int, ...], int], bool]]:
    """The rules that look at nothing but the counts."""

    def error(most: float) -> Callable[[tuple[int, ...], int], bool]:
        return lambda counts, n: error_rule(counts, n, most, total)

    return {f"error={most}": error(most) for most in (0.2, 0.05, 0.01)} | {
        "beta, 0.95": lambda counts, n: beta(counts) >= 0.95,
        "dirichlet, 0.95": lambda counts, n: dirichlet(counts) >= 0.95,
    }


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--runs", type=int, default=4_000)
    asked = parser.parse_args()
    if not asked.exact:
        for line in table(asked.runs):
            print(line, flush=True)
        return
    for total, parts in ((40, 2), (24, 3), (12, 5)):
        for name, stops in exact_rules(total).items():
            worst, votes = max((exact_error(v, stops, 1), v) for v in partitions(total, total, parts))
            print(
                f"{total} samples, at most {parts} answers, {name}: at most {worst:.4f}, for votes {votes}", flush=True
            )


if __name__ == "__main__":
    main()
