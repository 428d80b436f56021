"""States of processors as values: the rows of several put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from decodelab.core.protocols import Joinable


def can_join(state: Any) -> bool:
    """Whether `join_states` takes it: there is none, it is a tensor, or it has a `join`."""
    return state is None or isinstance(state, torch.Tensor | Joinable)


def join_states(states: Sequence[Any]) -> Any:
    """The rows of all states of one processor, in order; they may have seen different numbers of tokens.

    >>> join_states([torch.tensor([1, 2]), torch.tensor([3])])
    tensor([1, 2, 3])
    """
    whole = states[0]
    if isinstance(whole, torch.Tensor):
        return torch.cat(list(states))
    if whole is not None:
        for state in states[1:]:
            whole = whole.join(state)
    return whole
