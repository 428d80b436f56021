"""Beam search for texts that hold given words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import torch

from decodelab.core.errors import EmptySupport, InvalidParameter
from decodelab.core.phrases import spellings
from decodelab.core.protocols import Advance, Ranked, Rows, Vocab
from decodelab.core.reasons import CONTINUES
from decodelab.core.stage import Kind, Stage, brief, check_number
from decodelab.core.values import Partial, Tokens
from decodelab.kernels.fused import log_normaliser
from decodelab.search._pool import Pool
from decodelab.search._ranking import EarlyStopping, bound, check_ranking, is_done, normalised
from decodelab.search._top import top_ids

if TYPE_CHECKING:
    from torch import Tensor

Phrase = tuple[str, ...]
"""Texts one of which must appear."""


@dataclass(frozen=True)
class ForcedState:
    """Live beams and the best finished hypotheses of every job.

    Attributes:
        scores: float64 [rows], log-probability of each live beam.
        tokens: for each live beam, its tokens.
        met: for each live beam, the numbers of the phrases it holds.
        pool: the finished ones.
        ended: how many hypotheses have ended so far.
    """

    scores: Tensor
    tokens: tuple[Tokens, ...]
    met: tuple[frozenset[int], ...]
    pool: Pool
    ended: int


class _Candidate(NamedTuple):
    """A continuation: its log-probability, row, token, why it ends, the phrases it holds, its bank."""

    score: float
    row: int
    token: int
    reason: int
    tokens: Tokens
    met: frozenset[int]
    bank: int


@dataclass(frozen=True)
class ForceWords(Stage):
    """Search for the most probable texts that contain all of the given phrases, with beam banks.

    A phrase is a text that must appear in the generated text, or a list of texts of which one must. A hypothesis can
    end only when it contains all phrases; hypotheses cut off by the token limit are dropped if they lack one.

    The candidates of a step are the best continuations of all beams, the best of each beam, and for each beam every
    token that starts a missing phrase or continues one. The `width` places are divided among banks, one for each number
    of phrase tokens that a hypothesis contains (including those of an unfinished phrase); places that a bank cannot
    fill go to the banks with most phrase tokens. So hypotheses that have produced more of the phrases do not compete
    with those that have produced fewer. Finished hypotheses are ranked by s / t^length_penalty, and `early_stopping`
    works as in `beam`.

    Phrases are recognised in the text, however it is split into tokens; they are started with the tokenizer's
    tokenizations, with and without a space before. Post and Vilar, Hu et al. (whose trie is a set of tokenizations
    here) and transformers 4 (`force_words_ids`; version 5 has none) compare token ids only; transformers returns
    hypotheses that lack a phrase if too few contain all.

    Raises:
        InvalidParameter: if a phrase is no text or empty, or another parameter out of range.
        UnknownToken: if a phrase cannot be written with the vocabulary.
        EmptySupport: if the search ends without a text that holds all phrases.

    >>> import decodelab as dl
    >>> distribution = {"a": 0.4, "b": 0.2, "c": 0.1, "</s>": 0.3}
    >>> model = dl.TableModel(["a", "b", "c"], {...: distribution}, bos="<s>")
    >>> strategy = "force_words(phrases=[[b, c], 'a a'], width=8, length_penalty=0)"
    >>> dl.generate(model, "", strategy, max_new_tokens=6)[0].best.text
    'a a b'
    """

    phrases: Annotated[Sequence[str | Sequence[str]], "texts that must appear; of a nested list, one must appear"]
    width: Annotated[int, "hypotheses kept at every step, at least 1"] = 8
    length_penalty: Annotated[float, "exponent of the length that divides a finished score"] = 1.0
    early_stopping: Annotated[EarlyStopping, "true, false or never: when a full pool ends the search"] = False
    n: Annotated[int, "hypotheses returned, at most width"] = 1

    name: ClassVar[str] = "force_words"
    kind: ClassVar[Kind] = "search"
    uses_randomness: ClassVar[bool] = False
    source: ClassVar[str] = "Post and Vilar 2018, dynamic beam allocation; Hu et al. 2019, disjunctions"
    start_rows: ClassVar[int] = 1
    drops_dead_ends: ClassVar[bool] = True
    constrains: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the parameters."""
        object.__setattr__(self, "phrases", _as_phrases(self))
        check_number(self, "width", low=1, integer=True, fix="use at least the number of tokens in the phrases")
        check_ranking(self, self.width)

    @property
    def peak_rows(self) -> int:
        """As many rows as beams."""
        return self.width

    def no_effect(self) -> str | None:
        """Nothing is forced."""
        return None if self.phrases else "no phrases are given"

    def init(self, jobs: int, samples: Tensor) -> ForcedState:
        """One empty beam a job."""
        scores = torch.zeros(jobs, dtype=torch.float64, device=samples.device)
        pool = Pool.empty(jobs, self.width, samples.device)
        return ForcedState(scores, ((),) * jobs, (frozenset(),) * jobs, pool, 0)

    def step(self, logits: Tensor, state: ForcedState, rows: Rows) -> tuple[Advance, ForcedState]:
        """Extend all beams of all jobs, keep the best of each bank."""
        normaliser = log_normaliser(logits)
        going: list[_Candidate] = []
        over: list[_Candidate] = []
        pool, ended = state.pool, state.ended
        for job in rows.jobs.unique_consecutive().tolist():
            own = self._candidates((rows.jobs == job).nonzero()[:, 0].tolist(), logits, normaliser, state, rows)
            finished = [c for c in own if c.reason != CONTINUES and len(c.met) == len(self.phrases)][: self.width]
            kept = self._shared([c for c in own if c.reason == CONTINUES])
            pool = self._entered(pool, job, finished, ended)
            ended += len(finished)
            over += finished
            if not (kept and self._done(pool, job, kept, int(rows.max_new_tokens[job]))):
                going += kept
            if not kept and not pool.ranked(job):
                raise EmptySupport(self._failure(own, rows))
        chosen = Advance(
            *(torch.tensor([c[i] for c in going], dtype=torch.int64) for i in (1, 2)),
            *(torch.tensor([c[i] for c in over], dtype=torch.int64) for i in (1, 2, 3)),
        )
        scores = torch.tensor([c.score for c in going], dtype=torch.float64)
        after = ForcedState(scores, tuple(c.tokens for c in going), tuple(c.met for c in going), pool, ended)
        return chosen, after

    def _candidates(
        self, own: Sequence[int], logits: Tensor, normaliser: Tensor, state: ForcedState, rows: Rows
    ) -> list[_Candidate]:
        """The continuations of a job's rows that are looked at: so many that `width` go on, if there are."""
        size = logits.shape[-1]
        few = min(max(2, 1 + rows.eos_count) * self.width, size)
        last = int(rows.max_new_tokens[rows.jobs[own[0]]]) <= int(rows.positions[own[0]]) + 1
        left = int(logits[own].isfinite().sum(1).max())
        while True:
            found = self._listed(own, few, logits, normaliser, state, rows)
            if last or few >= left or sum(c.reason == CONTINUES for c in found) >= self.width:
                return found
            few = min(2 * few, size)

    def _listed(
        self, own: Sequence[int], few: int, logits: Tensor, normaliser: Tensor, state: ForcedState, rows: Rows
    ) -> list[_Candidate]:
        """The `few` best continuations of each row and those that advance a phrase, best first.

        Of equal ones that of the first row comes first, then that of the lowest token.
        """
        assert rows.vocab is not None
        spelt = _spelt(self, rows.vocab)
        pairs: list[tuple[float, int, int]] = []
        for row, best in zip(own, top_ids(logits[own], few).tolist(), strict=True):
            if not bool(normaliser[row].isfinite()):
                continue
            wanted = sorted({*best, *self._advancing(state.tokens[row], state.met[row], spelt)})
            scores = (state.scores[row] + logits[row, wanted].double() - normaliser[row]).tolist()
            pairs += [(score, row, token) for score, token in zip(scores, wanted, strict=True) if score > -torch.inf]
        pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
        parents = torch.tensor([row for _, row, _ in pairs], dtype=torch.int64)
        tokens = torch.tensor([token for _, _, token in pairs], dtype=torch.int64)
        reasons = rows.ends(parents, tokens).tolist()
        partials = rows.partials(parents, tokens)
        return [
            self._candidate(pair, reason, partial, state, spelt)
            for pair, reason, partial in zip(pairs, reasons, partials, strict=True)
        ]

    def _candidate(
        self,
        pair: tuple[float, int, int],
        reason: int,
        partial: Partial,
        state: ForcedState,
        spelt: tuple[tuple[Tokens, ...], ...],
    ) -> _Candidate:
        """A continuation with what it holds."""
        score, row, token = pair
        phrases: Any = self.phrases
        met = frozenset(i for i, phrase in enumerate(phrases) if any(text in partial.text for text in phrase))
        if reason == CONTINUES:  # else a stop string may have cut off a phrase that was there
            met |= state.met[row]
        begun = [_begun(partial.tokens, ways) for i, ways in enumerate(spelt) if i not in met]
        bank = sum(min(map(len, spelt[i])) for i in met) + max(map(max, begun), default=0)
        return _Candidate(score, row, token, reason, partial.tokens, met, bank)

    def _advancing(self, tokens: Tokens, met: frozenset[int], spelt: tuple[tuple[Tokens, ...], ...]) -> set[int]:
        """The tokens that begin a phrase that is lacking, or go on with one that is begun."""
        found = set()
        for number, ways in enumerate(spelt):
            if number not in met:
                for way in ways:
                    found |= {way[k] for k in range(len(way)) if tokens[len(tokens) - k :] == way[:k]}
        return found

    def _shared(self, going: Sequence[_Candidate]) -> list[_Candidate]:
        """The candidates kept, best first: an equal share for each bank, and what is left over for the others."""
        banks: dict[int, list[_Candidate]] = {}
        for candidate in going:
            banks.setdefault(candidate.bank, []).append(candidate)
        order = sorted(banks, reverse=True)
        taken = dict.fromkeys(order, 0)
        left = min(self.width, len(going))
        # One place a bank and round, those that hold most first, until all places are taken.
        while left:
            for bank in order:
                if left and taken[bank] < len(banks[bank]):
                    taken[bank] += 1
                    left -= 1
        kept = [candidate for bank in order for candidate in banks[bank][: taken[bank]]]
        return sorted(kept, key=lambda c: (-c.score, c.row, c.token))

    def _entered(self, pool: Pool, job: int, finished: Sequence[_Candidate], ended: int) -> Pool:
        """The pool with hypotheses of a job that just ended."""
        if not finished:
            return pool
        scores = torch.tensor(
            [[normalised(c.score, len(c.tokens), self.length_penalty) for c in finished]], dtype=torch.float64
        )
        return pool.enter(torch.tensor([job]), scores, torch.ones_like(scores, dtype=torch.bool), ended, None)

    def _done(self, pool: Pool, job: int, kept: Sequence[_Candidate], limit: int) -> bool:
        """Whether the search of a job ends, given the hypotheses that would continue."""
        best, length = kept[0].score, len(kept[0].tokens)
        now = normalised(best, length, self.length_penalty)
        ever = bound(best, length, limit, self.length_penalty)
        return bool(is_done(self.early_stopping, float(pool.worst(torch.tensor([job]))), now, ever))

    def _failure(self, own: Sequence[_Candidate], rows: Rows) -> str:
        """Why nothing was found."""
        phrases: Any = self.phrases
        held = max((c.met for c in own), key=len, default=frozenset())
        lacking = [" or ".join(map(repr, p)) for i, p in enumerate(phrases) if i not in held]
        return (
            f"force_words: found no text with {' and '.join(lacking) or 'all phrases and an end'} in it; "
            "allow more new tokens or a wider beam, and see that no other stage forbids the words"
        )

    def finished(self, state: ForcedState, job: int) -> list[Ranked]:
        """The n best finished hypotheses of a job."""
        return state.pool.ranked(job)[: self.n]


def _as_phrases(stage: ForceWords) -> tuple[Phrase, ...]:
    """The phrases as tuples of alternatives.

    Raises:
        InvalidParameter: if one is no text, or empty.
    """
    given: Any = stage.phrases
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, Iterable) or isinstance(listed, dict):
        raise InvalidParameter(
            f'force_words: phrases must be a list of texts, got {brief(given)}; write phrases=["a word"]'
        )
    found = []
    for item in listed:
        phrase = (item,) if isinstance(item, str) else tuple(item) if isinstance(item, Sequence) else (item,)
        if not phrase or not all(isinstance(text, str) and text for text in phrase):
            raise InvalidParameter(
                f"force_words: phrases must hold texts or lists of texts, got {brief(item)}; leave out what is empty"
            )
        found.append(phrase)
    return tuple(found)


@lru_cache(maxsize=64)
def _spelt(stage: ForceWords, vocab: Vocab) -> tuple[tuple[Tokens, ...], ...]:
    """For each phrase, the sequences of tokens that spell it."""
    phrases: Any = stage.phrases
    return tuple(
        tuple(dict.fromkeys(way for text in phrase for way in spellings(stage, text, vocab, spaced=True)))
        for phrase in phrases
    )


def _begun(tokens: Tokens, ways: tuple[Tokens, ...]) -> list[int]:
    """How many tokens of each spelling stand at the end of what is generated."""
    return [max((k for k in range(len(way)) if tokens[len(tokens) - k :] == way[:k]), default=0) for way in ways]
