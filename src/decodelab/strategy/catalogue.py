"""All stages by name; third parties add theirs with an entry point in the group `decodelab.stages`."""

from __future__ import annotations

from decodelab.core.errors import UnknownStage
from decodelab.core.registry import Registry
from decodelab.core.stage import Stage
from decodelab.models import COMPOSITIONS
from decodelab.processors import PROCESSORS
from decodelab.search import DRIVERS, ROUND_SEARCHES, SEARCHES, TREE_SEARCHES
from decodelab.select import SELECTIONS, STOPPING, VOTING
from decodelab.stops import STOPS

SOURCES: dict[str, str] = {"default": "decodelab.strategy.default:Default"}

STAGES: Registry[type[Stage]] = Registry(
    "stage",
    "decodelab.stages",
    SOURCES
    | COMPOSITIONS
    | PROCESSORS
    | STOPS
    | SEARCHES
    | TREE_SEARCHES
    | ROUND_SEARCHES
    | VOTING
    | DRIVERS
    | STOPPING
    | SELECTIONS,
    unknown=UnknownStage,
    listing="`decodelab strategies`",
)
"""Stage classes, in the order sources, models, processors, stops, searches, drivers, selections, third parties'.

>>> STAGES.load("top_p").name
'top_p'
"""


def stages() -> list[type[Stage]]:
    """All stage classes, in the order of `STAGES`."""
    return list(STAGES.load_all().values())
