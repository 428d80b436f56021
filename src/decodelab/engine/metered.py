"""A model that counts what is asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor

from decodelab.core.protocols import Cache, LanguageModel
from decodelab.core.values import Tokens


class Metered:
    """Stands for a model and counts the tokens and passes computed through it.

    Attributes:
        tokens: token positions computed so far, padding and all.
        passes: forward passes so far.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self.tokens = 0
        self.passes = 0

    @property
    def metered(self) -> LanguageModel:
        """It, as the model it stands for."""
        return cast(LanguageModel, self)

    def __getattr__(self, name: str) -> Any:
        """Whatever is not counted."""
        return getattr(self._model, name)

    def prefill(self, prompts: Sequence[Tokens]) -> tuple[Tensor, Cache]:
        """As the model's."""
        self.passes += 1
        self.tokens += sum(map(len, prompts))
        return self._model.prefill(prompts)

    def decode(self, cache: Cache, tokens: Tensor) -> tuple[Tensor, Cache]:
        """As the model's."""
        self.passes += 1
        self.tokens += tokens.numel()
        return self._model.decode(cache, tokens)
