"""How many candidates a step looks at: as many more than it wants as it takes for `width` of them to go on.

EOS ids are few and known before; stop tokens and stop strings can end any number of the best candidates, and a stop
string is found only once a candidate has a text. So candidates are listed, and more of them only where that is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def enough(possible: Tensor, going: Tensor, k: int, width: int, last: Tensor) -> bool:
    """Whether for every job `width` of its k best candidates go on, it has no more, or this is its last step.

    Args:
        possible: bool [jobs, at most k], the candidates that there are.
        going: bool, of the same shape, those of them that do not end.
        k: how many were asked for.
        width: how many should go on.
        last: bool [jobs], where the limit ends every candidate.
    """
    return bool(((going.sum(1) >= width) | (possible.sum(1) < k) | last).all())


def counted(going: Tensor, wanted: int, width: int, last: Tensor) -> Tensor:
    """The candidates that count, bool [jobs, k]: the first `wanted`, and then those up to the `width`-th that goes on.

    What counts for a job does not depend on how many were listed for the jobs beside it.

    >>> going = torch.tensor([[False, False, True, False, True, True]])
    >>> counted(going, wanted=2, width=2, last=torch.tensor([False])).tolist()
    [[True, True, True, True, True, False]]
    """
    before = going.cumsum(1) - going.long()
    first = torch.arange(going.shape[1], device=going.device) < wanted
    return first | ((before < width) & ~last[:, None])
