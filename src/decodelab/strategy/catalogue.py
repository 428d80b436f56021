"""All stages by name: ours from one table per package, other people's from entry points.

A third party adds a stage with an entry point in the group `decodelab.stages`:

    [project.entry-points."decodelab.stages"]
    my_sampler = "my_package:MySampler"
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points

from decodelab.core.errors import UnknownStage, did_you_mean
from decodelab.core.stage import Stage
from decodelab.processors import PROCESSORS
from decodelab.search import SEARCHES
from decodelab.select import SELECTIONS

SOURCES: dict[str, str] = {"default": "decodelab.strategy.default:Default"}


def stage_paths() -> Mapping[str, str]:
    """Every stage name with where its class is, as `module:Class`; ours win over third parties'."""
    others = {e.name: e.value for e in entry_points(group="decodelab.stages")}
    return others | SOURCES | PROCESSORS | SEARCHES | SELECTIONS


def stage_class(name: str) -> type[Stage]:
    """The class of a stage.

    Raises:
        UnknownStage: if there is none of that name, with the nearest name suggested.

    >>> stage_class("top_p").name
    'top_p'
    """
    paths = stage_paths()
    if name not in paths:
        hint = did_you_mean(name, paths) or "; see `decodelab strategies`"
        raise UnknownStage(f"unknown stage {name!r}{hint} (known: {', '.join(sorted(paths))})")
    module, _, attribute = paths[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def stages() -> list[type[Stage]]:
    """All stage classes, in the order sources, processors, searches, selections, other people's."""
    own = [*SOURCES, *PROCESSORS, *SEARCHES, *SELECTIONS]
    return [stage_class(name) for name in [*own, *(n for n in stage_paths() if n not in own)]]
