"""Rows of several jobs side by side: each row's place within its job, and the best of each job's candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def places(jobs: Tensor) -> Tensor:
    """The place of each row among the rows of its job: int64 [rows], for non-decreasing int64 jobs [rows].

    >>> places(torch.tensor([0, 0, 3, 3, 3]))
    tensor([0, 1, 0, 1, 2])
    """
    counts = jobs.unique_consecutive(return_counts=True)[1]
    return torch.arange(len(jobs), device=jobs.device) - (counts.cumsum(0) - counts).repeat_interleave(counts)


def best_of_jobs(keys: Tensor, counts: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best candidates of each job, best first; ties by row, then by column.

    Args:
        keys: float64 [rows, columns], the ranking keys of each row's candidates; -inf means no candidate.
        counts: int64 [jobs], how many consecutive rows each job has.
        k: places per job; fewer are returned when no job has that many.

    Returns:
        Their keys, [jobs, k], -inf where a job has no more, and their indices into `keys.flatten()`.

    >>> best, at = best_of_jobs(torch.tensor([[3.0, 1.0], [2.0, 4.0], [0.0, 0.5]]), torch.tensor([2, 1]), 3)
    >>> best.tolist(), at.tolist()
    ([[4.0, 3.0, 2.0], [0.5, 0.0, -inf]], [[3, 0, 2], [5, 4, 0]])
    """
    jobs, widest, columns = len(counts), int(counts.max()), keys.shape[1]
    if len(keys) == jobs * widest:
        best, order = keys.reshape(jobs, -1).sort(dim=1, descending=True, stable=True)
        first = torch.arange(jobs, device=keys.device)[:, None] * (widest * columns)
        return best[:, :k], order[:, :k] + first
    # Jobs with fewer rows are padded with -inf.
    slot = torch.arange(widest, device=keys.device) < counts[:, None]
    padded = keys.new_full((jobs, widest, columns), -torch.inf)
    padded[slot] = keys
    first = torch.zeros_like(slot, dtype=torch.int64)
    first[slot] = torch.arange(len(keys), device=keys.device) * columns
    best, order = padded.view(jobs, -1).sort(dim=1, descending=True, stable=True)
    best, order = best[:, :k], order[:, :k]
    return best, (first.gather(1, order // columns) + order % columns).masked_fill(best.isneginf(), 0)
