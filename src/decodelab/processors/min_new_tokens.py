"""A minimum length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from decodelab.core.protocols import Vocab
from decodelab.core.stage import check_choice, check_number
from decodelab.core.values import Tokens
from decodelab.processors._positions import PositionProcessor, Positions, removed

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MinNewTokens(PositionProcessor):
    """Remove the model's end-of-sequence tokens until there are enough new tokens.

    transformers' `min_new_tokens`; its `min_length` counts the prompt as well: `prompt=true`. It acts at its place
    among the stages; the option `min_new_tokens` of `generate` acts before all stages, and also suppresses stop strings
    and tokens.

    Raises:
        InvalidParameter: if n is not an integer of at least 0.

    >>> import torch
    >>> from decodelab import TableModel
    >>> stage = MinNewTokens(1)
    >>> begin = stage.init([(0,)], TableModel(list("ab"), {}).vocab, None)
    >>> stage.apply(torch.zeros(1, 3), begin).tolist()
    [[0.0, 0.0, -inf]]
    """

    n: Annotated[int, "smallest number of tokens, not counting the end"]
    prompt: Annotated[bool, "whether to count the prompt's tokens, too"] = False

    name: ClassVar[str] = "min_new_tokens"
    source: ClassVar[str] = "transformers, MinNewTokensLengthLogitsProcessor"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "n", low=0, integer=True, fix="leave min_new_tokens out for no minimum")
        check_choice(self, "prompt", (True, False), fix="true counts the prompt's tokens too")

    def no_effect(self) -> str | None:
        """Every text has at least no tokens."""
        return "a minimum of 0 is always met" if self.n == 0 else None

    def acts_on(self, vocab: Vocab) -> Tokens:
        """The end tokens."""
        return vocab.eos_ids

    def counts_prompt(self) -> bool:
        """As the parameter says."""
        return self.prompt

    def apply(self, logits: Tensor, state: Positions) -> Tensor:
        """Remove the end tokens of float32 logits [rows, vocab] where it is too early."""
        return removed(logits, state.count < self.n, state.ids)
