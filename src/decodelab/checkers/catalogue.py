"""All checkers by name: built-in ones from a table, third-party ones from entry points.

A third party adds a checker with an entry point in the group `decodelab.checkers`:

    [project.entry-points."decodelab.checkers"]
    my_language = "my_package:check"

The entry point names a function that maps a text to "invalid", "prefix" or "complete", or a class without parameters
whose instances are such functions or have the method `begin` of `decodelab.core.protocols.ReadingChecker`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from decodelab.checkers import CHECKERS
from decodelab.core.protocols import ReadingChecker, Verdict
from decodelab.core.registry import Named
from decodelab.core.stage import Stage

_NAMED = Named(
    "checker",
    "decodelab.checkers",
    CHECKERS,
    "a function of a text",
    lambda value: isinstance(value, ReadingChecker) or callable(value),
)


def check_checker(stage: Stage, parameter: str) -> None:
    """Raise an error unless a parameter is a checker.

    Raises:
        InvalidParameter: if it is neither a known name (the closest one is suggested) nor a checker.
    """
    _NAMED.check(stage, parameter, f"write {stage.name}({parameter}=python)")


def checker_named(name: str) -> Callable[[str], Verdict] | ReadingChecker:
    """The checker of that name.

    Raises:
        StrategyError: if the package that provides it cannot be imported.

    >>> checker_named("python").begin().read("x = = 1").invalid
    True
    """
    return cast("Callable[[str], Verdict] | ReadingChecker", _NAMED.load(name))
