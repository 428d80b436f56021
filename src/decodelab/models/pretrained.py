"""`Pretrained`: what models that are loaded from files share, whichever library runs them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from decodelab.models import checkpoint
from decodelab.models.ends import begin_of, ends_of
from decodelab.models.ingredients import digest_of

_LENGTHS = frozenset(("max_length", "max_new_tokens"))


@dataclass(frozen=True)
class Declared:
    """What the configurations of a model say that decoding depends on.

    Attributes:
        kind: its architecture, in transformers' words, such as `llama`.
        vocab_size: how many ids its logits range over.
        context_length: the longest sequence it can hold, or None.
        generation: the settings that its generation config makes, in transformers' names.
        ends: what its configurations name as `eos_token_id`, in the order in which they are asked.
    """

    kind: str
    vocab_size: int
    context_length: int | None
    generation: Mapping[str, Any]
    ends: Sequence[Any]


class Pretrained(ABC):
    """A model with a tokenizer, from files.

    Args:
        tokenizer: a tokenizer of transformers, or a `JsonTokenizer`.
        declared: what its configurations say.
        name: what to call it; None: its architecture.
        directory: where it was loaded from; its files give digest and settings.
        adapters: the directories of the adapters merged into it.

    Attributes:
        name: the name it was loaded under.
        vocab_size: how many ids its logits range over.
        context_length: the longest sequence it can hold, or None.
        eos_ids: the tokens that end a sequence (`decodelab.models.ends`).
        bos_id: the token that begins a sequence, if any.
    """

    def __init__(
        self,
        tokenizer: Any,
        declared: Declared,
        *,
        name: str | None = None,
        directory: Path | None = None,
        adapters: Sequence[Path] = (),
    ) -> None:
        self.tokenizer = tokenizer
        self.name = name or declared.kind
        self.directory = directory
        self.adapters = tuple(adapters)
        self.vocab_size = declared.vocab_size
        self.context_length = declared.context_length
        given = declared.generation
        self.eos_ids = ends_of(self.name, given, declared.ends, tokenizer.eos_token_id, self.vocab_size)
        self.bos_id = begin_of(self.name, given, tokenizer.bos_token_id, self.vocab_size)
        self._forced_end = given.get("forced_eos_token_id")
        self._generation_config = self._settings(given)

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The number format of its weights."""

    @property
    @abstractmethod
    def weights(self) -> Sequence[Tensor]:
        """Its weights, each once."""

    @property
    def digest(self) -> str:
        """SHA-256 over everything its texts depend on (`decodelab.models.ingredients`), in hex; computed once."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        decided = {
            "dtype": str(self.dtype),
            "eos": self.eos_ids,
            "bos": self.bos_id,
            "settings": self._generation_config,
            "context": self.context_length,
        }
        return self._digest_with(decided)

    def _digest_with(self, decided: Mapping[str, Any]) -> str:
        """The digest of its files and of what loading decided."""
        return digest_of([] if self.directory is None else [self.directory, *self.adapters], decided)

    @property
    def generation_config(self) -> dict[str, Any]:
        """The generation settings that the model sets itself, in transformers' names, token ids left out."""
        return dict(self._generation_config)

    def _settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The generation settings of its directory, or else those given, with the tokens that they force."""
        if self.directory is not None:
            settings = checkpoint.generation_settings(self.directory)
        else:
            settings = checkpoint.own_settings(given)
        if isinstance(words := settings.get("bad_words_ids"), list):
            # As in transformers, an end is no bad word; `default` is not told which tokens are ends.
            settings["bad_words_ids"] = [w for w in words if w not in [[token] for token in self.eos_ids]] or None
        forced = {field: given.get(field) for field in ("forced_bos_token_id", "forced_eos_token_id")}
        if not _LENGTHS & settings.keys():  # they say where the end is forced
            del forced["forced_eos_token_id"]
        return settings | {field: token for field, token in forced.items() if token is not None}

    def unfollowed(self) -> list[str]:
        """What its files say that is not followed, one line each."""
        found: list[str] = []
        own, listed = self.tokenizer.eos_token_id, self.tokenizer.convert_ids_to_tokens
        if own is not None and own not in self.eos_ids:
            ends = ", ".join(f"{listed(token)!r:.60} ({token})" for token in self.eos_ids)
            found.append(
                f"{self.name}: texts end at {ends}, which its configuration names, and not at the tokenizer's own end "
                f"{listed(own)!r:.60} ({own}); end there too with a stop token id"
            )
        if self._forced_end is not None and "forced_eos_token_id" not in self._generation_config:
            found.append(
                f"{self.name}: forced_eos_token_id {self._forced_end!r:.40} of its generation config has no effect, "
                "because no max_new_tokens or max_length there says where; write forced_eos(at=N) into the strategy"
            )
        return found
