"""`scaling`: what more samples would buy, from the answers that a journal holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from decodelab.bench.plan import Plan
from decodelab.bench.scaling.curves import Curve, Level, curves, levels, real
from decodelab.bench.scaling.optimal import Choice, compute_optimal
from decodelab.bench.scaling.pools import Pools, read_pools
from decodelab.bench.scaling.selecting import ANY, check_subsets, selection_of
from decodelab.bench.store import views
from decodelab.bench.store.journal import Journal
from decodelab.core.errors import RequestError
from decodelab.tasks.task import open_ended, task_class

SUBSETS = 64
"""Random subsets of each size, for selections whose expected score has no formula."""


@dataclass(frozen=True)
class Scaling:
    """What more samples buy on one task with one model.

    Attributes:
        task, model: which.
        curves: of every strategy and selection.
        levels: by strategy that draws several samples, its curves by difficulty.
        choices: the best for each budget of forward tokens.
        incomplete: by strategy, how many items were left out, as samples or scores of theirs are missing.
    """

    task: str
    model: str
    curves: tuple[Curve, ...]
    levels: dict[str, list[Level]]
    choices: tuple[Choice, ...]
    incomplete: dict[str, int]


def scaling(
    plan: Plan,
    journal: Journal,
    selections: Sequence[str] = (),
    *,
    subsets: int = SUBSETS,
    seed: int = 0,
    difficulty: int = 3,
    advance: Callable[[int, str], None] = lambda done, what: None,
) -> Iterator[Scaling]:
    """For each task and model of a plan: quality against compute for every selection among its stored samples.

    Nothing is generated. A strategy that drew several samples of an item is read at 1, 2, 4 ... of them, and at all.
    Expected scores are unbiased; intervals are over prompts.

    Args:
        plan: which sweep.
        journal: where its answers are.
        selections: as strategies write them, such as `vote`, or `any` for a perfect one; none: `any`, `best_of`, and
            where the task reads answers `vote(answer=task)`; `best_of` only where log-probabilities are known.
        subsets: random subsets of each size, for selections without a formula.
        seed: of these, and of the lot by which prompts are dealt for `Choice`.
        difficulty: levels that prompts are divided into.
        advance: told how much is done: items times selections.

    Raises:
        RequestError: if no strategy has several samples.
        StrategyError: for what is no selection, or one that cannot be used on stored samples.
        InvalidParameter: for fewer than two subsets.
        JournalError: if the journal cannot be read.
    """
    check_subsets(subsets)
    if difficulty < 1:
        raise RequestError(f"difficulty: must be at least 1 level, got {difficulty}; 1 does not divide the prompts")
    for text in selections:
        selection_of(text)
    several, done = False, 0
    for task in plan.task_names:
        prompts = {name: item.prompt for name, item in views.items(journal, plan.digest, task).items()}
        chosen = list(selections) or _usual(plan, task)
        for model in plan.models:
            pools = read_pools(journal, plan.digest, task, model, prompts)
            several = several or any(count > 1 for count in pools.samples.values())

            def step(what: str = f"{task}, {model}") -> None:
                nonlocal done
                done += 1
                advance(done, what)

            possible = chosen if selections else _possible(pools, chosen)
            found = tuple(curves(pools, possible, subsets, seed, step))
            if found:
                yield _study(pools, found, seed, difficulty)
    if not several:
        raise RequestError(
            "scaling: no strategy of this plan has several samples of an item; write samples: 16 and a strategy that "
            "samples, without a selection, into the plan and run decodelab bench"
        )


def steps(plan: Plan, journal: Journal, selections: Sequence[str] = ()) -> int:
    """How many items times selections `scaling` will go through."""
    total = 0
    for cell in views.progress(journal, plan.digest):
        task = plan.tasks[plan.task_names.index(cell.task)]
        several = cell.asked > task.items
        total += task.items * (1 + several * len(list(selections) or _usual(plan, cell.task)))
    return total


def _usual(plan: Plan, task: str) -> list[str]:
    """The selections that are looked at where none are named."""
    asked = plan.tasks[plan.task_names.index(task)]
    made, settled = task_class(asked.name)
    reads = not open_ended(made, settled | asked.parameters)
    return [ANY, *(["vote(answer=task)"] if reads else []), "best_of"]


def _possible(pools: Pools, usual: Sequence[str]) -> list[str]:
    """The usual selections without `best_of` where a server did not show the log-probabilities that it goes by."""
    shown = all(pool.shows_logprobs for several in pools.strategies.values() for pool in several)
    return [one for one in usual if shown or one != "best_of"]


def _study(pools: Pools, found: tuple[Curve, ...], seed: int, difficulty: int) -> Scaling:
    drawn = [s for s in pools.strategies if pools.samples[s] > 1 and pools.strategies[s]]
    return Scaling(
        pools.task,
        pools.model,
        found,
        {strategy: levels(found, strategy, difficulty) for strategy in drawn},
        tuple(compute_optimal(real(found), seed)),
        {strategy: count for strategy, count in pools.incomplete.items() if count},
    )
