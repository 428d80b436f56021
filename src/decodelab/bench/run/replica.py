"""A model at work on a plan: it tells the keys of the answers, and generates those that are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from decodelab.bench.plan import Plan
from decodelab.bench.run.likelihood import as_chat, choice_key, chosen
from decodelab.bench.run.questions import Question, questions
from decodelab.bench.store.journal import Record, key_of, limits_text
from decodelab.core.errors import DecodelabError
from decodelab.core.protocols import Composition, LanguageModel
from decodelab.core.values import Chat, Generation, Limits, Tokens
from decodelab.engine.job import Job, encode_prompt, make_job
from decodelab.engine.runners.runner import Failed
from decodelab.engine.scheduler import Engine
from decodelab.models.loading import load
from decodelab.pocket.item import digest
from decodelab.processors.xtc import XTC
from decodelab.search.beam import Beam
from decodelab.search.greedy import Greedy
from decodelab.search.sample import Sample
from decodelab.strategy.strategy import Strategy
from decodelab.tasks.choices import Choice, HasOptions
from decodelab.tasks.task import Continued, Example

Items = Sequence[Sequence[Example]]
"""The items of each task of a plan."""

Around = Callable[[LanguageModel], AbstractContextManager[None]]
"""Entered while a model computes, to choose its threads, say."""


@dataclass(frozen=True)
class Wanted:
    """Answers to be generated.

    Attributes:
        number: of the question.
        first: the index of the first sample that is wanted.
        keys: of the answers, by sample from there on.
    """

    number: int
    first: int
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Answered:
    """Answers that were generated, a record for each key."""

    wanted: Wanted
    records: tuple[Record, ...]


@dataclass(frozen=True)
class Refused:
    """Answers that could not be generated, and why."""

    wanted: Wanted
    error: DecodelabError


Outcome = Answered | Refused


def nothing_around(model: LanguageModel) -> AbstractContextManager[None]:
    """Leave torch's threads as they are."""
    return nullcontext()


class Replica:
    """One model at a time, with its engine. It is loaded when it is first asked for and kept until another one is.

    Args:
        device: where models are loaded, as `load` takes it.
        around: entered while a model computes.
    """

    def __init__(self, device: str = "auto", around: Around = nothing_around) -> None:
        self.device = device
        self.around = around
        self._name = ""
        self._engine: Engine | None = None

    def begin(self, plan: Plan, items: Items) -> None:
        """Take up a plan."""
        if self._engine is not None and self._engine.max_rows != plan.max_rows:
            self._engine = Engine(self._engine.model, max_rows=plan.max_rows)
        self._plan, self._items = plan, items
        self._listed = list(questions(plan, [len(examples) for examples in items]))
        self._strategies: dict[str, Strategy] = {}
        self._tasks = [task.task() for task in plan.tasks]

    def model(self, name: str) -> LanguageModel:
        """The model of that name, loaded.

        Raises:
            ModelError: if it cannot be loaded.
        """
        return self._loaded(name).model

    def keys(self, name: str) -> list[tuple[str, ...]]:
        """The keys of the answers to each question, by sample; none where another seed's answer would be the same.

        Raises:
            ModelError: if the model cannot be loaded.
            StrategyError: if a strategy cannot be used with it.
        """
        engine = self._loaded(name)
        prompt: tuple[int, int, dict[Sequence[Composition], Tokens]] = (-1, -1, {})
        found: list[tuple[str, ...]] = []
        for question in self._listed:
            if prompt[:2] != (question.task, question.item):
                prompt = question.task, question.item, {}
            choice = self.choice(question)
            if choice is not None:
                found.append((choice_key(engine.model, choice),))
                continue
            strategy = self._strategies[question.strategy]
            if question.seed != self._plan.all_seeds[0] and draws_nothing(strategy):
                found.append(())
                continue
            tokens = prompt[2].get(strategy.compositions)
            if tokens is None:
                _, tokens = encode_prompt(engine.composed(strategy), self._prompt(question))
                prompt[2][strategy.compositions] = tokens
            single, seed, limits = str(widened(strategy, 1)), self._seed(question), self._limits(question)
            answers = self._plan.samples if samples_freely(strategy) else 1
            found.append(tuple(key_of(engine.model.digest, single, tokens, i, seed, limits) for i in range(answers)))
        return found

    def choice(self, question: Question) -> Choice | None:
        """The options that a question scores; None where it generates."""
        task = self._tasks[question.task]
        if not self._plan.by_likelihood(question.strategy) or not isinstance(task, HasOptions):
            return None
        choice = task.choice(self._items[question.task][question.item])
        return as_chat(choice) if self._plan.tasks[question.task].chat else choice

    def job(self, name: str, wanted: Wanted, number: int = 0) -> Job:
        """The job that generates what is wanted.

        Raises:
            PromptTooLong: if the model's context has no room for a new token.
        """
        engine, question = self._loaded(name), self._listed[wanted.number]
        strategy = widened(self._strategies[question.strategy], len(wanted.keys))
        model, limits = engine.composed(strategy), self._limits(question)
        made = make_job(model, number, self._prompt(question), strategy, limits, self._seed(question))
        return replace(made, first_sample=wanted.first)

    def run(self, name: str, wanted: Iterable[Wanted]) -> Iterator[Outcome]:
        """Generate what is wanted; each outcome comes as soon as there is one.

        Raises:
            ModelError: if the model cannot be loaded.
        """
        engine = self._loaded(name)
        running: dict[int, tuple[Wanted, Job]] = {}
        choices: list[tuple[Wanted, Choice]] = []
        for number, one in enumerate(wanted):
            choice = self.choice(self._listed[one.number])
            if choice is not None:
                choices.append((one, choice))
                continue
            try:
                job = self.job(name, one, number)
                engine.enqueue(job)
            except DecodelabError as error:
                yield Refused(one, error)
            else:
                running[number] = one, job
        try:
            with self.around(engine.model):
                records = chosen(engine.model, [(one.keys[0], choice) for one, choice in choices])
                for (one, _), found in zip(choices, records, strict=True):
                    yield Answered(one, (found,)) if isinstance(found, Record) else Refused(one, found)
                for finished in engine.run():
                    one, job = running.pop(finished.index)
                    if isinstance(finished, Failed):
                        yield Refused(one, finished.error)
                    elif all(candidate.finish_reason != "interrupted" for candidate in finished.candidates):
                        yield Answered(one, _records(finished, one, job, engine.model))
        finally:
            if engine.busy:  # whoever took the outcomes has stopped
                self._engine = Engine(engine.model, max_rows=engine.max_rows)

    def _loaded(self, name: str) -> Engine:
        """The engine of a model of that name."""
        if self._engine is None or self._name != name:
            self._engine = None  # two models need not fit
            self._engine = Engine(load(name, device=self.device), max_rows=self._plan.max_rows)
            self._name, self._strategies = name, {}
        if not self._strategies:
            model = self._engine.model
            self._strategies = {
                label: Strategy.of(text).resolve(model)
                for label, text in self._plan.strategies.items()
                if not self._plan.by_likelihood(label)
            }
        return self._engine

    def _prompt(self, question: Question) -> str | Chat:
        """The prompt, as text or as a chat."""
        prompt = self._items[question.task][question.item].prompt
        if isinstance(prompt, Chat) or not self._plan.tasks[question.task].chat:
            return prompt  # pyright: ignore[reportReturnType]  (tasks ask in text)
        return Chat.of(str(prompt))

    def _limits(self, question: Question) -> Limits:
        task, asked = self._tasks[question.task], self._plan.tasks[question.task]
        stop = task.stop if isinstance(task, Continued) and not asked.chat else ()
        return Limits(max_new_tokens=asked.max_new_tokens, stop=stop)

    def _seed(self, question: Question) -> int:
        """An item has a seed of its own: two items of one prompt are answered by different draws.

        What draws nothing is answered once for all seeds.
        """
        task, example = self._plan.tasks[question.task], self._items[question.task][question.item]
        seed = 0 if draws_nothing(self._strategies[question.strategy]) else question.seed
        return digest("bench", seed, task.name, example.id) >> 1


def samples_freely(strategy: Strategy) -> bool:
    """Whether a strategy is asked for several samples: it draws one, and selects none from others."""
    return isinstance(strategy.search, Sample) and strategy.selection is None


def draws_nothing(strategy: Strategy) -> bool:
    """Whether a strategy is known to answer the same under every seed."""
    search = strategy.search
    settled = isinstance(search, Greedy) or (isinstance(search, Beam) and not search.sampling)
    return settled and not any(isinstance(stage, XTC) for stage in strategy.stages)


def widened(strategy: Strategy, samples: int) -> Strategy:
    """The strategy with so many samples, if it is one that samples freely."""
    if not samples_freely(strategy):
        return strategy
    stages = [replace(s, n=samples) if isinstance(s, Sample) else s for s in strategy.stages]
    return replace(strategy, stages=tuple(stages))


def _records(found: Generation, wanted: Wanted, job: Job, model: LanguageModel) -> tuple[Record, ...]:
    """The answers that were wanted of a generation, by sample."""
    freely = samples_freely(job.strategy)
    chosen = sorted(found.candidates, key=lambda c: c.sample) if freely else [found.best]
    cost = found.cost
    spent = (cost.prefill_tokens, cost.decode_tokens, cost.forward_passes, cost.peak_cache_bytes, cost.seconds)
    return tuple(
        Record(
            key,
            model.name,
            model.digest,
            str(widened(job.strategy, 1)),
            found.prompt,
            sample,
            str(found.seed),
            limits_text(job.limits),
            candidate.text,
            candidate.tokens,
            candidate.token_logprobs,
            candidate.processed_logprobs,
            candidate.finish_reason,
            len(job.tokens) if sample == 0 else 0,
            *(spent if sample == wanted.first else (0, 0, 0, 0, 0.0)),
        )
        for sample, (key, candidate) in enumerate(zip(wanted.keys, chosen, strict=True), wanted.first)
    )
