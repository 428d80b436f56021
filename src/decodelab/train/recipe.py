"""What is trained and how: sizes of model, batch and run, the learning-rate schedule."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from transformers import LlamaConfig

from decodelab.train.tokenizer import CONTEXT, VOCABULARY


@dataclass(frozen=True)
class Recipe:
    """All that decides the weights of a run, besides its seed and number of threads.

    The learning rates warm up over `warm_up` steps, stay, and fall linearly to zero over the last `decay`
    share of `steps` (warm-up, stable, decay), so a stable run can be
    ended at any step by asking for fewer steps.
    """

    size: str
    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    intermediate: int
    steps: int
    batch: int = 3072
    length: int = CONTEXT
    warm_up: int = 100
    decay: float = 0.3
    muon_rate: float = 0.02
    adam_rate: float = 0.003
    weight_decay: float = 0.01
    clip: float = 1.0

    def rate(self, step: int) -> float:
        """Return the factor, 0 to 1, on both learning rates at `step`.

        >>> RECIPES["nano"].rate(0) < 0.1
        True
        """
        left = (self.steps - step) / max(1.0, self.decay * self.steps)
        return max(0.0, min(1.0, (step + 1) / self.warm_up, left))

    def config(self, pad: int, bos: int, eos: int) -> LlamaConfig:
        """Return the `transformers` configuration of the model."""
        return LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=self.hidden,
            intermediate_size=self.intermediate,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_value_heads,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            pad_token_id=pad,
            bos_token_id=bos,
            eos_token_id=eos,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the recipe as plain data."""
        return asdict(self)


RECIPES: dict[str, Recipe] = {
    "nano": Recipe("nano", hidden=96, layers=4, heads=4, key_value_heads=2, intermediate=256, steps=2400),
    "small": Recipe("small", hidden=256, layers=5, heads=8, key_value_heads=4, intermediate=768, steps=3600),
}
