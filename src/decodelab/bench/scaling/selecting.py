"""The score that a selection among k of n stored samples can be expected to have, for many k."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import cast

import numpy as np

from decodelab.bench.scaling.pools import Pool
from decodelab.core.errors import InvalidParameter, StrategyError
from decodelab.core.notices import NoQuorum
from decodelab.core.protocols import Prepared, Selection
from decodelab.core.stage import Stage
from decodelab.metrics.best_at_k import best_at_k
from decodelab.metrics.checks import Floats
from decodelab.metrics.vote_at_k import vote_at_k
from decodelab.pocket.item import digest
from decodelab.select.best_of import BestOf
from decodelab.select.readers import read_answers
from decodelab.select.vote import Vote
from decodelab.strategy.grammar import parse_stages
from decodelab.strategy.strategy import build_stage

ANY = "any"
"""Stands for a perfect selection: the best score among the samples, which is pass@k where scores are 0 and 1."""


@dataclass(frozen=True, eq=False)
class Expected:
    """What a selection can be expected to score on one item.

    Attributes:
        scores: float64 [ks].
        error: float64 [ks], the standard error of drawing some subsets only; 0 where all were counted.
    """

    scores: Floats
    error: Floats


def selection_of(text: str) -> Stage | None:
    """The selection that is written so; None for a perfect one.

    Raises:
        StrategyError: if it is none.
    """
    if text.strip() == ANY:
        return None
    specs = parse_stages(text)
    stage = build_stage(specs[0])
    if len(specs) != 1 or stage.kind != "selection":
        raise StrategyError(f"select: must be one selection such as vote or best_of, or {ANY}, got {text[:60]!r}")
    return stage


def expected(stage: Stage | None, pool: Pool, ks: Sequence[int], subsets: int, seed: int) -> Expected:
    """The expected score of what a selection takes among k samples of a pool, without bias.

    Over all subsets of k samples, exactly, for a perfect selection, `best_of` and a `vote` without a quorum; over
    random ones for others. A random subset is the beginning of a random order of the samples, so that of a tie each
    wins equally often.

    Args:
        stage: the selection; None for a perfect one.
        pool: the samples.
        ks: how many of them are chosen, each at most all.
        subsets: how many random orders.
        seed: of these; the same for all selections, which so are compared on the same subsets.
    """
    exact = _exact(stage, pool)
    if exact is not None:
        return Expected(exact[np.array(ks) - 1], np.zeros(len(ks)))
    assert stage is not None
    first = _first(stage, pool)
    rng = np.random.default_rng(digest("scaling", seed, pool.item))
    found = np.zeros((subsets, len(ks)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoQuorum)
        for row in range(subsets):
            order = rng.permutation(len(pool)).tolist()
            for column, k in enumerate(ks):
                found[row, column] = pool.scores[first(order[:k])]
    return Expected(found.mean(0), found.std(0, ddof=1) / np.sqrt(subsets))


def _first(stage: Stage, pool: Pool) -> Callable[[Sequence[int]], int]:
    """What finds the winner of some samples, given by their places in the order in which they count as drawn."""
    question = pool.question()
    if stage.deterministic() and isinstance(stage, Prepared):
        ranker = stage.prepare(pool.candidates, question)
        return lambda places: ranker(places)[0][0]
    selection = cast(Selection, stage)
    calls = count()

    def first(places: Sequence[int]) -> int:
        numbered = [replace(pool.candidates[i], sample=place) for place, i in enumerate(places)]
        return places[selection.rank(numbered, pool.question(next(calls)))[0][0].sample]

    return first


def _exact(stage: Stage | None, pool: Pool) -> Floats | None:
    """The expected score for every k from 1, where it has a formula."""
    if stage is None:
        return best_at_k(pool.scores)
    if isinstance(stage, BestOf):
        return best_at_k(pool.scores, stage.rating.of(pool.candidates, pool.question()))
    if isinstance(stage, Vote) and stage.quorum == 0:
        return vote_at_k(read_answers(stage, stage.answer, pool.candidates, pool.question()), pool.scores)
    return None


def check_subsets(subsets: int) -> None:
    """Refuse too few random subsets to tell their error.

    Raises:
        InvalidParameter: saying what is allowed.
    """
    if subsets < 2:
        raise InvalidParameter(f"subsets must be at least 2, got {subsets}; 64 random orders is the default")
