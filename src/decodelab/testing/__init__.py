"""Conformance checks: what everything that can be added to decodelab must do, ours and other people's."""

from decodelab.testing.model import check_model
from decodelab.testing.parts import (
    check_backend,
    check_checker,
    check_command,
    check_metric,
    check_reader,
    check_scorer,
    check_selection,
    check_task,
    check_utility,
)
from decodelab.testing.processor import check_processor
from decodelab.testing.rounds import check_rounds
from decodelab.testing.search import check_search
from decodelab.testing.stage import check_stage
from decodelab.testing.stop import check_stop
from decodelab.testing.tree_search import check_tree_search

__all__ = [
    "check_backend",
    "check_checker",
    "check_command",
    "check_metric",
    "check_model",
    "check_processor",
    "check_reader",
    "check_rounds",
    "check_scorer",
    "check_search",
    "check_selection",
    "check_stage",
    "check_stop",
    "check_task",
    "check_tree_search",
    "check_utility",
]
