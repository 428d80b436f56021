"""`Decoder`: what decoder-only models share, whichever library computes their logits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from decodelab.core.errors import PromptTooLong
from decodelab.core.protocols import Cache
from decodelab.core.protocols import Segment as ProtocolSegment
from decodelab.core.values import Tokens
from decodelab.models.cache import ROOM_OF_FORKS, KeyValueCache, Segment
from decodelab.models.growing_layer import ROOM, grown
from decodelab.models.pretrained import Declared, Pretrained
from decodelab.models.token_checks import check_prompts, checked_tokens
from decodelab.models.transformers_vocab import TransformersVocab


class Decoder(Pretrained):
    """A causal language model whose rows keep keys and values.

    Prompts of different lengths share a batch by padding on the left, with masks and positions computed from the
    lengths; rows of equal length carry no mask, so that fused attention kernels apply. Keys and values are kept in
    place (`decodelab.models.cache`).

    Args:
        tokenizer: a tokenizer of transformers, or a `JsonTokenizer`.
        declared: what its configurations say.
        unshared: why its rows cannot share prefixes, as in `KeyValueCache`; None when they can.
        name: what to call it; None: its architecture.
        directory: where it was loaded from; its files give digest and settings.
        adapters: the directories of the adapters merged into it.

    Attributes:
        vocab: its tokenizer, over as many ids as the logits have.
    """

    def __init__(
        self,
        tokenizer: Any,
        declared: Declared,
        *,
        unshared: str | None = None,
        name: str | None = None,
        directory: Path | None = None,
        adapters: Sequence[Path] = (),
    ) -> None:
        super().__init__(tokenizer, declared, name=name, directory=directory, adapters=adapters)
        self.vocab = TransformersVocab(tokenizer, self.vocab_size, self.eos_ids, self.bos_id)
        self._unshared = unshared

    @abstractmethod
    def _empty(self, pads: Sequence[int]) -> KeyValueCache:
        """A cache of rows without tokens, with these positions of padding before each."""

    @abstractmethod
    def _forward(self, ids: Tensor, cache: Any, last: bool = False, shown: list[Tensor] | None = None) -> Tensor:
        """Logits of tokens appended to a cache from `_empty`; hidden states of all layers are put into `shown`."""

    @cached_property
    def _token_bytes(self) -> int:
        """Bytes of a token in all layers."""
        _, cache = self._begin([(0,)])
        return sum(b[:, :, :1].numel() * b.element_size() for layer in cache.growing for b in layer.buffers())

    def cache_bytes(self, prompt: int, rows: int, new: int) -> int:
        """Bytes a cache may come to hold for `rows` continuations of `new` tokens of a prompt of `prompt` tokens.

        Room to grow is counted; padding beside longer rows is not.
        """
        if rows == 1 or self._unshared is not None:
            return self._token_bytes * rows * grown(prompt + new, ROOM)
        return self._token_bytes * (prompt + ROOM + rows * grown(new, ROOM_OF_FORKS))

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Tokens]) -> tuple[Tensor, Cache]:
        """Prefill prompts of any lengths: the logits after each, [rows, vocab], and their cache.

        Raises:
            EmptyPrompt: when a prompt has no tokens.
            PromptTooLong: when a prompt exceeds the context.
            UnknownToken: when a token id is outside the vocabulary.
        """
        self._check_prompts(prompts)
        return self._begin(prompts)

    def _check_prompts(self, prompts: Sequence[Tokens]) -> None:
        check_prompts(self.name, prompts, self.vocab.size, self.context_length, "the context")

    @torch.inference_mode()
    def _begin(self, prompts: Sequence[Tokens], shown: list[Tensor] | None = None) -> tuple[Tensor, KeyValueCache]:
        width = max(map(len, prompts))
        pads = [width - len(prompt) for prompt in prompts]
        # The token in the padding does not matter: it is masked.
        ids = [[0] * pad + list(prompt) for pad, prompt in zip(pads, prompts, strict=True)]
        cache = self._empty(pads)
        return self._forward(torch.tensor(ids, device=self.device), cache, last=True, shown=shown)[:, -1], cache

    def store_prefix(self, cache: Cache, row: int, start: int, stop: int) -> ProtocolSegment:
        """A copy of the keys and values that a cache from `prefill` or `load_prefix` holds of some tokens of a row."""
        assert isinstance(cache, KeyValueCache)
        return cache.segment(row, start, stop)

    def load_prefix(
        self, segments: Sequence[Sequence[ProtocolSegment]], lengths: Sequence[int], tokens: Tensor
    ) -> tuple[Tensor, Cache]:
        """Prefill prompts whose prefixes are stored: the logits after each, and their cache.

        Args:
            segments: for each row, the segments of its prefix, in order.
            lengths: how many tokens of them to use, at least one.
            tokens: the rest of each prompt, int64 [rows, k].
        """
        return self._resume([[s for s in row if isinstance(s, Segment)] for row in segments], lengths, tokens)

    @torch.inference_mode()
    def _resume(
        self, segments: Sequence[Sequence[Segment]], lengths: Sequence[int], tokens: Tensor
    ) -> tuple[Tensor, KeyValueCache]:
        cache = self._empty([0] * len(segments))
        cache.fill(segments, lengths, room=tokens.shape[1] + ROOM)
        return self._forward(tokens.to(self.device), cache, last=True)[:, -1], cache

    @torch.inference_mode()
    def decode(self, cache: Cache, tokens: Tensor) -> tuple[Tensor, Cache]:
        """Append int64 tokens [rows, k] to every row: the logits after each, [rows, k, vocab].

        Raises:
            PromptTooLong: when a row would exceed the context.
            UnknownToken: when a token id is outside the vocabulary; tokens on an accelerator are not looked at.
        """
        assert isinstance(cache, KeyValueCache)
        return self._append(cache, self._checked(cache, tokens))

    def _checked(self, cache: Cache, tokens: Tensor) -> Tensor:
        lengths = cache.lengths
        tokens = checked_tokens(self.name, tokens, len(lengths), self.vocab.size)
        longest = max(lengths) + tokens.shape[1]
        if self.context_length is not None and longest > self.context_length:
            raise PromptTooLong(
                f"{self.name}: {longest} tokens exceed the context length {self.context_length}; ask for fewer"
            )
        return tokens

    @torch.inference_mode()
    def _append(
        self, cache: KeyValueCache, tokens: Tensor, shown: list[Tensor] | None = None
    ) -> tuple[Tensor, KeyValueCache]:
        return self._forward(tokens.to(cache.device), cache, shown=shown), cache

    # decodelab.core.protocols.Embeddings

    @property
    @abstractmethod
    def embeddings(self) -> Tensor:
        """The vectors that stand for its tokens, [vocab, width] or with unused rows below."""

    @cached_property
    def unit_embeddings(self) -> Tensor:
        """The input embeddings, scaled to unit length: float32 [vocab, width] on the CPU."""
        vectors = self.embeddings.detach()[: self.vocab.size]
        return normalize(vectors.float().cpu(), dim=-1)

    # decodelab.core.protocols.HiddenStates

    @property
    @abstractmethod
    def depth(self) -> int:
        """How many blocks it has."""

    @property
    @abstractmethod
    def tied(self) -> bool:
        """Whether embedding and head share their weights."""

    @abstractmethod
    def early_exit_logits(self, hidden: Tensor) -> Tensor:
        """The head's logits [..., vocab] of hidden states [..., width], without the final norm."""

    @torch.inference_mode()
    def prefill_with_hidden_states(
        self, prompts: Sequence[Tokens], layers: Sequence[int]
    ) -> tuple[Tensor, Tensor, KeyValueCache]:
        """As `prefill`, and the hidden states of these layers, [layers, rows, longest, width].

        Those of a shorter prompt come last in its row; what stands before them means nothing.
        """
        self._check_prompts(prompts)
        shown: list[Tensor] = []
        logits, cache = self._begin(prompts, shown)
        return logits, torch.stack([shown[layer] for layer in layers]), cache

    @torch.inference_mode()
    def decode_with_hidden_states(
        self, cache: Cache, tokens: Tensor, layers: Sequence[int]
    ) -> tuple[Tensor, Tensor, KeyValueCache]:
        """As `decode`, and the hidden states of these layers, [layers, rows, k, width]."""
        assert isinstance(cache, KeyValueCache)
        shown: list[Tensor] = []
        logits, cache = self._append(cache, self._checked(cache, tokens), shown)
        return logits, torch.stack([shown[layer] for layer in layers]), cache
