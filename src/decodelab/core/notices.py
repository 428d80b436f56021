"""Warnings about what works, but not as one may expect."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class NoEffectWarning(UserWarning):
    """A term of the strategy changes nothing."""


class PlainCacheWarning(UserWarning):
    """Rows that were forked do not share their past, because the model's attention cannot."""


class FewerCandidates(UserWarning):
    """A constraint left fewer different sequences than were asked for."""


@contextmanager
def notes() -> Iterator[list[str]]:
    """Collect the warnings about terms without effect, slower caches and missing candidates, each once."""
    told = (NoEffectWarning, PlainCacheWarning, FewerCandidates)
    said: list[str] = []

    def collect(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, told) and str(message) not in said:
            said.append(str(message))

    with warnings.catch_warnings():
        for category in told:
            warnings.simplefilter("always", category)
        warnings.showwarning = collect
        yield said
