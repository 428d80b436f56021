"""Likelihood of sequences: every common quantity, defined once.

All logarithms are natural (nats) unless a name says bits. A log-probability is that of one token given all before it.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from decodelab.core.values import Tokens


def perplexity(logprobs: Iterable[float]) -> float:
    """Sequence perplexity, exp of minus the mean log-probability per token; NaN for an empty sequence.

    It is the geometric mean of the perplexities of the tokens, and infinite when a token has probability 0 or the value
    exceeds what a float holds.

    Args:
        logprobs: log-probability of each token given all before it, in nats.

    Source: Jelinek et al., "Perplexity: a measure of the difficulty of speech recognition tasks", JASA 62, 1977.

    >>> round(perplexity([-2.5] * 1000), 2)
    12.18
    """
    values = list(logprobs)
    return _exp(-math.fsum(values) / len(values)) if values else math.nan


def token_perplexities(logprobs: Iterable[float]) -> tuple[float, ...]:
    """The perplexity of each token, 1 / p: among how many equally probable tokens it was one.

    >>> token_perplexities([0.0, -math.log(4)])
    (1.0, 4.0)
    """
    return tuple(_exp(-value) for value in logprobs)


@dataclass(frozen=True)
class TokenPerplexity:
    """The perplexities of a sequence's tokens, summed up.

    Their mean is not the perplexity of the sequence: it is at least as large, and one improbable token can make it
    anything. `driver` says when one did.

    Attributes:
        mean: arithmetic mean; infinite when a token has probability 0.
        median: median, which no single token can drive.
        std: population standard deviation (divided by n); NaN when the mean is infinite.
        highest: index of the highest, the first of equals; None for an empty sequence.
        driver: `highest`, when the mean without that token is at most half the mean with it; else None.

    >>> wild = TokenPerplexity.of([-0.1] * 9 + [-9.0])
    >>> round(wild.mean), round(wild.median, 3), wild.driver, round(perplexity([-0.1] * 9 + [-9.0]), 3)
    (811, 1.105, 9, 2.691)
    """

    mean: float
    median: float
    std: float
    highest: int | None
    driver: int | None

    @staticmethod
    def of(logprobs: Iterable[float]) -> TokenPerplexity:
        """Sum up the perplexities of tokens, given the log-probability of each, in nats."""
        values = token_perplexities(logprobs)
        if not values:
            return TokenPerplexity(math.nan, math.nan, math.nan, None, None)
        highest = max(range(len(values)), key=lambda i: values[i])
        mean, std = _mean_and_std(values)
        rest = _mean_and_std(values[:highest] + values[highest + 1 :])[0] if len(values) > 1 else math.nan
        # An infinite rest would be at most half of an infinite mean.
        driver = highest if rest < math.inf and rest <= mean / 2 else None
        return TokenPerplexity(mean, statistics.median(values), std, highest, driver)


def bits_per_byte(logprob: float, text: str) -> float:
    """Bits of minus a text's log-probability (nats) for each byte of its UTF-8; NaN for an empty text.

    Unlike perplexity it can be compared between models of different vocabularies, as long as both can write the text:
    characters that a tokenizer turns into an unknown token cost it nothing.

    >>> bits_per_byte(-8 * math.log(2), "four")
    2.0
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    return -logprob / math.log(2) / size if size else math.nan


def bits_per_character(logprob: float, text: str) -> float:
    """Bits of minus a text's log-probability (nats) for each Unicode code point; NaN for an empty text.

    >>> bits_per_character(-8 * math.log(2), "été"), bits_per_byte(-8 * math.log(2), "été")
    (2.6666666666666665, 1.6)
    """
    return -logprob / math.log(2) / len(text) if text else math.nan


@dataclass(frozen=True)
class Alternative:
    """An alternative token at a position, with its log-probability in nats."""

    token: int
    text: str
    logprob: float


@dataclass(frozen=True)
class Score:
    """The likelihood of a completion under a model.

    Attributes:
        tokens: the completion's token ids; empty where a server does not show them.
        token_texts: each token as text.
        token_logprobs: log p of each token given all before it, in nats.
        ranks: place of each token among all tokens there by probability, 1 for the most probable, ties by lowest id;
            empty where a server does not show them.
        alternatives: the most probable tokens in each place, best first, as many as were asked for.
        prompt: the prompt as text.
        completion: the completion as text.

    >>> score = Score((7, 8), ("a", "b"), (-1.0, -3.0), completion="ab")
    >>> score.perplexity, round(score.token_perplexity.mean, 3), round(score.bits_per_byte, 3)
    (7.38905609893065, 11.402, 2.885)
    """

    tokens: Tokens
    token_texts: tuple[str, ...]
    token_logprobs: tuple[float, ...]
    ranks: tuple[int, ...] = field(default=(), kw_only=True)
    alternatives: tuple[tuple[Alternative, ...], ...] = field(default=(), kw_only=True)
    prompt: str = field(default="", kw_only=True)
    completion: str = field(default="", kw_only=True)

    @property
    def logprob(self) -> float:
        """Sum of the token log-probabilities, in nats."""
        return math.fsum(self.token_logprobs)

    @property
    def mean_logprob(self) -> float:
        """Mean log-probability a token, in nats; minus the cross-entropy loss of training."""
        return self.logprob / len(self.token_logprobs)

    @property
    def perplexity(self) -> float:
        """Sequence perplexity, exp(-mean log-probability)."""
        return perplexity(self.token_logprobs)

    @property
    def token_perplexity(self) -> TokenPerplexity:
        """Mean, median and standard deviation of the perplexities of its tokens."""
        return TokenPerplexity.of(self.token_logprobs)

    @property
    def bits_per_byte(self) -> float:
        """Bits for each UTF-8 byte of the completion; NaN when it has no text."""
        return bits_per_byte(self.logprob, self.completion)

    @property
    def bits_per_character(self) -> float:
        """Bits for each Unicode code point of the completion; NaN when it has no text."""
        return bits_per_character(self.logprob, self.completion)

    @property
    def is_greedy(self) -> bool | None:
        """Whether greedy decoding would write the completion: every token is the most probable in its place.

        None where a server does not show the ranks.
        """
        return set(self.ranks) == {1} if self.ranks else None

    def to_dict(self) -> dict[str, Any]:
        """The score as JSON-ready data, with the derived numbers."""
        return dataclasses.asdict(self) | {
            "logprob": self.logprob,
            "mean_logprob": self.mean_logprob,
            "perplexity": self.perplexity,
            "token_perplexity": dataclasses.asdict(self.token_perplexity),
            "bits_per_byte": self.bits_per_byte,
            "bits_per_character": self.bits_per_character,
            "is_greedy": self.is_greedy,
        }


def _exp(x: float) -> float:
    """e^x, infinite where that exceeds all floats."""
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def _mean_and_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and population standard deviation of positive numbers, however large."""
    top = max(values)
    if top == math.inf:
        return math.inf, math.nan
    # In units of the largest no sum and no square overflows.
    scaled = [value / top for value in values]
    mean = math.fsum(scaled) / len(scaled)
    return top * mean, top * math.sqrt(math.fsum((value - mean) ** 2 for value in scaled) / len(scaled))
