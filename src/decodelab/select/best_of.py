"""Best-of-n."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from decodelab.core.capabilities import Need
from decodelab.core.stage import Kind, Stage, check_choice
from decodelab.core.values import Candidate


@dataclass(frozen=True)
class BestOf(Stage):
    """Rank the candidates by the model's own log-probability, per token or as a sum.

    Raises:
        InvalidParameter: if `by` is neither.

    >>> str(BestOf(by="logprob"))
    'best_of(by=logprob)'
    """

    by: Annotated[Literal["mean_logprob", "logprob"], "mean_logprob (per token) or logprob (the sum)"] = "mean_logprob"

    name: ClassVar[str] = "best_of"
    kind: ClassVar[Kind] = "selection"
    needs: ClassVar[Need] = "text"
    uses_randomness: ClassVar[bool] = False
    source: ClassVar[str] = "Adiwardana et al. 2020 (Meena), section 2.5: sample and rank"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_choice(self, "by", ("mean_logprob", "logprob"), fix="mean_logprob does not favour short texts")

    def rank(self, candidates: Sequence[Candidate]) -> list[tuple[Candidate, float]]:
        """The candidates with their log-probability, highest first; ties by sample index."""
        scored = [
            (c, c.logprob / max(len(c.tokens), 1) if self.by == "mean_logprob" else c.logprob) for c in candidates
        ]
        return sorted(scored, key=lambda pair: (-pair[1] if not math.isnan(pair[1]) else math.inf, pair[0].sample))
