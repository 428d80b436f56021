"""Warnings about settings that work, but not as expected."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class NoEffectWarning(UserWarning):
    """A stage of the strategy has no effect."""


class PromptWarning(UserWarning):
    """A tokenizer read a prompt in another way than it may be meant."""


class LogitsWarning(UserWarning):
    """Numbers given as logits look like probabilities."""


class PlainCacheWarning(UserWarning):
    """Forked rows do not share their past, because the model's attention does not support it."""


class FewerCandidates(UserWarning):
    """A constraint left fewer distinct sequences than requested."""


class NoQuorum(UserWarning):
    """No answer had the share of the votes that its vote asks for."""


class ModelNotice(UserWarning):
    """A model's files say something that is not followed."""


@contextmanager
def notes() -> Iterator[list[str]]:
    """Collect the warnings about settings that work but not as expected, each once."""
    told = (NoEffectWarning, PromptWarning, PlainCacheWarning, FewerCandidates, NoQuorum, ModelNotice)
    said: list[str] = []

    def collect(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, told) and str(message) not in said:
            said.append(str(message))

    with warnings.catch_warnings():
        for category in told:
            warnings.simplefilter("always", category)
        warnings.showwarning = collect
        yield said
