"""The state of searches whose rows never fork: every row is one hypothesis from start to end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from decodelab.core.protocols import Advance, Ranked, Rows
from decodelab.kernels.fused import log_normaliser

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class IndependentRows:
    """Live rows and the hypotheses that ended.

    Attributes:
        samples: int64 [rows], the sample index of each live row.
        scores: float64 [rows], log-probability so far under the processed distribution, in nats.
        ended: one (jobs, samples, scores) triple for each step in which hypotheses ended.
    """

    samples: Tensor
    scores: Tensor
    ended: tuple[tuple[Tensor, Tensor, Tensor], ...] = ()

    @staticmethod
    def start(samples: Tensor) -> IndependentRows:
        """Rows with nothing generated yet."""
        return IndependentRows(samples, torch.zeros(len(samples), dtype=torch.float64, device=samples.device))

    def advance(
        self, logits: Tensor, tokens: Tensor, rows: Rows, dead: Tensor | None = None
    ) -> tuple[Advance, IndependentRows]:
        """Append one token [rows] to each row; the rows that end with it leave, and so do those that are `dead`."""
        chosen = logits.gather(-1, tokens[:, None])[:, 0].double() - log_normaliser(logits)
        scores = self.scores + chosen
        everyone = torch.arange(len(tokens), device=tokens.device)
        reasons = rows.ends(everyone, tokens)
        if dead is not None:
            everyone, reasons = everyone[~dead], reasons[~dead]
        elif not reasons.any():
            none = everyone[:0]
            return Advance(everyone, tokens, none, none, none), replace(self, scores=scores)
        live, over = everyone[reasons == 0], everyone[reasons != 0]
        ended = (rows.jobs[over], self.samples[over], scores[over])
        state = IndependentRows(self.samples[live], scores[live], (*self.ended, ended))
        return Advance(live, tokens[live], over, tokens[over], reasons[reasons != 0]), state

    def finished(self, job: int) -> list[Ranked]:
        """The ended hypotheses of a job by sample index."""
        found: list[Ranked] = []
        first = 0
        for jobs, samples, scores in self.ended:
            for i in (jobs == job).nonzero()[:, 0].tolist():
                found.append(Ranked(first + i, float(scores[i]), int(samples[i])))
            first += len(jobs)
        return sorted(found, key=lambda r: r.sample)
