"""A watermark that a green list leaves in the text, and its detection."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.errors import RequestError, UnknownToken
from decodelab.core.float32 import FLOAT32_MAX
from decodelab.core.key import Keys, digest_tokens, philox
from decodelab.core.protocols import Vocab
from decodelab.core.stage import TokenProcessor, check_number
from decodelab.core.values import Tokens
from decodelab.processors._recent_tokens import followed_by, recent_tokens

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Watermark(TokenProcessor):
    """Raise the logits of a green part of the vocabulary, which key and last tokens decide anew at every step.

    Whoever knows the key can detect the watermark by counting green tokens: `watermark_z`. The green list has
    floor(green_fraction * vocabulary) tokens: those with the smallest random numbers, from Philox under a key made of
    `key` and the last `context` tokens, prompt included. A position with fewer tokens before it has no watermark.

    It is the soft watermark of the paper (its Algorithm 2); transformers' `lefthash` is the same with a different
    generator, so neither detects the other. A step draws a number for every vocabulary entry: about 10 ms per row at
    150,000.

    Raises:
        InvalidParameter: if the fraction is not in (0, 1), the bias negative or above 1e30, or the context below 1.

    >>> len(Watermark(0.5).green((7,), 10))
    5
    """

    green_fraction: Annotated[float, "share of the vocabulary on the green list, in (0, 1)"] = 0.25
    bias: Annotated[float, "added to the logits of green tokens, in [0, 1e30]"] = 2.0
    key: Annotated[int, "secret integer; whoever has it can detect and remove the watermark"] = 0
    context: Annotated[
        int, "number of last tokens that determine the green list, at least 1; fewer survive more edits"
    ] = 1

    name: ClassVar[str] = "watermark"
    source: ClassVar[str] = "Kirchenbauer et al. 2023 (A watermark for large language models), algorithm 2"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(
            self, "green_fraction", low=0.0, high=1.0, low_open=True, high_open=True, fix="the paper tries 0.25 and 0.5"
        )
        check_number(self, "bias", low=0.0, high=1e30, fix="the paper tries 1 to 10")
        check_number(self, "key", integer=True, fix="use any integer and keep it secret")
        check_number(self, "context", low=1, integer=True, fix="use 1 as the paper does")

    def no_effect(self) -> str | None:
        """Without a bias green and red are alike."""
        return "a bias of 0 changes nothing" if self.bias == 0.0 else None

    def green(self, before: Sequence[int], size: int) -> Tensor:
        """The green list after the last `context` tokens, int64 [floor(green_fraction * size)], in no order."""
        digest = hashlib.blake2b(f"decodelab watermark:{self.key}:".encode() + digest_tokens(before), digest_size=8)
        words = digest.digest()
        key = tuple(torch.tensor(int.from_bytes(words[i : i + 4], "little")) for i in (0, 4))
        lane = torch.arange((size + 3) // 4)
        zero = torch.zeros_like(lane)
        # Each of the four words of a block serves one token. Ties between equal words are broken by the token's id.
        numbers = torch.stack(philox((lane, zero, zero, zero), (key[0], key[1])), dim=1).flatten()[:size]
        ranked = numbers * size + torch.arange(size)
        return ranked.topk(math.floor(self.green_fraction * size), largest=False, sorted=False).indices

    def init(self, prompts: Sequence[Tokens], vocab: Vocab, keys: Keys) -> Tensor:
        """The last tokens of the prompts, int64 [rows, context], -1 where there are none."""
        return recent_tokens(prompts, self.context)

    def apply(self, logits: Tensor, state: Tensor) -> Tensor:
        """Raise the green tokens of float32 logits [rows, vocab]."""
        raised = logits.clone()
        lists: dict[Tokens, Tensor] = {}
        for row, before in enumerate(map(tuple, state.tolist())):
            if before[0] >= 0:
                if before not in lists:
                    lists[before] = self.green(before, logits.shape[-1])
                raised[row, lists[before]] += self.bias
        return raised.clamp(max=FLOAT32_MAX)

    def update(self, state: Tensor, logits: Tensor, tokens: Tensor) -> Tensor:
        """The last tokens after the chosen ones."""
        return followed_by(state, tokens)


@dataclass(frozen=True)
class WatermarkScore:
    """How green a text is.

    Attributes:
        scored: how many tokens were looked at.
        green: how many of them were on their green list.
        z: standard deviations above what a text without the watermark has on average; NaN if nothing was scored.
        p_value: the chance that a text without the watermark is as green, by the normal distribution; NaN likewise.
    """

    scored: int
    green: int
    z: float
    p_value: float


def watermark_z(
    tokens: Sequence[int],
    watermark: Watermark,
    vocab_size: int,
    *,
    prompt_tokens: Sequence[int] = (),
    distinct: bool = True,
) -> WatermarkScore:
    """Look for a watermark in a text.

    z = (green - g n) / sqrt(n g (1 - g)) for n scored tokens and the green list's exact share g of the vocabulary (the
    paper, eq. 3). It looks at parameters `green_fraction`, `key` and `context` only. A text shows a watermark when its
    p-value is small; a z of 4 comes by chance once in 30,000 texts.

    Args:
        tokens: token ids of the text.
        watermark: the watermark to look for.
        vocab_size: the size of the vocabulary it was written with (that of the logits).
        prompt_tokens: what stood before it, if that is known; it is not scored.
        distinct: score a token after the same context only once. A text that repeats itself otherwise counts
            one coincidence many times, and its p-value is wrong; transformers counts all unless told not to.

    Raises:
        UnknownToken: if a token id is outside the vocabulary.
        RequestError: if the vocabulary is so small that the green list is empty.

    >>> score = watermark_z(range(50), Watermark(), 100)
    >>> score.scored, score.green, round(score.z, 2), round(score.p_value, 2)
    (49, 14, 0.58, 0.28)
    """
    text = (*prompt_tokens, *tokens)
    outside = [token for token in text if not 0 <= token < vocab_size]
    if outside:
        raise UnknownToken(f"watermark: token id {outside[0]} is outside the vocabulary of {vocab_size}")
    share = math.floor(watermark.green_fraction * vocab_size) / vocab_size
    if share == 0:
        raise RequestError(
            f"watermark: green_fraction={watermark.green_fraction} of {vocab_size} tokens is less than one; raise it"
        )
    first = max(len(prompt_tokens), watermark.context)
    pairs = [(text[at - watermark.context : at], text[at]) for at in range(first, len(text))]
    by_context: dict[Tokens, list[int]] = {}
    for before, token in dict.fromkeys(pairs) if distinct else pairs:
        by_context.setdefault(before, []).append(token)
    green = sum(
        int(torch.isin(torch.tensor(after), watermark.green(before, vocab_size)).sum())
        for before, after in by_context.items()
    )
    scored = sum(map(len, by_context.values()))
    if not scored:
        return WatermarkScore(0, 0, math.nan, math.nan)
    z = (green - share * scored) / math.sqrt(scored * share * (1 - share))
    return WatermarkScore(scored, green, z, math.erfc(z / math.sqrt(2)) / 2)
