"""Scorers: `value_beam(width=4, scorer=brevity)`, and one with a parameter: `best_of(by=near(length=40))`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from decodelab.core.stage import Parametric, check_number


def brevity(prompt: str, texts: Sequence[str]) -> list[float]:
    """Minus the number of characters: shorter is better."""
    return [-float(len(text)) for text in texts]


@dataclass(frozen=True)
class Near(Parametric):
    """Minus the distance of the number of characters from a wanted one."""

    length: Annotated[int, "characters wanted, at least 0"]

    name: ClassVar[str] = "near"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "length", low=0, integer=True, fix="try 100")

    def __call__(self, prompt: str, texts: Sequence[str]) -> list[float]:
        """One number a text."""
        return [-abs(float(len(text)) - self.length) for text in texts]
