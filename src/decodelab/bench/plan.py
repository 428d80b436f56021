"""A sweep as people write it down: models x strategies x tasks, checked whole before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from decodelab.backends.catalogue import backend_of, chat_model, text_model
from decodelab.core.errors import RequestError, StrategyError, did_you_mean
from decodelab.core.values import Limits
from decodelab.io.text import expanded, file_name, read_text
from decodelab.io.yaml import parse_yaml
from decodelab.models.loading import settings_of
from decodelab.strategy.strategy import Strategy
from decodelab.tasks.choices import LIKELIHOOD, HasOptions
from decodelab.tasks.task import (
    Checked,
    Example,
    Generated,
    ModelGraded,
    Task,
    distinct_examples,
    task_class,
    task_named,
    task_parameters,
)

_PRICES = {"price_in", "price_out"}
_HOW = {"at_once", "timeout"} | _PRICES
"""What does not change what a judge says."""


class JudgePlan(BaseModel):
    """Who judges answers, and how.

    Attributes:
        name: a model, or a server as `openai:http://HOST:PORT/v1#MODEL`.
        temperature: 0 for the most probable reply.
        max_tokens: at most this many tokens per reply; None: the server's default, 64 for a local model.
        at_once: conversations under way at a time.
        timeout: seconds after which a server is asked again.
        price_in, price_out: of a million tokens that the judge reads and writes, for the cost of a sweep.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    at_once: Annotated[int, Field(ge=1)] = 8
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 300.0
    price_in: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    price_out: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    @property
    def asking(self) -> dict[str, Any]:
        """What `chat_model` takes."""
        return self.model_dump(exclude=_PRICES)


class TaskPlan(BaseModel):
    """One task of a sweep.

    Attributes:
        name: of a task, such as `graph` or `pocket-sums`.
        file: its items; without one the task makes its own.
        items: how many of them.
        max_new_tokens: limit of each answer.
        chat: whether items are asked through the model's chat template.
        judge: who judges the answers, by name or with what is to be different; for tasks that a model judges.

    Whatever else is written is a parameter of the task's own, such as `ties: all`.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    file: Path | None = None
    items: Annotated[int, Field(ge=1)] = 50
    max_new_tokens: Annotated[int, Field(ge=1)] = 340
    chat: bool = False
    judge: JudgePlan | None = None

    @field_validator("judge", mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        """A judge may be his name alone."""
        return {"name": given} if isinstance(given, str) else given

    @property
    def parameters(self) -> dict[str, Any]:
        """The task's own parameters."""
        return dict(self.model_extra or {})

    def task(self) -> Task:
        """The task with its parameters.

        Raises:
            RequestError, InvalidData: for an unknown task, or a parameter that it does not have or allow.
        """
        own = [name for name in TaskPlan.model_fields if name != "name"]
        for name in self.parameters:
            if name not in task_parameters(self.name):
                allowed = [*own, *task_parameters(self.name)]
                hint = did_you_mean(name, allowed) or "; allowed: " + ", ".join(allowed)
                raise RequestError(f"task {self.name}: unknown field {name[:60]!r}{hint}")
        return task_named(self.name, self.parameters)

    @property
    def called(self) -> str:
        """The task with its parameters and its judge, in a line."""
        judge = {} if self.judge is None else self.judge.model_dump(exclude=_HOW, exclude_defaults=True)
        parameters = self.parameters | {f"judge_{name}".removesuffix("_name"): value for name, value in judge.items()}
        given = ", ".join(f"{name}={value}" for name, value in sorted(parameters.items()))
        return f"{self.name}({given})" if given else self.name

    @property
    def has_options(self) -> bool:
        """Whether its items have options to choose from."""
        return issubclass(task_class(self.name)[0], HasOptions)

    def within(self, folder: Path) -> TaskPlan:
        """The same with files relative to a folder."""
        made, _ = task_class(self.name)
        paths = {name for name, kind in get_type_hints(made).items() if kind in (Path, Path | None)}
        given = {name: value for name, value in self.parameters.items() if name in paths and isinstance(value, str)}
        files = {name: folder / expanded(value) for name, value in given.items()}
        if self.file is not None:
            files["file"] = folder / expanded(self.file)
        return self.model_copy(update=files)

    def examples(self) -> tuple[Task, list[Example]]:
        """The task and the items that are asked.

        Raises:
            RequestError, InvalidData: for an unknown task, a file that cannot be read, or one with too few items.
        """
        task = self.task()
        if self.file is None:
            if not isinstance(task, Generated):
                raise RequestError(
                    f"task {self.name} needs a file with its items; write {{name: {self.name}, file: ...}}"
                )
            return task, list(islice(distinct_examples(task), self.items))
        found = list(task.read(self.file))
        if len(found) < self.items:
            raise RequestError(
                f"{file_name(self.file)} has {len(found)} items, {self.items} are asked for; ask for fewer"
            )
        return task, found[: self.items]


class Plan(BaseModel):
    """What a sweep runs: every strategy with every model on every item of every task.

    Attributes:
        models: names, directories or hub ids.
        strategies: in the strategy language, by the names that tables show; a plain list names them by themselves.
            `likelihood` scores the options of tasks that have some and generates nothing; other tasks do without it.
            `{of: NAME, select: vote, n: 8}` selects among 8 samples of the strategy of that name (n: as many as
            `samples` says), which are those that are stored for it.
        tasks: names, or names with what is to be different from the defaults.
        samples: independent answers to each item, for strategies that sample; others answer once.
        seed: all draws follow from it; strategies share it, item by item.
        seeds: several of them: every item is answered under each, which counts as more samples of it. Strategies that
            draw nothing answer once.
        baseline: the strategy others are compared with; None: the first.
        margin: the loss of score that does not matter: a strategy is called as good as others where it is shown to
            lose no more.
        max_rows: rows computed at once.
        confidences: whether to store how sure the model was at each token, for selections among stored samples; it is
            stored, too, where a strategy of the plan reads it.
        skip_too_long: leave out items whose prompt is too long for a model, and say which, where they would fail.

    >>> given = {"models": ["pocket-nano"], "strategies": ["greedy", "min_p=0.1"], "tasks": ["pocket-sums"]}
    >>> Plan.model_validate(given).baseline_name
    'greedy'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: Annotated[tuple[str, ...], Field(min_length=1)]
    strategies: Annotated[dict[str, str], Field(min_length=1)]
    tasks: Annotated[tuple[TaskPlan, ...], Field(min_length=1)]
    samples: Annotated[int, Field(ge=1)] = 1
    seed: int = 0
    seeds: tuple[int, ...] = ()
    baseline: str | None = None
    margin: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = 0.05
    max_rows: Annotated[int, Field(ge=1)] = 256
    confidences: bool = False
    skip_too_long: bool = False

    @model_validator(mode="before")
    @classmethod
    def _written_out(cls, given: Any) -> Any:
        """A list of strategies names each by itself; a selection follows the strategy whose samples it takes."""
        if not isinstance(given, dict) or not isinstance(listed := given.get("strategies"), dict | list | tuple):
            return given
        named = listed if isinstance(listed, dict) else {str(text): text for text in listed}
        samples = given.get("samples", 1)
        return given | {"strategies": {name: _whole(name, text, named, samples) for name, text in named.items()}}

    @field_validator("tasks", mode="before")
    @classmethod
    def _with_defaults(cls, given: Any) -> Any:
        """A task may be its name alone."""
        listed = given if isinstance(given, list | tuple) else [given]
        return [{"name": task} if isinstance(task, str) else task for task in listed]

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds that every item is answered under."""
        return self.seeds or (self.seed,)

    def by_likelihood(self, strategy: str) -> bool:
        """Whether a strategy, by its name, scores options instead of generating."""
        return self.strategies[strategy].strip() == LIKELIHOOD

    @property
    def records_confidences(self) -> bool:
        """Whether how sure the model was is stored with its answers."""
        generating = (text for name, text in self.strategies.items() if not self.by_likelihood(name))
        return self.confidences or any(s.reads_confidences() for text in generating for s in Strategy.of(text).stages)

    @property
    def baseline_name(self) -> str:
        """The strategy others are compared with."""
        return self.baseline if self.baseline is not None else next(iter(self.strategies))

    @property
    def digest(self) -> str:
        """What tells this plan from others: everything in it but how it is run and read."""
        asked = self.model_dump_json(
            exclude={
                "max_rows": True,
                "margin": True,
                "confidences": True,
                "skip_too_long": True,
                "tasks": {"__all__": {"judge": _HOW}},
            }
        )
        return blake2b(asked.encode(), digest_size=16).hexdigest()

    @property
    def task_names(self) -> tuple[str, ...]:
        """What tables call the tasks: their names, numbered where one is asked twice."""
        names = [task.name for task in self.tasks]
        return tuple(
            name if names.count(name) == 1 else f"{name} #{names[: i + 1].count(name)}" for i, name in enumerate(names)
        )

    @staticmethod
    def read(file: Path) -> Plan:
        """Read a plan from YAML and check all of it and the data it names, without running anything.

        Raises:
            RequestError: for a file that cannot be read, a name that is not known, or a value that cannot be.
            StrategyError: for a strategy that cannot be parsed, or that a model's own settings do not allow.
            ModelError: for a model that is not there or damaged.
        """
        plan = Plan.parse(file)
        plan.check_data()
        return plan

    @staticmethod
    def parse(file: Path) -> Plan:
        """Read a plan from YAML and check what it says; data and models need not be there.

        Files are relative to the plan's own folder.

        Raises:
            RequestError: for a file that cannot be read, a name that is not known, or a value that cannot be.
            StrategyError: for a strategy that cannot be parsed.
        """
        data = parse_yaml(read_text(file), file_name(file))
        if not isinstance(data, dict):
            raise RequestError(f"{file_name(file)} is no plan; it needs models, strategies and tasks, each with a list")
        return Plan.of(data, file_name(file), file.parent.resolve())

    @staticmethod
    def of(data: Mapping[str, Any], where: str, folder: Path) -> Plan:
        """A plan from what was written down, checked as far as it can be without data and models.

        Args:
            data: its fields.
            where: they were written, for what errors say.
            folder: what files are relative to.

        Raises:
            RequestError: for a name that is not known, or a value that cannot be.
            StrategyError: for a strategy that cannot be parsed.
        """
        try:
            plan = Plan.model_validate(data)
        except ValidationError as error:
            raise RequestError(f"{where}: {_first_fault(error)}") from None
        plan = plan.model_copy(update={"tasks": tuple(task.within(folder) for task in plan.tasks)})
        plan.check()
        return plan

    def check(self) -> None:
        """Refuse what cannot be, whatever data and models there are.

        Raises:
            RequestError, StrategyError: naming it.
        """
        for what, listed in (("models", self.models), ("seeds", self.seeds)):
            twice = [one for one in listed if listed.count(one) > 1]
            if twice:
                raise RequestError(f"{what}: {twice[0]!r} is there twice; leave one out")
        for name, text in self.strategies.items():
            if self.by_likelihood(name):
                if not any(task.has_options for task in self.tasks):
                    raise RequestError(
                        f"strategy {name!r}: no task of the plan has options to choose from; leave it out"
                    )
                continue
            try:
                Strategy.of(text)
            except Exception as error:
                raise type(error)(f"strategy {name!r}: {error}") from None
        if self.baseline_name not in self.strategies:
            hint = did_you_mean(self.baseline_name, self.strategies) or f"; it is one of {', '.join(self.strategies)}"
            raise RequestError(f"baseline: there is no strategy {self.baseline_name!r}{hint}")
        for task in self.tasks:
            if isinstance(task.task(), ModelGraded) != (task.judge is not None):
                says = "takes no judge; leave it out" if task.judge else "is judged by a model; write judge: MODEL"
                raise RequestError(f"task {task.name} {says}")
            if task.judge is not None:
                backend_of(task.judge.name).check_name(task.judge.name)

    def check_data(self) -> None:
        """Refuse what could only fail later: models and items that are not there.

        Raises:
            RequestError, InvalidData: for items that cannot be read, or too few of them, and a key of a judge's server
                that cannot be sent.
            ModelError: for a model that is not there or damaged.
            StrategyError: for a strategy that a model's own settings do not allow.
            SandboxMissing: if programs are to be judged and there is no sandbox.
        """
        for task in self.tasks:
            made = task.task()
            if task.file is not None or not isinstance(made, Generated):
                task.examples()
            if isinstance(made, Checked):
                made.check()
            if task.judge is not None:
                if backend_of(task.judge.name).remote:
                    chat_model(**task.judge.asking)
                else:
                    settings_of(task.judge.name)
        for name in self.models:
            remote = text_model(name)
            if remote is not None:
                for label, text in self.strategies.items():
                    if self.by_likelihood(label):
                        raise RequestError(f"strategy {label!r}: {name} shows no likelihoods of options; leave it out")
                    remote.check(Strategy.of(text), Limits())
                continue
            settings = settings_of(name)
            if settings is not None and any(text.lstrip().startswith("default") for text in self.strategies.values()):
                try:
                    Strategy.from_generation_config(settings)
                except StrategyError as error:
                    raise type(error)(f"default of {name}: {error}") from None


def _first_fault(error: ValidationError) -> str:
    """One thing that is wrong, in one line: a name that is not known before one that is missing, which it may be."""
    fault = min(error.errors(include_url=False), key=lambda fault: fault["type"] != "extra_forbidden")
    parts = [str(part) for part in fault["loc"]]
    place = ".".join(parts)
    if fault["type"] == "extra_forbidden":
        fields = JudgePlan.model_fields if "judge" in parts else Plan.model_fields
        return f"unknown field {place!r}{did_you_mean(parts[-1], fields) or '; allowed: ' + ', '.join(fields)}"
    if fault["type"] == "missing":
        return f"{place} is missing; write it down"
    return f"{place}: {fault['msg'].lower()}, got {str(fault['input'])[:60]!r}"


def _whole(name: str, written: Any, named: Mapping[Any, Any], samples: Any) -> Any:
    """A strategy in the strategy language; one that is written as a selection follows what it selects from."""
    if not isinstance(written, dict):
        return written
    where = f"strategy {str(name)[:60]!r}"
    for field in written:
        if field not in ("of", "select", "n"):
            raise RequestError(f"{where}: unknown field {str(field)[:60]!r}; write {{of: NAME, select: vote, n: 8}}")
    base, selection, n = written.get("of"), written.get("select"), written.get("n", samples)
    if base not in named or not isinstance(named[base], str):
        hint = did_you_mean(str(base), [str(other) for other in named if isinstance(named[other], str)])
        raise RequestError(
            f"{where}: of must be the name of a strategy that is written out, got {str(base)[:60]!r}{hint}"
        )
    stages = Strategy.of(named[base]).stages
    if stages[-1].kind == "selection" or not any(stage.samples_by_index for stage in stages):
        raise RequestError(
            f"{where}: of must name a strategy that samples and selects nothing, got {named[base][:60]!r}; "
            "write its processors and | sample"
        )
    if not isinstance(n, int) or n < 2:
        raise RequestError(f"{where}: n must be an integer, at least 2, got {str(n)[:60]}; it is how many samples")
    chosen = Strategy.of(str(selection)).stages if isinstance(selection, str) else ()
    if not chosen or chosen[-1].kind != "selection" or len(chosen) != 2:
        raise RequestError(f"{where}: select must be a selection such as vote, got {str(selection)[:60]!r}")
    searched = [replace(stage, n=n) if stage.samples_by_index else stage for stage in stages]  # pyright: ignore
    return str(Strategy((*searched, chosen[-1])))
