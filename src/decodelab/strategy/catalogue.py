"""All stages by name: ours from one table per package, other people's from entry points.

A third party adds a stage with an entry point in the group `decodelab.stages`:

    [project.entry-points."decodelab.stages"]
    my_sampler = "my_package:MySampler"
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points

from decodelab.core.errors import StrategyError, UnknownStage, did_you_mean
from decodelab.core.stage import Stage
from decodelab.models import COMPOSITIONS
from decodelab.processors import PROCESSORS
from decodelab.search import DRIVERS, SEARCHES, TREE_SEARCHES
from decodelab.select import SELECTIONS

SOURCES: dict[str, str] = {"default": "decodelab.strategy.default:Default"}
OURS: dict[str, str] = SOURCES | COMPOSITIONS | PROCESSORS | SEARCHES | TREE_SEARCHES | DRIVERS | SELECTIONS


def stage_paths() -> Mapping[str, str]:
    """Every stage name with where its class is, as `module:Class`; ours win over third parties'."""
    others = {e.name: e.value for e in entry_points(group="decodelab.stages")}
    return others | OURS


def stage_class(name: str) -> type[Stage]:
    """The class of a stage.

    Raises:
        UnknownStage: if there is none of that name, with the nearest name suggested.
        StrategyError: if the package that provides it cannot be imported.

    >>> stage_class("top_p").name
    'top_p'
    """
    # Entry points mean reading the metadata of every installed package: only for names that are not ours.
    paths = OURS if name in OURS else stage_paths()
    if name not in paths:
        hint = did_you_mean(name, paths) or f"; `decodelab strategies` lists all {len(paths)}"
        raise UnknownStage(f"unknown stage {name[:60]!r}{hint}")
    module, _, attribute = paths[name].partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise StrategyError(f"stage {name!r}: cannot load {paths[name]} ({reason}); mend its package") from error


def stages() -> list[type[Stage]]:
    """All stage classes, in the order sources, models, processors, searches, selections, other people's."""
    return [stage_class(name) for name in [*OURS, *(n for n in stage_paths() if n not in OURS)]]
