"""Events that the engine sends to observers: a run starts, each step, each finished generation.

An observer is any callable that takes an event. No algorithm prints, plots or logs; trace tables,
progress bars and streamed text are observers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from decodelab.core.values import Generation, Tokens

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RunStarted:
    """A run begins: the prompts' tokens, in order, and how many tokens each continuation may have."""

    prompts: tuple[Tokens, ...]
    max_new_tokens: int


@dataclass(frozen=True)
class StageView:
    """What one stage did in a step: the logits it was given and those it gave, float32 [rows, vocab]."""

    name: str
    before: Tensor
    after: Tensor
    state: object


@dataclass(frozen=True)
class Step:
    """One step of one group of rows under one strategy, on the rows it began with.

    Attributes:
        generations: int64 [rows], the index of the generation each row belongs to.
        samples: int64 [rows], its sample index.
        positions: int64 [rows], how many tokens it had generated before this step.
        logits: float32 [rows, vocab], as the model gave them.
        processed: float32 [rows, vocab], after all processors.
        view_stages: computes one view per processor when first called, so unused views cost nothing.
        parents: int64 [n], the row each continued or ended hypothesis comes from.
        tokens: int64 [n], the token it chose.
        ended: bool [n], whether it ended with that token.
        read_prefixes: gives what each row had generated before this step, to an observer that asks while it is told.
    """

    generations: Tensor
    samples: Tensor
    positions: Tensor
    logits: Tensor
    processed: Tensor
    view_stages: Callable[[], tuple[StageView, ...]]
    parents: Tensor
    tokens: Tensor
    ended: Tensor
    read_prefixes: Callable[[], tuple[Tokens, ...]]

    @property
    def prefixes(self) -> tuple[Tokens, ...]:
        """The token ids that each row had generated before this step; they tell which node of a tree it is."""
        return self.read_prefixes()

    @property
    def stages(self) -> tuple[StageView, ...]:
        """One view for each processor."""
        return self.view_stages()


@dataclass(frozen=True)
class Finished:
    """A generation is complete."""

    generation: Generation


Event = RunStarted | Step | Finished
Observer = Callable[[Event], None]
