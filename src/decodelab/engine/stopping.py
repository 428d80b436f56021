"""`StoppingCriteria`: when a hypothesis ends: EOS, stop tokens, stop strings, stops of its strategy, the limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from decodelab.core.chunks import Chunk, chunk_ended
from decodelab.core.protocols import SpecialTokens, Stop, Vocab
from decodelab.core.reasons import CONTINUES, EOS, LENGTH, PRUNED, STOP
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
        chunk: the unit of text after which rows pause; None for no other end.
        pauses: int64 [jobs], how many tokens an answer has when the rows of the job pause; None for no other limit.
    """

    vocab: Vocab
    limits: Limits
    codes: Tensor
    max_new_tokens: Tensor
    stops: Sequence[Stop] = ()
    chunk: Chunk | None = None
    pauses: Tensor | None = None

    @staticmethod
    def of(
        vocab: Vocab,
        limits: Limits,
        max_new_tokens: Sequence[int],
        stops: Sequence[Stop] = (),
        chunk: Chunk | None = None,
        pauses: Tensor | None = None,
    ) -> StoppingCriteria:
        """The criteria of a batch of jobs."""
        codes = torch.full((vocab.size,), CONTINUES, dtype=torch.int64)
        codes[list(limits.stop_token_ids)] = STOP
        if isinstance(vocab, SpecialTokens):  # they are no part of the text, where a stop string would be looked for
            named = vocab.special_tokens
            codes[[named[stop] for stop in limits.stop if stop in named]] = STOP
        if not limits.ignore_eos:
            codes[list(vocab.eos_ids)] = EOS
        return StoppingCriteria(vocab, limits, codes, torch.tensor(max_new_tokens), stops, chunk, pauses)

    def masked(self, logits: Tensor, positions: Tensor) -> Tensor:
        """Logits [rows, vocab] without the tokens that would end a row below `min_new_tokens`."""
        if not self.limits.min_new_tokens:
            return logits
        early = positions < self.limits.min_new_tokens
        if not bool(early.any()):
            return logits
        return logits.masked_fill(early[:, None] & (self.codes != CONTINUES), -torch.inf)

    def texts(self, prompts: Sequence[Tokens], written: Sequence[Tokens] | None = None) -> list[RowText]:
        """The texts of rows that begin with these prompts, and what was generated after them before.

        Empty when nothing needs them.
        """
        if not (self.limits.stop or self.stops or self.chunk):
            return []
        begun = [RowText.after(p, self.stops) for p in prompts]
        return begun if written is None else self._continued(begun, prompts, written)

    def _continued(self, begun: list[RowText], prompts: Sequence[Tokens], written: Sequence[Tokens]) -> list[RowText]:
        """The texts of rows that have generated these tokens; of equal ones, one is read."""
        read: dict[tuple[Tokens, Tokens], RowText] = {}
        for row, key in zip(begun, zip(prompts, written, strict=True), strict=True):
            if key not in read:
                read[key] = row.continued(self.vocab, key[1])
        return [read[key] for key in zip(prompts, written, strict=True)]

    def reasons(self, jobs: Tensor, positions: Tensor, texts: list[RowText], parents: Tensor, tokens: Tensor) -> Tensor:
        """Reason codes, int64 [n], of continuing row `parents[i]` with `tokens[i]`; `positions` is int64 [rows]."""
        codes = self._codes(jobs, positions, parents, tokens)
        if texts:
            for i, cut in enumerate(self._cuts(codes, positions, texts, parents, tokens)):
                if cut is not None:
                    codes[i] = STOP
        return self._paused(codes, jobs, positions, texts, parents, tokens)

    def _paused(
        self, codes: Tensor, jobs: Tensor, positions: Tensor, texts: list[RowText], parents: Tensor, tokens: Tensor
    ) -> Tensor:
        """The reasons, those of rows that pause included."""
        if self.pauses is not None:
            due = self.pauses[jobs[parents]] <= positions[parents] + 1
            codes = torch.where((codes == CONTINUES) & due, PRUNED, codes)
        if self.chunk is not None:
            for i in (codes == CONTINUES).nonzero()[:, 0].tolist():
                row = texts[int(parents[i])]
                if chunk_ended(self.chunk, row.text.push(self.vocab, int(tokens[i])).settled[row.begun :]):
                    codes[i] = PRUNED
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
