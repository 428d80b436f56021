"""What the clients of running jobs want of each step, and the observer of the engine that finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from decodelab.core.events import Event, Step
from decodelab.core.protocols import Vocab
from decodelab.engine.job import Job
from decodelab.engine.streaming import GrowingText
from decodelab.kernels.fused import log_normaliser

if TYPE_CHECKING:
    from torch import Tensor

Source = Literal["model", "processed"]
"""Whose log-probabilities: the model's own, or those of the distribution that is drawn from."""

Top = tuple[tuple[int, float], ...]
"""The most probable tokens at one place with their log-probabilities, the most probable first."""


@dataclass(frozen=True)
class Place:
    """One token of a sequence: its id, its log-probability, and the most probable ones there."""

    token: int
    logprob: float
    top: Top


@dataclass(frozen=True)
class Grown:
    """New text of one sequence, and the tokens that begin in it (only where log-probabilities are wanted).

    Attributes:
        sample: which sequence.
        text: what is new.
        places: the tokens.
        starts: how many characters of the sequence's text stand before each.
    """

    sample: int
    text: str
    places: tuple[Place, ...] = ()
    starts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Searched:
    """A step of a search whose texts are known at its end only: which row each continues, by which token."""

    position: int
    parents: tuple[int, ...]
    tokens: tuple[int, ...]
    ended: tuple[bool, ...]


@dataclass
class _Sequence:
    """A sequence that is passed on as it grows."""

    text: GrowingText
    waiting: list[Place] = field(default_factory=list)
    released: int = 0

    def grown(self, sample: int, text: str, length: int) -> Grown:
        """New text with the tokens not yet passed on that begin before this many characters."""
        starts = self.text.starts
        count = 0
        while count < len(self.waiting) and starts[self.released + count] < length:
            count += 1
        found, self.waiting = tuple(self.waiting[:count]), self.waiting[count:]
        first, self.released = self.released, self.released + count
        return Grown(sample, text, found, tuple(starts[first : self.released]) if found else ())


class Watch:
    """What the client of one job wants to know before it is done.

    Args:
        job: the job.
        vocab: the vocabulary of its model.
        streams: whether to pass on steps.
        top: how many of the most probable tokens to find at each place; None for no log-probabilities.
        source: whose.
        tell: is given what the client wants to know.
    """

    def __init__(
        self,
        job: Job,
        vocab: Vocab,
        *,
        streams: bool,
        top: int | None,
        source: Source,
        tell: Callable[[Grown | Searched], None],
    ) -> None:
        self.job = job
        self.vocab = vocab
        self.streams = streams
        self.top = top
        self.source = source
        self.tell = tell
        strategy = job.strategy
        self.independent = strategy.search_stage.samples_by_index or strategy.search_stage.takes_argmax
        self.live = self.independent and strategy.selection is None and strategy.windowed is None
        self._sequences: dict[int, _Sequence] = {}
        self._tops: dict[object, Top] = {}

    @property
    def wanted(self) -> bool:
        """Whether it wants anything of the steps."""
        return self.streams or bool(self.top)

    def see(self, event: Step, chosen: Sequence[tuple[int, int, bool]]) -> None:
        """Take what a step chose for the rows of the job: (row, token, whether it ended)."""
        tops = self._see_tops(event, chosen) if self.top is not None and (self.top or self.live) else {}
        if not self.streams:
            return
        if not self.live:
            parents, tokens, ended = (tuple(column) for column in zip(*chosen, strict=True))
            rows = {row: i for i, row in enumerate(dict.fromkeys(parents))}
            position = int(event.positions[parents[0]])
            self.tell(Searched(position, tuple(rows[row] for row in parents), tokens, ended))
            return
        for row, token, _ in chosen:
            sample = int(event.samples[row])
            sequence = self._sequences.get(sample)
            if sequence is None:
                text = GrowingText(
                    self.vocab, self.job.before, stop=self.job.limits.stop, stops=self.job.strategy.stops
                )
                sequence = self._sequences[sample] = _Sequence(text)
            if tops:
                sequence.waiting.append(tops[row, token])
            if new := sequence.text.push(token):
                self.tell(sequence.grown(sample, new, sequence.text.written))

    def rest(self, sample: int, text: str) -> Grown | None:
        """What of a finished sequence has not been told."""
        sequence = self._sequences.pop(sample, None)
        if sequence is None:
            return None
        new = sequence.text.finish(text)
        return sequence.grown(sample, new, len(text))

    def places(self, sample: int, tokens: Sequence[int], logprobs: Sequence[float]) -> Iterator[Place]:
        """The places of a finished candidate; without their most probable tokens where a search does not show them."""
        for i, (token, logprob) in enumerate(zip(tokens, logprobs, strict=True)):
            key = (sample, i) if self.independent else tuple(tokens[:i])
            yield Place(token, logprob, self._tops.get(key, ()))

    def _see_tops(self, event: Step, chosen: Sequence[tuple[int, int, bool]]) -> dict[tuple[int, int], Place]:
        """The chosen places, by row and token; the most probable tokens are kept for the end."""
        import torch

        rows = list(dict.fromkeys(row for row, _, _ in chosen))
        source: Tensor = (event.logits if self.source == "model" else event.processed)[rows]
        norm = log_normaliser(source)
        tops: list[Top] = [()] * len(rows)
        if self.top:
            values, ids = source.topk(min(self.top, source.shape[1]), dim=1)
            values = values.double() - norm[:, None]
            tops = [
                tuple((token, value) for token, value in zip(*pair, strict=True) if value > -torch.inf)
                for pair in zip(ids.tolist(), values.tolist(), strict=True)
            ]
            prefixes = None if self.independent else event.prefixes
            for row, top in zip(rows, tops, strict=True):
                key = (int(event.samples[row]), int(event.positions[row])) if prefixes is None else prefixes[row]
                self._tops[key] = top
        at = {row: i for i, row in enumerate(rows)}
        return {
            (row, token): Place(token, float(source[at[row], token].double() - norm[at[row]]), tops[at[row]])
            for row, token, _ in chosen
        }


class Watcher:
    """The observer of an engine: passes each step on to the watches of the jobs in it."""

    def __init__(self) -> None:
        self.watches: dict[int, Watch] = {}

    def __call__(self, event: Event) -> None:
        """Take an event from the engine."""
        if not isinstance(event, Step):
            return
        generations = event.generations.tolist()
        chosen: dict[int, list[tuple[int, int, bool]]] = {}
        for row, token, ended in zip(event.parents.tolist(), event.tokens.tolist(), event.ended.tolist(), strict=True):
            job = generations[row]
            if job in self.watches:
                chosen.setdefault(job, []).append((row, token, ended))
        for job, own in chosen.items():
            self.watches[job].see(event, own)
