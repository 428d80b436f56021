"""`StoppingCriteria`: when a hypothesis ends: EOS, stop tokens, stop strings, stops of its strategy, the limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from decodelab.core.protocols import SpecialTokens, Stop, Vocab
from decodelab.core.reasons import CONTINUES, EOS, LENGTH, STOP
from decodelab.core.values import Limits, Tokens
from decodelab.engine.row_text import RowText

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class StoppingCriteria:
    """Decides for candidate continuations whether and why they end.

    Attributes:
        vocab: to decode with.
        limits: the run's limits.
        codes: int64 [vocab], EOS, STOP or CONTINUES for each token id.
        max_new_tokens: int64 [jobs], the limit of each job (the context may be shorter than the request).
        stops: the stages that end texts.
    """

    vocab: Vocab
    limits: Limits
    codes: Tensor
    max_new_tokens: Tensor
    stops: Sequence[Stop] = ()

    @staticmethod
    def of(vocab: Vocab, limits: Limits, max_new_tokens: Sequence[int], stops: Sequence[Stop] = ()) -> StoppingCriteria:
        """The criteria of a batch of jobs."""
        codes = torch.full((vocab.size,), CONTINUES, dtype=torch.int64)
        codes[list(limits.stop_token_ids)] = STOP
        if isinstance(vocab, SpecialTokens):  # they are no part of the text, where a stop string would be looked for
            named = vocab.special_tokens
            codes[[named[stop] for stop in limits.stop if stop in named]] = STOP
        codes[list(vocab.eos_ids)] = EOS
        return StoppingCriteria(vocab, limits, codes, torch.tensor(max_new_tokens), stops)

    def masked(self, logits: Tensor, positions: Tensor) -> Tensor:
        """Logits [rows, vocab] without the tokens that would end a row below `min_new_tokens`."""
        if not self.limits.min_new_tokens:
            return logits
        early = positions < self.limits.min_new_tokens
        if not bool(early.any()):
            return logits
        return logits.masked_fill(early[:, None] & (self.codes != CONTINUES), -torch.inf)

    def texts(self, prompts: Sequence[Tokens]) -> list[RowText]:
        """The texts of rows that begin with these prompts; empty when no stop needs them."""
        return [RowText.after(p, self.stops) for p in prompts] if self.limits.stop or self.stops else []

    def reasons(self, jobs: Tensor, positions: Tensor, texts: list[RowText], parents: Tensor, tokens: Tensor) -> Tensor:
        """Reason codes, int64 [n], of continuing row `parents[i]` with `tokens[i]`; `positions` is int64 [rows]."""
        codes = self._codes(jobs, positions, parents, tokens)
        if texts:
            for i, cut in enumerate(self._cuts(codes, positions, texts, parents, tokens)):
                if cut is not None:
                    codes[i] = STOP
        return codes

    def cuts(
        self, jobs: Tensor, positions: Tensor, texts: list[RowText], parents: Tensor, tokens: Tensor
    ) -> list[str | None]:
        """The text of each of these continuations as the stop that ends it leaves it; None where none does."""
        if not texts:
            return [None] * len(tokens)
        return self._cuts(self._codes(jobs, positions, parents, tokens), positions, texts, parents, tokens)

    def _codes(self, jobs: Tensor, positions: Tensor, parents: Tensor, tokens: Tensor) -> Tensor:
        """The reasons that need no text."""
        last = self.max_new_tokens[jobs[parents]] <= positions[parents] + 1
        codes = self.codes[tokens]
        return torch.where((codes == CONTINUES) & last, LENGTH, codes)

    def _cuts(
        self, codes: Tensor, positions: Tensor, texts: list[RowText], parents: Tensor, tokens: Tensor
    ) -> list[str | None]:
        found: list[str | None] = []
        for code, parent, token in zip(codes.tolist(), parents.tolist(), tokens.tolist(), strict=True):
            enough = int(positions[parent]) >= self.limits.min_new_tokens
            found.append(self.cut(texts[parent], token, over=code != CONTINUES) if enough else None)
        return found

    def cut(self, row: RowText, token: int, *, over: bool) -> str | None:
        """The text of a row, cut where the stop that this token completes says; None if it completes none.

        Looked at is the text that would be returned: where the row ends with this token (`over`), all of it, else what
        no further token can change.
        """
        after = row.text.push(self.vocab, token)
        shown = after.whole if over else after.settled
        # Only a stop string that ends in the new text counts: earlier ones came before min_new_tokens.
        start = len(row.text.settled) + 1
        found = [at for s in self.limits.stop if (at := shown.find(s, max(0, start - len(s)))) >= 0]
        found += [len(shown) if state.kept is None else state.kept for state in row.read(token, shown) if state.ended]
        return shown[: min(found)] if found else None
