"""`WindowedRunner`: draws the samples of some jobs in windows, until their driver has enough."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from decodelab.core.errors import DecodelabError, UnsupportedStrategy
from decodelab.core.protocols import LanguageModel
from decodelab.core.stage import Stage
from decodelab.core.values import Candidate, Cost, Generation
from decodelab.engine.counted import Counted
from decodelab.engine.faults import blamed
from decodelab.engine.hypotheses import Path, asked, generation, ranked, unfinished
from decodelab.engine.job import Job
from decodelab.engine.runners.runner import Failed, Outcome, Runner
from decodelab.strategy.strategy import Strategy


@dataclass(frozen=True)
class _Drawing:
    """A job whose samples are drawn in windows.

    Attributes:
        job: the job.
        drawn: samples of the windows that are done.
        candidates: theirs.
        cost: theirs.
    """

    job: Job
    drawn: int = 0
    candidates: tuple[Candidate, ...] = ()
    cost: Cost = field(default_factory=Cost)

    @property
    def total(self) -> int:
        """The most samples that are drawn."""
        return self.job.strategy.search.n

    @property
    def samples(self) -> range:
        """The indices of the samples of the next window."""
        first = self.job.first_sample + self.drawn
        return range(first, first + min(self.job.rows, self.total - self.drawn))

    @property
    def window(self) -> Job:
        """The job of the next window: samples alone."""
        kept: list[Any] = [s for s in self.job.strategy.stages if s.kind not in ("driver", "selection")]
        stages = tuple(replace(s, n=len(self.samples)) if s.samples_by_index else s for s in kept)
        return replace(
            self.job,
            strategy=Strategy(stages),
            first_sample=self.samples.start,
            records_confidences=self.job.confidences,
        )

    def plus(self, window: Generation) -> _Drawing:
        """With the next window, which is done."""
        return _Drawing(
            self.job,
            self.drawn + len(self.samples),
            (*self.candidates, *window.candidates),
            _sum(self.cost, window.cost),
        )


class WindowedRunner:
    """Runs jobs in another runner: those whose driver draws in windows one window after the other, others as they are.

    A window runs beside all other jobs. The job keeps its place while its windows run, so that it never waits between
    two of them, and those of several jobs that end in the same step go on together. The prompt is in the prefix cache
    after the first window.

    Args:
        model: the language model.
        inner: runs windows and all other jobs; it takes jobs whenever it has taken a step.
    """

    def __init__(self, model: LanguageModel, inner: Runner) -> None:
        self.model = model
        self.inner = inner
        self._drawing: dict[int, _Drawing] = {}
        self._ready: list[int] = []  # those whose next window begins after the step
        self._room: int | None = None

    @property
    def rows(self) -> int:
        """Rows that run, or whose prompt is being computed."""
        return self.inner.rows

    @property
    def nbytes(self) -> int:
        """Bytes that the caches of running jobs hold now."""
        return self.inner.nbytes

    def check(self, job: Job) -> None:
        """Refuse what the other runner refuses, and searches and votes that a driver cannot stop."""
        strategy = job.strategy
        if strategy.windowed is not None and strategy.driver is not None:
            _check(strategy, strategy.driver)
        self.inner.check(job)

    def group(self, job: Job) -> object:
        """As the other runner groups them."""
        return self.inner.group(job)

    def bytes_of(self, job: Job) -> int:
        """Bytes the cache of a job, or of one of its windows, may come to hold."""
        return self.inner.bytes_of(job)

    def admit(self, jobs: Sequence[Job], room: int | None) -> Iterator[Outcome]:
        """Begin jobs, or their first windows."""
        self._room = room
        first: list[Job] = []
        for job in jobs:
            if job.strategy.windowed is None:
                first.append(job)
            else:
                self._drawing[job.index] = drawing = _Drawing(job)
                first.append(drawing.window)
        yield from self._taken(self.inner.admit(first, room))

    def step(self) -> Iterator[Outcome]:
        """One step of the other runner; windows that follow those which finished in it begin."""
        yield from self._taken(self.inner.step())
        if self._ready:
            windows = [self._drawing[number].window for number in self._ready if number in self._drawing]
            self._ready = []
            yield from self._taken(self.inner.admit(windows, self._room))

    def cancel(self, number: int) -> bool:
        """Drop a job with the window that runs; a window that ends with the next step is its outcome."""
        self._drawing.pop(number, None)
        return self.inner.cancel(number)

    def interrupt(self) -> Iterator[Outcome]:
        """Empty the runner: yield the jobs that run as far as they came, windows that are done included."""
        for outcome in self.inner.interrupt():
            drawing = self._drawing.get(outcome.index)
            if isinstance(outcome, Failed) or all(c.finish_reason != "interrupted" for c in outcome.candidates):
                yield from self._taken([outcome])
                continue
            if drawing is not None:
                del self._drawing[outcome.index]
                outcome = self._as_far_as(drawing, outcome.candidates, outcome.cost)
            yield outcome
        left, self._drawing, self._ready = self._drawing, {}, []
        for drawing in left.values():
            if drawing.drawn:  # its next window has no row yet
                path = Path([], [], [])
                none = [unfinished(self.model, drawing.job, path, sample) for sample in drawing.samples]
                yield self._as_far_as(drawing, none, Cost())

    def _taken(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """The outcomes of whole jobs among those of the other runner; the others have another window to draw."""
        for outcome in outcomes:
            drawing = self._drawing.get(outcome.index)
            if drawing is None:
                yield outcome
                continue
            if isinstance(outcome, Failed):
                whole = outcome
            else:
                drawing = drawing.plus(outcome)
                whole = self._whole(drawing)
            if whole is None:
                self._drawing[outcome.index] = drawing
                self._ready.append(outcome.index)
            else:
                del self._drawing[outcome.index]
                yield whole

    def _whole(self, drawing: _Drawing) -> Outcome | None:
        """The outcome of a job that has drawn enough; None if it has not."""
        job, counted = drawing.job, Counted(self.model, drawing.job.rewards)
        driver, selection = job.strategy.windowed, job.strategy.selection
        assert driver is not None
        try:
            if drawing.drawn < drawing.total:
                with blamed(driver):
                    question = asked(counted, job)
                    if not driver.settled(drawing.candidates, drawing.drawn, drawing.total, question):
                        return None
            with blamed(selection):
                candidates, used = ranked(self.model, job, list(drawing.candidates))
        except DecodelabError as error:
            return Failed(job.index, error)
        cost = _sum(
            drawing.cost, Cost(decode_tokens=counted.tokens + used.tokens, forward_passes=counted.passes + used.passes)
        )
        return generation(self.model, job, candidates, cost)

    def _as_far_as(self, drawing: _Drawing, more: Iterable[Candidate], cost: Cost) -> Generation:
        """What a job has drawn when it is interrupted; none is selected."""
        return generation(self.model, drawing.job, [*drawing.candidates, *more], _sum(drawing.cost, cost))


def _check(strategy: Strategy, driver: Stage) -> None:
    """Refuse a search, or a vote, that a driver which draws in windows cannot stop.

    Raises:
        UnsupportedStrategy: saying which would do.
    """
    if not strategy.search_stage.samples_by_index:
        raise UnsupportedStrategy(f"{driver} ends the drawing of samples, got {strategy.search}; use sample(n=...)")
    chosen = strategy.stages[-1]
    if chosen.kind == "selection" and None is not chosen.counts() != driver.counts():
        raise UnsupportedStrategy(f"{driver} and {chosen} count different answers; give both the same answer=...")


def _sum(one: Cost, other: Cost) -> Cost:
    """The cost of one after the other."""
    return Cost(
        one.prefill_tokens + other.prefill_tokens,
        one.decode_tokens + other.decode_tokens,
        one.forward_passes + other.forward_passes,
        max(one.peak_cache_bytes, other.peak_cache_bytes),
        one.seconds + other.seconds,
        one.draft_tokens + other.draft_tokens,
        one.proposed + other.proposed,
        one.accepted + other.accepted,
    )
