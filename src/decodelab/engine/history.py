"""`History`: what the rows of a batch have generated, and the hypotheses that ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from decodelab.engine.hypotheses import Ended, Path

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class History:
    """Tokens and log-probabilities of all live rows, [rows, capacity] each, and the hypotheses that ended.

    Attributes:
        confidences: of each token, the numbers of `Confidences`, [rows, capacity, 3]; None where they are not recorded.
        positions: int64 [rows], how many tokens each row has.
        longest: no row has more.
    """

    tokens: Tensor
    logprobs: Tensor
    processed_logprobs: Tensor
    positions: Tensor
    confidences: Tensor | None = None
    longest: int = 0
    ended: list[Ended] = field(default_factory=list)

    @staticmethod
    def of(paths: Sequence[Path], confidences: bool = False) -> History:
        """What rows have generated before; whether confidences are recorded."""
        longest = max((len(path.tokens) for path in paths), default=0)
        rows, width = len(paths), max(64, longest)
        history = History(
            torch.zeros(rows, width, dtype=torch.int64),
            torch.zeros(rows, width, dtype=torch.float64),
            torch.zeros(rows, width, dtype=torch.float64),
            torch.tensor([len(path.tokens) for path in paths]),
            torch.zeros(rows, width, 3, dtype=torch.float64) if confidences else None,
            longest,
        )
        for row, path in enumerate(paths):
            n = len(path.tokens)
            if not n:
                continue
            history.tokens[row, :n] = torch.tensor(path.tokens)
            history.logprobs[row, :n] = torch.tensor(path.logprobs, dtype=torch.float64)
            history.processed_logprobs[row, :n] = torch.tensor(path.processed_logprobs, dtype=torch.float64)
            if history.confidences is not None:
                history.confidences[row, :n] = torch.tensor(path.confidences, dtype=torch.float64)
        return history

    def row(self, row: int) -> Path:
        """What a live row has generated."""
        n = int(self.positions[row])
        return Path(
            self.tokens[row, :n].tolist(),
            self.logprobs[row, :n].tolist(),
            self.processed_logprobs[row, :n].tolist(),
            () if self.confidences is None else self.confidences[row, :n].tolist(),
        )

    def advance(
        self,
        parents: Tensor | None,
        tokens: Tensor,
        logprobs: Tensor,
        processed_logprobs: Tensor,
        confidences: Tensor | None = None,
    ) -> None:
        """Continue with these rows (None: all, in order) and append one token to each."""
        at = self.positions if parents is None else self.positions[parents]

        def longer(kept: Tensor, new: Tensor) -> Tensor:
            column = kept if parents is None else kept[parents]
            if self.longest == column.shape[1]:
                column = torch.cat([column, torch.zeros_like(column)], dim=1)
            where = at.view(-1, *[1] * (column.ndim - 1)).expand(-1, 1, *column.shape[2:])
            return column.scatter_(1, where, new[:, None])

        self.tokens = longer(self.tokens, tokens)
        self.logprobs = longer(self.logprobs, logprobs)
        self.processed_logprobs = longer(self.processed_logprobs, processed_logprobs)
        if self.confidences is not None and confidences is not None:
            self.confidences = longer(self.confidences, confidences)
        self.positions = at + 1
        self.longest += 1

    def select(self, rows: Tensor) -> History:
        """The given rows (int64 [n]); what ended stays with both."""
        positions = self.positions[rows]
        longest = int(positions.max()) if len(rows) else 0
        return History(
            self.tokens[rows],
            self.logprobs[rows],
            self.processed_logprobs[rows],
            positions,
            None if self.confidences is None else self.confidences[rows],
            longest,
            self.ended,
        )

    @staticmethod
    def join(parts: Sequence[History]) -> History:
        """The rows of all parts of one history, in order."""
        capacity = max(part.tokens.shape[1] for part in parts)

        def joined(columns: Sequence[Tensor]) -> Tensor:
            return torch.cat([_widened(column, capacity) for column in columns])

        recorded = [part.confidences for part in parts if part.confidences is not None]
        return History(
            joined([part.tokens for part in parts]),
            joined([part.logprobs for part in parts]),
            joined([part.processed_logprobs for part in parts]),
            torch.cat([part.positions for part in parts]),
            joined(recorded) if recorded else None,
            max(part.longest for part in parts),
            parts[-1].ended,
        )


def _widened(column: Tensor, capacity: int) -> Tensor:
    """A column [rows, n, ...] with room for `capacity` tokens."""
    more = column.new_zeros(column.shape[0], capacity - column.shape[1], *column.shape[2:])
    return torch.cat([column, more], dim=1)
