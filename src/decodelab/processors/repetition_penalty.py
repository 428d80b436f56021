"""The repetition penalty of CTRL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.stage import check_number
from decodelab.processors._token_counts import TokenPenalty, check_scope

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RepetitionPenalty(TokenPenalty):
    """Divide positive logits of tokens that have occurred by a penalty, and multiply negative ones by it.

    The paper only divides, which favours tokens of negative logits; transformers, vLLM and llama.cpp multiply these as
    we do. It depends on where zero is among the logits: a model's logits and their log-softmax give different
    distributions. Prompt and generated tokens count, once each, as in transformers and vLLM; llama.cpp looks at the
    last 64 (`window=64`). A logit that would overflow float32 stays at its largest value.

    Raises:
        InvalidParameter: if the penalty is not greater than 0, or the window is not at least 1.

    >>> stage = RepetitionPenalty(2.0)
    >>> stage.apply(torch.tensor([[1.0, 1.0, -1.0, -1.0]]), stage.init([(1, 2)], None, None)).tolist()
    [[1.0, 0.5, -2.0, -1.0]]
    """

    penalty: Annotated[float, "greater than 0; above 1 discourages repetition, below 1 encourages it"]
    prompt: Annotated[bool, "whether to count the prompt's tokens, too"] = True
    window: Annotated[int | None, "count only this many last tokens; none counts all"] = None

    name: ClassVar[str] = "repetition_penalty"
    reads_raw_logits: ClassVar[bool] = True
    source: ClassVar[str] = "Keskar et al. 2019 (CTRL), section 4.1"
    off: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "penalty", low=0.0, low_open=True, fix="use 1 for none, 1.1 to 1.3 against repetition")
        check_scope(self)

    def penalised(self, logits: Tensor, counts: Tensor) -> Tensor:
        """Towards minus infinity, whatever the sign."""
        # In float64: as a float32 the penalty itself may be 0 or infinite.
        wide = logits.double()
        return torch.where(wide < 0, wide * self.penalty, wide / self.penalty).float()
