"""Rows of a network whose rotary angles depend on length (`decodelab.models.angles`): a cache for each regime.

Rows that see the same angles are computed together, never with others. A row that grows past a switch leaves its cache,
and its whole sequence is computed under the new angles; so is every step beyond the bound of dynamic scaling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from decodelab.core.protocols import Cache as ProtocolCache
from decodelab.core.values import Tokens
from decodelab.models.angles import Angles, Regime
from decodelab.models.cache import KeyValueCache, Segment

_TOKEN_BYTES = 8


@dataclass
class _Part:
    """Rows of one regime and their cache; `members` are their places among all rows."""

    regime: Regime
    members: list[int]
    cache: KeyValueCache

    def keep(self, places: Sequence[int]) -> None:
        """Keep some rows only, by their places in this part."""
        if list(places) != list(range(len(self.members))):
            self.cache = self.cache.select(torch.tensor(places))
            self.members = [self.members[place] for place in places]


@dataclass(frozen=True)
class RegimeSegment:
    """Some consecutive tokens of a sequence, with their keys and values under the angles of one regime."""

    tokens: Tokens
    regime: Regime
    held: Segment | None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return _TOKEN_BYTES * len(self.tokens) + (0 if self.held is None else self.held.nbytes)

    def split(self, at: int) -> tuple[RegimeSegment, RegimeSegment]:
        """Its first `at` tokens and the others, each in memory of its own."""
        parts = (None, None) if self.held is None else self.held.split(at)
        return (
            RegimeSegment(self.tokens[:at], self.regime, parts[0]),
            RegimeSegment(self.tokens[at:], self.regime, parts[1]),
        )


class RegimeCache:
    """The rows of such a network: their tokens, and for those whose angles last, keys and values.

    Attributes:
        angles: how they depend on length.
        rows: the tokens of each row.
        parts: caches, one for each regime of the rows that have one.
    """

    def __init__(self, angles: Angles, rows: Sequence[Tokens], parts: Sequence[_Part]) -> None:
        self.angles = angles
        self.rows = list(rows)
        merged: dict[Regime, _Part] = {}
        for part in parts:
            mine = merged.setdefault(part.regime, part)
            if mine is not part:
                mine.cache, mine.members = mine.cache.join(part.cache), mine.members + part.members
        self.parts = list(merged.values())

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens held for each row."""
        return [len(row) for row in self.rows]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return _TOKEN_BYTES * sum(map(len, self.rows)) + sum(part.cache.nbytes for part in self.parts)

    def select(self, rows: Tensor) -> RegimeCache:
        """The given rows (int64 [n]), in that order."""
        return self._picked(rows.tolist(), KeyValueCache.select)

    def fork(self, rows: Tensor) -> RegimeCache:
        """An independent copy of the given rows (int64 [n])."""
        return self._picked(rows.tolist(), KeyValueCache.fork)

    def _picked(self, index: list[int], pick: Callable[[KeyValueCache, Tensor], KeyValueCache]) -> RegimeCache:
        parts: list[_Part] = []
        for part in self.parts:
            place = {row: at for at, row in enumerate(part.members)}
            members = [new for new, old in enumerate(index) if old in place]
            if members:
                chosen = torch.tensor([place[index[new]] for new in members])
                parts.append(_Part(part.regime, members, pick(part.cache, chosen)))
        return RegimeCache(self.angles, [self.rows[i] for i in index], parts)

    def rewind(self, lengths: Sequence[int]) -> RegimeCache:
        """Forget the last tokens of each row so that `lengths` remain."""
        held = self.lengths
        if len(lengths) != len(held) or any(not 0 < n <= m for n, m in zip(lengths, held, strict=True)):
            raise ValueError(
                f"rewind: lengths must be in [1, tokens held] for each row, got {list(lengths)} for {list(held)}"
            )
        parts: list[_Part] = []
        for part in self.parts:
            staying = [at for at, i in enumerate(part.members) if self.angles.regime(lengths[i]) == part.regime]
            if staying:
                part.keep(staying)
                part.cache = part.cache.rewind([lengths[i] for i in part.members])
                parts.append(part)
        return RegimeCache(self.angles, [row[:n] for row, n in zip(self.rows, lengths, strict=True)], parts)

    def join(self, other: ProtocolCache) -> RegimeCache:
        """The rows of this cache followed by those of another of the same model."""
        assert isinstance(other, RegimeCache)
        moved = [_Part(p.regime, [i + len(self.rows) for i in p.members], p.cache) for p in other.parts]
        return RegimeCache(self.angles, [*self.rows, *other.rows], [*self.parts, *moved])

    def segment(self, row: int, start: int, stop: int) -> RegimeSegment:
        """A copy of what it holds of a row's tokens `start` to `stop`."""
        part = next((p for p in self.parts if row in p.members), None)
        held = None if part is None else part.cache.segment(part.members.index(row), start, stop)
        return RegimeSegment(self.rows[row][start:stop], self.angles.regime(len(self.rows[row])), held)


@dataclass(frozen=True)
class Regimes:
    """The forward passes of a network whose angles depend on length, regime by regime.

    Attributes:
        angles: how they do.
        start: the logits after sequences of one regime, and their cache.
        extend: the logits [rows, k, vocab] of tokens [rows, k] appended to such a cache.
        resume: as `start`, for sequences whose beginnings are stored.
    """

    angles: Angles
    start: Callable[[Sequence[Tokens]], tuple[Tensor, KeyValueCache]]
    extend: Callable[[KeyValueCache, Tensor], tuple[Tensor, KeyValueCache]]
    resume: Callable[[Sequence[Sequence[Segment]], Sequence[int], Tensor], tuple[Tensor, KeyValueCache]]

    def prefill(self, prompts: Sequence[Tokens]) -> tuple[Tensor, RegimeCache]:
        """The logits after each prompt, [rows, vocab], and their cache."""
        logits, parts = self._computed(list(range(len(prompts))), prompts)
        return torch.stack([logits[row] for row in range(len(prompts))]), RegimeCache(self.angles, prompts, parts)

    def load(
        self, segments: Sequence[Sequence[RegimeSegment]], lengths: Sequence[int], tokens: Tensor
    ) -> tuple[Tensor, RegimeCache]:
        """The logits after prompts whose beginnings are stored, and their cache; other angles are computed anew."""
        rows: list[Tokens] = []
        stored: dict[Regime, list[int]] = {}
        anew: list[int] = []
        for i, (own, length) in enumerate(zip(segments, lengths, strict=True)):
            begun = tuple(token for segment in own for token in segment.tokens)[:length]
            rows.append(begun + tuple(tokens[i].tolist()))
            regime = self.angles.regime(len(rows[-1]))
            usable = all(segment.held is not None and segment.regime == regime for segment in own)
            (stored.setdefault(regime, []) if usable else anew).append(i)
        logits, parts = self._computed(anew, rows)
        for regime, members in stored.items():
            held = [[segment.held for segment in segments[i] if segment.held is not None] for i in members]
            found, cache = self.resume(held, [lengths[i] for i in members], tokens[members])
            logits |= dict(zip(members, found, strict=True))
            parts.append(_Part(regime, members, cache))
        return torch.stack([logits[row] for row in range(len(rows))]), RegimeCache(self.angles, rows, parts)

    def decode(self, cache: RegimeCache, tokens: Tensor) -> tuple[Tensor, RegimeCache]:
        """Append tokens [rows, k]: the logits after each, [rows, k, vocab], each under the angles of its length."""
        count = tokens.shape[1]
        state = _Decoding(list(cache.rows), [tuple(row) for row in tokens.tolist()])
        going, finished = list(cache.parts), []
        while True:
            finished += [part for part in going if self._advance(part, state)]
            left = [i for i, done in enumerate(state.done) if done < count]
            if not left:
                logits = torch.stack([torch.stack(row) for row in state.logits])
                return logits, RegimeCache(self.angles, state.rows, finished)
            # Rows that left their cache, or had none, are computed whole, with one token more.
            for i in left:
                state.take(i, 1)
            found, going = self._computed(left, state.rows, state.done)
            for i in left:
                state.logits[i].append(found[i])

    def _advance(self, part: _Part, state: _Decoding) -> bool:
        """Append tokens to a part as long as any of its rows stays in its regime; whether all tokens are appended."""
        while True:
            at = state.done[part.members[0]]
            left = len(state.new[0]) - at
            if not left:
                return True
            runs = [self._run(len(state.rows[i]), part.regime, left) for i in part.members]
            staying = [place for place, run in enumerate(runs) if run]
            if not staying:
                return False
            part.keep(staying)
            step = min(run for run in runs if run)
            tokens = torch.tensor([state.new[i][at : at + step] for i in part.members])
            logits, part.cache = self.extend(part.cache, tokens)
            for place, i in enumerate(part.members):
                state.take(i, step)
                state.logits[i] += logits[place]

    def _run(self, length: int, regime: Regime, most: int) -> int:
        """How many of the next tokens of a sequence of this length see the angles of a regime."""
        return next((j for j in range(most) if self.angles.regime(length + j + 1) != regime), most)

    def _computed(
        self, members: Sequence[int], rows: Sequence[Tokens], done: Sequence[int] | None = None
    ) -> tuple[dict[int, Tensor], list[_Part]]:
        """The logits after some rows, computed whole, and the caches of those whose angles last.

        Rows of one part are `done` with the same number of new tokens.
        """
        groups: dict[tuple[Regime, int], list[int]] = {}
        for i in members:
            groups.setdefault((self.angles.regime(len(rows[i])), done[i] if done else 0), []).append(i)
        logits: dict[int, Tensor] = {}
        parts: list[_Part] = []
        for (regime, _), group in groups.items():
            found, cache = self.start([rows[i] for i in group])
            logits |= dict(zip(group, found, strict=True))
            if not regime[1]:
                parts.append(_Part(regime, group, cache))
        return logits, parts


class _Decoding:
    """Rows on the way through new tokens."""

    def __init__(self, rows: list[Tokens], new: list[Tokens]) -> None:
        self.rows, self.new = rows, new
        self.done = [0] * len(rows)
        self.logits: list[list[Tensor]] = [[] for _ in rows]

    def take(self, row: int, count: int) -> None:
        """Append the next tokens of a row to it."""
        at = self.done[row]
        self.rows[row] += self.new[row][at : at + count]
        self.done[row] = at + count
