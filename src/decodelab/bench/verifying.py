"""Graded answers of a sweep as what a verifier learns from, and how well it then chooses among answers held out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from decodelab.bench.plan import Plan
from decodelab.bench.scaling.pools import Pool, read_pools
from decodelab.bench.stats.pairs import pairs_of
from decodelab.bench.store import views
from decodelab.bench.store.journal import Journal
from decodelab.core.errors import InvalidData
from decodelab.core.protocols import RewardModel, RewardReading
from decodelab.engine.progress import Advance
from decodelab.metrics.bounded import bounded_mean
from decodelab.metrics.calibration import auroc, ece
from decodelab.metrics.checks import Floats
from decodelab.metrics.estimate import Estimate
from decodelab.select.vote import Vote
from decodelab.train.verifier.data import Graded, is_held

BEST, VOTE, ONE, ANY = "best by verifier", "vote", "one sample", "any sample"


@dataclass(frozen=True)
class Choice:
    """How well the answers held out of one task and model are told apart, and what choosing among them gives.

    Attributes:
        task, model: as the plan's tables call them.
        prompts: held out.
        samples: of each prompt.
        right: share of right samples.
        accuracy: share of samples on the right side of 1/2.
        auc: the probability that a right sample is rated above a wrong one; NaN where all are alike.
        within: the same among samples of one prompt.
        ece: the expected calibration error.
        scores: the mean by way of choosing: `BEST`, `VOTE`, `ONE`, `ANY`, and the plan's strategies that draw nothing.
        differences: by way, the best by verifier minus it, paired by prompt, with simultaneous 95 % intervals.
    """

    task: str
    model: str
    prompts: int
    samples: int
    right: float
    accuracy: float
    auc: float
    within: float
    ece: float
    scores: dict[str, Estimate]
    differences: dict[str, Estimate]


def graded(plan: Plan, journal: Journal, held: float) -> Iterator[Graded]:
    """The graded samples of a plan's sampling strategies, without those of prompts held out; right means score 1.

    Raises:
        JournalError: if the journal cannot be read.
    """
    for _, _, pools in _sampled(plan, journal):
        for pool in pools:
            if not is_held(pool.prompt, held):
                for candidate, score in zip(pool.candidates, pool.scores, strict=True):
                    yield Graded(pool.prompt, candidate.text, bool(score == 1))


def choices(plan: Plan, journal: Journal, held: float, verifier: RewardModel, advance: Advance) -> list[Choice]:
    """How well a verifier chooses among the answers to prompts held out, by task and model.

    Args:
        plan: whose answers.
        journal: where they are.
        held: the share of prompts that was held out.
        verifier: trained on the others.
        advance: told which share of the prompts is done.

    Raises:
        InvalidData: if there is none.
    """
    every = [
        (task, model, [p for p in pools if is_held(p.prompt, held)]) for task, model, pools in _sampled(plan, journal)
    ]
    total = sum(len(pools) for _, _, pools in every)
    if not total:
        raise InvalidData("verifier: no prompt is held out to choose on; hold out a larger share, or ask more items")
    found: list[Choice] = []
    done = 0
    for task, model, pools in every:
        rated: list[Floats] = []
        for pool in pools:
            texts = [candidate.text for candidate in pool.candidates]
            rated.append(np.array(verifier.rate(pool.prompt, texts, RewardReading()).values))
            done += 1
            advance(done / total, f"{task}, {model}: choosing")
        if pools:
            found.append(_choice(task, model, pools, rated, _deterministic(plan, journal, task, model)))
    return found


def _sampled(plan: Plan, journal: Journal) -> Iterator[tuple[str, str, Sequence[Pool]]]:
    """The pools of strategies that draw several samples, by task and model."""
    for task in plan.task_names:
        prompts = {name: item.prompt for name, item in views.items(journal, plan.digest, task).items()}
        for model in plan.models:
            found = read_pools(journal, plan.digest, task, model, prompts)
            for name, pools in found.strategies.items():
                if found.samples[name] > 1:
                    yield task, model, pools


def _deterministic(plan: Plan, journal: Journal, task: str, model: str) -> dict[str, dict[str, float]]:
    """The scores of strategies with one answer an item, by item."""
    prompts = {name: item.prompt for name, item in views.items(journal, plan.digest, task).items()}
    found = read_pools(journal, plan.digest, task, model, prompts)
    return {
        name: {pool.item: float(pool.scores[0]) for pool in pools}
        for name, pools in found.strategies.items()
        if found.samples[name] == 1
    }


def _choice(
    task: str, model: str, pools: Sequence[Pool], rated: Sequence[Floats], single: dict[str, dict[str, float]]
) -> Choice:
    right = np.concatenate([pool.scores == 1 for pool in pools]).astype(np.float64)
    probability = np.concatenate(list(rated))
    vote = Vote(answer="task")
    ways: dict[str, Floats] = {
        BEST: np.array([pool.scores[int(np.argmax(own))] for pool, own in zip(pools, rated, strict=True)]),
        VOTE: np.array([pool.scores[vote.rank(pool.candidates, pool.question())[0][0].sample] for pool in pools]),
        ONE: np.array([pool.scores.mean() for pool in pools]),
        ANY: np.array([pool.scores.max() for pool in pools]),
    }
    ways |= {name: np.array([scores.get(pool.item, np.nan) for pool in pools]) for name, scores in single.items()}
    compared = {name: scores for name, scores in ways.items() if name not in (ONE, ANY)}
    pairs = pairs_of(compared)
    differences = {name: pair.difference for name in compared if name != BEST and (pair := pairs.of(BEST, name))}
    return Choice(
        task,
        model,
        len(pools),
        len(pools[0]),
        float(right.mean()),
        float(((probability > 0.5) == (right == 1)).mean()),
        auroc(probability, right) if 0 < right.mean() < 1 else float("nan"),
        _within(pools, rated),
        ece(probability, right),
        {name: bounded_mean(scores[np.isfinite(scores)]) for name, scores in ways.items()},
        differences,
    )


def _within(pools: Sequence[Pool], rated: Sequence[Floats]) -> float:
    """The mean over prompts of the probability that a right sample is rated above a wrong one; NaN without any."""
    each = [
        auroc(own, (pool.scores == 1).astype(np.float64))
        for pool, own in zip(pools, rated, strict=True)
        if 0 < (pool.scores == 1).sum() < len(pool)
    ]
    return float(np.mean(each)) if each else float("nan")
