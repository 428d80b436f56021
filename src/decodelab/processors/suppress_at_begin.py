"""Tokens that must not come first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from decodelab.core.protocols import Vocab
from decodelab.core.values import Tokens
from decodelab.processors._positions import PositionProcessor, Positions, removed
from decodelab.processors._words import as_ids

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SuppressAtBegin(PositionProcessor):
    """Remove tokens from the first new position only.

    transformers' `begin_suppress_tokens` (Whisper uses it so that a transcript does not begin with its end).

    Raises:
        InvalidParameter: if there is no token, or one is no id of at least 0.
        VocabularyMismatch: if an id is outside the model's vocabulary.

    >>> import torch
    >>> stage = SuppressAtBegin(1)
    >>> from decodelab import TableModel
    >>> begin = stage.init([(0,)], TableModel(list("ab"), {}, eos=None).vocab, None)
    >>> stage.apply(torch.zeros(1, 2), begin).tolist()
    [[0.0, -inf]]
    """

    tokens: Annotated[Sequence[int] | int, "token ids; a single one needs no list"]

    name: ClassVar[str] = "suppress_at_begin"
    source: ClassVar[str] = "Radford et al. 2022 (Whisper), section 4.5; transformers"

    def __post_init__(self) -> None:
        """Check the parameters."""
        object.__setattr__(self, "tokens", as_ids(self, "tokens"))

    def acts_on(self, vocab: Vocab) -> Tokens:
        """The tokens given."""
        return as_ids(self, "tokens")

    def apply(self, logits: Tensor, state: Positions) -> Tensor:
        """Remove tokens from float32 logits [rows, vocab]."""
        return removed(logits, state.count == 0, state.ids)
