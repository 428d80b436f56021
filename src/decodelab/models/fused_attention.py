"""Attention through torch's fused kernels, called as transformers calls them."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

_WIDEST = 256
"""The largest size of a head that the kernels group."""


def fused_attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """What queries [rows, heads, count, size] read from keys and values [rows, key heads, positions, size].

    The same calls as `sdpa_attention_forward` of transformers 5.23 makes, so that the result is equal to the last bit:
    which heads the kernel groups, and what it is told about causality, decide how it rounds.

    Args:
        queries: as they were rotated, not scaled.
        keys: of all positions.
        values: the same for the values.
        mask: which positions each query sees, bool [rows or 1, 1, count, positions]; None: one query sees all, several
            begin at the first position and see what is before them.
        scale: factor of the scores.

    Returns:
        [rows, count, heads, size], contiguous.
    """
    rows, heads, count, _ = queries.shape
    share = heads // keys.shape[1]
    grouped = share > 1 and _groups(mask is not None, keys.shape[-1] == values.shape[-1] <= _WIDEST)
    if share > 1 and not grouped:
        if count == 1:
            # The queries of a key head take the place of positions; the mask is the same for all heads.
            queries = queries.reshape(rows, keys.shape[1], share, -1)
        else:
            keys, values = _repeated(keys, share), _repeated(values, share)
    causal = count > 1 and mask is None
    out = scaled_dot_product_attention(
        queries, keys, values, attn_mask=mask, scale=scale, is_causal=causal, enable_gqa=grouped
    )
    return out.reshape(rows, -1, count, values.shape[-1]).transpose(1, 2).contiguous()


def _repeated(states: Tensor, share: int) -> Tensor:
    """Keys or values, once for every query head."""
    rows, heads, positions, size = states.shape
    return states[:, :, None].expand(rows, heads, share, positions, size).reshape(rows, -1, positions, size)


def _groups(masked: bool, narrow: bool) -> bool:
    """Whether the kernel groups the query heads of a key head by itself."""
    always = _always_groups()
    return narrow and not masked if always is None else always


@cache
def _always_groups() -> bool | None:
    """Whether it does so with and without a mask, which transformers makes depend on Apple's GPU being there."""
    return torch.__version__ >= "2.13" if torch.backends.mps.is_available() else None
