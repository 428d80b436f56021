"""`Engine`: jobs of any strategies, prompts and lengths on one model, as many as possible in each forward pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from decodelab.core.capabilities import RunnerName
from decodelab.core.errors import DecodelabError, EngineStopped, InvalidParameter, UnsupportedStrategy
from decodelab.core.events import Observer
from decodelab.core.protocols import Composition, LanguageModel
from decodelab.core.values import Limits, Prompt
from decodelab.engine.composing import Composer
from decodelab.engine.failures import forward_failed
from decodelab.engine.faults import ObserverRaised
from decodelab.engine.job import Job, check_limits, make_job
from decodelab.engine.prefix_cache import PrefixCache
from decodelab.engine.prompt_notes import PromptNotes
from decodelab.engine.queue import Queue
from decodelab.engine.runners.batched import BatchedRunner
from decodelab.engine.runners.hidden_states import HiddenStatesRunner
from decodelab.engine.runners.rounds import RoundsRunner
from decodelab.engine.runners.runner import Outcome, Runner
from decodelab.engine.runners.speculative import SpeculativeRunner
from decodelab.engine.runners.tree import TreeRunner
from decodelab.models.loading import load
from decodelab.search.speculative import Speculative
from decodelab.strategy.strategy import Strategy, StrategyLike

Kind: TypeAlias = "tuple[tuple[Composition, ...], Speculative | RunnerName]"
"""What jobs of one runner have in common: the stages that make their model, and the driver or name of the runner."""


class Engine:
    """Runs jobs of any strategies, prompts and lengths together on one model.

    Jobs that make the same kind of forward pass share a runner with a queue of its own. Most strategies share one
    running batch (`BatchedRunner`); speculative decoding, searches that look ahead, tree searches and composed models
    have runners of their own, which take turns. Jobs begin in the order they were submitted. The result of a job does
    not depend on what runs beside it, as far as the model's own arithmetic does not.

    What a stage raises fails the jobs of its strategy, what the model raises those of its pass, each by a named error
    as their outcome; the others go on unchanged. Any other exception (of an observer, Ctrl-C, `SystemExit`) reaches the
    caller and stops the engine: until `interrupted` has emptied it, it does nothing but raise `EngineStopped`. `run`
    empties it by itself after Ctrl-C.

    Args:
        model: a model, or the name of one for `load`.
        max_rows: rows (beams, samples) computed at once; a job that has more runs alone.
        memory: bytes of cache that running jobs may come to hold; None: as `max_rows` allows. What they leave of it,
            but at most `prefix_cache.MOST_BYTES`, is used to keep prompts for later ones that begin alike.
        observers: told of every step (see `decodelab.core.events`).

    Raises:
        InvalidParameter: for max_rows or memory below 1.

    >>> engine = Engine("pocket-nano")
    >>> prompt = "Once upon a time"
    >>> a = engine.submit(prompt, "greedy", max_new_tokens=4)
    >>> b = engine.submit(prompt, "beam(width=4)", max_new_tokens=4)
    >>> sorted((done.index, done.cost.prefill_tokens > 0) for done in engine.run())
    [(0, True), (1, False)]
    """

    def __init__(
        self,
        model: LanguageModel | str,
        *,
        max_rows: int = 64,
        memory: int | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        if max_rows < 1:
            raise InvalidParameter(
                f"max_rows must be at least 1, got {max_rows}; it is the number of rows computed at once"
            )
        if memory is not None and memory < 1:
            raise InvalidParameter(f"memory must be at least 1 byte, got {memory}; leave it out for no bound")
        self.model = load(model) if isinstance(model, str) else model
        self.max_rows = max_rows
        self.memory = memory
        self.observers = observers
        self._submitted = 0
        self._done: deque[Outcome] = deque()
        self._stopped: BaseException | None = None
        self._compose = Composer(self.model)
        self._prefix_caches: dict[tuple[Composition, ...], PrefixCache] = {}
        self._turn: Kind = ((), "batched")
        self._queues: dict[Kind, Queue] = {self._turn: self._new_queue(self._turn)}

    def submit(
        self,
        prompt: Prompt,
        strategy: StrategyLike = "default",
        *,
        max_new_tokens: int = 128,
        min_new_tokens: int = 0,
        stop: str | Sequence[str] = (),
        stop_token_ids: Sequence[int] = (),
        seed: int = 0,
        literal: bool = False,
    ) -> int:
        """Put a job in the queue; its number is the `index` of what comes out.

        Args:
            prompt: text, token ids or a `Chat`.
            strategy: and the others: as `decodelab.generate`.

        Raises:
            StrategyError, RequestError: as `decodelab.generate`; TooLarge if it can never fit the memory.
            EngineStopped: after an exception that ended a step halfway.
        """
        limits = Limits(
            max_new_tokens, min_new_tokens, (stop,) if isinstance(stop, str) else tuple(stop), tuple(stop_token_ids)
        )
        plan = Strategy.of(strategy).resolve(self.model)
        model = self.composed(plan)
        check_limits(model, limits)
        job = make_job(model, self._submitted, prompt, plan, limits, seed, literal=literal)
        if isinstance(prompt, str) and not literal:
            notes = PromptNotes(model, literal=True)
            notes.see(job.name, job.prompt, job.tokens)
            notes.tell()
        self.enqueue(job)
        return job.index

    def composed(self, strategy: Strategy) -> LanguageModel:
        """The model that a strategy decodes: the engine's own, or what its stages make of it."""
        return self._compose(strategy.compositions)

    def enqueue(self, job: Job) -> None:
        """Put a job that is made already in the queue; its index must be its own.

        Raises:
            UnsupportedStrategy: if no runner can make passes as its strategy says.
            InvalidParameter: if it asks for too many rows.
            TooLarge: if it can never fit the memory.
            ModelError: if the judge of its selection, or the reward model of a scorer, cannot be loaded.
            ForwardFailed: if the model raises when it is asked for the memory a job takes.
            EngineStopped: after an exception that ended a step halfway.
        """
        self._check_running()
        judge = job.strategy.judge
        if judge is not None:
            job = replace(job, judge=self._compose.load(judge) if isinstance(judge, str) else judge)
        if rewards := self._compose.rewards(job.strategy):
            job = replace(job, rewards=rewards)
        kind = _kind(job.strategy)
        if kind not in self._queues:
            self._queues[kind] = self._new_queue(kind)
        try:
            self._queues[kind].submit(job)
        except DecodelabError:
            raise
        except Exception as error:  # some models make a pass to learn how much memory a token takes
            raise forward_failed(self.model.name, error) from error
        self._submitted = max(self._submitted, job.index + 1)

    def _new_queue(self, kind: Kind) -> Queue:
        """An empty queue for jobs of a kind."""
        return Queue(self._new_runner(*kind), self.max_rows, self.memory, self._done.append)

    def _new_runner(self, compositions: tuple[Composition, ...], passes: Speculative | RunnerName) -> Runner:
        """A runner of the model that these stages make."""
        model = self._compose(compositions)
        if not isinstance(passes, str):
            return SpeculativeRunner(model, passes, self._compose.load, self.memory, self.observers)
        if passes == "hidden_states":
            return HiddenStatesRunner(model, self.memory, self.observers)
        if passes == "tree":
            return TreeRunner(model, self.max_rows, self.memory, self.observers)
        prefixes = self._prefix_caches[compositions] = PrefixCache(model)
        batched = BatchedRunner(model, prefixes, self.memory, self.observers)
        return RoundsRunner(model, batched)

    def cancel(self, number: int) -> bool:
        """Drop a job: nothing more of it comes out, its rows are gone before the next forward pass.

        Returns:
            Whether there was such a job, not yet done.
        """
        return any(queue.cancel(number) for queue in self._queues.values())

    @property
    def busy(self) -> bool:
        """Whether any job is waiting or running, or has an outcome that was not taken."""
        return bool(self._done) or any(queue.busy for queue in self._queues.values())

    @property
    def rows(self) -> int:
        """Rows that run, or whose prompt is being computed."""
        return sum(queue.runner.rows for queue in self._queues.values())

    @property
    def cached_bytes(self) -> int:
        """Bytes held by the caches of running jobs and by prompts kept for later ones."""
        running = sum(queue.runner.nbytes for queue in self._queues.values())
        return running + sum(prefixes.nbytes for prefixes in self._prefix_caches.values())

    def run(self) -> Generator[Outcome, None, None]:
        """Yield the outcome of each job as it finishes, until none is left; more may be submitted meanwhile.

        It may be left at any outcome; the next run goes on from there. On KeyboardInterrupt the jobs that have begun
        are yielded as far as they came, those that wait are dropped, and it is raised again.

        Raises:
            EngineStopped: after an exception that ended a step halfway.
        """
        try:
            while self.busy:
                yield from self.step()
        except KeyboardInterrupt:
            yield from self.interrupted()
            raise

    def interrupted(self) -> Iterator[Outcome]:
        """Empty the engine: yield the jobs that have begun as far as they came, drop those that wait.

        After that it may be used again, whatever had stopped it.
        """
        if self._stopped is not None:
            for prefixes in self._prefix_caches.values():  # it may have been broken off while it was kept
                prefixes.clear()
        for queue in self._queues.values():
            queue.interrupt()
        self._stopped = None
        yield from self._taken()

    def step(self) -> Iterator[Outcome]:
        """One step of the runner whose turn it is; yield the outcomes of the jobs that are done.

        Only one runner at a time has jobs running, so that each may use the whole `memory`. Its turn lasts until they
        are done; if other queues are waiting, no further jobs begin in it, so no queue starves.

        Raises:
            EngineStopped: after an exception that ended a step halfway.
        """
        self._check_running()
        try:
            self._step()
        except ObserverRaised as raised:
            self._stopped = raised.error
            raise raised.error from raised.error.__cause__
        except BaseException as error:
            self._stopped = error
            raise
        yield from self._taken()

    def _taken(self) -> Iterator[Outcome]:
        """Hand out the outcomes; those that are not taken stay."""
        while self._done:
            yield self._done.popleft()

    def _check_running(self) -> None:
        """Refuse to go on from a step that was done by half."""
        if self._stopped is not None:
            raise EngineStopped(
                f"{type(self._stopped).__name__} stopped this engine in the middle of a step; empty it with "
                "interrupted(), or make a new one"
            )

    def _step(self) -> None:
        begins = not self._queues[self._turn].running
        if begins:
            self._next_turn()
        alone = sum(queue.busy for queue in self._queues.values()) == 1
        self._queues[self._turn].step(admit=begins or alone)

    def _next_turn(self) -> None:
        """Give the turn to the next queue that has jobs; it stays where it is if no other has."""
        kinds = list(self._queues)
        after = kinds.index(self._turn) + 1
        for kind in (*kinds[after:], *kinds[:after]):
            if self._queues[kind].busy:
                if self.memory is not None and kind != self._turn:
                    for prefixes in self._prefix_caches.values():
                        prefixes.clear()
                self._turn = kind
                return


def _kind(strategy: Strategy) -> Kind:
    """Which runner a strategy needs.

    Raises:
        UnsupportedStrategy: for a driver that is not known here.
    """
    if strategy.driver is not None and strategy.speculative is None and strategy.windowed is None:
        raise UnsupportedStrategy(f"{strategy.driver}: this engine does not support it; leave it out")
    return strategy.compositions, strategy.speculative or strategy.runner
