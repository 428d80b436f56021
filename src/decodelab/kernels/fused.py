"""What the compiled kernels offer: chains of cut-offs, the draw and the normaliser, for large vocabularies on a CPU.

A processor says that it can be fused by a method `fused(state)` which gives a `Fused`: a code the compiled chain
knows, and numbers for each row. Its `apply` stays the reference, and what runs on a GPU, for small
vocabularies and where an observer wants to see each stage.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from decodelab.core.errors import NonFiniteLogits
from decodelab.kernels.codes import NOTHING

if TYPE_CHECKING:
    from torch import Tensor

LARGE = 4096
"""Vocabularies smaller than this are left to torch: there is little to gain, and nothing to compile for."""

NUMBERS = 3
"""The most numbers a stage has."""

REMEMBERED = 4
"""Tensors whose normalisers are remembered."""

_kept = threading.local()


@dataclass(frozen=True)
class Fused:
    """A stage as the compiled chain sees it: its code and its numbers, each one for all rows or float64 [rows].

    >>> from decodelab.kernels.codes import TOP_P
    >>> Fused(TOP_P, 0.9).numbers
    (0.9,)
    """

    code: int
    numbers: tuple[float | Tensor, ...]

    def __init__(self, code: int, *numbers: float | Tensor) -> None:
        object.__setattr__(self, "code", code)
        object.__setattr__(self, "numbers", numbers)


def fused_form(processor: Any, state: Any) -> Fused | None:
    """How the compiled chain does a processor's step, or None when only its `apply` can.

    A subclass that changes `apply` and inherits `fused` is not fused: the two need not agree any more.
    """
    cls = type(processor)
    owners = [next((c for c in cls.__mro__ if name in vars(c)), None) for name in ("apply", "fused")]
    return processor.fused(state) if owners[1] is not None and owners[0] is owners[1] else None


def suits(logits: Tensor) -> bool:
    """Whether the compiled kernels take these logits: float32 [rows, LARGE or more] on the CPU."""
    return (
        logits.device.type == "cpu"
        and logits.dtype == torch.float32
        and logits.ndim == 2
        and logits.shape[-1] >= LARGE
        and not logits.requires_grad
    )


def apply_fused(logits: Tensor, stages: Sequence[Fused]) -> Tensor:
    """Put logits through stages, in order, as the processors' `apply` would one after the other.

    Which tokens are removed, and the logits of the others, are those of the reference up to float64 rounding of masses
    and entropies: a token may differ only where the reference's own decision hangs on the last digits. Rows without
    a token stay as they are; a row is not worked on any further once its last token is removed.

    Args:
        logits: float32 [rows, vocab] on the CPU, of any vocabulary.
        stages: what to do; with none the logits are copied.

    Returns:
        New float32 [rows, vocab]; -inf is removed.

    Raises:
        NonFiniteLogits: for NaN or +inf.

    >>> from decodelab.kernels.codes import TEMPERATURE, TOP_K
    >>> apply_fused(torch.tensor([[3.0, 1.0, 2.0, -5.0]]), [Fused(TOP_K, 3), Fused(TEMPERATURE, 0.5)]).tolist()
    [[0.0, -4.0, -2.0, -inf]]
    """
    from decodelab.kernels.compiled import run_chain

    stages = [stage for stage in stages if stage.code != NOTHING]
    rows = len(logits)
    codes = np.array([stage.code for stage in stages], dtype=np.int64)
    numbers = np.zeros((len(stages), rows, NUMBERS))
    for s, stage in enumerate(stages):
        for n, number in enumerate(stage.numbers):
            numbers[s, :, n] = number.numpy() if isinstance(number, torch.Tensor) else number
    out = torch.empty_like(logits, memory_format=torch.contiguous_format)
    normalisers = np.full(rows, np.nan)
    _refuse(run_chain(*_memory(logits), codes, numbers, *_workspace(logits.shape[-1]), out.numpy(), normalisers))
    if rows and not np.isnan(normalisers).any():
        _remember(logits, torch.from_numpy(normalisers))
    return out


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw a token a row by inverting the cumulative distribution over token ids, in float64.

    Args:
        logits: float32 [rows, vocab] on the CPU; tokens of -inf are never drawn.
        uniform: float64 [rows] in (0, 1).

    Returns:
        int64 [rows]: the first token whose cumulative probability exceeds the number.

    Raises:
        NonFiniteLogits: for NaN, +inf or a row of only -inf.

    >>> draw(torch.tensor([[0.5, 0.0, 0.5]]).log(), torch.tensor([0.5], dtype=torch.float64))
    tensor([2])
    """
    from decodelab.kernels.compiled import run_draw

    tokens = torch.empty(len(logits), dtype=torch.int64)
    _refuse(run_draw(*_memory(logits), uniform.contiguous().numpy(), tokens.numpy()))
    return tokens


def log_normaliser(logits: Tensor) -> Tensor:
    """The log of the sum of e^logit over each row, in float64.

    Asked again for the same tensor, it remembers: the engine, the search and a controller each need it in a step.

    Args:
        logits: float32 [rows, vocab] on any device.

    Returns:
        float64 [rows], not to be changed: NaN where a logit is NaN, inf where one is +inf, -inf where all are -inf.

    >>> log_normaliser(torch.tensor([[0.5, 0.25, 0.25]]).log()).round(decimals=6).abs()
    tensor([0.], dtype=torch.float64)
    """
    known = _remembered(logits)
    if known is not None:
        return known
    if suits(logits):
        from decodelab.kernels.compiled import run_normaliser

        out = torch.empty(len(logits), dtype=torch.float64)
        run_normaliser(*_memory(logits), out.numpy())
    else:
        out = logits.double().logsumexp(-1)
    _remember(logits, out)
    return out


def top_ids(logits: Tensor, k: int) -> Tensor:
    """The ids of the k largest logits of each row, ascending; of equal ones those of lowest id.

    Args:
        logits: float32 [rows, vocab] on the CPU without NaN.
        k: from 1 to vocab.

    Returns:
        int64 [rows, k].

    >>> top_ids(torch.tensor([[1.0, 2.0, 1.0, 2.0]]), 3)
    tensor([[0, 1, 3]])
    """
    from decodelab.kernels.compiled import run_top

    out = torch.empty(len(logits), k, dtype=torch.int64)
    run_top(*_memory(logits), out.numpy())
    return out


def _remember(logits: Tensor, normalisers: Tensor) -> None:
    """Keep the normalisers of a tensor for as long as it lives unchanged, or until a few others have come."""
    if logits.is_inference() or logits.requires_grad:
        return  # nothing tells whether it changes, or it is a graph that is wanted
    last = [entry for entry in getattr(_kept, "normalisers", ()) if entry[0]() is not None]
    _kept.normalisers = [*last[1 - REMEMBERED :], (weakref.ref(logits), logits._version, normalisers)]


def _remembered(logits: Tensor) -> Tensor | None:
    """The normalisers of this very tensor, if it has not been changed since."""
    for known, version, normalisers in getattr(_kept, "normalisers", ()):
        if known() is logits and logits._version == version:
            return normalisers
    return None


def _memory(logits: Tensor) -> tuple[Any, Any]:
    """Float32 logits as an array, and the same memory as int32."""
    values = logits.contiguous().numpy()
    return values, values.view(np.int32)


def _workspace(size: int) -> tuple[Any, Any]:
    """Memory for the chain to work in, kept for the thread's next call: fresh pages cost more than the work itself."""
    if len(getattr(_kept, "ids", ())) != size + 1:
        _kept.values, _kept.ids = np.empty(size + 1, np.float32), np.empty(size + 1, np.int32)
    return _kept.values, _kept.ids


def _refuse(row: int) -> None:
    """Refuse the row that a kernel could not work on."""
    if row >= 0:
        raise NonFiniteLogits(f"row {row} of the logits holds NaN or +inf, or nothing but -inf; pass finite scores")
