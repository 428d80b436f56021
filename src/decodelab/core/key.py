"""Counter-based randomness: a draw is a pure function of (seed, prompt, sample index, position, stream).

There is no hidden generator, so a sample is the same alone, in a batch, in
another order, resumed, or on another worker; and two strategies under one seed share their noise.

The generator is Philox-4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011),
written in int64 torch so that every device gives the same bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from torch import Tensor

_MASK = 0xFFFFFFFF
_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85

DRAW = 0
"""Stream of the uniform number that picks a token."""
GUMBEL = 1
"""Stream of the Gumbel noise over the vocabulary."""
PROCESSOR = 2
"""First of the streams of processors that need randomness of their own."""
ATTEMPT = 0x10000
"""First of the streams of searches that draw a token several times, after `DRAW` the first time."""
ROUNDS = 0xFFFFFFFE
"""Stream of searches over texts that draw numbers of their own, besides the tokens."""
SELECTION = 0xFFFFFFFF
"""Stream of selections that draw."""


_FEW = 16
"""Up to this many rows, Python integers one by one are faster than 130 operations on short tensors."""

Word = TypeVar("Word", "Tensor", int)


def philox(counter: tuple[Word, Word, Word, Word], key: tuple[Word, Word]) -> list[Word]:
    """Encrypt 128-bit counters under 64-bit keys; all words are int64 tensors, or integers, holding 32-bit values.

    >>> zero = torch.zeros(1, dtype=torch.int64)
    >>> [hex(int(w)) for w in philox((zero, zero, zero, zero), (zero, zero))]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # int64 products wrap, but their bits are those of the unsigned product.
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (
            ((p1 >> 32) & _MASK) ^ c1 ^ k0,
            p1 & _MASK,
            ((p0 >> 32) & _MASK) ^ c3 ^ k1,
            p0 & _MASK,
        )
        k0, k1 = (k0 + _W0) & _MASK, (k1 + _W1) & _MASK
    return [c0, c1, c2, c3]


def _to_unit(high: Tensor, low: Tensor) -> Tensor:
    """53 random bits as float64 strictly between 0 and 1."""
    bits = ((high << 21) ^ (low >> 11)).to(torch.float64)
    return (bits + 0.5) * 2.0**-53


def _to_unit_number(high: int, low: int) -> float:
    """The same of one row."""
    return (float((high << 21) ^ (low >> 11)) + 0.5) * 2.0**-53


def digest_tokens(tokens: Sequence[int]) -> bytes:
    """Digest of a token sequence, the prompt's part of a key."""
    data = b"".join(int(t).to_bytes(8, "little", signed=True) for t in tokens)
    return hashlib.blake2b(data, digest_size=16).digest()


@dataclass(frozen=True)
class Keys:
    """The keys of several rows: everything their random numbers depend on but the position.

    Attributes:
        words: int64 [rows, 2], the two 32-bit key words from (seed, prompt digest).
        sample: int64 [rows], the sample index of each row.

    >>> keys = Keys.of(seed=0, prompt=[1, 2, 3], samples=range(3))
    >>> alone = Keys.of(seed=0, prompt=[1, 2, 3], samples=[2])
    >>> bool(keys.uniform(torch.tensor([5, 5, 5]))[2] == alone.uniform(torch.tensor([5]))[0])
    True
    """

    words: Tensor
    sample: Tensor

    @staticmethod
    def of(seed: int, prompt: Sequence[int], samples: Sequence[int] | range) -> Keys:
        """Keys of the given samples of one prompt (token ids) under one seed (any integer)."""
        head = f"decodelab:{int(seed)}:".encode()
        digest = hashlib.blake2b(head + digest_tokens(prompt), digest_size=8).digest()
        words = [int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")]
        sample = torch.tensor(list(samples), dtype=torch.int64)
        return Keys(torch.tensor(words, dtype=torch.int64).expand(len(sample), 2), sample)

    @staticmethod
    def join(keys: Sequence[Keys]) -> Keys:
        """Concatenate the rows of several keys."""
        return Keys(torch.cat([k.words for k in keys]), torch.cat([k.sample for k in keys]))

    def __getitem__(self, rows: Tensor) -> Keys:
        """The keys of the given rows."""
        return Keys(self.words[rows], self.sample[rows])

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.sample)

    def uniform(self, position: Tensor, stream: int = DRAW) -> Tensor:
        """One uniform number in (0, 1) a row: float64 [rows], for int64 positions [rows]."""
        if len(self) <= _FEW and self.sample.device.type == "cpu":
            numbers = [
                _to_unit_number(*philox((at, sample & _MASK, stream, 0), (k0, k1))[:2])
                for at, sample, (k0, k1) in zip(
                    position.tolist(), self.sample.tolist(), self.words.tolist(), strict=True
                )
            ]
            return torch.tensor(numbers, dtype=torch.float64)
        zero = torch.zeros_like(self.sample)
        words = philox((position, self.sample & _MASK, zero + stream, zero), (self.words[:, 0], self.words[:, 1]))
        return _to_unit(words[0], words[1])

    def gumbel(self, position: Tensor, size: int, stream: int = GUMBEL) -> Tensor:
        """Standard Gumbel noise, float64 [rows, size], for int64 positions [rows]."""
        lane = torch.arange(size, device=self.sample.device)
        column = [x[:, None] for x in (position, self.sample & _MASK)]
        shape = torch.zeros(len(self), size, dtype=torch.int64, device=self.sample.device)
        words = philox(
            (column[0] + shape, column[1] + shape, shape + stream, shape + lane),
            (self.words[:, :1] + shape, self.words[:, 1:] + shape),
        )
        return -torch.log(-torch.log(_to_unit(words[0], words[1])))
