"""All scorers by name; third parties add theirs with an entry point in the group `decodelab.scorers`.

An entry point names a function `(prompt, texts) -> numbers`, or a class without parameters whose objects are such
functions or have the method `score` of `decodelab.core.protocols.ModelScorer`.
"""

from __future__ import annotations

from typing import cast

from decodelab.core.protocols import AnyScorer, ModelScorer, Scorer
from decodelab.core.registry import Registry
from decodelab.core.stage import Stage
from decodelab.scorers import SCORERS as OURS

SCORERS: Registry[object] = Registry("scorer", "decodelab.scorers", OURS)


def check_scorer(stage: Stage, parameter: str) -> None:
    """Refuse a parameter that is not a scorer.

    Raises:
        InvalidParameter: if it is neither the name of one, with the nearest suggested, nor something that scores.
    """
    SCORERS.check_parameter(
        stage,
        parameter,
        accepts=lambda value: isinstance(value, ModelScorer) or callable(value),
        accepted="a function (prompt, texts) -> numbers",
        fix="write scorer=logprob",
    )


def find_scorer(scorer: AnyScorer) -> Scorer | ModelScorer:
    """The scorer that a stage names, or is given.

    Raises:
        StrategyError: if there is none of that name, or the package that provides it cannot be imported.

    >>> find_scorer("path_cost")("Edges:\\n0->1:3\\nFind the shortest path from node 0 to node 1.", [" 0->1:4"])
    [-1.0]
    """
    return cast(Scorer | ModelScorer, SCORERS.make(scorer)) if isinstance(scorer, str) else scorer
