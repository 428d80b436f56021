"""An end at a given length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from decodelab.core.protocols import Vocab
from decodelab.core.stage import check_choice, check_number
from decodelab.core.values import Tokens
from decodelab.processors._positions import PositionProcessor, Positions, forced
from decodelab.processors._words import as_ids

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ForcedEOS(PositionProcessor):
    """Force an end-of-sequence token at a given position.

    transformers forces it at `max_length`, which counts the prompt: `prompt=true`. Several end tokens get equal
    probability, as there. A token that an earlier stage has removed is not restored.

    Raises:
        InvalidParameter: if `at` is not an integer of at least 1, or a token is no id of at least 0.
        VocabularyMismatch: if an id is outside the model's vocabulary.

    >>> import torch
    >>> from decodelab import TableModel
    >>> stage = ForcedEOS(1)
    >>> begin = stage.init([(0,)], TableModel(list("ab"), {}).vocab, None)
    >>> stage.apply(torch.tensor([[3.0, -2.0, -2.0]]), begin).tolist()
    [[-inf, -inf, 0.0]]
    """

    at: Annotated[int, "position of the end among the new tokens, from 1"]
    tokens: Annotated[Sequence[int] | int | None, "end tokens to choose from; none means the model's"] = None
    prompt: Annotated[bool, "whether to count the prompt's tokens, too"] = False

    name: ClassVar[str] = "forced_eos"
    source: ClassVar[str] = "transformers, ForcedEOSTokenLogitsProcessor"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "at", low=1, integer=True, fix="use the largest number of new tokens")
        check_choice(self, "prompt", (True, False), fix="true counts the prompt's tokens too")
        if self.tokens is not None:
            object.__setattr__(self, "tokens", as_ids(self, "tokens"))

    def acts_on(self, vocab: Vocab) -> Tokens:
        """The tokens given, or the vocabulary's own."""
        return vocab.eos_ids if self.tokens is None else as_ids(self, "tokens")

    def counts_prompt(self) -> bool:
        """As the parameter says."""
        return self.prompt

    def apply(self, logits: Tensor, state: Positions) -> Tensor:
        """Leave the end tokens of float32 logits [rows, vocab]; a model that has none goes on."""
        return forced(logits, state.count == self.at - 1, state.ids) if len(state.ids) else logits
