"""The curves of a trace, shared by the image and the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from decodelab.analysis.trace import Path, Trace

_LABELS = {"k": "k", "s_hat": "ŝ", "mu": "μ (bits)", "surprise_error": "surprise error (bits)"}


@dataclass(frozen=True)
class Curve:
    """One quantity over the steps of a candidate; `log` if it spans orders of magnitude, such as a count."""

    label: str
    values: tuple[float, ...]
    log: bool = False


def curves(path: Path) -> list[Curve]:
    """The curves of a candidate.

    Where its stages show four readings or more of themselves, as mirostat does, these; otherwise the entropy, the
    tokens kept, the surprise and the mass removed, and what readings there are.
    """
    readings = _readings(path)
    if len(readings) >= 4:
        return readings
    steps = path.steps
    return [
        Curve("entropy of the model (bits)", tuple(s.entropy_bits for s in steps)),
        Curve("tokens kept", tuple(float(s.kept) for s in steps), log=True),
        Curve("surprise (bits)", tuple(s.surprise_bits for s in steps)),
        Curve("mass removed", tuple(s.mass_removed for s in steps)),
        *readings,
    ]


def _readings(path: Path) -> list[Curve]:
    """The curves of the stages' own readings, stage by stage."""
    if not path.steps:
        return []
    # Counted from the end: a limit such as min_new_tokens stands before the first stage, and only in the first steps.
    last = path.steps[-1].stages
    showing = [i - len(last) for i, stage in enumerate(last) if stage.readings]
    return [
        Curve(
            _LABELS.get(name, name) + (f" of {last[i].name}" if len(showing) > 1 else ""),
            tuple(step.stages[i].readings.get(name, math.nan) for step in path.steps),
            log=name == "k",
        )
        for i in showing
        for name in last[i].readings
    ]


def logit_steps(traces: Sequence[Trace]) -> list[int]:
    """The steps with recorded logits of the best candidates, in order."""
    return sorted({s.step for trace in traces for s in trace.paths[0].steps if s.logits is not None})
