"""The draws that a search over texts wants, as a search of the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from decodelab.core.protocols import Advance, Rows
from decodelab.kernels.fused import log_normaliser
from decodelab.search._independent import IndependentRows
from decodelab.search.sample import Sample, inverse_cdf

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Draws(Sample):
    """As `sample`, but a continuation to which a constraint leaves no token is dropped, and the others go on."""

    drops_dead_ends: ClassVar[bool] = True
    if_empty: ClassVar[str] = "loosen the constraint"

    def step(self, logits: Tensor, state: IndependentRows, rows: Rows) -> tuple[Advance, IndependentRows]:
        """Append a drawn token to every row that has one left."""
        dead = ~log_normaliser(logits).isfinite()
        if not bool(dead.any()):
            return state.advance(logits, inverse_cdf(logits, rows.keys.uniform(rows.positions)), rows)
        given = logits.masked_fill(dead[:, None], 0.0)
        return state.advance(given, inverse_cdf(given, rows.keys.uniform(rows.positions)), rows, dead)
