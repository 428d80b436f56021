"""A model at work on a plan: it finds the keys of the answers, and generates those that are missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from decodelab.bench.plan import Plan
from decodelab.bench.records import Answer, WorkItem, key_of, limits_text
from decodelab.bench.run.likelihood import as_chat, choice_key, choose
from decodelab.bench.run.worklist import LoadedTask, worklist
from decodelab.core.errors import DecodelabError, ModelError
from decodelab.core.events import Observer
from decodelab.core.protocols import Composition, LanguageModel
from decodelab.core.values import Chat, Generation, Limits, Tokens
from decodelab.engine.job import Job, encode_prompt, make_job
from decodelab.engine.prompt_notes import PromptNotes
from decodelab.engine.runners.runner import Failed
from decodelab.engine.scheduler import Engine
from decodelab.models.loading import files_digest, load, reward_digest
from decodelab.pocket.item import digest
from decodelab.search.sample import Sample
from decodelab.search.speculative import NGRAM
from decodelab.strategy.strategy import Strategy
from decodelab.tasks.choices import Choice, HasOptions

Around = Callable[[LanguageModel], AbstractContextManager[None]]
"""Entered while a model computes, to choose its threads, say."""

Result = tuple[WorkItem, tuple[Answer, ...] | DecodelabError]
"""A piece of work with an answer for each key, or with why there is none."""


def nothing_around(model: LanguageModel) -> AbstractContextManager[None]:
    """Leave torch's threads as they are."""
    return nullcontext()


class Worker:
    """One model at a time, with its engine. It is loaded when it is first asked for and kept until another one is.

    Args:
        load: loads a model by name.
        around: entered while a model computes.
        observers: of the engine.
        watch: called with each generation as it ends, whole or interrupted, and with the work that it is for.
    """

    def __init__(
        self,
        load: Callable[[str], LanguageModel] = load,
        around: Around = nothing_around,
        observers: Sequence[Observer] = (),
        watch: Callable[[WorkItem, Generation], None] = lambda item, generation: None,
    ) -> None:
        self.load, self.around, self.observers, self.watch = load, around, observers, watch
        self._name = ""
        self._engine: Engine | None = None

    def begin(self, plan: Plan, tasks: Sequence[LoadedTask]) -> None:
        """Take up a plan."""
        if self._engine is not None and self._engine.max_rows != plan.max_rows:
            self._engine = self._new_engine(self._engine.model, plan.max_rows)
        self._plan, self._confident = plan, plan.records_confidences
        self._tasks = {task.label: task for task in tasks}
        self._strategies: dict[str, Strategy] = {}

    def model(self, name: str) -> LanguageModel:
        """The model of that name, loaded.

        Raises:
            ModelError: if it cannot be loaded.
        """
        return self._loaded(name).model

    def worklist(self, model: str) -> list[WorkItem]:
        """Everything the plan asks of a model, with its keys; none where another seed's answer would be the same.

        Raises:
            ModelError: if the model cannot be loaded.
            StrategyError: if a strategy cannot be used with it.

        Warns:
            PromptWarning: where its tokenizer reads prompts in another way than they may be meant.
        """
        engine = self._loaded(model)
        notes = PromptNotes(engine.model)
        place, encoded = ("", ""), dict[Sequence[Composition], Tokens]()
        found: list[WorkItem] = []
        # Found out once for all items, of which there may be 100,000.
        known: dict[tuple[str, bool], tuple[bool, str | None, str, str, str]] = {}
        for one in worklist(self._plan, list(self._tasks.values()), model):
            if place != (one.task, one.item):
                place, encoded = (one.task, one.item), {}
            choice = self.choice(one)
            if choice is not None:
                text, tokens = encode_prompt(engine.model, choice.prompt)
                if isinstance(choice.prompt, str):
                    notes.see(self._named(one), text, tokens)
                found.append(replace(one, keys=(choice_key(engine.model, choice, tokens),)))
                continue
            strategy, task = self.strategy(one), self._tasks[one.task]
            if one.seed != self._plan.all_seeds[0] and strategy.deterministic:
                continue
            if strategy.compositions not in encoded:
                prompt = self._prompt(one)
                text, encoded[strategy.compositions] = encode_prompt(engine.composed(strategy), prompt)
                if isinstance(prompt, str) and len(encoded) == 1:
                    notes.see(self._named(one), text, encoded[strategy.compositions])
            name = one.strategy, task.as_given
            if name not in known:
                freely = samples_freely(strategy) and not task.as_given
                base = None if freely or task.as_given else samples_selected(strategy)
                text = str(widened(strategy, 1) if freely else strategy)
                # The samples depend on fewer models than what a reward model chooses of them.
                drawn_by = _digest(engine, strategy if base is None else Strategy.of(base))
                known[name] = freely, base, text, _digest(engine, strategy), drawn_by
            freely, base, text, digest, drawn_by = known[name]
            tokens, seed = encoded[strategy.compositions], self._seed(one, strategy)
            samples = range(self._plan.samples if freely else 1)
            keys = tuple(key_of(digest, text, tokens, i, seed, task.limits) for i in samples)
            drawn = range(0 if base is None else strategy.search.n)
            made_from = tuple(key_of(drawn_by, base or "", tokens, i, seed, task.limits) for i in drawn)
            found.append(replace(one, keys=keys, made_from=made_from))
        notes.tell()
        return found

    def _named(self, one: WorkItem) -> str:
        """What notes call the prompt of a piece of work."""
        return f"prompt {one.task}" if self._tasks[one.task].as_given else f"{one.model}, {one.task}, item {one.item}"

    def strategy(self, one: WorkItem) -> Strategy:
        """The strategy that a piece of work is done under, resolved for its model."""
        self._loaded(one.model)
        strategy = self._strategies[one.strategy]
        return with_samples(strategy, self._plan.samples) if self._tasks[one.task].as_given else strategy

    def choice(self, one: WorkItem) -> Choice | None:
        """The options that a piece of work scores; None where it generates."""
        task = self._tasks[one.task]
        if not self._plan.by_likelihood(one.strategy) or not isinstance(task.task, HasOptions):
            return None
        choice = task.task.choice(task.by_id[one.item])
        return as_chat(choice) if task.plan.chat else choice

    def job(self, one: WorkItem, number: int = 0) -> Job:
        """The job that generates the answers to a piece of work.

        Raises:
            PromptTooLong: if the model's context has no room for a new token.
        """
        engine, task, strategy = self._loaded(one.model), self._tasks[one.task], self.strategy(one)
        seed = self._seed(one, strategy)
        if not task.as_given:
            strategy = widened(strategy, len(one.keys))
        name = None if task.as_given else "the prompt"  # failures of a sweep name task and item
        made = make_job(engine.composed(strategy), number, self._prompt(one), strategy, task.limits, seed, name=name)
        reader = task.reader(one.item)
        return replace(made, first_sample=one.first, read=reader, records_confidences=self._confident)

    def run(self, model: str, work: Iterable[WorkItem]) -> Iterator[Result]:
        """Do the work; each result comes as soon as there is one.

        Raises:
            ModelError: if the model cannot be loaded.
        """
        engine = self._loaded(model)
        running: dict[int, tuple[WorkItem, Job]] = {}
        choices: list[tuple[WorkItem, Choice]] = []
        for number, one in enumerate(work):
            choice = self.choice(one)
            if choice is not None:
                choices.append((one, choice))
                continue
            try:
                job = self.job(one, number)
                engine.enqueue(job)
            except DecodelabError as error:
                yield one, error
            else:
                running[number] = one, job
        try:
            with self.around(engine.model):
                chosen = choose(engine.model, [(one.keys[0], choice) for one, choice in choices])
                for (one, _), found in zip(choices, chosen, strict=True):
                    yield one, (found,) if isinstance(found, Answer) else found
                for finished in engine.run():
                    one, job = running.pop(finished.index)
                    if isinstance(finished, Failed):
                        yield one, finished.error
                        continue
                    self.watch(one, finished)
                    if all(candidate.finish_reason != "interrupted" for candidate in finished.candidates):
                        freely = samples_freely(job.strategy) and not self._tasks[one.task].as_given
                        answers = answers_of(
                            finished,
                            one,
                            job.strategy,
                            job.limits,
                            model=(engine.model.name, engine.model.digest),
                            prompt_tokens=len(job.tokens),
                            freely=freely,
                        )
                        yield one, answers
        finally:
            if engine.busy:  # whoever took the results has stopped
                self._engine = self._new_engine(engine.model, engine.max_rows)

    def _loaded(self, name: str) -> Engine:
        """The engine of a model of that name."""
        if self._engine is None or self._name != name:
            self._engine = None  # two models need not fit
            self._engine = self._new_engine(self.load(name), self._plan.max_rows)
            self._name, self._strategies = name, {}
        if not self._strategies:
            model = self._engine.model
            self._strategies = {
                label: Strategy.of(text).resolve(model)
                for label, text in self._plan.strategies.items()
                if not self._plan.by_likelihood(label)
            }
        return self._engine

    def _new_engine(self, model: LanguageModel, max_rows: int) -> Engine:
        return Engine(model, max_rows=max_rows, observers=self.observers)

    def _prompt(self, one: WorkItem) -> str | Chat:
        return prompt_of(self._tasks[one.task], one.item)

    def _seed(self, one: WorkItem, strategy: Strategy) -> int:
        return seed_of(self._tasks[one.task], one, strategy)


def prompt_of(task: LoadedTask, item: str) -> str | Chat:
    """The prompt of an item, as text or as a chat."""
    prompt = task.by_id[item].prompt
    if isinstance(prompt, Chat) or not task.plan.chat:
        return prompt  # pyright: ignore[reportReturnType]  (tasks ask in text)
    return Chat.of(str(prompt))


def seed_of(task: LoadedTask, one: WorkItem, strategy: Strategy) -> int:
    """The seed of a piece of work: each item has one of its own, so that two of one prompt get different draws.

    What draws nothing answers a prompt once, for all items and seeds.
    """
    if task.as_given:
        return one.seed
    return 0 if strategy.deterministic else digest("bench", one.seed, task.plan.name, one.item) >> 1


def samples_freely(strategy: Strategy) -> bool:
    """Whether a strategy's samples are answers of their own: it draws all, and selects none from others."""
    chosen = strategy.selection is not None or strategy.windowed is not None
    return strategy.search_stage.samples_by_index and not chosen


def widened(strategy: Strategy, samples: int) -> Strategy:
    """The strategy with that many samples, if its samples are answers of their own."""
    if not samples_freely(strategy):
        return strategy
    stages: Any = strategy.stages
    return replace(strategy, stages=tuple(replace(s, n=samples) if s.samples_by_index else s for s in stages))


def samples_selected(strategy: Strategy) -> str | None:
    """The strategy whose samples are those that a strategy selects among; None where they cannot be told apart.

    What selects, and what says how many samples are enough, must neither draw nor ask the model, so that it gives the
    same for stored samples.
    """
    driven = strategy.driver is not None and strategy.windowed is None
    if driven or not strategy.search_stage.samples_by_index or strategy.selection is None:
        return None
    choosing = [stage for stage in strategy.stages if stage.kind in ("driver", "selection")]
    if not all(stage.deterministic() and not stage.asks_model() for stage in choosing):
        return None
    return str(widened(Strategy(tuple(stage for stage in strategy.stages if stage not in choosing)), 1))


def with_samples(strategy: Strategy, samples: int) -> Strategy:
    """The strategy with that many samples, if it samples and does not say how many itself."""
    return replace(strategy, stages=tuple(Sample(samples) if s == Sample() else s for s in strategy.stages))


def answers_of(
    found: Generation,
    one: WorkItem,
    strategy: Strategy,
    limits: Limits,
    *,
    model: tuple[str, str],
    prompt_tokens: int,
    freely: bool,
) -> tuple[Answer, ...]:
    """The answers that a generation holds: its samples, or its best candidate. What they cost, the first carries.

    Args:
        found: the generation.
        one: the work that it was made for.
        strategy, limits: under which it was made.
        model: name and digest of the model that the plan names, whatever the strategy makes of it.
        prompt_tokens: tokens of the prompt.
        freely: whether its samples are answers of their own.
    """
    chosen = sorted(found.candidates, key=lambda c: c.sample) if freely else [found.best]
    cost = found.cost
    spent = (cost.prefill_tokens, cost.decode_tokens, cost.forward_passes, cost.peak_cache_bytes, cost.seconds)
    return tuple(
        Answer(
            key,
            *model,
            str(widened(strategy, 1) if freely else strategy),
            found.prompt,
            sample,
            str(found.seed),
            limits_text(limits),
            candidate.text,
            candidate.tokens,
            candidate.token_logprobs,
            candidate.processed_logprobs,
            candidate.finish_reason,
            prompt_tokens if sample == 0 else 0,
            *(spent if sample == one.first else (0, 0, 0, 0, 0.0)),
            candidate.confidences,
        )
        for sample, (key, candidate) in enumerate(zip(one.keys, chosen, strict=True), one.first)
    )


def _digest(engine: Engine, strategy: Strategy) -> str:
    """The digest of all models that a strategy's texts depend on: the one decoded with its parts, a draft, a judge, and
    those that rate."""
    driver = strategy.speculative
    others = [None if driver is None or driver.draft == NGRAM else driver.draft, strategy.judge]
    own = engine.composed(strategy).digest
    try:
        named = [files_digest(o) if isinstance(o, str) else o.digest for o in others if o is not None]
        named += [reward_digest(name) for name in dict.fromkeys(name for name, _ in strategy.reward_models)]
    except ModelError:  # the work itself fails by it, and leaves other strategies alone
        return own
    return " ".join([own, *named])
