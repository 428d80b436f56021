"""A server's model at work on a plan: as `Worker`, but what it shows are texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from decodelab.backends.catalogue import text_model
from decodelab.backends.texts import TextJob, TextModel
from decodelab.bench.plan import Plan
from decodelab.bench.records import WorkItem, key_of
from decodelab.bench.run.worker import (
    Result,
    answers_of,
    prompt_of,
    samples_freely,
    samples_selected,
    seed_of,
    widened,
    with_samples,
)
from decodelab.bench.run.worklist import LoadedTask, worklist
from decodelab.core.errors import DecodelabError, ModelError
from decodelab.core.values import Chat, Generation, Tokens
from decodelab.strategy.strategy import Strategy


class TextWorker:
    """Models that servers run. The key of an answer is made of the model's name, as nobody here knows its weights.

    Args:
        watch: called with each generation as it ends, and with the work that it is for.
    """

    def __init__(self, watch: Callable[[WorkItem, Generation], None] = lambda item, generation: None) -> None:
        self.watch = watch
        self._models: dict[str, TextModel] = {}

    def begin(self, plan: Plan, tasks: Sequence[LoadedTask]) -> None:
        """Take up a plan."""
        self._plan, self._tasks = plan, {task.label: task for task in tasks}

    def model(self, name: str) -> TextModel:
        """The model of that name.

        Raises:
            RequestError: for an invalid name or key.
            ModelError: if it is not a server's.
        """
        if name not in self._models:
            found = text_model(name)
            if found is None:
                raise ModelError(f"model: {name!r} is not a server's")
            self._models[name] = found
        return self._models[name]

    def worklist(self, model: str) -> list[WorkItem]:
        """Everything the plan asks of a model, with its keys; none where another seed's answer would be the same.

        Raises:
            UnsupportedStrategy: for a strategy that the server cannot be asked for.
        """
        found: list[WorkItem] = []
        for text in self._plan.strategies.values():
            for task in self._tasks.values():
                self.model(model).check(Strategy.of(text), task.limits)
        for one in worklist(self._plan, list(self._tasks.values()), model):
            strategy, task = self.strategy(one), self._tasks[one.task]
            if one.seed != self._plan.all_seeds[0] and strategy.deterministic:
                continue
            base, freely = self._base(strategy, task), self._freely(strategy, task)
            digest, tokens, seed = self.model(model).digest, _spelled(task, one), seed_of(task, one, strategy)
            text = str(widened(strategy, 1) if freely else strategy)
            samples = range(self._plan.samples if freely else 1)
            keys = tuple(key_of(digest, text, tokens, i, seed, task.limits) for i in samples)
            drawn = range(0 if base is None else strategy.search.n)
            made_from = tuple(key_of(digest, base or "", tokens, i, seed, task.limits) for i in drawn)
            found.append(replace(one, keys=keys, made_from=made_from))
        return found

    def strategy(self, one: WorkItem) -> Strategy:
        """The strategy that a piece of work is done under."""
        strategy = Strategy.of(self._plan.strategies[one.strategy])
        return with_samples(strategy, self._plan.samples) if self._tasks[one.task].as_given else strategy

    def run(self, model: str, work: Iterable[WorkItem]) -> Iterator[Result]:
        """Do the work; each result comes as soon as there is one.

        Raises:
            EndpointFailed: when the server answers nothing any more.
        """
        listed = list(work)
        jobs = [self._job(number, one) for number, one in enumerate(listed)]
        running = self.model(model).generations(jobs)
        try:
            for number, found in running:
                one = listed[number]
                if isinstance(found, DecodelabError):
                    yield one, found
                    continue
                self.watch(one, found)
                job = jobs[number]
                answers = answers_of(
                    found,
                    one,
                    job.strategy,
                    job.limits,
                    model=(found.model, found.model_digest),
                    prompt_tokens=len(found.prompt_tokens) or found.cost.prefill_tokens,
                    freely=self._freely(self.strategy(one), self._tasks[one.task]),
                )
                yield one, answers
        finally:
            running.close()

    def _job(self, number: int, one: WorkItem) -> TextJob:
        task, strategy = self._tasks[one.task], self.strategy(one)
        seed = seed_of(task, one, strategy)
        if self._freely(strategy, task):
            strategy = widened(strategy, len(one.keys))
        read = task.reader(one.item)
        return TextJob(number, prompt_of(task, one.item), strategy, task.limits, seed, one.first, read)

    def _freely(self, strategy: Strategy, task: LoadedTask) -> bool:
        """Whether samples are answers of their own; what `default` does is known to the server only."""
        return samples_freely(strategy) and not task.as_given and strategy.search_stage in strategy.stages

    def _base(self, strategy: Strategy, task: LoadedTask) -> str | None:
        """The strategy whose samples are selected from, where these need no log-probabilities."""
        selection = [stage for stage in strategy.stages if stage.kind in ("driver", "selection")]
        if task.as_given or any(stage.reads_logprobs() for stage in selection):
            return None
        return samples_selected(strategy)


def _spelled(task: LoadedTask, one: WorkItem) -> Tokens:
    """A prompt as numbers, in place of its tokens, which nobody here knows."""
    prompt = prompt_of(task, one.item)
    text = json.dumps([dict(turn) for turn in prompt.messages]) if isinstance(prompt, Chat) else prompt
    return (int(isinstance(prompt, Chat)), *text.encode("utf-8", "surrogatepass"))
