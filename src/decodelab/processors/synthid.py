"""SynthID-Text: a watermark by tournaments between tokens, and its detection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.errors import InvalidParameter, UnknownToken
from decodelab.core.key import Keys
from decodelab.core.protocols import Vocab
from decodelab.core.stage import TokenProcessor, brief, check_number
from decodelab.core.values import Tokens
from decodelab.processors._recent_tokens import followed_by

if TYPE_CHECKING:
    from torch import Tensor

_MULTIPLIER = 6364136223846793005
"""Of the linear congruential generator that transformers hashes with."""


def _hashed(so_far: Tensor, more: Tensor) -> Tensor:
    """A hash, int64, after one more number; products wrap."""
    return (so_far + more) * _MULTIPLIER + 1


@cache
def _coins(size: int, seed: int) -> Tensor:
    """The table of fair coins, int64 [size].

    It has to be the one that transformers draws, so it comes from torch's generator (one of its own, not the global
    one) instead of our keys.
    """
    return torch.randint(0, 2, (size,), generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Contexts:
    """The context of the next token of each row, and those watermarked before.

    Attributes:
        tokens: int64 [rows, ngram_len - 1], the last generated tokens, 0 where there are none yet.
        history: int64 [rows, context_history_size], hashes of earlier contexts, the latest first, 0 where none is.
    """

    tokens: Tensor
    history: Tensor

    def __getitem__(self, rows: Tensor) -> Contexts:
        """The contexts of the given rows."""
        return Contexts(self.tokens[rows], self.history[rows])

    def join(self, other: Contexts) -> Contexts:
        """The rows of this state followed by those of another."""
        return Contexts(torch.cat([self.tokens, other.tokens]), torch.cat([self.history, other.history]))

    def hashes(self) -> Tensor:
        """The hash of each context, int64 [rows]."""
        hashed = torch.ones(len(self.tokens), dtype=torch.int64)
        for column in self.tokens.unbind(1):
            hashed = _hashed(hashed, column)
        return hashed

    def repeated(self) -> Tensor:
        """Whether each context is in its history, bool [rows]."""
        return (self.history == self.hashes()[:, None]).any(1)

    def followed_by(self, tokens: Tensor) -> Contexts:
        """The contexts after one more token, int64 [rows]."""
        history = torch.cat([self.hashes()[:, None], self.history], dim=1)[:, :-1]
        return Contexts(followed_by(self.tokens, tokens), history)


@dataclass(frozen=True)
class SynthID(TokenProcessor):
    """Watermark by tournaments: in every layer a token with a coin of 1 gains probability from those with a 0.

    The keys, the last ngram_len - 1 generated tokens and a token give it one coin g a layer. In each layer in turn, p
    becomes p (1 + g - m), m being the mass of the tokens with g = 1: the distribution of the winner of two tokens drawn
    from p, of which one with g = 1 beats one with g = 0. Averaged over the coins the distribution is unchanged. A
    context among the last context_history_size ones is left unmarked. Whoever has the keys detects the watermark with
    `synthid_z`.

    It is transformers' `SynthIDTextWatermarkLogitsProcessor`, whose texts `synthid_z` detects and which detects ours;
    the Gemini app hashes otherwise. As there, the prompt is no part of the context (0 stands for what is missing, so
    the first token has the same coins in every text), and truncations belong before it. transformers sums in float32
    and gives a removed token a finite logit; here sums are float64 and it stays removed.

    Raises:
        InvalidParameter: if keys are no different integers (modulo the table's size), or a number is out of its range.

    >>> str(SynthID(keys=[654, 400, 836]))
    'synthid=[654, 400, 836]'
    """

    keys: Annotated[Sequence[int], "secret integers, one a layer; more layers can be detected in shorter texts"]
    ngram_len: Annotated[int, "tokens that determine a coin, the new one included, at least 2"] = 5
    context_history_size: Annotated[int, "number of last contexts that are not marked again, at least 0"] = 1024
    sampling_table_size: Annotated[int, "number of coins in the table, in [2, 2^24]"] = 65_536
    sampling_table_seed: Annotated[int, "seed of the table, at least 0"] = 0

    name: ClassVar[str] = "synthid"
    source: ClassVar[str] = "Dathathri et al. 2024 (Scalable watermarking), Nature 634, two-candidate tournaments"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "ngram_len", low=2, integer=True, fix="use 5 as the paper does")
        check_number(self, "context_history_size", low=0, integer=True, fix="use 1024 as transformers does")
        check_number(self, "sampling_table_size", low=2, high=2**24, integer=True, fix="use 65536 as transformers does")
        check_number(self, "sampling_table_seed", low=0, integer=True, fix="use 0 as transformers does")
        given = self.keys
        keys = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else ()
        whole = all(isinstance(k, int) and not isinstance(k, bool) and abs(k) < 2**63 for k in keys)
        if not keys or not whole or len({k % self.sampling_table_size for k in keys}) < len(keys):
            raise InvalidParameter(
                f"{self.name}: keys must be one or more integers below 2**63, all different modulo "
                f"sampling_table_size, got {brief(given)}; use 20 to 30 random ones"
            )
        object.__setattr__(self, "keys", keys)

    @property
    def table(self) -> Tensor:
        """The coins, int64 [sampling_table_size]."""
        return _coins(self.sampling_table_size, self.sampling_table_seed)

    def coins(self, context: Tensor, key: int) -> Tensor:
        """The coins of one layer, 0 or 1, for hashes of a context and a token, int64 [n]."""
        return self.table.index_select(0, _hashed(context, torch.tensor(key)) % self.sampling_table_size)

    def init(self, prompts: Sequence[Tokens], vocab: Vocab, keys: Keys) -> Contexts:
        """Nothing generated yet."""
        rows = len(prompts)
        history = torch.zeros(rows, self.context_history_size, dtype=torch.int64)
        return Contexts(torch.zeros(rows, self.ngram_len - 1, dtype=torch.int64), history)

    def apply(self, logits: Tensor, state: Contexts) -> Tensor:
        """Hold the tournaments, on float32 logits [rows, vocab]; the result is normalised where the row is marked."""
        marked = logits.clone()
        for row, (context, skip) in enumerate(zip(state.hashes(), state.repeated().tolist(), strict=True)):
            ids = logits[row].isfinite().nonzero()[:, 0]
            if skip or not len(ids):
                continue
            probs = logits[row, ids].double().softmax(0)
            hashes = _hashed(context, ids)
            for key in self.keys:
                g = self.coins(hashes, key).double()
                # 1 + g - m, with 1 - m as the mass of g = 0, which rounding cannot make 0 where such a token is left.
                probs = probs * (g + (1 - g) @ probs)
            marked[row, ids] = probs.log().float()
        return marked

    def update(self, state: Contexts, logits: Tensor, tokens: Tensor) -> Contexts:
        """The contexts after the chosen tokens."""
        return state.followed_by(tokens)


@dataclass(frozen=True)
class SynthIDScore:
    """How many tournaments the tokens of a text seem to have won.

    Attributes:
        scored: how many tokens were looked at.
        mean: the mean of their coins over all layers; NaN if nothing was scored.
        weighted_mean: the same with the layers weighted from 10 for the first, evenly down to 1 for the last.
        z: standard deviations of the weighted mean above what a text without the watermark has; NaN likewise.
        p_value: the chance that a text without the watermark has such a z, by the normal distribution; NaN likewise.
    """

    scored: int
    mean: float
    weighted_mean: float
    z: float
    p_value: float


def synthid_z(tokens: Sequence[int], watermark: SynthID) -> SynthIDScore:
    """Look for a SynthID watermark in a text.

    Scored are the tokens that have ngram_len - 1 others before them in the text, where this context is not among the
    last context_history_size ones; the same context and token count once. `mean` and `weighted_mean` are the
    paper's scores, as `synthid_text` computes them. Under the null hypothesis, a text written without the keys, every
    coin is an independent draw from the table, whose share of ones is s: the weighted mean then has mean s and variance
    s (1 - s) sum w^2 / (n (sum w)^2) for weights w and n scored tokens.

    Args:
        tokens: token ids of the text, without its prompt.
        watermark: the watermark to look for.

    Raises:
        UnknownToken: if a token id is negative.

    >>> score = synthid_z(range(100), SynthID(keys=[654, 400, 836]))
    >>> score.scored, round(score.mean, 2), round(score.z, 1)
    (96, 0.5, 0.4)
    """
    text = [int(token) for token in tokens]
    if any(token < 0 for token in text):
        raise UnknownToken(f"synthid: token ids must be at least 0, got {min(text)}; is it another model's tokenizer?")
    width = watermark.ngram_len - 1
    contexts = Contexts(torch.tensor([text[:width]]), torch.zeros(1, watermark.context_history_size, dtype=torch.int64))
    hashes: dict[tuple[int, int], Tensor] = {}
    for token in text[width:]:
        if not bool(contexts.repeated()):
            context = contexts.hashes()
            hashes[int(context), token] = _hashed(context, torch.tensor([token]))
        contexts = contexts.followed_by(torch.tensor([token]))
    if not hashes:
        return SynthIDScore(0, math.nan, math.nan, math.nan, math.nan)
    marks = torch.cat(list(hashes.values()))
    coins = torch.stack([watermark.coins(marks, key) for key in watermark.keys]).double()  # [layers, scored]
    weights = torch.linspace(10, 1, len(watermark.keys), dtype=torch.float64)
    weights /= weights.sum()
    share = float(watermark.table.double().mean())
    weighted = float(weights @ coins.mean(1))
    deviation = math.sqrt(share * (1 - share) * float(weights.square().sum()) / len(marks))
    z = (weighted - share) / deviation if deviation else math.nan
    return SynthIDScore(len(marks), float(coins.mean()), weighted, z, math.erfc(z / math.sqrt(2)) / 2)
