"""`Proposer`: proposes tokens that the model then checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from decodelab.core.values import Tokens
from decodelab.engine.runners.speculative_batch import SpeculativeBatch

if TYPE_CHECKING:
    from torch import Tensor


class Proposer(Protocol):
    """Proposes tokens for the rows of batches, in their order: `begin` appends rows, `keep` drops and reorders them."""

    @property
    def name(self) -> str:
        """What errors call it."""
        ...

    @property
    def context_length(self) -> int | None:
        """The longest sequence it can hold, or None when unbounded."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""
        ...

    def cache_bytes(self, prompt: int, rows: int, new: int) -> int:
        """Bytes it may come to hold for `rows` continuations of `new` tokens of a prompt of `prompt` tokens."""
        ...

    def begin(self, prompts: Sequence[Tokens], rows: Sequence[int]) -> list[int]:
        """Append rows, each with the prompt of that index; return how many tokens were computed for each prompt."""
        ...

    def propose(self, batches: Sequence[SpeculativeBatch], most: int) -> Tensor:
        """At most `most` tokens for each row of the batches, int64 [rows, k], `PAD` after the last of a row."""
        ...

    def keep(self, rows: Sequence[int], taken: Sequence[Tokens]) -> None:
        """Keep these rows, each longer by the tokens it took."""
        ...

    def clear(self) -> None:
        """Forget all rows."""
        ...
