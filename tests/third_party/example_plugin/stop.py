"""A stop: a text ends after some lines."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from decodelab.core.stage import Kind, Stage, check_number


@dataclass(frozen=True)
class Lines:
    """How many lines and characters were read, and where the last line that is allowed ends."""

    most: int
    lines: int = 0
    length: int = 0
    kept: int | None = None

    held: ClassVar[None] = None

    @property
    def ended(self) -> bool:
        return self.kept is not None

    def read(self, token: int, text: str) -> "Lines":
        ends = [self.length + at + 1 for at, character in enumerate(text) if character == "\n"]
        left = self.most - self.lines
        kept = ends[left - 1] if 0 < left <= len(ends) else None
        return Lines(self.most, self.lines + len(ends), self.length + len(text), kept)


@dataclass(frozen=True)
class MostLines(Stage):
    """End a text with a number of lines."""

    lines: Annotated[int, "most lines of a text, at least 1"] = 1

    name: ClassVar[str] = "most_lines"
    kind: ClassVar[Kind] = "stop"
    source: ClassVar[str] = "docs/extending.md"
    uses_randomness: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "lines", low=1, integer=True, fix="use 1")

    def begin(self) -> Lines:
        """Nothing read yet."""
        return Lines(self.lines)
