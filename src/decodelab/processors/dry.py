"""DRY: don't repeat yourself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.float32 import FLOAT32_MAX
from decodelab.core.key import Keys
from decodelab.core.protocols import Vocab
from decodelab.core.stage import TokenProcessor, check_number
from decodelab.core.values import Tokens
from decodelab.processors._suffix_matches import SuffixMatches
from decodelab.processors._token_counts import check_scope
from decodelab.processors._words import Word, as_words, check_ids

if TYPE_CHECKING:
    from torch import Tensor

_LOG_FLOAT32_MAX = math.log(FLOAT32_MAX)


@dataclass(frozen=True)
class Repeats:
    """What DRY knows of each row.

    Attributes:
        matches: where the end of the text occurred before.
        fresh: int64 [rows], tokens since the last sequence breaker; a repeat cannot reach back over it.
        tails: the last characters of each row's text, as many as a breaker could begin in.
        breakers: the breakers, for all rows.
    """

    matches: SuffixMatches
    fresh: Tensor
    tails: tuple[str, ...]
    breakers: Breakers

    def __getitem__(self, rows: Tensor) -> Repeats:
        """The state of the given rows."""
        tails = tuple(self.tails[row] for row in rows.tolist()) if self.tails else ()
        return dataclasses.replace(self, matches=self.matches[rows], fresh=self.fresh[rows], tails=tails)

    def join(self, other: Repeats) -> Repeats:
        """The rows of this state followed by those of another."""
        matches, fresh = self.matches.join(other.matches), torch.cat([self.fresh, other.fresh])
        return dataclasses.replace(self, matches=matches, fresh=fresh, tails=self.tails + other.tails)


class Breakers:
    """Sequence breakers under one vocabulary; the text of a token is looked up when it first occurs."""

    def __init__(self, words: Sequence[int | str | Tokens], vocab: Vocab) -> None:
        self.texts = tuple(word for word in words if isinstance(word, str))
        self.ids = tuple((word,) if isinstance(word, int) else word for word in words if not isinstance(word, str))
        self.vocab = vocab
        self.known: dict[int, str] = {}
        self.reach = max((len(text) for text in self.texts), default=1) - 1
        self.longest = max(map(len, self.ids), default=0)

    def text(self, token: int) -> str:
        """The text of one token."""
        if token not in self.known:
            self.known[token] = self.vocab.token_text(token)
        return self.known[token]

    def is_one(self, token: int) -> bool:
        """Whether the token is a breaker or its text contains one."""
        return (token,) in self.ids or (bool(self.texts) and any(b in self.text(token) for b in self.texts))

    def ends(self, tail: str, before: Sequence[int], token: int) -> tuple[bool, str]:
        """Whether a breaker ends in this token, given the text and the ids before it; and the text's new tail."""
        ids = (*before, token)
        ended = any(ids[-len(breaker) :] == breaker for breaker in self.ids)
        if not self.texts:
            return ended, ""
        text = tail + self.text(token)
        ended = ended or any(b in text[max(0, len(tail) - len(b) + 1) :] for b in self.texts)
        return ended, text[-self.reach :] if self.reach else ""

    def last(self, text: Tokens) -> tuple[int, str]:
        """How many tokens there are since the last breaker in a text, and the text's tail."""
        since, tail = 0, ""
        for at, token in enumerate(text):
            ended, tail = self.ends(tail, text[max(0, at - self.longest + 1) : at], token)
            since = 0 if ended else since + 1
        return since, tail


@dataclass(frozen=True)
class Dry(TokenProcessor):
    """Penalise tokens that would extend a repetition, exponentially in its length.

    If the last n tokens occurred before, followed by a token t, then the logit of t is reduced by multiplier * base^(n
    - allowed_length), for the longest such n of at least allowed_length. A repetition cannot extend back over a
    sequence breaker, and a token that contains one is never penalised. A breaker is a text, found at any position, also
    across tokens, or a token id, or a list of ids.

    Prompt and generated tokens count. This is llama.cpp's rule (the whole context there is `window=none`), and more
    exact in two points: llama.cpp finds a breaker across tokens only in one tokenization, and of nested breakers only
    the first. p-e-w's original cuts repetitions at 50 tokens.

    Raises:
        InvalidParameter: if the multiplier is negative, the base below 1, the length or the window below 1.
        VocabularyMismatch: if a breaker's id is outside the vocabulary.

    >>> stage = Dry(1.0, base=2.0, sequence_breakers=[])
    >>> stage.apply(torch.zeros(1, 5), stage.init([(1, 2, 3, 4, 1, 2, 3)], None, None)).tolist()
    [[0.0, 0.0, 0.0, 0.0, -2.0]]
    """

    multiplier: Annotated[float, "penalty of a repetition of the allowed length, at least 0"] = 0.8
    base: Annotated[float, "factor of the penalty for each further token, at least 1"] = 1.75
    allowed_length: Annotated[int, "length of a repetition without penalty, at least 1"] = 2
    window: Annotated[int | None, "search only this many last tokens; none searches all"] = None
    sequence_breakers: Annotated[Sequence[Word] | Word, "texts, token ids or lists of ids that end a repetition"] = (
        "\n",
        ":",
        '"',
        "*",
    )
    prompt: Annotated[bool, "whether to count repetitions of the prompt, too"] = True

    name: ClassVar[str] = "dry"
    source: ClassVar[str] = "p-e-w 2024 (DRY; text-generation-webui pull request 5677), and llama.cpp's sampler of it"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "multiplier", low=0.0, fix="use 0 for none, 0.8 as its author does")
        check_number(self, "base", low=1.0, fix="use 1.75 as its author does")
        check_number(self, "allowed_length", low=1, integer=True, fix="use 2 as its author does")
        check_scope(self)
        object.__setattr__(self, "sequence_breakers", as_words(self, "sequence_breakers"))

    def no_effect(self) -> str | None:
        """Without a multiplier there is no penalty."""
        return "a multiplier of 0 changes nothing" if self.multiplier == 0.0 else None

    def init(self, prompts: Sequence[Tokens], vocab: Vocab, keys: Keys) -> Repeats:
        """Look through the prompts, if they count."""
        words = as_words(self, "sequence_breakers")
        check_ids(self, words, vocab)
        breakers = Breakers(words, vocab)
        texts = prompts if self.prompt else [()] * len(prompts)
        ends = {text: breakers.last(text) for text in set(texts)}
        fresh, tails = [ends[text][0] for text in texts], tuple(ends[text][1] for text in texts)
        matches = SuffixMatches.of(texts, self.window)
        return Repeats(matches, torch.tensor(fresh, dtype=torch.int64), tails if breakers.texts else (), breakers)

    def apply(self, logits: Tensor, state: Repeats) -> Tensor:
        """Penalise float32 logits [rows, vocab]."""
        if self.multiplier == 0.0:
            return logits
        longest: dict[tuple[int, int], int] = {}
        rows, tokens, lengths = state.matches.followers(self.allowed_length, state.fresh)
        for row, token, length in zip(rows.tolist(), tokens.tolist(), lengths.tolist(), strict=True):
            if length > longest.get((row, token), 0) and token < logits.shape[-1]:
                longest[row, token] = length
        hit = {place: n for place, n in longest.items() if not state.breakers.is_one(place[1])}
        if not hit:
            return logits
        places = torch.tensor(list(hit)).T
        penalties = torch.tensor([self._penalty(n) for n in hit.values()], dtype=torch.float64)
        before = logits[places[0], places[1]]
        after = (before.double() - penalties).clamp(-FLOAT32_MAX, FLOAT32_MAX).float()
        return logits.index_put((places[0], places[1]), torch.where(before == -torch.inf, before, after))

    def _penalty(self, length: int) -> float:
        """The penalty for a repetition of this length; bounded, as in llama.cpp, so that the power is a float32."""
        power = length - self.allowed_length
        if self.base > 1.0:
            power = min(power, _LOG_FLOAT32_MAX / math.log(self.base))
        return self.multiplier * self.base**power

    def update(self, state: Repeats, logits: Tensor, tokens: Tensor) -> Repeats:
        """Add the chosen tokens."""
        breakers = state.breakers
        before = state.matches.tokens[:, max(0, state.matches.tokens.shape[1] - breakers.longest + 1) :].tolist()
        tails = state.tails or ("",) * len(tokens)
        ends = [breakers.ends(*row) for row in zip(tails, before, tokens.tolist(), strict=True)]
        ended = torch.tensor([e for e, _ in ends], dtype=torch.bool)
        return Repeats(
            state.matches.plus(tokens, self.window),
            (state.fresh + 1).masked_fill(ended, 0),
            tuple(tail for _, tail in ends) if breakers.texts else (),
            breakers,
        )
