"""The best hypotheses that each job of a beam search has finished."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from decodelab.core.protocols import Ranked

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Pool:
    """The best finished hypotheses of every job, best first.

    Attributes:
        scores: float64 [jobs, width], what they are ranked by, -inf where empty.
        hypotheses: int64 [jobs, width], their numbers, -1 where empty.
        texts: int64 [jobs, width], a number for each text, where equal texts share a place; else all zero.
    """

    scores: Tensor
    hypotheses: Tensor
    texts: Tensor

    @staticmethod
    def empty(jobs: int, width: int, device: torch.device) -> Pool:
        """Nothing finished yet."""
        scores = torch.full((jobs, width), -torch.inf, dtype=torch.float64, device=device)
        numbers = torch.zeros_like(scores, dtype=torch.int64)
        return Pool(scores, numbers - 1, numbers)

    def enter(self, jobs: Tensor, scores: Tensor, over: Tensor, first: int, texts: Tensor | None) -> Pool:
        """Add hypotheses of some jobs that just ended.

        Args:
            jobs: int64 [n], the jobs.
            scores: float64 [n, candidates], what their candidates are ranked by.
            over: bool [n, candidates], which of them ended; their numbers count up from `first`, in order.
            texts: int64 [n, candidates], a number for each text: of equal ones the best is kept; None: all are.
        """
        if not bool(over.any()):
            return self
        numbers = torch.full_like(over, -1, dtype=torch.int64)
        numbers[over] = first + torch.arange(int(over.sum()), device=over.device)
        merged = torch.cat([self.scores[jobs], scores.masked_fill(~over, -torch.inf)], dim=1)
        hypotheses = torch.cat([self.hypotheses[jobs], numbers], dim=1)
        best, order = merged.sort(dim=1, descending=True, stable=True)
        held = torch.cat([self.texts[jobs], torch.zeros_like(numbers) if texts is None else texts], dim=1)
        if texts is not None:
            again = repeats(held.gather(1, order), best.isfinite())
            best, resorted = best.masked_fill(again, -torch.inf).sort(dim=1, descending=True, stable=True)
            order = order.gather(1, resorted)
        width = self.scores.shape[1]
        best, order = best[:, :width], order[:, :width]
        numbers = hypotheses.gather(1, order).masked_fill(best.isneginf(), -1)
        at = (jobs,)
        return replace(
            self,
            scores=self.scores.index_put(at, best),
            hypotheses=self.hypotheses.index_put(at, numbers),
            texts=self.texts.index_put(at, held.gather(1, order)),
        )

    def worst(self, jobs: Tensor) -> Tensor:
        """The score of the last place of these jobs: float64 [n], -inf while a place is empty."""
        return self.scores[jobs, -1]

    def ranked(self, job: int) -> list[Ranked]:
        """The finished hypotheses of a job, best first."""
        pairs = zip(self.scores[job].tolist(), self.hypotheses[job].tolist(), strict=True)
        return [Ranked(number, score, i) for i, (score, number) in enumerate(pairs) if number >= 0]


def repeats(texts: Tensor, valid: Tensor) -> Tensor:
    """Which places repeat the text of a valid place before them in their row: bool [rows, places].

    >>> repeats(torch.tensor([[7, 8, 7, 7]]), torch.tensor([[True, True, True, False]]))
    tensor([[False, False,  True, False]])
    """
    same = (texts[:, :, None] == texts[:, None, :]) & valid[:, None, :]
    return same.tril(-1).any(-1) & valid
