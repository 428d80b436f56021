"""Asking a checker, and holding it to one of the three verdicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

from decodelab.checkers.catalogue import checker_named
from decodelab.core.errors import CheckerFailed, DecodelabError
from decodelab.core.protocols import AnyChecker, Reading, ReadingChecker, Verdict
from decodelab.core.stage import brief, plain


def begin_reading(checker: AnyChecker) -> Reading:
    """What a checker says of texts, from the empty one on.

    Args:
        checker: by name or itself; a function is asked about the whole text each time.

    Raises:
        CheckerFailed: when the reading is asked, if a function raises or gives no verdict, with the text at fault.

    >>> digits = begin_reading(lambda text: "complete" if text.isdigit() else "dead" if text else "alive")
    >>> digits.dead, digits.read("12").complete, digits.read("1").read("x").dead
    (False, True, True)
    """
    found = checker_named(checker) if isinstance(checker, str) else checker
    if isinstance(found, ReadingChecker):
        return found.begin()
    return _Whole(found, checker if isinstance(checker, str) else str(plain(found)), "")


@dataclass(frozen=True)
class _Whole:
    """A text of which a function is asked as a whole, once."""

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
                f"checker {self.name} {raised} for the text {brief(self.text)}; mend the checker"
            ) from error
        if not (isinstance(verdict, str) and verdict in get_args(Verdict)):
            raise CheckerFailed(
                f"checker {self.name} must say dead, alive or complete, got {brief(verdict)} for the text "
                f"{brief(self.text)}; mend the checker"
            )
        return verdict

    @property
    def dead(self) -> bool:
        return self._verdict == "dead"

    @property
    def complete(self) -> bool:
        return self._verdict == "complete"

    def read(self, text: str) -> _Whole:
        return _Whole(self.function, self.name, self.text + text)
