"""Validation of values under a schema by `jsonschema`, which is imported when first needed and fetches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any


class Validator:
    """The values that are valid under a schema of Draft 2020-12, or under a part of it."""

    def __init__(self, root: Mapping[str, Any] | bool) -> None:
        self.root = root

    @cached_property
    def _whole(self) -> Any:
        from jsonschema import Draft202012Validator
        from referencing import Registry

        return Draft202012Validator(self.root, registry=Registry())

    def accepts(self, value: Any, part: Mapping[str, Any] | bool | None = None) -> bool:
        """Whether a value is valid; under a part of the schema if one is given.

        A schema that leads out of itself, or back to itself without end, accepts nothing.
        """
        from referencing.exceptions import Unresolvable

        validator = self._whole if part is None else self._whole.evolve(schema=part)
        try:
            return validator.is_valid(value)
        except (Unresolvable, RecursionError):
            return False


def first_fault(schema: Any) -> tuple[str, list[str]] | None:
    """What is wrong with a schema of Draft 2020-12, and the keys that lead there; None if it is one."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(schema))
    if error is None:
        return None
    path = [str(part) for part in error.absolute_path]
    if path and path[-1] == "type":
        return f"Invalid type: {str(error.instance)[:80]}", path
    return " ".join(error.message.split())[:160], path
