"""`DraftModelProposer`: a smaller model proposes tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from decodelab.core.protocols import PAD, Cache, LanguageModel
from decodelab.core.values import Tokens
from decodelab.engine.runners.speculative_batch import SpeculativeBatch

if TYPE_CHECKING:
    from torch import Tensor


class DraftModelProposer:
    """A draft model that proposes one token after the other, with a cache of its own.

    Args:
        model: of the same vocabulary as the one that decides.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.clear()

    @property
    def name(self) -> str:
        """That of the model."""
        return self.model.name

    @property
    def context_length(self) -> int | None:
        """That of the model."""
        return self.model.context_length

    @property
    def nbytes(self) -> int:
        """Bytes of its cache."""
        return 0 if self.cache is None else self.cache.nbytes

    def cache_bytes(self, prompt: int, rows: int, new: int) -> int:
        """As the model says."""
        return self.model.cache_bytes(prompt, rows, new)

    def clear(self) -> None:
        """Forget all rows."""
        self.cache: Cache | None = None
        # Of each row: how many tokens of its text the cache holds, and which tokens of its text follow.
        self.valid: list[int] = []
        self.pending: list[Tokens] = []
        # How many of the tokens proposed in this round follow the valid ones in the cache.
        self.ahead = 0

    def begin(self, prompts: Sequence[Tokens], rows: Sequence[int]) -> list[int]:
        """Prefill the prompts."""
        _, cache = self.model.prefill(prompts)
        cache = cache.select(torch.tensor(rows))
        self.valid += cache.lengths
        self.cache = cache if self.cache is None else self.cache.join(cache)
        self.pending += [()] * len(rows)
        return [len(prompt) for prompt in prompts]

    def propose(self, batches: Sequence[SpeculativeBatch], most: int) -> Tensor:
        """Draw tokens for each row, no more than it can use; one forward pass a token for all rows."""
        counts = [batch.begin_proposals(most) for batch in batches]
        proposals = torch.full((len(self.pending), max(int(c.max()) for c in counts)), PAD)
        if not proposals.shape[1]:
            return proposals
        raw, computed = self._catch_up(), [len(tokens) for tokens in self.pending]
        self.pending = [()] * len(self.pending)
        eos = self.model.vocab.eos_ids
        for at in range(proposals.shape[1]):
            first = 0
            for batch, count in zip(batches, counts, strict=True):
                rows = slice(first, first + len(batch))
                proposals[rows, at] = batch.propose(self.model.name, raw[rows], at, count)
                first += len(batch)
            if not any(batch.proposing for batch in batches):
                break
            # A row that gets no more proposals is fed any token, dropped with those that are not accepted.
            assert self.cache is not None
            fed = proposals[:, at].masked_fill(proposals[:, at] == PAD, eos[0] if eos else 0)
            logits, self.cache = self.model.decode(self.cache, fed[:, None])
            raw = logits[:, 0]
            self.ahead += 1
        own = torch.tensor(computed) + (proposals[:, : self.ahead] != PAD).sum(1)
        for batch, tokens in zip(batches, own.split([len(batch) for batch in batches]), strict=True):
            batch.draft_tokens.index_add_(0, batch.row_jobs, tokens)
        return proposals

    def _catch_up(self) -> Tensor:
        """Compute the pending tokens: the logits after the last of each row, [rows, vocab]."""
        assert self.cache is not None
        counts = [len(tokens) for tokens in self.pending]
        tokens = torch.full((len(counts), max(counts)), PAD)
        for row, pending in enumerate(self.pending):
            tokens[row, : len(pending)] = torch.tensor(pending)
        logits, self.cache = self.model.decode(self.cache, tokens)
        self.valid = [n + count for n, count in zip(self.valid, counts, strict=True)]
        if min(counts) < max(counts):
            self.cache = self.cache.rewind(self.valid)
        return logits[torch.arange(len(counts)), torch.tensor(counts) - 1]

    def keep(self, rows: Sequence[int], taken: Sequence[Tokens]) -> None:
        """Drop from the cache what was not accepted; what it does not hold of the taken tokens is pending."""
        if self.cache is None:
            return
        known = [max(0, min(len(tokens) - 1, self.ahead)) for tokens in taken]
        self.valid = [self.valid[row] + n for row, n in zip(rows, known, strict=True)]
        self.pending = [self.pending[row] + tokens[n:] for row, tokens, n in zip(rows, taken, known, strict=True)]
        self.ahead = 0
        self.cache = self.cache.select(torch.tensor(rows, dtype=torch.int64))
        if list(self.cache.lengths) != self.valid:
            self.cache = self.cache.rewind(self.valid)
