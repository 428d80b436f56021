"""All checkers by name: ours from one table, other people's from entry points.

A third party adds a checker with an entry point in the group `decodelab.checkers`:

    [project.entry-points."decodelab.checkers"]
    my_language = "my_package:check"

It names a function of a text that says "dead", "alive" or "complete", or a class without parameters whose objects are
such functions or have the method `begin` of `decodelab.core.protocols.ReadingChecker`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import cast

from decodelab.checkers import CHECKERS
from decodelab.core.errors import InvalidParameter, StrategyError, did_you_mean
from decodelab.core.protocols import ReadingChecker, Verdict
from decodelab.core.stage import Stage, shown


def checker_paths() -> Mapping[str, str]:
    """Every checker's name with where it is, as `module:Name`; ours win over third parties'."""
    return {e.name: e.value for e in entry_points(group="decodelab.checkers")} | CHECKERS


def check_checker(stage: Stage, parameter: str) -> None:
    """Refuse a parameter that is no checker.

    Raises:
        InvalidParameter: if it is neither the name of one, with the nearest suggested, nor something that checks.
    """
    checker = getattr(stage, parameter)
    if isinstance(checker, str):
        known = CHECKERS if checker in CHECKERS else checker_paths()
        if checker in known:
            return
        fix = did_you_mean(checker, known).removeprefix("; ") or "a function of Python's can be given in Python only"
        allowed = f"one of {', '.join(known)}"
    elif isinstance(checker, ReadingChecker) or callable(checker):
        return
    else:
        allowed, fix = "a checker's name or a function of a text", f"write {stage.name}({parameter}=python)"
    raise InvalidParameter(f"{stage.name}: {parameter} must be {allowed}, got {shown(checker)}; {fix}")


def checker_named(name: str) -> Callable[[str], Verdict] | ReadingChecker:
    """The checker of that name.

    Raises:
        StrategyError: if the package that provides it cannot be imported.

    >>> checker_named("python").begin().read("x = = 1").dead
    True
    """
    path = CHECKERS[name] if name in CHECKERS else checker_paths()[name]
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
        return cast("Callable[[str], Verdict] | ReadingChecker", found() if isinstance(found, type) else found)
    except Exception as error:  # whatever their package raises when it is imported
        reason = " ".join(str(error).split())
        raise StrategyError(f"checker {name!r}: cannot load {path} ({reason}); mend its package") from error
