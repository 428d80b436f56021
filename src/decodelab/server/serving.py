"""The models that a server serves, and the road of a request through one of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from decodelab.core.errors import DecodelabError
from decodelab.core.protocols import LanguageModel
from decodelab.core.values import Chat, Generation, Tokens
from decodelab.engine.job import Job, check_limits, check_rows, make_job
from decodelab.engine.scoring import score_many
from decodelab.metrics.likelihood import Score
from decodelab.models.loading import list_models, list_verifiers
from decodelab.server.answers import Answer, Choice
from decodelab.server.engine_thread import EngineThread, Ticket
from decodelab.server.errors import ApiError, api_error, naming
from decodelab.server.parameters import Route, parameters
from decodelab.server.settings import ServerSettings
from decodelab.server.translating import Plan, plan_of
from decodelab.server.watching import Grown, Searched


class Models:
    """The models served, each with its engine.

    Args:
        models: by the name that requests give.
        settings: how much is taken.

    Attributes:
        usable: the names of the models that a strategy in a request may name.
    """

    def __init__(self, models: Mapping[str, LanguageModel], settings: ServerSettings) -> None:
        self.settings = settings
        self.engines = {name: EngineThread(model, settings) for name, model in models.items()}
        shipped = [info.name for info in (*list_models(), *list_verifiers())]
        self.usable = frozenset((*models, *shipped))

    def __getitem__(self, name: str) -> EngineThread:
        """The engine of a model.

        Raises:
            ApiError: 404 if it is not served.
        """
        if name not in self.engines:
            served = ", ".join(self.engines)
            raise ApiError(
                404, f"there is no model {name[:200]!r}; served are {served}", param="model", code="model_not_found"
            )
        return self.engines[name]

    def start(self) -> None:
        """Start the engines."""
        for engine in self.engines.values():
            engine.start()

    def close(self) -> None:
        """Take no more; what runs has the time that the settings give."""
        for engine in self.engines.values():
            engine.close(self.settings.grace)

    async def stop(self) -> None:
        """Wait until what ran has finished or failed."""
        self.close()
        for engine in self.engines.values():
            await asyncio.to_thread(engine.join, self.settings.grace + 5)


@dataclass
class Work:
    """A request that runs, or has been answered.

    Attributes:
        engine: of its model.
        plan: what it asks for.
        answer: what becomes of it.
        tickets: one for each prompt; none where nothing is generated.
    """

    engine: EngineThread
    plan: Plan
    answer: Answer
    tickets: list[Ticket]
    messages: asyncio.Queue[Any] = field(default_factory=lambda: asyncio.Queue())
    generations: dict[int, Generation] = field(default_factory=dict[int, Generation])

    @property
    def prompts(self) -> range:
        """The places of its prompts."""
        return range(len(self.answer.prompts))

    def cancel(self) -> None:
        """Give up what still runs."""
        for place, ticket in enumerate(self.tickets):
            if place not in self.generations:
                self.engine.cancel(ticket)

    def choices(self) -> list[Choice]:
        """All sequences of the answer."""
        found: list[Choice] = []
        for place in self.prompts:
            watch = self.tickets[place].watch if self.tickets else None
            found += self.answer.choices(place, self.generations.get(place), watch)
        return found

    async def heard(self) -> AsyncIterator[list[tuple[int, Grown | Searched | Generation]]]:
        """What the engine tells, with the place of the prompt, until all is done: what is there already together.

        Raises:
            ApiError: if one prompt fails: so does the request.
        """
        places = {ticket: place for place, ticket in enumerate(self.tickets)}
        while len(self.generations) < len(self.tickets):
            told = [await self.messages.get()]
            while not self.messages.empty():
                told.append(self.messages.get_nowait())
            found: list[tuple[int, Grown | Searched | Generation]] = []
            for ticket, message in told:
                if isinstance(message, ApiError):
                    yield found
                    raise message
                place = places[ticket]
                if isinstance(message, Generation):
                    self.generations[place] = message
                found.append((place, message))
            yield found

    async def document(self) -> dict[str, Any]:
        """The answer in one piece."""
        async for _ in self.heard():
            pass
        return self.answer.document(self.choices(), self._generations)

    @property
    def _generations(self) -> Sequence[Generation]:
        return [self.generations[place] for place in sorted(self.generations)]

    async def pieces(self) -> AsyncIterator[list[dict[str, Any]]]:
        """The answer in pieces, those that are known at a time together; the usage comes last, where it is wanted."""
        answer, shown = self.answer, self.plan.shown
        begun = [len(text) if shown.echo else 0 for text, _ in answer.prompts]
        yield self._opening()
        async for told in self.heard():
            found: list[dict[str, Any]] = []
            for place, message in told:
                if isinstance(message, Searched):
                    if shown.progress:
                        found.append(answer.progress(place, message))
                elif isinstance(message, Grown):
                    found += answer.pieces(place * shown.n + message.sample, message, begun[place])
                else:
                    found += self._ending(place, message, begun[place])
            yield found
        if shown.usage:
            yield [answer.last(self.choices(), self._generations)]

    def _opening(self) -> list[dict[str, Any]]:
        """The first pieces of all sequences: whose turn it is, and the prompt where it is echoed."""
        answer, shown = self.answer, self.plan.shown
        found: list[dict[str, Any]] = []
        for place in self.prompts:
            for index in range(place * shown.n, (place + 1) * shown.n if self.tickets else place * shown.n + 1):
                if (opening := answer.opening(index)) is not None:
                    found.append(opening)
                if shown.echo:
                    (prompt,) = answer.choices(place, None, None)
                    found += answer.echo(replace(prompt, index=index))
                if not self.tickets:
                    found += answer.closing(index, "length")
        return found

    def _ending(self, place: int, generation: Generation, before: int) -> list[dict[str, Any]]:
        """The last pieces of a prompt's sequences; all of them, where nothing was told before."""
        watch, found = self.tickets[place].watch, list[dict[str, Any]]()
        live = watch is not None and watch.live
        for choice in self.answer.choices(place, generation, watch):
            # What was told already: the text but for the stop string that ended it, or only the prompt.
            candidate = generation.candidates[choice.index - place * self.plan.shown.n]
            told = before + (len(candidate.text) if live else 0)
            if told < len(choice.text) or not live:
                head = sum(start < told for start in choice.starts)
                starts = tuple(start - before for start in choice.starts[head:])
                new = Grown(0, choice.text[told:], choice.places[head:], starts)
                found += self.answer.pieces(choice.index, new, before)
            found += self.answer.closing(choice.index, choice.reason, choice.stop)
        return found


async def begin(route: Route, asked: Mapping[str, Any], models: Models, client: str) -> Work:
    """Check a request and put its prompts into the queue of its model.

    Raises:
        ApiError: for what is wrong with it, and where too much waits.
    """
    engine = models[asked["model"]]
    plan, jobs, prompts = await asyncio.to_thread(_prepared, route, asked, engine, models)
    scores: Sequence[Score | None] = ()
    tops = [plan.shown.prompt_top, plan.shown.top if plan.shown.echo else None]
    if wanted := [top for top in tops if top is not None]:
        scores = await _scored(engine, [tokens for _, tokens in prompts], max(wanted))
    work = Work(engine, plan, Answer(route, plan, engine.model, asked["model"], prompts, scores), [])
    if plan.limits.max_new_tokens:
        loop, shown = asyncio.get_running_loop(), plan.shown
        work.tickets = [
            Ticket(job, client, plan.priority, shown.stream, shown.top, shown.source, loop, work.messages)
            for job in jobs
        ]
        engine.submit(work.tickets)
    return work


def _prepared(
    route: Route, asked: Mapping[str, Any], engine: EngineThread, models: Models
) -> tuple[Plan, list[Job], list[tuple[str, Tokens]]]:
    """The plan of a request, a job for each prompt, and the prompts' texts and tokens."""
    settings, model = models.settings, engine.model
    plan = plan_of(route, asked, engine.model, engine.syntax, models.usable, settings)
    jobs, prompts = list[Job](), list[tuple[str, Tokens]]()
    try:
        if not plan.limits.max_new_tokens:
            return plan, [], [plan.reading.read(model, prompt) for prompt in plan.prompts]
        check_limits(model, plan.limits)
        for i, prompt in enumerate(plan.prompts):
            name = "the prompt" if len(plan.prompts) == 1 else f"prompt {i}"
            if plan.reading.usual:
                job = make_job(model, 0, prompt, plan.strategy, plan.limits, plan.seed, name=name)
            else:
                text, tokens = plan.reading.read(model, prompt)
                job = make_job(model, 0, tokens, plan.strategy, plan.limits, plan.seed, name=name)
                job = replace(job, prompt=text, chat=prompt if isinstance(prompt, Chat) else None)
            check_rows(job)
            jobs.append(job)
            prompts.append((job.prompt, job.tokens))
    except DecodelabError as error:
        raise naming(error, None, parameters(route)) from error
    return plan, jobs, prompts


async def _scored(engine: EngineThread, prompts: Sequence[Tokens], top: int) -> list[Score | None]:
    """The log-probabilities of prompts' tokens, from the second on; None for a prompt of one token."""
    pairs = [(tokens[:1], tokens[1:]) for tokens in prompts if len(tokens) > 1]
    found = iter(await in_engine(engine, lambda model: score_many(model, pairs, alternatives=top) if pairs else []))
    return [next(found) if len(tokens) > 1 else None for tokens in prompts]


async def in_engine(engine: EngineThread, work: Any) -> Any:
    """What a function of the model gives, computed between two steps of its engine.

    Raises:
        ApiError: for what it raises.
    """
    done: Future[Any] = Future()

    def run(model: LanguageModel) -> None:
        if done.set_running_or_notify_cancel():
            try:
                done.set_result(work(model))
            except Exception as error:
                done.set_exception(error)

    engine.call(run)
    try:
        return await asyncio.wrap_future(done)
    except DecodelabError as error:
        raise api_error(error) from error
