"""All scorers by name: ours from one table, other people's from entry points.

A third party adds a scorer with an entry point in the group `decodelab.scorers`:

    [project.entry-points."decodelab.scorers"]
    my_judge = "my_package:judge"

It names a function `(prompt, texts) -> numbers`, or a class without parameters whose objects are such functions or
have the method `score` of `decodelab.core.protocols.ModelScorer`.
"""

from __future__ import annotations

from typing import cast

from decodelab.core.protocols import ModelScorer, Scorer
from decodelab.core.registry import Named
from decodelab.core.stage import Stage
from decodelab.scorers import SCORERS

_NAMED = Named(
    "scorer",
    "decodelab.scorers",
    SCORERS,
    "a function (prompt, texts) -> numbers",
    lambda value: isinstance(value, ModelScorer) or callable(value),
)


def check_scorer(stage: Stage, parameter: str) -> None:
    """Refuse a parameter that is no scorer.

    Raises:
        InvalidParameter: if it is neither the name of one, with the nearest suggested, nor something that scores.
    """
    _NAMED.check(stage, parameter, "write scorer=logprob")


def scorer_named(name: str) -> Scorer | ModelScorer:
    """The scorer of that name.

    Raises:
        StrategyError: if the package that provides it cannot be imported.

    >>> scorer_named("path_cost")("Edges:\\n0->1:3\\nFind the shortest path from node 0 to node 1.", [" 0->1:4"])
    [-1.0]
    """
    return cast(Scorer | ModelScorer, _NAMED.load(name))
