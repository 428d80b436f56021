"""Where drafted tokens come from: a smaller model, or the text itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from decodelab.core.protocols import PAD, Cache, LanguageModel
from decodelab.core.values import Tokens
from decodelab.engine.runners.speculative_batch import DraftedBatch
from decodelab.search.speculative import NGRAM


class Draft(Protocol):
    """Proposes tokens for the rows of batches, which it knows by their place: they come at the end and go by `keep`."""

    @property
    def name(self) -> str:
        """What errors call it."""
        ...

    @property
    def context_length(self) -> int | None:
        """The longest sequence it can hold, or None when unbounded."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""
        ...

    def cache_bytes(self, prompt: int, rows: int, new: int) -> int:
        """Bytes it may come to hold for `rows` continuations of `new` tokens of a prompt of `prompt` tokens."""
        ...

    def begin(self, prompts: Sequence[Tokens], rows: Sequence[int]) -> list[int]:
        """Take up new rows, each with the prompt of that number; how many tokens were computed for each prompt."""
        ...

    def propose(self, batches: Sequence[DraftedBatch], most: int) -> Tensor:
        """At most `most` tokens for each row of the batches, int64 [rows, k], `PAD` after the last of a row."""
        ...

    def keep(self, rows: Sequence[int], taken: Sequence[Tokens]) -> None:
        """Go on with these rows, each longer by the tokens it took."""
        ...

    def clear(self) -> None:
        """Forget all rows."""
        ...


class ModelDraft:
    """A model that proposes, one token after the other, with a cache of its own.

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
        # Of each row, how many tokens of its text the cache holds, and those of its text that follow.
        self.valid: list[int] = []
        self.pending: list[Tokens] = []
        # How many of the tokens it drafted in this round are in the cache behind the valid ones.
        self.ahead = 0

    def begin(self, prompts: Sequence[Tokens], rows: Sequence[int]) -> list[int]:
        """Prefill the prompts."""
        _, cache = self.model.prefill(prompts)
        cache = cache.select(torch.tensor(rows))
        self.valid += cache.lengths
        self.cache = cache if self.cache is None else self.cache.join(cache)
        self.pending += [()] * len(rows)
        return [len(prompt) for prompt in prompts]

    def propose(self, batches: Sequence[DraftedBatch], most: int) -> Tensor:
        """Draw tokens for each row as far as it can use them, all rows in one forward pass a token."""
        counts = [batch.begin_drafts(most) for batch in batches]
        drafts = torch.full((len(self.pending), max(int(c.max()) for c in counts)), PAD)
        if not drafts.shape[1]:
            return drafts
        raw, computed = self._catch_up(), [len(tokens) for tokens in self.pending]
        self.pending = [()] * len(self.pending)
        eos = self.model.vocab.eos_ids
        for at in range(drafts.shape[1]):
            first = 0
            for batch, count in zip(batches, counts, strict=True):
                rows = slice(first, first + len(batch))
                drafts[rows, at] = batch.draft(self.model.name, raw[rows], at, count)
                first += len(batch)
            if not any(batch.drafting for batch in batches):
                break
            # A row that drafts no more is fed anything, which is dropped with what is not accepted.
            assert self.cache is not None
            fed = drafts[:, at].masked_fill(drafts[:, at] == PAD, eos[0] if eos else 0)
            logits, self.cache = self.model.decode(self.cache, fed[:, None])
            raw = logits[:, 0]
            self.ahead += 1
        own = torch.tensor(computed) + (drafts[:, : self.ahead] != PAD).sum(1)
        for batch, tokens in zip(batches, own.split([len(batch) for batch in batches]), strict=True):
            batch.draft_tokens.index_add_(0, batch.row_jobs, tokens)
        return drafts

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


@dataclass
class _Lookup:
    """A text, and for every run of its tokens up to some length where the latest one is followed.

    Attributes:
        tokens: the text.
        follows: of each run the place of the token behind it; first those of the new tokens, then of the prompt.
    """

    tokens: list[int]
    follows: tuple[dict[Tokens, int], dict[Tokens, int]]

    def add(self, tokens: Sequence[int], longest: int, to: dict[Tokens, int]) -> None:
        """Append tokens, remembering the runs they follow."""
        for token in tokens:
            for n in range(1, min(longest, len(self.tokens)) + 1):
                to[tuple(self.tokens[-n:])] = len(self.tokens)
            self.tokens.append(token)

    def next(self, recent: Sequence[int]) -> int | None:
        """What followed the longest end of these tokens that occurred before, the latest time."""
        for start in range(len(recent)):
            run = tuple(recent[start:])
            for follows in self.follows:
                if run in follows:
                    return self.tokens[follows[run]]
        return None


class NgramProposer:
    """Proposes what followed when the last tokens occurred before in the row's own text.

    A proposed token counts as text for the next one, so that a loop is followed as far as is wanted. (transformers
    and vLLM copy what follows the first occurrence, up to the end of the text.)

    Args:
        longest: tokens of the longest match that is looked for.
    """

    name = NGRAM
    context_length = None
    nbytes = 0

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.rows: list[_Lookup] = []

    def cache_bytes(self, prompt: int, rows: int, new: int) -> int:
        """None: it keeps no keys and values."""
        return 0

    def clear(self) -> None:
        """Forget all rows."""
        self.rows = []

    def begin(self, prompts: Sequence[Tokens], rows: Sequence[int]) -> list[int]:
        """Look through each prompt once."""
        known: list[dict[Tokens, int]] = []
        for prompt in prompts:
            known.append({})
            _Lookup([], ({}, known[-1])).add(prompt, self.longest, known[-1])
        self.rows += [_Lookup(list(prompts[row]), ({}, known[row])) for row in rows]
        return [0] * len(prompts)

    def propose(self, batches: Sequence[DraftedBatch], most: int) -> Tensor:
        """Follow what each row's last tokens led to before."""
        found: list[list[int]] = []
        for batch in batches:
            for count in batch.begin_drafts(most).tolist():
                row = self.rows[len(found)]
                recent, tokens = row.tokens[-self.longest :], list[int]()
                while len(tokens) < count and (token := row.next(recent)) is not None:
                    tokens.append(token)
                    if batch.stops.codes[token]:
                        break
                    recent = [*recent, token][-self.longest :]
                found.append(tokens)
        drafts = torch.full((len(found), max(map(len, found))), PAD)
        for row, tokens in enumerate(found):
            drafts[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.int64)
        return drafts

    def keep(self, rows: Sequence[int], taken: Sequence[Tokens]) -> None:
        """Append what each row took."""
        self.rows = [self.rows[row] for row in rows]
        for row, tokens in zip(self.rows, taken, strict=True):
            row.add(tokens, self.longest, row.follows[0])
