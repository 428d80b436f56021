"""Traces: every step of a generation as plain data, recorded by an observer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from decodelab.analysis.trace_statistics import Statistics
from decodelab.core.events import Event, StageView, Step
from decodelab.core.protocols import Observable, ObservesChoice, Processor, TargetsSurprise, Vocab
from decodelab.metrics.distribution import entropy_bits, kept, mass_removed, rank, surprise_bits

if TYPE_CHECKING:
    from torch import Tensor

    from decodelab.core.values import Candidate, Generation, Tokens

BINS = 60
TOP = 10


@dataclass(frozen=True)
class StageStep:
    """What one stage did in a step.

    Attributes:
        name: the stage in the strategy language.
        kept: tokens that can still be drawn after it.
        mass_removed: probability it removed, under its input distribution.
        entropy_bits_before: entropy of its input distribution.
        entropy_bits: entropy of its output distribution.
        readings: the stage's own readings, by name (`observe` and `observe_choice`).
    """

    name: str
    kept: int
    mass_removed: float
    entropy_bits_before: float
    entropy_bits: float
    readings: dict[str, float]


@dataclass(frozen=True)
class LikelyToken:
    """One of the most probable tokens of a step: its logit as the model gave it, and its two probabilities."""

    token: int
    text: str
    logit: float
    p: float
    processed_p: float


@dataclass(frozen=True)
class Logits:
    """The distribution of the model's logits at a step.

    Attributes:
        edges: of the bins of a histogram over the finite logits, `BINS + 1` of them.
        kept: how many tokens of each bin the strategy kept.
        removed: how many it removed.
        cut_off: the smallest logit kept, where everything above it was kept too; None where the kept tokens are no such
            upper part, or nothing was removed.
        chosen: the logit of the token chosen.
        top: the `TOP` most probable tokens.
    """

    edges: tuple[float, ...]
    kept: tuple[int, ...]
    removed: tuple[int, ...]
    cut_off: float | None
    chosen: float
    top: tuple[LikelyToken, ...]


@dataclass(frozen=True)
class TokenStep:
    """One step of one candidate.

    Attributes:
        step: its number, from 1.
        token: the token chosen.
        token_text: the same as text; a model wrote it.
        rank: its rank among the model's logits, from 1; ties by lowest id.
        surprise_bits: -log2 p under the model.
        processed_surprise_bits: -log2 p under the processed distribution.
        entropy_bits: entropy of the model's distribution.
        processed_entropy_bits: entropy of the processed distribution.
        kept: tokens that could be drawn.
        mass_removed: the model's probability of those that could not.
        stages: what each stage did, in order.
        logits: the distribution of the logits, if requested.
    """

    step: int
    token: int
    token_text: str
    rank: int
    surprise_bits: float
    processed_surprise_bits: float
    entropy_bits: float
    processed_entropy_bits: float
    kept: int
    mass_removed: float
    stages: tuple[StageStep, ...]
    logits: Logits | None

    def to_dict(self) -> dict[str, Any]:
        """The step as JSON-ready data."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Path:
    """A candidate with its steps."""

    candidate: Candidate
    steps: tuple[TokenStep, ...]

    @property
    def under_model(self) -> Statistics:
        """Statistics of the surprise under the model."""
        return Statistics.of(s.surprise_bits for s in self.steps)

    @property
    def under_processed(self) -> Statistics:
        """Statistics of the surprise under the distributions the tokens were chosen from."""
        return Statistics.of(s.processed_surprise_bits for s in self.steps)


@dataclass(frozen=True)
class Trace:
    """A prompt under one strategy, step by step.

    Attributes:
        strategy: the strategy as written in the request.
        generation: the result, with the effective strategy and the cost.
        paths: its candidates with their steps, best first.
        target_bits: the average surprise that its last stage with a target aims at, in bits; None where none has one.
    """

    strategy: str
    generation: Generation
    paths: tuple[Path, ...]
    target_bits: float | None = None

    @property
    def under_model(self) -> Statistics:
        """Statistics of the surprise under the model, over the tokens of all candidates."""
        return Statistics.of(s.surprise_bits for path in self.paths for s in path.steps)

    @property
    def under_processed(self) -> Statistics:
        """Statistics of the surprise under the distributions the tokens were chosen from, over all candidates."""
        return Statistics.of(s.processed_surprise_bits for path in self.paths for s in path.steps)

    def to_dict(self) -> dict[str, Any]:
        """The trace as JSON-ready data."""
        return {
            "strategy": self.strategy,
            "effective_strategy": self.generation.strategy,
            "statistics": {
                "under_model": self.under_model.to_dict(),
                "under_processed": self.under_processed.to_dict(),
            },
            "candidates": [
                {
                    "text": path.candidate.text,
                    "finish_reason": path.candidate.finish_reason,
                    "sample": path.candidate.sample,
                    "score": path.candidate.score,
                    "statistics": {
                        "under_model": path.under_model.to_dict(),
                        "under_processed": path.under_processed.to_dict(),
                    },
                    "steps": [step.to_dict() for step in path.steps],
                }
                for path in self.paths
            ],
            "cost": dataclasses.asdict(self.generation.cost),
        }


UNDER: dict[str, Callable[[Trace], Statistics]] = {
    "under the model": lambda trace: trace.under_model,
    "under the processed distribution": lambda trace: trace.under_processed,
}
"""The two sets of statistics of a trace, by label."""


class _Node(NamedTuple):
    """A step and how it was come to."""

    step: TokenStep
    sample: int
    before: _Node | None


class StepRecorder:
    """An observer that records every step of one prompt and reconstructs the steps of each candidate afterwards.

    Searches fork and drop rows, and some return to a prefix much later; the recorder keeps the whole tree of
    hypotheses, as numbers, not logits.

    Args:
        processors: those of the strategy, in order.
        vocab: the model's vocabulary.
        logits_at: the steps, from 1, whose logits are wanted.
    """

    def __init__(self, processors: Sequence[Processor], vocab: Vocab, logits_at: Sequence[int] = ()) -> None:
        self.processors = processors
        self.vocab = vocab
        self.logits_at = frozenset(logits_at)
        self.nodes: dict[tuple[int, Tokens], _Node] = {}
        self.ended: list[_Node] = []

    def __call__(self, event: Event) -> None:
        """Take an event from the engine."""
        if not isinstance(event, Step):
            return
        rows = list(zip(event.samples.tolist(), event.prefixes, strict=True))
        for step, parent, over in zip(self._steps(event), event.parents.tolist(), event.ended.tolist(), strict=True):
            sample, prefix = rows[parent]
            node = _Node(step, sample, self.nodes.get(rows[parent]))
            if over:
                self.ended.append(node)
            else:
                self.nodes[sample, (*prefix, step.token)] = node

    def trace(self, strategy: str, generation: Generation) -> Trace:
        """The steps of each candidate of the generation that was listened to."""
        unfinished = {c.tokens for c in generation.candidates}
        live = [node for (_, prefix), node in self.nodes.items() if prefix in unfinished]
        leaves = [(leaf.sample, _path(leaf)) for leaf in [*self.ended, *live]]
        paths = tuple(Path(c, _steps_of(c, leaves)) for c in generation.candidates)
        targets = [p.target_surprise_bits for p in self.processors if isinstance(p, TargetsSurprise)]
        return Trace(strategy, generation, paths, targets[-1] if targets else None)

    def _steps(self, event: Step) -> list[TokenStep]:
        """What happened, for each token that was chosen."""
        parents, tokens = event.parents, event.tokens
        logits, processed = event.logits[parents], event.processed[parents]
        columns: dict[str, list[Any]] = {
            "step": (event.positions[parents] + 1).tolist(),
            "token": tokens.tolist(),
            "token_text": list(map(self.vocab.token_text, tokens.tolist())),
            "rank": rank(logits, tokens).tolist(),
            "surprise_bits": surprise_bits(logits, tokens).tolist(),
            "processed_surprise_bits": surprise_bits(processed, tokens).tolist(),
            "entropy_bits": entropy_bits(event.logits)[parents].tolist(),
            "processed_entropy_bits": entropy_bits(event.processed)[parents].tolist(),
            "kept": kept(event.processed)[parents].tolist(),
            "mass_removed": mass_removed(event.logits, event.processed)[parents].tolist(),
            "stages": self._stages(event),
        }
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        return [
            TokenStep(**row, logits=self._logits(x, y, row["token"]) if row["step"] in self.logits_at else None)
            for row, x, y in zip(rows, logits, processed, strict=True)
        ]

    def _stages(self, event: Step) -> list[tuple[StageStep, ...]]:
        """What the stages did, for each token that was chosen."""
        views: list[tuple[StageView, Processor | None]] = list(zip(event.stages, self.processors, strict=True))
        first = event.stages[0].before if event.stages else event.processed
        if first is not event.logits:
            views.insert(0, (StageView("min_new_tokens of the request", event.logits, first, None), None))
        stages = [self._stage(view, processor, event.parents, event.tokens) for view, processor in views]
        return list(zip(*stages, strict=True)) if stages else [()] * len(event.tokens)

    def _stage(self, view: StageView, processor: Processor | None, parents: Tensor, tokens: Tensor) -> list[StageStep]:
        """What one stage did, for each token that was chosen."""
        readings: dict[str, Tensor] = {}
        if isinstance(processor, Observable):
            readings |= {name: value[parents] for name, value in processor.observe(view.before, view.state).items()}
        if isinstance(processor, ObservesChoice):
            state: Any = view.state
            mine = None if state is None else state[parents]
            readings |= processor.observe_choice(view.before[parents], mine, tokens)
        columns = zip(
            kept(view.after)[parents].tolist(),
            mass_removed(view.before, view.after)[parents].tolist(),
            entropy_bits(view.before)[parents].tolist(),
            entropy_bits(view.after)[parents].tolist(),
            strict=True,
        )
        values = {name: value.double().tolist() for name, value in readings.items()}
        return [
            StageStep(view.name, count, removed, before, after, {name: value[i] for name, value in values.items()})
            for i, (count, removed, before, after) in enumerate(columns)
        ]

    def _logits(self, logits: Tensor, processed: Tensor, token: int) -> Logits:
        """How the logits [vocab] of a row lay."""
        finite, stays = logits.isfinite(), processed > -torch.inf
        low, high = logits[finite].min().item(), logits[finite].max().item()
        if low == high:
            low, high = low - 0.5, high + 0.5
        counts = [torch.histc(logits[finite & which], BINS, low, high).long().tolist() for which in (stays, ~stays)]
        cut_off = None
        if bool((finite & ~stays).any()):
            smallest = logits[stays].min()
            cut_off = smallest.item() if bool((logits[finite & ~stays] <= smallest).all()) else None
        p, processed_p = (torch.softmax(x, dim=-1, dtype=torch.float64) for x in (logits, processed))
        top = logits.argsort(descending=True, stable=True)[:TOP]
        return Logits(
            tuple(low + (high - low) * i / BINS for i in range(BINS + 1)),
            tuple(counts[0]),
            tuple(counts[1]),
            cut_off if cut_off is None or math.isfinite(cut_off) else None,
            logits[token].item(),
            tuple(
                LikelyToken(t, self.vocab.token_text(t), logits[t].item(), p[t].item(), processed_p[t].item())
                for t in top.tolist()
            ),
        )


def _path(leaf: _Node) -> tuple[TokenStep, ...]:
    """The steps that led to a hypothesis, first to last."""
    steps = []
    node: _Node | None = leaf
    while node is not None:
        steps.append(node.step)
        node = node.before
    return tuple(reversed(steps))


def _steps_of(candidate: Candidate, leaves: Sequence[tuple[int, tuple[TokenStep, ...]]]) -> tuple[TokenStep, ...]:
    """The steps of a candidate. Two samples may say the same: its own are taken where it has a row of its own."""
    length = len(candidate.tokens)
    same = [
        (sample, steps[:length])
        for sample, steps in leaves
        if tuple(s.token for s in steps[:length]) == candidate.tokens
    ]
    own = [steps for sample, steps in same if sample == candidate.sample]
    return (own or [steps for _, steps in same] or [()])[0]
