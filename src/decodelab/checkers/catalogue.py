"""All checkers by name; third parties add theirs with an entry point in the group `decodelab.checkers`.

An entry point names a function that maps a text to "invalid", "prefix" or "complete", or a class without parameters
whose objects are such functions or have the method `begin` of `decodelab.core.protocols.ReadingChecker`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from decodelab.checkers import CHECKERS as OURS
from decodelab.core.protocols import AnyChecker, ReadingChecker, Verdict
from decodelab.core.registry import Registry
from decodelab.core.stage import Stage

CHECKERS: Registry[object] = Registry("checker", "decodelab.checkers", OURS)


def check_checker(stage: Stage, parameter: str) -> None:
    """Refuse a parameter that is not a checker.

    Raises:
        InvalidParameter: if it is neither a known name (the closest one is suggested) nor a checker.
    """
    CHECKERS.check_parameter(
        stage,
        parameter,
        accepts=lambda value: isinstance(value, ReadingChecker) or callable(value),
        accepted="a function of a text",
        fix=f"write {stage.name}({parameter}=python)",
    )


def find_checker(checker: AnyChecker) -> Callable[[str], Verdict] | ReadingChecker:
    """The checker that a stage names, or is given.

    Raises:
        StrategyError: if there is none of that name, or the package that provides it cannot be imported.

    >>> find_checker("python").begin().read("x = = 1").invalid
    True
    """
    if not isinstance(checker, str):
        return checker
    return cast("Callable[[str], Verdict] | ReadingChecker", CHECKERS.make(checker))
