"""What every task is: examples, and a judgement of what a model answers to one."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from decodelab.core.errors import InvalidData, RequestError, did_you_mean
from decodelab.core.values import Prompt
from decodelab.tasks import TASKS


@dataclass(frozen=True)
class Example:
    """One item of a task.

    Attributes:
        id: what it is called in its data, as text.
        prompt: what the model is given.
        reference: the right answer, JSON-ready.
        meta: whatever else the judgement needs, JSON-ready.
    """

    id: str
    prompt: Prompt
    reference: Any
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What an answer is worth.

    Attributes:
        score: from 0 to 1.
        answer: what was read from the text, JSON-ready; None when nothing could be.
    """

    score: float
    answer: Any

    @property
    def parsed(self) -> bool:
        """Whether an answer was found in the text."""
        return self.answer is not None


class Task(Protocol):
    """A task: where its examples come from and how an answer is judged."""

    name: ClassVar[str]
    source: ClassVar[str]

    def read(self, path: Path) -> Sequence[Example]:
        """The examples of a file in the task's own format."""
        ...

    def judge(self, example: Example, text: str) -> Verdict:
        """Judge what a model wrote, which may be anything."""
        ...


@runtime_checkable
class Made(Protocol):
    """A task that can make examples of its own."""

    def made(self, seed: int) -> Example:
        """The example of a seed."""
        ...


def task_named(name: str) -> Task:
    """The task of a name, with its default parameters.

    Raises:
        RequestError: if there is none, with the nearest name suggested.

    >>> task_named("graph").name
    'graph'
    """
    if name not in TASKS:
        hint = did_you_mean(name, TASKS) or f"; there are {', '.join(TASKS)}"
        raise RequestError(f"unknown task {name[:60]!r}{hint}")
    module, attribute, *parameters = TASKS[name].split(":")
    return getattr(importlib.import_module(module), attribute)(*parameters)


def rescore(task: Task, examples: Sequence[Example], outputs: Mapping[str, str]) -> dict[str, Verdict]:
    """Judge stored outputs, by example id and in the order of the examples; one that is missing counts as empty.

    Raises:
        InvalidData: for an output of no example, naming it.
    """
    known = {example.id for example in examples}
    stray = [name for name in outputs if name not in known]
    if stray:
        raise InvalidData(f"output {stray[0][:60]!r} belongs to no example; is it of another file?")
    return {example.id: task.judge(example, outputs.get(example.id, "")) for example in examples}
