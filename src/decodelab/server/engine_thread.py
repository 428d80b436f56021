"""`EngineThread`: one engine in a thread of its own, which runs the jobs of all clients in one batch."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from queue import Empty, SimpleQueue

from decodelab.core.errors import DecodelabError
from decodelab.core.protocols import LanguageModel
from decodelab.core.values import Generation
from decodelab.engine.job import Job
from decodelab.engine.runners.runner import Failed
from decodelab.engine.scheduler import Engine
from decodelab.server.errors import ApiError, api_error
from decodelab.server.fairness import FairQueue
from decodelab.server.settings import ServerSettings
from decodelab.server.tool_calls import CallSyntax, call_syntax
from decodelab.server.watching import Grown, Searched, Source, Watch, Watcher

LOG = logging.getLogger("decodelab.server")

Message = Grown | Searched | Generation | ApiError
"""What the client of a job hears: pieces, steps, and at the end its generation or an error."""


@dataclass(eq=False)
class Ticket:
    """A job on its way, and where its messages go.

    Attributes:
        job: the job; its index is given in the engine's thread.
        client: who sent it.
        priority: the lowest begins first.
        streams, top, source: as in `Watch`.
        loop: where the client is served.
        messages: what the clients of all tickets of a request hear, in order.
    """

    job: Job
    client: str
    priority: int
    streams: bool
    top: int | None
    source: Source
    loop: asyncio.AbstractEventLoop
    messages: asyncio.Queue[tuple[Ticket, Message]]
    due: float = 0.0
    watch: Watch | None = None


class EngineThread:
    """Runs the jobs of all clients on one model.

    Requests wait in a `FairQueue`; the engine is given as many as keep its batch full, so that a later request of
    another client need not wait for all that one client has sent. Whatever happens to a job, its client hears of it.

    Args:
        model: the model.
        settings: how much is taken.
    """

    def __init__(self, model: LanguageModel, settings: ServerSettings) -> None:
        self.model = model
        self.settings = settings
        self.seen = Seen()
        self._watcher = Watcher()
        self._observers: list[Watcher] = []  # empty while nobody wants to know of steps, which then cost nothing
        self._engine = Engine(model, max_rows=settings.max_rows, memory=settings.memory, observers=self._observers)
        self._waiting: FairQueue[Ticket] = FairQueue()
        self._running: dict[int, Ticket] = {}
        self._next = 0
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._outbox: dict[asyncio.AbstractEventLoop, list[tuple[Ticket, Message]]] = {}
        self._pending = 0  # tickets without an end; changed under the lock
        self._lock = threading.Lock()
        self._closing = False
        self._stop_at: float | None = None
        self._looked = 0.0  # when deadlines were last looked at
        self._thread = threading.Thread(target=self._run, name=f"engine of {model.name}", daemon=True)

    @cached_property
    def syntax(self) -> CallSyntax | None:
        """How the model's chat template writes calls of functions."""
        return call_syntax(self.model.vocab)

    def start(self) -> None:
        """Begin to run."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it takes and runs jobs."""
        return self._thread.is_alive() and not self._closing

    def submit(self, tickets: Iterable[Ticket]) -> None:
        """Take the jobs of one request: all or none.

        Raises:
            ApiError: 429 if too many wait, 503 if the server is going down.
        """
        new = list(tickets)
        with self._lock:
            if self._closing:
                raise ApiError(503, "the server is shutting down; send the request again later", code="shutting_down")
            if self._pending + len(new) > self.settings.max_queue + self.settings.max_rows:
                raise ApiError(
                    429,
                    f"{self._pending} requests run or wait for {self.model.name}, which are as many as this server "
                    "takes; send it again later",
                    code="queue_full",
                    retry_after=1,
                )
            self._pending += len(new)
        due = time.monotonic() + self.settings.deadline
        for ticket in new:
            ticket.due = due
        self._inbox.put(lambda: self._accept(new))

    def cancel(self, ticket: Ticket) -> None:
        """Give a job up; its rows are gone before the next forward pass, and nothing more is heard of it."""
        self._inbox.put(lambda: self._drop(ticket))

    def call(self, work: Callable[[LanguageModel], None]) -> None:
        """Do something with the model between two steps, in the engine's thread."""
        self._inbox.put(lambda: work(self.model))

    def close(self, grace: float) -> None:
        """Take no more; what runs may go on for so many seconds."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
        self._inbox.put(lambda: self._end(time.monotonic() + grace))

    def join(self, timeout: float) -> bool:
        """Wait until nothing runs; whether that is so."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    # In the engine's thread from here on.

    def _run(self) -> None:
        while True:
            # A job that was given up is in the engine until its rows are dropped, with the next step.
            busy = self._engine.busy or bool(len(self._waiting))
            if not busy and self._stop_at is not None:
                return
            self._receive(block=not busy)
            if self._stop_at is not None and time.monotonic() >= self._stop_at:
                self._fail_all(ApiError(503, "the server shut down before the answer was complete", code="shut_down"))
            self._expire()
            self._feed()
            if self._engine.busy:
                self._step()
            self.seen.rows, self.seen.waiting = self._engine.rows, len(self._waiting)
            self._flush()

    def _receive(self, block: bool) -> None:
        """Do what other threads have asked for; wait for something if there is nothing else to do."""
        try:
            todo = self._inbox.get(block=block)
            while True:
                try:
                    todo()
                except Exception:  # nothing that one request asks may end the thread that serves all
                    LOG.exception("a request failed in the engine's thread")
                todo = self._inbox.get_nowait()
        except Empty:
            pass

    def _accept(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            self._waiting.put(ticket, ticket.client, ticket.priority)

    def _end(self, at: float) -> None:
        self._stop_at = at

    def _feed(self) -> None:
        """Give the engine as many jobs as keep its batch full."""
        rows = sum(ticket.job.rows for ticket in self._running.values())
        while len(self._waiting) and rows < 2 * self.settings.max_rows:
            ticket = self._waiting.get()
            job = ticket.job = replace(ticket.job, index=self._next)
            self._next += 1
            try:
                self._engine.enqueue(job)
            except DecodelabError as error:
                self._tell_end(ticket, self._failed(error))
                continue
            rows += job.rows
            self._running[job.index] = ticket
            watch = Watch(
                job,
                self.model.vocab,
                streams=ticket.streams,
                top=ticket.top,
                source=ticket.source,
                tell=lambda message, ticket=ticket: self._tell(ticket, message),
            )
            ticket.watch = watch
            if watch.wanted:
                self._watcher.watches[job.index] = watch
        self._observers[:] = [self._watcher] if self._watcher.watches else []

    def _step(self) -> None:
        try:
            for outcome in self._engine.step():
                self._done(outcome)
        except Exception as error:  # whatever a model or a stage of someone else raises
            LOG.exception("a step of %s failed", self.model.name)
            for _ in self._engine.interrupted():
                pass
            failed = api_error(error) if isinstance(error, DecodelabError) else ApiError(500, _FAILED, code="failed")
            for number in list(self._running):
                self._tell_end(self._forget(number), failed)

    def _done(self, outcome: Generation | Failed) -> None:
        if outcome.index not in self._running:
            return
        ticket = self._forget(outcome.index)
        if isinstance(outcome, Failed):
            self._tell_end(ticket, self._failed(outcome.error))
            return
        if ticket.streams and ticket.watch is not None:
            for candidate in outcome.candidates:
                if (rest := ticket.watch.rest(candidate.sample, candidate.text)) is not None:
                    self._tell(ticket, rest)
        self.seen.prompt_tokens += len(outcome.prompt_tokens)
        self.seen.new_tokens += sum(len(c.tokens) for c in outcome.candidates)
        self._tell_end(ticket, outcome)

    def _failed(self, error: DecodelabError) -> ApiError:
        told = api_error(error)
        if told.status >= 500:
            LOG.error("a request failed: %s", error)
        return told

    def _forget(self, number: int) -> Ticket:
        ticket = self._running.pop(number)
        self._watcher.watches.pop(number, None)
        return ticket

    def _drop(self, ticket: Ticket) -> None:
        """Take a job out, wherever it is; nothing if it has ended."""
        number = ticket.job.index
        if self._running.get(number) is ticket:
            self._engine.cancel(number)
            self._forget(number)
        elif not self._waiting.remove(ticket):
            return
        self._count_end()

    def _expire(self) -> None:
        """End the jobs whose deadline has passed, those that wait as well."""
        now = time.monotonic()
        if now < self._looked + 0.5:
            return
        self._looked = now
        late = [t for t in self._running.values() if t.due <= now]
        late += [t for t in self._waiting if t.due <= now]
        for ticket in late:
            self._end_early(
                ticket,
                ApiError(504, f"the answer took longer than {self.settings.deadline:g} seconds", code="deadline"),
            )

    def _fail_all(self, error: ApiError) -> None:
        for ticket in [*self._running.values(), *self._waiting]:
            self._end_early(ticket, error)

    def _end_early(self, ticket: Ticket, error: ApiError) -> None:
        self._drop(ticket)
        self._tell(ticket, error)

    def _tell(self, ticket: Ticket, message: Message) -> None:
        self._outbox.setdefault(ticket.loop, []).append((ticket, message))

    def _tell_end(self, ticket: Ticket, message: Message) -> None:
        self._count_end()
        self._tell(ticket, message)

    def _count_end(self) -> None:
        with self._lock:
            self._pending -= 1

    def _flush(self) -> None:
        """Send what clients are told, one call a loop."""
        outbox, self._outbox = self._outbox, {}
        for loop, told in outbox.items():
            with suppress(RuntimeError):  # the loop is closed: nobody is there to hear
                loop.call_soon_threadsafe(_deliver, told)


_FAILED = "the model failed; the server's log says why"


@dataclass
class Seen:
    """What the engine's thread has seen so far, for the metrics; read from elsewhere, exact when nothing runs."""

    rows: int = 0
    waiting: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0


def _deliver(told: list[tuple[Ticket, Message]]) -> None:
    for ticket, message in told:
        ticket.messages.put_nowait((ticket, message))
