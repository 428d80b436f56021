"""What every search over texts must do."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch

from decodelab.core.key import Keys
from decodelab.core.protocols import Draw, Drawn, Question, SearchesInRounds
from decodelab.core.stage import Stage
from decodelab.core.values import Candidate, Limits
from decodelab.testing.stage import check_stage, require

_WORDS = ("one", "two", "three\n", "four.\n\n", "five. ")
_MOST_ROUNDS = 1000
_MOST_TOKENS = 12


def check_rounds(search: SearchesInRounds) -> None:
    """Check that a search keeps the promises of `decodelab.core.protocols.rounds.SearchesInRounds`.

    It is given texts of made-up words, drawn as a model would: a draw depends on its prompt, what it continues and its
    sample index. Some draws come back empty, as where a constraint leaves no text. It must

    * draw at most `peak_rows` continuations a round, at least one in each draw, go on only from unfinished answers that
    it was given, and come to an end; * be deterministic for a question, and draw other texts under another seed only
    through `question.keys` and the draws themselves; * return at most `n` finished answers that were drawn, with finite
    scores, best first, and none where nothing was drawn; * be a proper stage (`check_stage`), if it is one.

    Raises:
        AssertionError: naming the first promise that is broken.

    >>> from decodelab import StepBeam
    >>> check_rounds(StepBeam(width=2, expand=3, scorer=lambda prompt, texts: [-len(text) for text in texts]))
    """
    if isinstance(search, Stage):
        check_stage(search)
        require(search.searches_in_rounds, search, "must declare searches_in_rounds")
    for seed, gaps in ((0, 0), (1, 5), (2, 1)):
        drawn = torch.random.get_rng_state()
        first, again = _run(search, seed, gaps), _run(search, seed, gaps)
        require(first == again, search, "must be deterministic: the same draws must give the same result")
        same = torch.equal(torch.random.get_rng_state(), drawn)
        require(same, search, "must draw from question.keys alone, not from torch's global generator")


def _run(search: SearchesInRounds, seed: int, gaps: int) -> list[tuple[Candidate, float]]:
    """What a search returns; every `gaps`-th draw comes back empty (0: none does)."""
    question = Question("Count.", (1, 2), Keys.of(seed, (1, 2), [0]))
    rounds = search.rounds(question, Limits(max_new_tokens=_MOST_TOKENS))
    given: dict[tuple[int, ...], bool] = {}
    found: list[tuple[Candidate, float]] = []
    reply: list[list[Drawn]] | None = None
    number = 0
    for _ in range(_MOST_ROUNDS):
        try:
            draws = next(rounds) if reply is None else rounds.send(reply)
        except StopIteration as end:
            found = end.value
            break
        _check_round(search, draws, given)
        reply = []
        for draw in draws:
            number += 1
            empty = gaps and number % gaps == 0
            reply.append([] if empty else [_continued(draw, i, seed) for i in range(draw.first, draw.first + draw.n)])
        given |= {one.candidate.tokens: one.finished for some in reply for one in some}
    else:
        require(False, search, f"must come to an end, {_MOST_ROUNDS} rounds were not enough")
    require(len(found) <= search.n, search, "must return at most n answers")
    finished = all(given.get(candidate.tokens, False) for candidate, _ in found)
    require(finished, search, "must return finished answers that were drawn")
    scores = [score for _, score in found]
    require(all(math.isfinite(score) for score in scores), search, "scores must be finite")
    require(scores == sorted(scores, reverse=True), search, "must return the best first")
    return found


def _check_round(search: SearchesInRounds, draws: Sequence[Draw], given: dict[tuple[int, ...], bool]) -> None:
    """Check what a search asks for, given whether each answer it knows is finished."""
    least = min((draw.n for draw in draws), default=0)
    require(least >= 1, search, "must draw at least one continuation in each draw of a round")
    require(sum(draw.n for draw in draws) <= search.peak_rows, search, "must not draw more than peak_rows a round")
    for draw in draws:
        if draw.after is not None:
            known = draw.after.tokens in given and not given[draw.after.tokens]
            require(known, search, "must go on from unfinished answers that were drawn")


def _continued(draw: Draw, index: int, seed: int) -> Drawn:
    """A continuation: a word or two to the end of its chunk, or an end."""
    before = () if draw.after is None else draw.after.tokens
    text = "" if draw.after is None else draw.after.text
    key = hashlib.blake2b(repr((seed, str(draw.prompt), before, index)).encode(), digest_size=8).digest()
    tokens = [key[0] % len(_WORDS)]
    over = draw.chunk is None or key[1] % 4 == 0 or len(before) + 1 >= _MOST_TOKENS
    text += "".join(_WORDS[token] for token in tokens)
    whole = (*before, *tokens, *([len(_WORDS)] if over else []))
    logprobs = (-1.0,) * len(whole)
    candidate = Candidate(whole, text, logprobs, logprobs, "eos" if over else "pruned", index, -float(len(whole)))
    return Drawn(candidate, over)
