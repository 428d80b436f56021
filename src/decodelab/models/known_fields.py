"""Fields of a model's JSON files that are read here, each with the values that are understood exactly.

A file with any other field, or another value, is not guessed at: the whole model is read by transformers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Understood = Callable[[Any], bool]
"""Whether a value is one that is understood."""


def understood(settings: Mapping[str, Any], known: Mapping[str, Understood]) -> bool:
    """Whether all fields are known, with values that are understood.

    >>> understood({"vocab_size": 3, "bias": False}, {"vocab_size": is_size, "bias": one_of(False)})
    True
    >>> understood({"vocab_size": 3, "window": 7}, {"vocab_size": is_size})
    False
    """
    return all(field in known and known[field](value) for field, value in settings.items())


def is_bool(value: Any) -> bool:
    """True or false."""
    return isinstance(value, bool)


def is_integer(value: Any) -> bool:
    """An integer, not a truth value."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_size(value: Any) -> bool:
    """A positive integer."""
    return is_integer(value) and value > 0


def is_text(value: Any) -> bool:
    """A text."""
    return isinstance(value, str)


def within(low: float, high: float = math.inf) -> Understood:
    """A finite number from `low` to `high`, both included."""
    return lambda value: (is_integer(value) or isinstance(value, float)) and low <= value <= high and value < math.inf


def one_of(*values: Any) -> Understood:
    """One of these values, of the same type."""
    return lambda value: any(type(value) is type(one) and value == one for one in values)


def list_of(item: Understood) -> Understood:
    """A list of such values."""
    return lambda value: isinstance(value, list) and all(map(item, value))


def either(*kinds: Understood) -> Understood:
    """A value of one of these kinds."""
    return lambda value: any(kind(value) for kind in kinds)


def optional(kind: Understood) -> Understood:
    """Such a value, or null."""
    return either(one_of(None), kind)
