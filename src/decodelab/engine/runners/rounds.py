"""`RoundsRunner`: runs the draws of searches over texts, and of samples in windows, round after round."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from decodelab.core.chunks import CHUNKS
from decodelab.core.errors import DecodelabError, EmptySupport, RequestError, UnsupportedStrategy
from decodelab.core.protocols import Draw, Drawn, LanguageModel, Question, Rounds
from decodelab.core.stage import Stage
from decodelab.core.values import Candidate, Cost
from decodelab.engine.counted import Counted
from decodelab.engine.faults import blamed
from decodelab.engine.hypotheses import Path, asked, generation, ranked, selected, unfinished
from decodelab.engine.job import Job, Part, make_job
from decodelab.engine.runners.runner import Failed, Outcome, Runner
from decodelab.engine.runners.windows import check_windows, windows
from decodelab.search._draws import Draws
from decodelab.strategy.strategy import Strategy


@dataclass
class _Searching:
    """A job that draws in rounds.

    Attributes:
        job: the job.
        stage: what says what is drawn: its search, or the driver of a search that samples.
        rounds: that stage at work; it waits for what was drawn.
        counted: the model that the search asks, as it was used.
        draws: of the round that runs.
        drawn: what has been drawn for each; None where that is not done.
        costs: of each of them.
        cost: of the rounds that are done.
        lost: whether a constraint left fewer than a draw asked for.
        finished: the finished answers of all rounds so far, for those who interrupt the search.
        began: when.
    """

    job: Job
    stage: Stage
    rounds: Rounds
    counted: Counted
    draws: Sequence[Draw] = ()
    drawn: list[list[Drawn] | None] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)
    lost: bool = False
    finished: list[Candidate] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    def spent(self) -> Cost:
        """What the job has cost so far."""
        cost = _after(self.cost, _beside(self.costs))
        return replace(
            cost,
            decode_tokens=cost.decode_tokens + self.counted.tokens,
            forward_passes=cost.forward_passes + self.counted.passes,
            seconds=time.perf_counter() - self.began,
        )


class RoundsRunner:
    """Runs jobs in another runner: the draws of those that draw in rounds, others as they are.

    Each draw is a job of its own, of plain samples that begin where the draw says: with the tokens of the answer so
    far, the states that processors and stops have after them, and the random numbers of the positions that follow. So
    it goes on as a sample would have gone on that nobody interrupted. The draws of a round run together, beside all
    other jobs; the next round begins when all of them are done. The job keeps its place meanwhile, so that it never
    waits between two rounds, and its prompt is in the prefix cache after the first.

    Args:
        model: the language model.
        inner: runs the draws and all other jobs; it takes jobs whenever it has taken a step.
    """

    def __init__(self, model: LanguageModel, inner: Runner) -> None:
        self.model = model
        self.inner = inner
        self._searching: dict[int, _Searching] = {}
        self._parts: dict[int, tuple[int, int]] = {}  # the job and the draw of each part that runs
        self._ready: list[Job] = []  # parts that begin after the step
        self._leaving: list[Outcome] = []  # of jobs some of whose draws are gone with the next step only
        self._numbers = count(-1, -1)  # of parts; those of jobs are not negative, so that a dropped part is known
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
        """Refuse what the other runner refuses, what a driver cannot stop, and what a search cannot weigh."""
        check_windows(job.strategy)
        _check_weighing(job.strategy)
        self.inner.check(job)

    def group(self, job: Job) -> object:
        """As the other runner groups them."""
        return self.inner.group(job)

    def bytes_of(self, job: Job) -> int:
        """Bytes the cache of a job, or of its draws, may come to hold."""
        return self.inner.bytes_of(job)

    def admit(self, jobs: Sequence[Job], room: int | None) -> Iterator[Outcome]:
        """Begin jobs, or their first rounds."""
        self._room = room
        for job in jobs:
            if job.strategy.in_rounds is None and job.strategy.windowed is None:
                self._ready.append(job)
            else:
                yield from self._begun(job)
        yield from self._begin_ready()

    def step(self) -> Iterator[Outcome]:
        """One step of the other runner; rounds that follow those which finished in it begin."""
        leaving, self._leaving = self._leaving, []
        yield from self._taken(self.inner.step())
        yield from leaving
        yield from self._begin_ready()

    def cancel(self, number: int) -> bool:
        """Drop a job with its draws."""
        if any(outcome.index == number for outcome in self._leaving):
            return False
        searching = self._searching.pop(number, None)
        if searching is None:
            return self.inner.cancel(number)
        gone = self._drop_parts(number)
        if not gone:
            self._leaving.append(Failed(number, RequestError(f"{searching.job.name}: cancelled")))
        return gone

    def interrupt(self) -> Iterator[Outcome]:
        """Empty the runner: yield the jobs that run as far as they came."""
        running: dict[tuple[int, int], Sequence[Candidate]] = {}
        for outcome in self.inner.interrupt():
            place = self._parts.get(outcome.index)
            if place is None:
                if outcome.index >= 0:
                    yield outcome
            elif not isinstance(outcome, Failed):
                running[place] = outcome.candidates
                self._searching[place[0]].costs[place[1]] = outcome.cost
        yield from self._leaving
        searching, self._searching = self._searching, {}
        self._parts, self._ready, self._leaving = {}, [], []
        for number, search in searching.items():
            found = [*search.finished]
            for draw, drawn in enumerate(search.drawn):
                found += [one.candidate for one in drawn or () if not one.finished]
                found += running.get((number, draw), ())
            if found:
                if all(
                    c.finish_reason not in ("interrupted", "pruned") for c in found
                ):  # it shows that it is not whole
                    found.append(unfinished(self.model, search.job, Path.of(None), len(found)))
                candidates = [_broken_off(c) for c in _numbered(search.job, found)]
                yield generation(self.model, search.job, candidates, search.spent())

    def _begun(self, job: Job) -> Iterator[Outcome]:
        """Begin to draw for a job."""
        strategy, counted = job.strategy, Counted(self.model, job.rewards)
        stage = strategy.search_stage if strategy.driver is None else strategy.driver
        try:
            with blamed(stage):
                rounds = _rounds(job, asked(counted, job))
        except DecodelabError as error:
            yield Failed(job.index, error)
            return
        self._searching[job.index] = searching = _Searching(job, stage, rounds, counted)
        yield from self._next_round(searching, None)

    def _begin_ready(self) -> Iterator[Outcome]:
        """Begin what is ready, until nothing is: a draw may fail at once."""
        while self._ready:
            ready, self._ready = self._ready, []
            yield from self._taken(self.inner.admit(ready, self._room))

    def _taken(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """The outcomes of whole jobs among those of the other runner."""
        for outcome in outcomes:
            place = self._parts.pop(outcome.index, None)
            if place is None:
                if outcome.index >= 0:
                    yield outcome
            else:
                yield from self._drawn(self._searching[place[0]], place[1], outcome)

    def _drawn(self, searching: _Searching, draw: int, outcome: Outcome) -> Iterator[Outcome]:
        """Note what became of a draw; when the round is done, go on."""
        if not isinstance(outcome, Failed):
            searching.costs[draw] = outcome.cost
            offset = searching.job.first_sample if searching.job.strategy.in_rounds is not None else 0
            candidates = [replace(c, sample=c.sample - offset) for c in outcome.candidates]
            if searching.draws[draw].after is not None:
                candidates = [replace(c, score=c.processed_logprob) for c in candidates]
            searching.drawn[draw] = found = [Drawn(c, c.finish_reason != "pruned") for c in candidates]
            searching.finished += [one.candidate for one in found if one.finished]
        elif isinstance(outcome.error, EmptySupport) and searching.job.strategy.in_rounds is not None:
            searching.drawn[draw] = found = []
        else:
            yield from self._failed(searching, outcome.error)
            return
        searching.lost |= len(found) < searching.draws[draw].n
        drawn = [found for found in searching.drawn if found is not None]
        if len(drawn) == len(searching.draws):
            yield from self._next_round(searching, drawn)

    def _next_round(self, searching: _Searching, drawn: list[list[Drawn]] | None) -> Iterator[Outcome]:
        """Let a search look at what was drawn (None: it begins) and draw again, or end it."""
        job = searching.job
        try:
            with blamed(searching.stage):
                try:
                    draws = next(searching.rounds) if drawn is None else searching.rounds.send(drawn)
                except StopIteration as end:
                    yield self._whole(searching, end.value)
                    return
                _check(draws, job)
            parts = [self._part(job, draw) for draw in draws]
        except DecodelabError as error:
            yield from self._failed(searching, error)
            return
        searching.cost = _after(searching.cost, _beside(searching.costs))
        searching.draws, searching.drawn = draws, [None] * len(draws)
        searching.costs = [Cost()] * len(draws)
        self._parts |= {part.index: (job.index, i) for i, part in enumerate(parts)}
        self._ready += parts

    def _part(self, job: Job, draw: Draw) -> Job:
        """The job of a draw: samples alone."""
        stages: list[Any] = [s for s in job.strategy.stages if s.kind not in ("search", "driver", "selection")]
        search: Any = job.strategy.search_stage  # of samples in windows, their own search
        search = replace(search, n=draw.n) if search.samples_by_index else Draws(n=draw.n)
        number, strategy = next(self._numbers), Strategy((*stages, search))
        if draw.prompt is None:
            part = replace(job, index=number, strategy=strategy)
        else:  # a text that the model wrote may hold the names of special tokens
            literal = isinstance(draw.prompt, str)
            name = f"{job.name}, which {job.strategy.search_stage} continues,"
            part = make_job(self.model, number, draw.prompt, strategy, job.limits, job.seed, literal=literal, name=name)
        return replace(
            part,
            first_sample=job.first_sample + draw.first,
            records_confidences=job.confidences,
            part=Part(job.index, draw),
        )

    def _whole(self, searching: _Searching, found: list[tuple[Candidate, float]]) -> Outcome:
        """The outcome of a job whose search has ended."""
        job = searching.job
        del self._searching[job.index]
        if not found:
            stage = job.strategy.search_stage
            return Failed(job.index, EmptySupport(f"{job.name}: {stage} found no text; {stage.if_empty}"))
        candidates = _numbered(job, [replace(candidate, score=float(score)) for candidate, score in found])
        try:
            with blamed(job.strategy.selection):
                choose = selected if searching.lost else ranked  # n is the most: fewer say nothing of constraints
                candidates, used = choose(self.model, job, candidates)
        except DecodelabError as error:
            return Failed(job.index, error)
        cost = searching.spent()
        chosen = Cost(decode_tokens=used.tokens, forward_passes=used.passes, seconds=0.0)
        return generation(self.model, job, candidates, replace(_after(cost, chosen), seconds=cost.seconds))

    def _failed(self, searching: _Searching, error: DecodelabError) -> Iterator[Failed]:
        """The outcome of a job whose search, or one of whose draws, raised, once its other draws are gone."""
        number = searching.job.index
        del self._searching[number]
        failed = Failed(number, error)
        if self._drop_parts(number):
            yield failed
        else:
            self._leaving.append(failed)

    def _drop_parts(self, number: int) -> bool:
        """Drop the draws of a job, those that run and those that are ready; whether all are gone now."""
        self._ready = [job for job in self._ready if job.part is None or job.part.owner != number]
        parts = [part for part, (job, _) in self._parts.items() if job == number]
        for part in parts:
            del self._parts[part]
        gone = [self.inner.cancel(part) for part in parts]
        return all(gone)


def _check_weighing(strategy: Strategy) -> None:
    """Refuse processors that draw numbers of their own before a search that goes by the probabilities of its draws.

    Raises:
        UnsupportedStrategy: naming the processor.
    """
    random = [s for s in strategy.stages if s.kind == "processor" and not s.deterministic()]
    if random and strategy.search_stage.weighs_draws:
        raise UnsupportedStrategy(
            f"{strategy.search_stage} weighs texts by their probabilities, which {random[0]} changes from draw "
            "to draw; leave it out, or use sample(n=...)"
        )


def _check(draws: Sequence[Draw], job: Job) -> None:
    """Refuse draws that nobody can make.

    Raises:
        ValueError: it is a fault of the search.
    """
    most = job.rows
    if not 1 <= sum(draw.n for draw in draws) <= most or min(draw.n for draw in draws) < 1:
        raise ValueError(f"a round draws {[draw.n for draw in draws]} continuations; at least 1 each, at most {most}")
    for draw in draws:
        if draw.first < 0 or (draw.most is not None and draw.most < 1) or draw.chunk not in (None, *CHUNKS):
            raise ValueError(f"draws begin at a sample index of 0 or more and take at least 1 token, got {draw}")
        if draw.after is not None and len(draw.after.tokens) >= job.max_new_tokens:
            raise ValueError(f"an answer of {len(draw.after.tokens)} tokens is as long as the limit allows")


def _rounds(job: Job, question: Question) -> Rounds:
    """What a job draws, round after round."""
    driver, search = job.strategy.windowed, job.strategy.in_rounds
    if driver is not None:
        return windows(driver, job.rows, job.strategy.search.n, question)
    assert search is not None
    return search.rounds(question, job.limits)


def _numbered(job: Job, candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates of a job; those of a search over texts have their rank for a sample index."""
    if job.strategy.in_rounds is None:
        return list(candidates)
    return [replace(candidate, sample=i) for i, candidate in enumerate(candidates)]


def _broken_off(candidate: Candidate) -> Candidate:
    """An answer of a search that was interrupted."""
    return replace(candidate, finish_reason="interrupted") if candidate.finish_reason == "pruned" else candidate


def _after(one: Cost, other: Cost) -> Cost:
    """The cost of one after the other, seconds aside."""
    return Cost(
        one.prefill_tokens + other.prefill_tokens,
        one.decode_tokens + other.decode_tokens,
        one.forward_passes + other.forward_passes,
        max(one.peak_cache_bytes, other.peak_cache_bytes),
    )


def _beside(costs: Sequence[Cost]) -> Cost:
    """The cost of draws that run together, seconds aside: they share their passes, but not their caches."""
    return Cost(
        sum(cost.prefill_tokens for cost in costs),
        sum(cost.decode_tokens for cost in costs),
        max((cost.forward_passes for cost in costs), default=0),
        sum(cost.peak_cache_bytes for cost in costs),
    )
