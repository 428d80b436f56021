"""Recipes: sizes of model, batch and run, and the learning-rate schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass

from transformers import LlamaConfig

from decodelab.train.tokenizer import BOS_ID, CONTEXT, EOS_ID, PAD_ID, VOCABULARY


@dataclass(frozen=True)
class Recipe:
    """All that decides the weights of a run, besides its seed and number of threads.

    The learning rates warm up over `warm_up` steps, stay, and fall to zero over the last `decay` share of the steps by
    1 - sqrt(progress) (Hägele et al. 2024, section 3). Until the fall begins nothing depends on `steps`, so a run
    can be ended early by asking for fewer. The last `restart` steps, if any, begin once more at `restart_rate` of the
    rates and fall to zero in a straight line (a warm restart; Loshchilov & Hutter 2017).
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
    decay: float = 0.85
    muon_rate: float = 0.012
    adam_rate: float = 0.003
    weight_decay: float = 0.1
    clip: float = 1.0
    restart: int = 0
    restart_rate: float = 0.35

    def rate(self, step: int) -> float:
        """Return the factor, 0 to 1, on both learning rates at `step`.

        >>> RECIPES["nano"].rate(0) < 0.1
        True
        """
        first = self.steps - self.restart
        if self.restart and step >= first:
            return self.restart_rate * (1 - (step - first) / self.restart)
        start = round((1 - self.decay) * first)
        progress = max(0.0, (step - start) / max(1, first - start))
        return min(1.0, (step + 1) / self.warm_up, 1 - math.sqrt(progress))

    def config(self) -> LlamaConfig:
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
            pad_token_id=PAD_ID,
            bos_token_id=BOS_ID,
            eos_token_id=EOS_ID,
        )


RECIPES: dict[str, Recipe] = {
    "nano": Recipe("nano", hidden=96, layers=4, heads=4, key_value_heads=2, intermediate=256, steps=1600),
    "small": Recipe(
        "small", hidden=256, layers=5, heads=8, key_value_heads=4, intermediate=768, steps=3400, restart=700
    ),
}
