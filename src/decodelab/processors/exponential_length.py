"""An end that becomes more likely with length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.float32 import FLOAT32_MAX
from decodelab.core.protocols import Vocab
from decodelab.core.stage import check_number
from decodelab.core.values import Tokens
from decodelab.processors._positions import PositionProcessor, Positions

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ExponentialLength(PositionProcessor):
    """Raise the logits of end-of-sequence tokens exponentially from a given length on.

    With k new tokens more than `start`, a logit z becomes z + |z| (factor^k - 1), which transformers calls the
    exponential decay length penalty; a logit of exactly 0 never moves. Logits stay within float32, where
    transformers' become infinite.

    Raises:
        InvalidParameter: if start is negative, or the factor not greater than 0.

    >>> from decodelab import TableModel
    >>> stage = ExponentialLength(0, factor=2.0)
    >>> begin = stage.init([(0,)], TableModel(list("ab"), {}).vocab, None)
    >>> stage.apply(torch.tensor([[1.0, 1.0, -3.0]]), stage.update(begin, None, None)).tolist()
    [[1.0, 1.0, 0.0]]
    """

    start: Annotated[int, "number of new tokens before it starts, at least 0"]
    factor: Annotated[float, "growth per token, greater than 0; above 1 favours an end, below 1 delays it"] = 1.01

    name: ClassVar[str] = "exponential_length"
    reads_raw_logits: ClassVar[bool] = True
    source: ClassVar[str] = "transformers, ExponentialDecayLengthPenalty"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "start", low=0, integer=True, fix="use 0 to start at the second new token")
        check_number(self, "factor", low=0.0, low_open=True, fix="use 1.01 for a gradual increase")

    def no_effect(self) -> str | None:
        """A factor of 1 does not grow."""
        return "a factor of 1 changes nothing" if self.factor == 1.0 else None

    def acts_on(self, vocab: Vocab) -> Tokens:
        """The end tokens."""
        return vocab.eos_ids

    def apply(self, logits: Tensor, state: Positions) -> Tensor:
        """Raise the end tokens of float32 logits [rows, vocab]."""
        late = (state.count - self.start).clamp(min=0).double()[:, None]
        before = logits[:, state.ids]
        # 0 times infinity: a logit of 0 stays, however late it is.
        growth = (before.double().abs() * (self.factor**late - 1)).nan_to_num(nan=0.0)
        after = (before + growth).clamp(-FLOAT32_MAX, FLOAT32_MAX).float()
        raised = logits.clone()
        raised[:, state.ids] = torch.where(before == -torch.inf, before, after)
        return raised
