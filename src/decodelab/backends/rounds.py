"""Searches over texts against a server: texts alone, neither tokens nor logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from decodelab.core.chunks import MARKS, chunk_ended
from decodelab.core.errors import RequestError
from decodelab.core.protocols import Draw, Drawn, Question, SearchesInRounds
from decodelab.core.values import Candidate, FinishReason, Limits, Prompt


@dataclass(frozen=True)
class Wanted:
    """Continuations of one text that a server is to write.

    Attributes:
        prompt: what is answered.
        begun: the answer so far, which they continue.
        n: how many.
        first: the sample index of the first, for servers that take a seed.
        stop: strings at which they stop.
        max_tokens: new tokens of each at most.
    """

    prompt: Prompt
    begun: str
    n: int
    first: int
    stop: tuple[str, ...]
    max_tokens: int


@dataclass(frozen=True)
class Written:
    """A continuation that a server wrote.

    Attributes:
        text: what it adds, the stop string that ended it included.
        tokens: how many, as the server counts them.
        ended: by itself (`end`), by a stop string, or by the limit of tokens.
    """

    text: str
    tokens: int
    ended: Literal["end", "stop", "length"]


Continue = Callable[[Sequence[Wanted]], Sequence[Sequence[Written]]]
"""Has a server write what is wanted, all of it at once where it can."""


@dataclass(frozen=True)
class _Text:
    """An answer so far: its text, how many tokens the server wrote for it, and why it ended, if it did."""

    text: str = ""
    tokens: int = 0
    reason: FinishReason | None = None
    paused: bool = False


def search_texts(
    search: SearchesInRounds, question: Question, limits: Limits, write: Continue
) -> list[tuple[Candidate, float]]:
    """Run a search over texts against a server.

    Candidates have texts and neither tokens nor log-probabilities, so a search that weighs by these cannot run here. A
    chunk of white space alone is drawn on, as in an engine. Stop strings of the limits are looked for in the whole
    answer, also where one straddles two chunks.

    Args:
        search: the search.
        question: what is asked; its prompt, or its chat, is what the server is given.
        limits: of an answer; of them, `max_new_tokens` and `stop`.
        write: asks the server.

    Returns:
        The candidates with their scores, best first.

    Raises:
        RequestError: for what a server cannot be asked for: sentences, stop tokens, a least number of tokens.
    """
    if limits.min_new_tokens or limits.stop_token_ids:
        raise RequestError(
            "a server stops at texts: min_new_tokens and stop_token_ids are not possible; leave them out"
        )
    known: dict[str, int] = {}  # tokens of each answer so far
    rounds = search.rounds(question, limits)
    draws = next(rounds)
    while True:
        found = _drawn(draws, known, question, limits, write)
        known |= {text.text: text.tokens for some in found for text in some if text.paused}
        drawn = [
            [Drawn(_candidate(text, draw.first + i), not text.paused) for i, text in enumerate(some)]
            for draw, some in zip(draws, found, strict=True)
        ]
        try:
            draws = rounds.send(drawn)
        except StopIteration as end:
            return end.value


def _drawn(
    draws: Sequence[Draw], known: dict[str, int], question: Question, limits: Limits, write: Continue
) -> list[list[_Text]]:
    """What a server writes for the draws of a round; what is white space alone so far is written on."""
    begun = [_begun(draw, known) for draw in draws]
    wanted = [_wanted(d, b, d.first, d.n, question, limits) for d, b in zip(draws, begun, strict=True)]
    found = [
        [_after(draw, start, start, written, limits) for written in some]
        for draw, start, some in zip(draws, begun, write(wanted), strict=True)
    ]
    while blank := [
        (d, i) for d, some in enumerate(found) for i, text in enumerate(some) if text.reason is None and not text.paused
    ]:
        wanted = [_wanted(draws[d], found[d][i], draws[d].first + i, 1, question, limits) for d, i in blank]
        for (d, i), (written,) in zip(blank, write(wanted), strict=True):
            found[d][i] = _after(draws[d], begun[d], found[d][i], written, limits)
    return found


def _begun(draw: Draw, known: dict[str, int]) -> _Text:
    """The answer that a draw continues."""
    text = "" if draw.after is None else draw.after.text
    return _Text(text, known.get(text, 0))


def _wanted(draw: Draw, begun: _Text, first: int, n: int, question: Question, limits: Limits) -> Wanted:
    """What a server is asked for."""
    if draw.chunk == "sentence":
        raise RequestError("a server stops at strings, and a sentence ends with no single one; use every=line or step")
    prompt = draw.prompt if draw.prompt is not None else question.prompt if question.chat is None else question.chat
    stop = limits.stop if draw.chunk is None else (MARKS[draw.chunk], *limits.stop)
    left = limits.max_new_tokens - begun.tokens
    return Wanted(prompt, begun.text, n, first, stop, left if draw.most is None else min(left, draw.most))


def _after(draw: Draw, start: _Text, begun: _Text, written: Written, limits: Limits) -> _Text:
    """An answer with what a server wrote behind it; `start` is where its draw began."""
    text, tokens = begun.text + written.text, begun.tokens + written.tokens
    cuts = [at for stop in limits.stop if (at := text.find(stop, max(0, len(begun.text) - len(stop) + 1))) >= 0]
    if cuts:
        return _Text(text[: min(cuts)], tokens, "stop")
    if written.ended == "end":
        return _Text(text, tokens, "eos")
    if tokens >= limits.max_new_tokens:
        return _Text(text, tokens, "length")
    over = written.ended == "length" or draw.chunk is None or chunk_ended(draw.chunk, text[len(start.text) :])
    return _Text(text, tokens, paused=over)


def _candidate(text: _Text, sample: int) -> Candidate:
    """An answer as a candidate; one that pauses is not finished."""
    return Candidate((), text.text, (), (), text.reason or "pruned", sample, 0.0)
