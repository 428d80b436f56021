"""The subtractive repetition penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from decodelab.processors.presence_penalty import PresencePenalty


@dataclass(frozen=True)
class SubtractivePenalty(PresencePenalty):
    """Subtract a penalty from the logits of the tokens already generated, once each.

    z - penalty multiplies the odds of a token by e^-penalty wherever zero is among the logits, which the repetition
    penalty of CTRL does not. It is the distribution of `presence_penalty`, under the name it has where it is compared
    with CTRL's.

    Raises:
        InvalidParameter: if the penalty is not a finite number, or the window is not at least 1.

    >>> import torch
    >>> stage = SubtractivePenalty(0.5, prompt=True)
    >>> stage.apply(torch.tensor([[1.0, 1.0, -1.0]]), stage.init([(1, 2, 2)], None, None)).tolist()
    [[1.0, 0.5, -1.5]]
    """

    penalty: Annotated[float, "subtracted from the logits; 0 has no effect, below 0 encourages repetition"]

    name: ClassVar[str] = "subtractive_penalty"
    source: ClassVar[str] = "the additive form of Keskar et al. 2019, section 4.1; OpenAI's presence_penalty"
