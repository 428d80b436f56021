"""Ratings by a reward model: a network with a head that was trained to tell good texts from bad ones."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from decodelab.core.errors import InvalidParameter, UnsupportedStrategy
from decodelab.core.protocols import Chunk, LanguageModel, RewardModels, RewardReading
from decodelab.core.stage import Parametric, brief, check_choice
from decodelab.core.values import Partial

_ENDS: dict[Chunk, re.Pattern[str]] = {
    "line": re.compile(r"\n+"),
    "step": re.compile(r"\n[^\S\n]*\n\s*"),
    "sentence": re.compile(r"""(?:[.!?…](?=\s)|[\u3002\uff01\uff1f])[)\]}"'’”»]*\s*|\n+"""),
}
"""What ends a step of a text; a mark that has decimals after it ends no sentence."""


@dataclass(frozen=True)
class Reward(Parametric):
    """What a reward model gives a text: the probability of its good label, or the value of its single output.

    The model is any sequence or token classifier of transformers with safetensors, and reads the text through its own
    tokenizer: its vocabulary may be another than that of the model decoded. With `steps=last` it rates the text as it
    is, begun or finished (an outcome reward model). Otherwise it rates every beginning of the text that ends with a
    step, the whole text last, and the values are combined (a process reward model): the smallest, the product, or the
    mean. A token classifier is read at the last token of each.

    Causal networks compute what all texts begin with once, and a step's value on the way to the next. What is computed
    is part of the generation's cost, a token of the reward model counting as one of the model decoded. Names of special
    tokens in a text are text. A text can still try to please the reward model.

    Source: Cobbe et al. 2021, Training verifiers to solve math word problems, section 4 (outcome); Lightman et al.
    2023, Let's verify step by step, section 2.6 (steps: the product or the minimum).

    Raises:
        InvalidParameter: for an unknown choice, or a product of log-odds.

    >>> str(Reward("pocket-verifier", steps="min"))
    'reward(model=pocket-verifier, steps=min)'
    """

    model: Annotated[str, "a verifier that ships, a directory, or a hub id"]
    label: Annotated[str | None, "the label that means good; none: the only output, or the second of two"] = None
    value: Annotated[Literal["probability", "log_odds"], "probability or log_odds of the label"] = "probability"
    steps: Annotated[Literal["last", "min", "prod", "mean"], "last (the whole text), or min, prod or mean of steps"] = (
        "last"
    )
    chunk: Annotated[Chunk, "what a step is: a line, a step (up to an empty line) or a sentence"] = "line"
    input: Annotated[Literal["text", "pair", "chat"], "how prompt and text are read: text, pair or chat"] = "text"

    name: ClassVar[str] = "reward"

    def __post_init__(self) -> None:
        """Check the parameters."""
        if not isinstance(self.model, str) or not self.model.strip():
            raise InvalidParameter(
                f"reward: model must be a name, got {brief(self.model)}; write reward(model=pocket-verifier)"
            )
        if self.label is not None and not isinstance(self.label, str):
            raise InvalidParameter(f"reward: label must be a label's name, got {brief(self.label)}; write it in quotes")
        check_choice(self, "value", ("probability", "log_odds"), fix="probability is in [0, 1]")
        check_choice(self, "steps", ("last", "min", "prod", "mean"), fix="last rates the whole text once")
        check_choice(self, "chunk", tuple(_ENDS), fix="line ends a step with each line")
        check_choice(self, "input", ("text", "pair", "chat"), fix="text reads prompt and text as one text")
        if self.steps == "prod" and self.value == "log_odds":
            raise InvalidParameter("reward: steps=prod multiplies probabilities, got value=log_odds; leave out value")

    def reward_model(self) -> tuple[str, RewardReading]:
        """The reward model, and how it is asked."""
        return self.model, RewardReading(self.label, self.value, self.input)

    def score(self, model: LanguageModel, partials: Sequence[Partial]) -> list[float]:
        """One number a continuation.

        Raises:
            UnsupportedStrategy: where no reward model is at hand.
            PromptTooLong: if the reward model's context does not hold a text.
        """
        if not isinstance(model, RewardModels):
            raise UnsupportedStrategy(f"{self}: no reward model is at hand here; use it where texts are generated")
        name, reading = self.reward_model()
        parts = [steps(p.text, self.chunk) if self.steps != "last" else [p.text] for p in partials]
        different = list(dict.fromkeys(text for part in parts for text in part))
        rated = model.reward_model(name).rate(partials[0].prompt, different, reading)
        values = dict(zip(different, rated.values, strict=True))
        return [self._combined([values[text] for text in part]) for part in parts]

    def _combined(self, values: Sequence[float]) -> float:
        if self.steps == "min":
            return min(values)
        if self.steps == "mean":
            return math.fsum(values) / len(values)
        return math.prod(values) if self.steps == "prod" else values[-1]


def steps(text: str, chunk: Chunk) -> list[str]:
    """The beginnings of a text that end with a step, the mark that ends it included; the whole text is the last.

    White space before the first step is no step.

    >>> steps("2+3=5\\nSo it is 5.", "line")
    ['2+3=5\\n', '2+3=5\\nSo it is 5.']
    """
    ends = [found.end() for found in _ENDS[chunk].finditer(text) if text[: found.start()].strip()]
    return [*(text[:end] for end in ends if text[end:].strip()), text]
