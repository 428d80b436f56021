"""All scorers by name: ours from one table, other people's from entry points.

A third party adds a scorer with an entry point in the group `decodelab.scorers`:

    [project.entry-points."decodelab.scorers"]
    my_judge = "my_package:judge"

It names a function `(prompt, texts) -> numbers`, or a class without parameters whose objects are such functions or
have the method `score` of `decodelab.core.protocols.ModelScorer`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import cast

from decodelab.core.errors import InvalidParameter, StrategyError, did_you_mean
from decodelab.core.protocols import ModelScorer, Scorer
from decodelab.core.stage import Stage, shown
from decodelab.scorers import SCORERS


def scorer_paths() -> Mapping[str, str]:
    """Every scorer's name with where it is, as `module:Name`; ours win over third parties'."""
    return {e.name: e.value for e in entry_points(group="decodelab.scorers")} | SCORERS


def check_scorer(stage: Stage, parameter: str) -> None:
    """Refuse a parameter that is no scorer.

    Raises:
        InvalidParameter: if it is neither the name of one, with the nearest suggested, nor something that scores.
    """
    scorer = getattr(stage, parameter)
    if isinstance(scorer, str):
        known = SCORERS if scorer in SCORERS else scorer_paths()
        if scorer in known:
            return
        fix = did_you_mean(scorer, known).removeprefix("; ") or "a function of Python's can be given in Python only"
        allowed = f"one of {', '.join(known)}"
    elif isinstance(scorer, ModelScorer) or callable(scorer):
        return
    else:
        allowed, fix = "a scorer's name or a function (prompt, texts) -> numbers", "write scorer=logprob"
    raise InvalidParameter(f"{stage.name}: {parameter} must be {allowed}, got {shown(scorer)}; {fix}")


def scorer_named(name: str) -> Scorer | ModelScorer:
    """The scorer of that name.

    Raises:
        StrategyError: if the package that provides it cannot be imported.

    >>> scorer_named("path_cost")("Edges:\\n0->1:3\\nFind the shortest path from node 0 to node 1.", [" 0->1:4"])
    [-1.0]
    """
    path = SCORERS[name] if name in SCORERS else scorer_paths()[name]
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
        return cast(Scorer | ModelScorer, found() if isinstance(found, type) else found)
    except Exception as error:  # whatever their package raises when it is imported
        reason = " ".join(str(error).split())
        raise StrategyError(f"scorer {name!r}: cannot load {path} ({reason}); mend its package") from error
