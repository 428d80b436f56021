"""A forced first token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from decodelab.core.protocols import Vocab
from decodelab.core.stage import check_number
from decodelab.core.values import Tokens
from decodelab.processors._positions import PositionProcessor, Positions, forced

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ForcedBOS(PositionProcessor):
    """Force the first new token.

    transformers forces it when the whole sequence, including the prompt, has one token (for encoder-decoders), which is
    `length=1`; by default it is forced after a prompt of any length. A token that an earlier stage has removed is not
    restored, as it would be in transformers: then no token is left, which is an error.

    Raises:
        InvalidParameter: if the token is no id of at least 0, or the length is not at least 1.
        VocabularyMismatch: if the id is outside the model's vocabulary.

    >>> import torch
    >>> from decodelab import TableModel
    >>> stage = ForcedBOS(1)
    >>> begin = stage.init([(0,)], TableModel(list("ab"), {}, eos=None).vocab, None)
    >>> stage.apply(torch.tensor([[3.0, -2.0]]), begin).tolist()
    [[-inf, 0.0]]
    """

    token: Annotated[int, "the token id"]
    length: Annotated[int | None, "force it when the text has this many tokens; none: at the first new token"] = None

    name: ClassVar[str] = "forced_bos"
    source: ClassVar[str] = "Tang et al. 2020 (mBART-50), section 3; transformers"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "token", low=0, integer=True, fix="give the id of the token")
        if self.length is not None:
            check_number(self, "length", low=1, integer=True, fix="use none for the first new token")

    def acts_on(self, vocab: Vocab) -> Tokens:
        """The token given."""
        return (self.token,)

    def counts_prompt(self) -> bool:
        """Where a length is given."""
        return self.length is not None

    def apply(self, logits: Tensor, state: Positions) -> Tensor:
        """Leave one token of float32 logits [rows, vocab]."""
        return forced(logits, state.count == (self.length or 0), state.ids)
