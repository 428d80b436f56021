"""Call a checker and validate its verdicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

from decodelab.checkers.catalogue import find_checker
from decodelab.core.errors import CheckerFailed, DecodelabError
from decodelab.core.protocols import AnyChecker, Reading, ReadingChecker, Verdict
from decodelab.core.stage import brief, plain


def begin_reading(checker: AnyChecker) -> Reading:
    """Start reading a text with a checker, from the empty text.

    Args:
        checker: a name or a checker; a function is called with the whole text each time.

    Raises:
        CheckerFailed: when a verdict is read, if the function raises or returns no verdict; names the text.

    >>> digits = begin_reading(lambda text: "complete" if text.isdigit() else "invalid" if text else "prefix")
    >>> digits.invalid, digits.read("12").complete, digits.read("1").read("x").invalid
    (False, True, True)
    """
    found = find_checker(checker)
    if isinstance(found, ReadingChecker):
        return found.begin()
    return _Whole(found, checker if isinstance(checker, str) else str(plain(found)), "")


@dataclass(frozen=True)
class _Whole:
    """A text that a function checks as a whole, once."""

    function: Callable[[str], Verdict]
    name: str
    text: str

    @cached_property
    def _verdict(self) -> Verdict:
        try:
            verdict = self.function(self.text)
        except DecodelabError:
            raise
        except Exception as error:  # whatever other people's code raises
            raised = f"raised {type(error).__name__}: {brief(' '.join(str(error).split()))}"
            raise CheckerFailed(
                f"checker {self.name} {raised} for the text {brief(self.text)}; fix the checker"
            ) from error
        if not (isinstance(verdict, str) and verdict in get_args(Verdict)):
            raise CheckerFailed(
                f"checker {self.name} must return invalid, prefix or complete, got {brief(verdict)} for the text "
                f"{brief(self.text)}; fix the checker"
            )
        return verdict

    @property
    def invalid(self) -> bool:
        return self._verdict == "invalid"

    @property
    def complete(self) -> bool:
        return self._verdict == "complete"

    def read(self, text: str) -> _Whole:
        return _Whole(self.function, self.name, self.text + text)
