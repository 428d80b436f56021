"""The k largest with ties settled by lowest index, which `torch.topk` leaves open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decodelab.kernels import fused

if TYPE_CHECKING:
    from torch import Tensor


def top_ids(values: Tensor, k: int) -> Tensor:
    """Indices of the k largest values of each row, in ascending order of index.

    Args:
        values: [rows, n] without NaN; k is at most n.

    Returns:
        int64 [rows, k]; where values tie for the last place those of lowest index are taken.

    >>> import torch
    >>> top_ids(torch.tensor([[1.0, 2.0, 1.0, 2.0]]), 3)
    tensor([[0, 1, 3]])
    """
    if fused.suits(values):
        return fused.top_ids(values, k)
    found = values.topk(k, dim=-1)
    cutoff = found.values[:, -1:]
    if bool(((values >= cutoff).sum(-1) == k).all()):
        return found.indices.sort(dim=-1).values
    above = values > cutoff
    tied = values == cutoff
    wanted = k - above.sum(-1, keepdim=True)
    taken = above | (tied & (tied.cumsum(-1) <= wanted))
    return taken.nonzero()[:, 1].view(len(values), k)
