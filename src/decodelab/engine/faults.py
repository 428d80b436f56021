"""Exceptions of code that is not the engine's: those of stages become errors of their jobs, those of observers pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from decodelab.core.errors import DecodelabError, StageFailed
from decodelab.core.events import Event, Observer
from decodelab.core.stage import Stage
from decodelab.io.text import printable

MOST = 200
"""Characters of an exception's text that are shown."""


class ObserverRaised(BaseException):
    """An observer raised an exception: no fault of a stage or a model, so it ends no job and reaches the caller."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def tell(observers: Sequence[Observer], event: Event) -> None:
    """Tell observers of an event.

    Raises:
        ObserverRaised: if one raises.
    """
    try:
        for observer in observers:
            observer(event)
    except Exception as error:
        raise ObserverRaised(error) from error


def stage_failed(stage: object, error: Exception) -> DecodelabError:
    """The error for an exception of a stage, or of a whole strategy; a `DecodelabError` is returned as it is."""
    if isinstance(error, DecodelabError):
        return error
    name = printable(str(stage)) if isinstance(stage, Stage | str) else type(stage).__name__
    failure = StageFailed(f"{name} raised {type(error).__name__}: {told(error)}; mend that stage, or leave it out")
    failure.__cause__ = error
    return failure


@contextmanager
def blamed(stage: object) -> Iterator[None]:
    """Name the stage in what its code raises.

    Raises:
        StageFailed: for any exception that is not decodelab's own.
    """
    try:
        yield
    except (DecodelabError, Warning):  # warnings are raised where somebody wants them to be errors
        raise
    except Exception as error:
        raise stage_failed(stage, error) from error


def told(error: Exception) -> str:
    """The text of an exception on one line, or its type where it has none."""
    try:
        text = printable(" ".join(str(error).split()))
    except Exception:  # an exception whose text raises
        text = ""
    return (text if len(text) <= MOST else text[: MOST - 3] + "...") or type(error).__name__
