"""Processors: logits to logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from decodelab.core.key import Keys
from decodelab.core.protocols.models import Vocab
from decodelab.core.values import Tokens

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class Processor(Protocol):
    """Logits to logits; never draws a token.

    State is None or a value indexed by row: `state[rows]` must give the state of these rows. A state that is neither
    None nor a tensor should be `Joinable`: speculative decoding refuses a processor whose state is not.
    """

    def init(self, prompts: Sequence[Tokens], vocab: Vocab, keys: Keys) -> Any:
        """State of rows that begin with these prompts; `keys` are their randomness, for streams of `PROCESSOR` on."""
        ...

    def apply(self, logits: Tensor, state: Any) -> Tensor:
        """New logits, float32 [rows, vocab]; removed tokens are -inf. Must not change its input."""
        ...

    def update(self, state: Any, logits: Tensor, tokens: Tensor) -> Any:
        """State after int64 tokens [rows] were chosen; `logits` are those given to `apply`."""
        ...


@runtime_checkable
class Joinable(Protocol):
    """A state of a processor that takes up rows which have seen more or fewer tokens."""

    def join(self, other: Any) -> Any:
        """The rows of this state followed by those of another state of the same processor."""
        ...


@runtime_checkable
class Randomised(Protocol):
    """A processor that tosses coins: what `apply` may give, so that the distribution of samples can be computed."""

    def outcomes(self, logits: Tensor, state: Any) -> Sequence[tuple[float, Tensor]]:
        """Every result `apply` could have, with its probability, in the order of the coin's uniform number.

        The coin is the row's number of stream `PROCESSOR` at its position, which all stages of a chain share.
        """
        ...


@runtime_checkable
class Observable(Protocol):
    """A processor with readings besides its logits: a controller's state, a coin."""

    def observe(self, logits: Tensor, state: Any) -> Mapping[str, Tensor]:
        """Named readings of each row, [rows] each, from what `apply` is given; NaN where there is none."""
        ...


@runtime_checkable
class ObservesChoice(Protocol):
    """A processor with readings about the chosen token, such as its deviation from a target."""

    def observe_choice(self, logits: Tensor, state: Any, tokens: Tensor) -> Mapping[str, Tensor]:
        """Named readings of each row after int64 tokens [rows] were chosen, [rows] each; NaN where there is none."""
        ...


@runtime_checkable
class TargetsSurprise(ObservesChoice, Protocol):
    """A processor that steers the average surprise of the chosen tokens towards a target.

    Its reading `surprise_error` is by how much a token surprised more than the target.
    """

    @property
    def target_surprise_bits(self) -> float:
        """The target, in bits per token."""
        ...
