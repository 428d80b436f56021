"""Warnings about settings that work, but not as expected."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class NoEffectWarning(UserWarning):
    """A stage of the strategy has no effect."""


class ToldOnce(UserWarning):
    """A warning of which a command tells one of each kind, as a sweep has thousands.

    Attributes:
        kind: what is equal for warnings of which one is told.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class PromptWarning(ToldOnce):
    """A tokenizer read a prompt in another way than it may be meant."""


class LogitsWarning(UserWarning):
    """Numbers given as logits look like probabilities."""


class PlainCacheWarning(UserWarning):
    """Forked rows do not share their past, because the model's attention does not support it."""


class FewerCandidates(UserWarning):
    """A constraint left fewer distinct sequences than requested."""


class NoQuorum(UserWarning):
    """No answer had the share of the votes that its vote asks for."""


class NoTests(ToldOnce):
    """A selection by tests had none to run."""


class JudgeAside(ToldOnce):
    """A judge would more probably answer something else than what it was asked to choose from."""


class ModelNotice(UserWarning):
    """A model's files say something that is not followed."""


@contextmanager
def notes(
    tell: Callable[[str], None] = lambda message: None,
    of: tuple[type[Warning], ...] = (
        NoEffectWarning,
        PromptWarning,
        PlainCacheWarning,
        FewerCandidates,
        NoQuorum,
        NoTests,
        JudgeAside,
        ModelNotice,
    ),
) -> Iterator[list[str]]:
    """Collect the warnings about settings that work but not as expected, each once, or once a kind.

    Args:
        tell: called with each as it comes.
        of: the classes of warnings that are meant.
    """
    keys: set[str] = set()
    said: list[str] = []

    def collect(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        key = (message.kind if isinstance(message, ToldOnce) else "") or str(message)
        if issubclass(category, of) and key not in keys:
            keys.add(key)
            said.append(str(message))
            tell(str(message))

    with warnings.catch_warnings():
        for category in of:
            warnings.simplefilter("always", category)
        warnings.showwarning = collect
        yield said


@contextmanager
def warnings_to_send() -> Iterator[list[ToldOnce]]:
    """Collect the warnings that are told once a kind, to send them to another process."""
    found: list[ToldOnce] = []

    def collect(message: Warning | str, *rest: Any, **more: Any) -> None:
        if isinstance(message, ToldOnce):
            found.append(message)

    with warnings.catch_warnings():
        warnings.simplefilter("always", ToldOnce)
        warnings.showwarning = collect
        yield found
