"""`Counted`: a model that counts what is computed through it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from decodelab.core.protocols import Cache, LanguageModel
from decodelab.core.values import Tokens

if TYPE_CHECKING:
    from torch import Tensor


class Counted:
    """Stands for a model and counts the tokens and passes computed through it."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self.tokens = 0
        self.passes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def prefill(self, prompts: Sequence[Tokens]) -> tuple[Tensor, Cache]:
        self.passes += 1
        self.tokens += sum(map(len, prompts))
        return self._model.prefill(prompts)

    def decode(self, cache: Cache, tokens: Tensor) -> tuple[Tensor, Cache]:
        self.passes += 1
        self.tokens += tokens.numel()
        return self._model.decode(cache, tokens)
