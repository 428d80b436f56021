"""Utilities: how well one text serves where another would have been right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Compared(Protocol):
    """Texts that a utility has read once; they are named by their places."""

    def utilities(self, hypotheses: Sequence[int], references: Sequence[int]) -> NDArray[np.float64]:
        """The utility of each hypothesis against each reference: finite, float64 [hypotheses, references]."""
        ...


class ComparedWithMean(Compared, Protocol):
    """Texts that can be compared with the weighted mean of several references, in one step instead of one for each."""

    def against_mean(self, hypotheses: Sequence[int], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The utility of each hypothesis against the mean of all texts under weights that add up to at most 1."""
        ...


@runtime_checkable
class Utility(Protocol):
    """A utility that reads each text once."""

    def read(self, texts: Sequence[str]) -> Compared:
        """Read different texts."""
        ...


@runtime_checkable
class Aggregating(Protocol):
    """A utility that can compare with the weighted mean of several references.

    Attributes:
        aggregates: that it can.
    """

    aggregates: ClassVar[bool]

    def read(self, texts: Sequence[str]) -> ComparedWithMean:
        """Read different texts."""
        ...


AnyUtility: TypeAlias = str | Utility | Callable[[str, str], float]
"""The name of a utility, a utility, or a function of hypothesis and reference; higher is better."""
