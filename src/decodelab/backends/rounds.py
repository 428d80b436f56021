"""Searches over texts against a server: texts alone, neither tokens nor logits."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from decodelab.core.chunks import MARKS, chunk_ended
from decodelab.core.errors import RequestError
from decodelab.core.protocols import Draw, Drawn, Rounds
from decodelab.core.values import Candidate, FinishReason, Limits, Prompt, Tokens


@dataclass(frozen=True)
class Wanted:
    """Continuations of one text that a server is to write.

    Attributes:
        prompt: what is answered.
        begun: the answer so far, which they continue.
        n: how many.
        first: the sample index of the first, for servers that take a seed.
        stop: strings at which they stop, the mark included.
        mark: what ends a chunk; None where they go on to the end of the answer.
        max_tokens: new tokens of each at most.
    """

    prompt: Prompt
    begun: str
    n: int
    first: int
    stop: tuple[str, ...]
    max_tokens: int
    mark: str | None = None


@dataclass(frozen=True)
class Written:
    """A continuation that a server wrote.

    Attributes:
        text: what it adds, the stop string that ended it included.
        tokens: how many, as the server counts them.
        ended: by itself (`end`), by a stop string, or by the limit of tokens.
        ids, logprobs: of its tokens; empty where the server does not show them.
    """

    text: str
    tokens: int
    ended: Literal["end", "stop", "length"]
    ids: Tokens = ()
    logprobs: tuple[float, ...] = ()


Found = list[tuple[Candidate, float]]
"""Candidates with their scores, best first."""

Texts = Generator[Sequence[Wanted], Sequence[Sequence[Written]], Found]
"""Yields what a server is to write, is sent what it wrote, and returns the candidates."""


@dataclass(frozen=True)
class _Text:
    """An answer so far: its text, how many tokens the server wrote for it, and why it ended, if it did.

    Ids and log-probabilities are those of all tokens, or none.
    """

    text: str = ""
    tokens: int = 0
    reason: FinishReason | None = None
    paused: bool = False
    ids: Tokens = ()
    logprobs: tuple[float, ...] = ()


def search_texts(rounds: Rounds, prompt: Prompt, limits: Limits) -> Texts:
    """Run what draws in rounds against a server.

    Candidates have texts, and ids and log-probabilities of tokens where the server shows them. A chunk of white space
    alone is drawn on, as in an engine. Stop strings of the limits are looked for in the whole answer, also where one
    straddles two chunks.

    Args:
        rounds: what is drawn.
        prompt: what the server is given, unless a draw has one of its own.
        limits: of an answer; of them, `max_new_tokens` and `stop`.

    Raises:
        RequestError: for what a server cannot be asked for: sentences.
    """
    known: dict[str, _Text] = {}  # the answers so far, by their texts
    draws = next(rounds)
    while True:
        found = yield from _drawn(draws, known, prompt, limits)
        known |= {text.text: text for some in found for text in some if text.paused}
        drawn = [
            [Drawn(_candidate(text, draw.first + i), not text.paused) for i, text in enumerate(some)]
            for draw, some in zip(draws, found, strict=True)
        ]
        try:
            draws = rounds.send(drawn)
        except StopIteration as end:
            return end.value


def _drawn(
    draws: Sequence[Draw], known: Mapping[str, _Text], prompt: Prompt, limits: Limits
) -> Generator[Sequence[Wanted], Sequence[Sequence[Written]], list[list[_Text]]]:
    """What a server writes for the draws of a round; what is white space alone so far is written on."""
    begun = [_begun(draw, known) for draw in draws]
    written = yield [_wanted(d, b, d.first, d.n, prompt, limits) for d, b in zip(draws, begun, strict=True)]
    found = [
        [_after(draw, start, start, one, limits) for one in some]
        for draw, start, some in zip(draws, begun, written, strict=True)
    ]
    while blank := [
        (d, i) for d, some in enumerate(found) for i, text in enumerate(some) if text.reason is None and not text.paused
    ]:
        written = yield [_wanted(draws[d], found[d][i], draws[d].first + i, 1, prompt, limits) for d, i in blank]
        for (d, i), (one,) in zip(blank, written, strict=True):
            found[d][i] = _after(draws[d], begun[d], found[d][i], one, limits)
    return found


def _begun(draw: Draw, known: Mapping[str, _Text]) -> _Text:
    """The answer that a draw continues."""
    if draw.after is None:
        return _Text()
    text = known.get(draw.after.text, _Text(draw.after.text))
    return replace(text, paused=False)


def _wanted(draw: Draw, begun: _Text, first: int, n: int, asked: Prompt, limits: Limits) -> Wanted:
    """What a server is asked for."""
    if draw.chunk == "sentence":
        raise RequestError("a server stops at strings, and a sentence ends with no single one; use every=line or step")
    prompt = asked if draw.prompt is None else draw.prompt
    mark = None if draw.chunk is None else MARKS[draw.chunk]
    stop = limits.stop if mark is None else (mark, *limits.stop)
    left = limits.max_new_tokens - begun.tokens
    return Wanted(prompt, begun.text, n, first, stop, left if draw.most is None else min(left, draw.most), mark)


def _after(draw: Draw, start: _Text, begun: _Text, written: Written, limits: Limits) -> _Text:
    """An answer with what a server wrote behind it; `start` is where its draw began."""
    shown = written.logprobs and (begun.logprobs or not begun.text)
    grown = _Text(
        begun.text + written.text,
        begun.tokens + written.tokens,
        ids=begun.ids + written.ids if shown else (),
        logprobs=begun.logprobs + written.logprobs if shown else (),
    )
    text = grown.text
    cuts = [at for stop in limits.stop if (at := text.find(stop, max(0, len(begun.text) - len(stop) + 1))) >= 0]
    if cuts:
        return replace(grown, text=text[: min(cuts)], reason="stop")
    if written.ended == "end":
        return replace(grown, reason="eos")
    if grown.tokens >= limits.max_new_tokens or (written.ended == "length" and draw.most is None):
        return replace(grown, reason="length")
    over = written.ended == "length" or draw.chunk is None or chunk_ended(draw.chunk, text[len(start.text) :])
    return replace(grown, paused=over)


def _candidate(text: _Text, sample: int) -> Candidate:
    """An answer as a candidate; one that pauses is not finished."""
    score = math.fsum(text.logprobs)
    return Candidate(text.ids, text.text, text.logprobs, (), text.reason or "pruned", sample, score)
