"""What traced runs came to: a row of numbers for each prompt on each model under each strategy."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from decodelab.metrics.repetition import seq_rep_n

if TYPE_CHECKING:
    from decodelab.analysis.trace import Trace

REPETITION_N = 4
"""Tokens of the n-grams of `Result.repetition`."""


@dataclass(frozen=True)
class Result:
    """What one run came to; several candidates are pooled.

    Attributes:
        model: its name.
        prompt_index: the place of the prompt in the request, from 0.
        prompt: as text.
        strategy: as written in the request.
        prompt_tokens: tokens of the prompt.
        tokens: tokens generated.
        cross_entropy_bits: mean surprise of the generated tokens under the model, in bits.
        perplexity: 2 to the cross-entropy, of the generated tokens under the model.
        target_bits: the surprise that a stage aims at; None where none does.
        surprise_bits: mean surprise as that stage measures it, under its own input; None without a target.
        surprise_error_bits: `surprise_bits` - `target_bits`.
        repetition: share of 4-grams of tokens that occurred before in the same text (`seq_rep_n`); NaN below 4 tokens.
        seconds: wall-clock time of the generation, tracing included.
    """

    model: str
    prompt_index: int
    prompt: str
    strategy: str
    prompt_tokens: int
    tokens: int
    cross_entropy_bits: float
    perplexity: float
    target_bits: float | None
    surprise_bits: float | None
    surprise_error_bits: float | None
    repetition: float
    seconds: float

    @staticmethod
    def of(trace: Trace) -> Result:
        """The numbers of a trace."""
        found, under_model = trace.generation, trace.under_model
        error = None if trace.target_bits is None else _mean_error(trace)
        return Result(
            found.model,
            found.index,
            found.prompt,
            trace.strategy,
            len(found.prompt_tokens),
            under_model.tokens,
            under_model.mean_surprise_bits,
            under_model.sequence_perplexity,
            trace.target_bits,
            None if error is None or trace.target_bits is None else trace.target_bits + error,
            error,
            seq_rep_n([candidate.tokens for candidate in found.candidates], REPETITION_N),
            found.cost.seconds,
        )

    def to_dict(self) -> dict[str, Any]:
        """The numbers as JSON-ready data."""
        return dataclasses.asdict(self)


def by_prompt(traces: Sequence[Trace]) -> list[list[Trace]]:
    """The traces of each prompt on each model, in the order given; those of one prompt and model must be adjacent."""

    def of(trace: Trace) -> tuple[str, str, int]:
        return trace.generation.model, trace.generation.model_digest, trace.generation.index

    return [list(group) for _, group in itertools.groupby(traces, of)]


def _mean_error(trace: Trace) -> float:
    """The mean deviation from the target of the last stage that reads it; NaN without tokens."""
    errors = []
    for step in (step for path in trace.paths for step in path.steps):
        read = [stage.readings["surprise_error"] for stage in step.stages if "surprise_error" in stage.readings]
        errors += read[-1:]
    return sum(errors) / len(errors) if errors else math.nan
