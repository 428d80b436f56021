"""The states of processors after tokens that are already there, without generating anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, cast

import torch
from torch import Tensor

from decodelab.core.errors import StrategyError
from decodelab.core.key import Keys
from decodelab.core.protocols import Processor, Vocab
from decodelab.core.values import Tokens


class NeedsLogits(Exception):
    """A processor looks at the logits of past steps, which are not known."""

    def __init__(self, processor: Processor) -> None:
        super().__init__(str(processor))


def begin(
    processors: Sequence[Processor],
    prompts: Sequence[Tokens],
    vocab: Vocab | None,
    size: int,
    keys: Keys,
    needs_vocab: Callable[[Processor], StrategyError],
) -> list[Any]:
    """The states of processors before the first token.

    Args:
        processors: in order.
        prompts: one for each row.
        vocab: the vocabulary; where it is None only its `size` is known.
        size: how many ids the logits range over.
        keys: randomness of each row.
        needs_vocab: the error of a processor that asks for more of the vocabulary than its size.
    """
    return [
        p.init(prompts, vocab if vocab is not None else cast(Vocab, _SizeOnly(size, needs_vocab(p))), keys)
        for p in processors
    ]


def follow(
    processors: Sequence[Processor], states: list[Any], tokens: Tensor, size: int, logits: Tensor | None = None
) -> list[Any]:
    """The states of processors after further tokens.

    Args:
        processors: in order.
        states: of the rows before these tokens.
        tokens: int64 [steps, rows].
        size: how many ids the logits range over.
        logits: the model's at each step, the same for all rows, float32 [steps, vocab]; None if unknown.

    Raises:
        NeedsLogits: where they are not known and a processor looks at them.
    """
    rows = tokens.shape[1]
    unseen = torch.empty(1, size).expand(rows, size).as_subclass(_Unseen)
    for step, chosen in enumerate(tokens):
        given = unseen if logits is None else logits[step].expand(rows, size)
        new: list[Any] = []
        for processor, state in zip(processors, states, strict=True):
            try:
                new.append(processor.update(state, given, chosen))
            except _Looked:
                raise NeedsLogits(processor) from None
            given = unseen if logits is None else processor.apply(given, state)
        states = new
    return states


class _Looked(Exception):
    """A processor looked at logits that are not known."""


class _Unseen(Tensor):
    """Logits that are not known: their shape may be asked for, their values not."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer what every tensor of the shape would answer, and nothing else."""
        if func in _SHAPE:
            return super().__torch_function__(func, types, args, kwargs or {})
        raise _Looked


_SHAPE = (
    Tensor.size,
    Tensor.dim,
    Tensor.__len__,
    *(prop.__get__ for prop in (Tensor.shape, Tensor.device, Tensor.dtype)),  # pyright: ignore[reportAttributeAccessIssue]
)


class _SizeOnly:
    """A vocabulary of which only the size is known."""

    def __init__(self, size: int, error: StrategyError) -> None:
        self.size = size
        self._error = error

    def __getattr__(self, name: str) -> NoReturn:
        raise self._error
