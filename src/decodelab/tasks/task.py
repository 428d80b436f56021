"""What every task is: examples, and a judgement of what a model answers to one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, runtime_checkable

from pydantic import TypeAdapter, ValidationError

from decodelab.core.errors import InvalidData, RequestError, did_you_mean
from decodelab.core.values import Prompt
from decodelab.tasks import TASKS
from decodelab.tasks.response import LACKS, Lack, Response


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
        lacks: why nothing was read (`decodelab.tasks.response.LACKS`); None where something was. `judged` fills it in,
            so that a task need only say "ambiguous" where a text names several answers.

    Raises:
        InvalidData: for another reason.
    """

    score: float
    answer: Any
    lacks: Lack | None = None

    def __post_init__(self) -> None:
        """Check the reason."""
        if self.lacks is not None and self.lacks not in LACKS:
            raise InvalidData(
                f"verdict: lacks must be None or one of {', '.join(LACKS)}, got {self.lacks!r}; say 'unreadable'"
            )

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
        """Judge what a model wrote, which may be anything; its thoughts are left out by then (`judged`)."""
        ...


@runtime_checkable
class Generated(Protocol):
    """A task that can make examples of its own."""

    def generate(self, seed: int) -> Example:
        """The example of a seed."""
        ...


def prompt_key(example: Example) -> str:
    """What is equal for items that have the same prompt."""
    return str(example.prompt)


MOST_REPEATS = 200
"""After this many examples in a row whose prompts were there before, a task is taken to have no others."""


def distinct_examples(task: Generated) -> Iterator[Example]:
    """The examples of a task by seed, leaving out those that repeat a prompt; these follow once there are no others."""
    seen: set[str] = set()
    again: list[Example] = []
    repeats = 0
    seeds = count()
    while repeats < MOST_REPEATS:
        example = task.generate(next(seeds))
        if (prompt := prompt_key(example)) in seen:
            again.append(example)
            repeats += 1
        else:
            seen.add(prompt)
            repeats = 0
            yield example
    yield from again
    yield from map(task.generate, seeds)


def open_ended(made: type[Task], settled: Mapping[str, Any]) -> bool:
    """Whether no answer is read from the texts of a task, so that no two can give the same.

    A task says so by `open_ended = True`, or by the values of its parameter `task` for which it is.
    """
    said = getattr(made, "open_ended", False)
    return said if isinstance(said, bool) else settled.get("task") in said


@dataclass(frozen=True)
class Details:
    """What there is to report of judged answers.

    Attributes:
        data: figures by name, JSON-ready.
        answers: a line for each answer: what the judge said of it.
        lines: the figures, in sentences.
    """

    data: Mapping[str, Any]
    answers: Sequence[str]
    lines: Sequence[str]


@runtime_checkable
class ModelGraded(Protocol):
    """A task whose answers another model judges, in a conversation of its own for each answer."""

    name: ClassVar[str]

    def question(self, example: Example, text: str, replies: Sequence[str]) -> str | None:
        """What the judge is asked next, after these replies; None when there is nothing more to ask."""
        ...

    def verdict(self, example: Example, text: str, replies: Sequence[str]) -> Verdict:
        """What an answer is worth, once the judge has replied to everything."""
        ...

    def details(self, judged: Sequence[tuple[Any, Verdict]]) -> Details:
        """What there is to report of verdicts, each with the reference of its item."""
        ...


@runtime_checkable
class BatchScored(Protocol):
    """A task whose judgements take long: many are made together, and kept as long as the version is the same."""

    version: ClassVar[int]

    def judge_batch(self, answers: Sequence[tuple[Example, str]]) -> Iterator[Verdict]:
        """Judge answers, in their order."""
        ...


@runtime_checkable
class Continued(Protocol):
    """A task that knows where the continuation of a prompt ends, unless a chat is asked."""

    @property
    def stop(self) -> tuple[str, ...]:
        """The texts before which it ends."""
        ...


@runtime_checkable
class Checked(Protocol):
    """A task that needs something of the machine to judge answers, such as a sandbox."""

    def check(self) -> None:
        """Refuse, before anything is generated, what judging would fail by."""
        ...


@runtime_checkable
class Aggregated(Protocol):
    """A task with more to say of many answers than their mean score."""

    def aggregate(self, judged: Iterable[tuple[Any, Verdict]]) -> Mapping[str, float]:
        """Further figures by name, as tables show them, of verdicts each with the reference of its item."""
        ...


def task_class(name: str) -> tuple[type[Task], dict[str, Any]]:
    """The class of a task, and the parameters that its name already settles.

    Raises:
        RequestError: if there is none, with the nearest name suggested, or if its package cannot be imported.
    """
    made = TASKS.load(name)
    _, _, *values = TASKS.entry(name).path.split(":")
    return made, dict(zip((f.name for f in fields(made)), values, strict=False))


def task_parameters(name: str) -> list[str]:
    """The parameters that a task of this name can be given."""
    made, settled = task_class(name)
    return [f.name for f in fields(made) if f.name not in settled]  # pyright: ignore[reportArgumentType]


def task_named(name: str, parameters: Mapping[str, Any] = MappingProxyType({})) -> Task:
    """The task of a name, with its default parameters but for those given.

    Raises:
        RequestError: if there is none, or no such parameter, with the nearest name suggested; for a value of another
            type than the parameter's.
        InvalidData: for a value that the task does not allow.

    >>> task_named("graph", {"ties": "all"}).name
    'graph'
    """
    made, settled = task_class(name)
    allowed = task_parameters(name)
    for parameter in parameters:
        if parameter not in allowed:
            hint = did_you_mean(parameter, allowed) or f"; it has {', '.join(allowed) or 'none'}"
            raise RequestError(f"task {name} has no parameter {parameter[:60]!r}{hint}")
    try:
        return TypeAdapter(made).validate_python({**settled, **parameters})
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        refusal = fault.get("ctx", {}).get("error")
        if isinstance(refusal, InvalidData):  # the task's own words
            raise refusal from None
        where = ".".join(str(part) for part in fault["loc"])
        raise RequestError(f"task {name}: {where}: {fault['msg'].lower()}, got {str(fault['input'])[:60]!r}") from None


def judged(task: Task, example: Example, response: Response) -> Verdict:
    """Judge what a model wrote: its answer without its thoughts; where nothing is read, the verdict says why.

    >>> judged(task_named("maths"), Example("1", "2 + 2?", 4), Response("<think>Is it 4? Or")).lacks
    'unfinished thought'
    """
    return explained(task.judge(example, response.answer), response)


def judged_together(task: BatchScored, responses: Sequence[tuple[Example, Response]]) -> Iterator[Verdict]:
    """As `judged`, of a task that judges many answers together."""
    found = task.judge_batch([(example, response.answer) for example, response in responses])
    return (explained(verdict, response) for verdict, (_, response) in zip(found, responses, strict=True))


def explained(verdict: Verdict, response: Response) -> Verdict:
    """A verdict that says why nothing was read, if nothing was."""
    return replace(verdict, lacks=None if verdict.parsed else response.lack(verdict.lacks))


def verdicts_of(
    task: Task, responses: Sequence[tuple[Example, Response]], progress: Callable[[int], None] = lambda done: None
) -> list[Verdict]:
    """Judge answers, in order; `progress` is called with how many are judged."""
    found: list[Verdict] = []
    together = isinstance(task, BatchScored)
    for verdict in judged_together(task, responses) if together else (judged(task, *pair) for pair in responses):
        found.append(verdict)
        progress(len(found))
    return found


def rescore(
    task: Task,
    examples: Sequence[Example],
    outputs: Mapping[str, Response],
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Verdict]:
    """Judge stored outputs, by example id and in the order of the examples; one that is missing counts as empty.

    Raises:
        InvalidData: for an output of no example, naming it.
    """
    responses = list(zip(examples, responses_of(examples, outputs), strict=True))
    return dict(zip((example.id for example in examples), verdicts_of(task, responses, progress), strict=True))


def responses_of(examples: Sequence[Example], outputs: Mapping[str, Response]) -> list[Response]:
    """The stored output of each example, by its id; one that is missing is empty.

    Raises:
        InvalidData: for an output of no example, naming it.
    """
    known = {example.id for example in examples}
    stray = [name for name in outputs if name not in known]
    if stray:
        raise InvalidData(f"output {stray[0][:60]!r} belongs to no example; is it from another file?")
    return [outputs.get(example.id, Response("")) for example in examples]
