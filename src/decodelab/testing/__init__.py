"""Conformance checks: what every model and stage must pass, ours and other people's."""

from decodelab.testing.model import check_model
from decodelab.testing.processor import check_processor
from decodelab.testing.search import check_search
from decodelab.testing.stage import check_stage
from decodelab.testing.tree_search import check_tree_search

__all__ = ["check_model", "check_processor", "check_search", "check_stage", "check_tree_search"]
