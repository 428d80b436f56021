"""What the rows of a batch have generated, and how hypotheses that ended are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from decodelab.core.protocols import Vocab
from decodelab.core.reasons import REASONS
from decodelab.core.values import Candidate, FinishReason, Tokens


@dataclass(frozen=True)
class Ended:
    """A finished hypothesis; it becomes a Candidate when its job is done. `cut` is its text up to a stop string."""

    tokens: list[int]
    logprobs: list[float]
    law_logprobs: list[float]
    reason: int
    cut: str | None

    def candidate(self, vocab: Vocab, prompt: Tokens, sample: int, score: float) -> Candidate:
        """It as a candidate with its text, the continuation of a prompt."""
        reason: FinishReason = REASONS.get(self.reason, "interrupted")
        text = self.cut
        if text is None:
            text = vocab.decode_completion(prompt, self.tokens)
        return Candidate(
            tuple(self.tokens), text, tuple(self.logprobs), tuple(self.law_logprobs), reason, sample, score
        )


@dataclass
class History:
    """Tokens and log-probabilities of all live rows, [rows, capacity] each, and the hypotheses that ended.

    Attributes:
        positions: int64 [rows], how many tokens each row has.
        longest: no row has more.
    """

    tokens: Tensor
    logprobs: Tensor
    law_logprobs: Tensor
    positions: Tensor
    longest: int = 0
    ended: list[Ended] = field(default_factory=list)

    @staticmethod
    def empty(rows: int) -> History:
        """Nothing generated yet."""
        return History(
            torch.zeros(rows, 64, dtype=torch.int64),
            torch.zeros(rows, 64, dtype=torch.float64),
            torch.zeros(rows, 64, dtype=torch.float64),
            torch.zeros(rows, dtype=torch.int64),
        )

    def row(self, row: int) -> tuple[list[int], list[float], list[float]]:
        """What a live row has generated."""
        n = int(self.positions[row])
        return (
            self.tokens[row, :n].tolist(),
            self.logprobs[row, :n].tolist(),
            self.law_logprobs[row, :n].tolist(),
        )

    def advance(self, parents: Tensor | None, tokens: Tensor, logprobs: Tensor, law_logprobs: Tensor) -> None:
        """Continue with these rows (None: all, in order) and append one token to each."""
        at = self.positions if parents is None else self.positions[parents]
        columns = []
        for kept, new in (
            (self.tokens, tokens),
            (self.logprobs, logprobs),
            (self.law_logprobs, law_logprobs),
        ):
            column = kept if parents is None else kept[parents]
            if self.longest == column.shape[1]:
                column = torch.cat([column, torch.zeros_like(column)], dim=1)
            columns.append(column.scatter_(1, at[:, None], new[:, None]))
        self.tokens, self.logprobs, self.law_logprobs = columns
        self.positions = at + 1
        self.longest += 1
