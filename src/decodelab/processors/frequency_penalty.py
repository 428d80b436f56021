"""The frequency penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from decodelab.processors._token_counts import TokenPenalty

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class FrequencyPenalty(TokenPenalty):
    """Subtract a penalty from the logits of generated tokens for every time they occurred.

    Only generated tokens count, as with OpenAI and vLLM; llama.cpp counts the prompt too, and only the last 64 tokens
    (`prompt=true, window=64`). OpenAI allows -2 to 2; here any number is allowed.

    Raises:
        InvalidParameter: if the penalty is not a finite number, or the window is not at least 1.

    >>> import torch
    >>> stage = FrequencyPenalty(0.5, prompt=True)
    >>> stage.apply(torch.tensor([[1.0, 1.0, -1.0]]), stage.init([(1, 2, 2)], None, None)).tolist()
    [[1.0, 0.5, -2.0]]
    """

    penalty: Annotated[float, "subtracted for each occurrence; 0 has no effect, below 0 encourages repetition"]
    prompt: Annotated[bool, "whether to count the prompt's tokens, too"] = False
    window: Annotated[int | None, "count only this many last tokens; none counts all"] = None

    name: ClassVar[str] = "frequency_penalty"
    source: ClassVar[str] = "OpenAI API reference, chat completions, frequency_penalty"
    off: ClassVar[float] = 0.0

    def penalised(self, logits: Tensor, counts: Tensor) -> Tensor:
        """Lower by the penalty times the count."""
        return (logits.double() - counts * self.penalty).float()
