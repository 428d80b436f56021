"""Applies the processors of a step; consecutive stages that can be fused run as one compiled chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from decodelab.core.events import StageView
from decodelab.core.protocols import Processor
from decodelab.core.stage import Stage
from decodelab.engine.faults import blamed
from decodelab.kernels.fused import Fused, apply_fused, fused_form, suits

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Processed:
    """Logits after all processors, and what each processor did.

    Attributes:
        processors, states: the processors and their states in this step.
        start: float32 [rows, vocab], what the first was given.
        logits: float32 [rows, vocab], what the last gave.
        given: for each processor the logits to update its state with; arbitrary for one without a state.
    """

    processors: Sequence[Processor]
    states: Sequence[Any]
    start: Tensor
    logits: Tensor
    given: Sequence[Tensor]

    @cached_property
    def views(self) -> tuple[StageView, ...]:
        """What each processor was given and gave, computed one by one when first asked for."""
        views: list[StageView] = []
        logits = self.start
        for processor, state in zip(self.processors, self.states, strict=True):
            with blamed(processor):
                after = processor.apply(logits, state)
            name = str(processor) if isinstance(processor, Stage) else type(processor).__name__
            views.append(StageView(name, logits, after, state))
            logits = after
        return tuple(views)


def process(processors: Sequence[Processor], states: Sequence[Any], logits: Tensor) -> Processed:
    """Apply all processors to logits [rows, vocab].

    A stage with a state begins a new chain, because its update needs the logits it was given.

    Raises:
        StageFailed: for what a processor raises; names it.
    """
    start = logits
    given: list[Tensor] = []
    chain: list[Fused] = []
    for processor, state in zip(processors, states, strict=True):
        with blamed(processor):
            form = fused_form(processor, state) if suits(logits) else None
        if chain and (form is None or state is not None):
            logits, chain = apply_fused(logits, chain), []
        given.append(logits)
        if form is None:
            with blamed(processor):
                logits = processor.apply(logits, state)
        else:
            chain.append(form)
    return Processed(processors, states, start, apply_fused(logits, chain) if chain else logits, given)
