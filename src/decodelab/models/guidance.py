"""Classifier-free guidance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from decodelab.core.errors import InvalidParameter, PromptTooLong
from decodelab.core.protocols import LanguageModel, Load
from decodelab.core.stage import Kind, Stage, brief, check_number
from decodelab.core.values import Tokens
from decodelab.models.composed import ComposedModel, log_linear

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Guidance(Stage):
    """Push the text towards its prompt: away from what the model writes without it, or after a negative prompt.

    The logits are log p_without + scale * (log p_with - log p_without), p_without being the model's distribution after
    the same new tokens behind `negative_prompt`, or behind the last token of the prompt when that is empty, as in
    transformers (`guidance_scale`, `negative_prompt_ids`). 1 is the model itself, more follows the prompt more closely,
    0 ignores it. A token that is impossible without the prompt counts as one of log-probability -1000 there where
    scale is greater than 1.

    transformers hands processors behind it these sums as they are; here as there, a search normalises them. The
    negative prompt is encoded like a prompt, with its BOS.

    Raises:
        InvalidParameter: if the scale is negative or the negative prompt is no text.

    >>> import decodelab as dl
    >>> found = dl.generate("pocket-nano", "Once upon a time", "guidance=1.5 | greedy", max_new_tokens=4)
    >>> len(found[0].best.tokens)
    4
    """

    scale: Annotated[float, "weight of the prompt, at least 0: 0 ignores it, 1 is the model, above 1 amplifies it"]
    negative_prompt: Annotated[str, "text in the prompt's place; empty uses the prompt's last token alone"] = ""

    name: ClassVar[str] = "guidance"
    kind: ClassVar[Kind] = "model"
    uses_randomness: ClassVar[bool] = False
    source: ClassVar[str] = "Sanchez et al. 2023, Stay on topic with classifier-free guidance, equations 5 and 6"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "scale", low=0, fix="use 1.5 to follow the prompt more closely, 1 to leave it unchanged")
        if not isinstance(self.negative_prompt, str):
            raise InvalidParameter(
                f"guidance: negative_prompt must be text, got {brief(self.negative_prompt)}; leave it out for none"
            )

    def no_effect(self) -> str | None:
        """The model itself."""
        return "scale=1 leaves the model unchanged" if self.scale == 1 else None

    def compose(self, model: LanguageModel, load: Load) -> LanguageModel:
        """The model guided by itself.

        Raises:
            PromptTooLong: if the negative prompt leaves no room in the context.
        """
        return _Guided(self, model)


class _Guided(ComposedModel):
    """A model run twice: with the prompt, and with the negative prompt."""

    def __init__(self, stage: Guidance, model: LanguageModel) -> None:
        super().__init__(stage, (model, model), self._guided)
        self.scale = stage.scale
        self.negative = model.vocab.encode(stage.negative_prompt) if stage.negative_prompt else ()
        if model.context_length is not None and len(self.negative) >= model.context_length:
            raise PromptTooLong(
                f"guidance: negative_prompt has {len(self.negative)} tokens, {model.name} holds "
                f"{model.context_length}; "
                f"shorten it to at most {model.context_length - 1}"
            )

    @property
    def whole_prompts(self) -> bool:
        """True: the negative prompt is extended with the same tokens."""
        return True

    @property
    def context_length(self) -> int | None:
        """The longest sequence for which both contexts hold all new tokens, for a prompt of any length."""
        own = self.parts[0].context_length
        return None if own is None else own - max(len(self.negative) - 1, 0)

    def cache_bytes(self, prompt: int, rows: int, new: int) -> int:
        """Bytes the two caches may come to hold together."""
        model = self.parts[0]
        return model.cache_bytes(prompt, rows, new) + model.cache_bytes(len(self.negative) or 1, rows, new)

    def given(self, prompts: Sequence[Tokens]) -> Sequence[Sequence[Tokens]]:
        """The prompts, and the negative prompt for each."""
        return prompts, [self.negative or prompt[-1:] for prompt in prompts]

    def _guided(self, logits: Sequence[Tensor]) -> Tensor:
        return log_linear(logits, (self.scale, 1.0 - self.scale))
