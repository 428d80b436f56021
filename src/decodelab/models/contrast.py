"""Contrastive decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.protocols import LanguageModel, Load
from decodelab.core.stage import Kind, Stage, check_number
from decodelab.models.composed import ComposedModel, check_model_name, check_vocabulary, log_linear, plausible

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Contrast(Stage):
    """Prefer tokens that the model finds more probable than a weaker model, the amateur, does.

    Of tokens at least `alpha` times as probable as the model's best, the logits are
    (1 + beta) log p_expert - beta log p_amateur (O'Brien & Lewis 2023, equation 2); all others are removed. With
    `beta=none` they are log p_expert - log p_amateur (Li et al. 2023, equation 3). `amateur_temperature` divides the
    amateur's logits first (Li et al., section 3.4: 0.5 for GPT-2, 1 for OPT).

    The difference is a distribution like any other: searches normalise it, where Li et al.'s beam search adds up the
    raw differences. The amateur sees the whole context; their option of its last token alone is left out. A token the
    amateur finds impossible counts as one of log-probability -1000 there.

    Raises:
        InvalidParameter: if a parameter is out of its range.
        VocabularyMismatch: when it is composed, if the amateur has a different vocabulary.

    >>> import decodelab as dl
    >>> found = dl.generate("pocket-small", "What is 2 + 3?", "contrast(beta=1) | greedy", max_new_tokens=4)
    >>> len(found[0].best.tokens)
    4
    """

    amateur: Annotated[str, "the weaker model: a shipped model, a directory, a table or a hub id"] = "pocket-nano"
    alpha: Annotated[float, "smallest probability to keep, relative to the largest, in [0, 1]; 0 removes none"] = 0.1
    beta: Annotated[float | None, "weight of the contrast, at least 0; none means the plain difference"] = 0.5
    amateur_temperature: Annotated[float, "divides the amateur's logits, greater than 0"] = 1.0

    name: ClassVar[str] = "contrast"
    kind: ClassVar[Kind] = "model"
    names_models: ClassVar[tuple[str, ...]] = ("amateur",)
    uses_randomness: ClassVar[bool] = False
    source: ClassVar[str] = "Li et al. 2023, Contrastive decoding; O'Brien & Lewis 2023, equation 2"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_model_name(self, "amateur", self.amateur)
        check_number(self, "alpha", low=0, high=1, fix="use 0.1 as the papers do, 0 to remove nothing")
        if self.beta is not None:
            check_number(self, "beta", low=0, fix="use 0.5; none is the plain difference of Li et al.")
        check_number(self, "amateur_temperature", low=0, low_open=True, fix="use 1 to leave the amateur unchanged")

    def no_effect(self) -> str | None:
        """beta=0 and alpha=0 change nothing."""
        return "beta=0 and alpha=0 leave the model unchanged" if self.beta == 0 and self.alpha == 0 else None

    def compose(self, model: LanguageModel, load: Load) -> LanguageModel:
        """The model contrasted with the amateur.

        Raises:
            VocabularyMismatch: if the amateur has a different vocabulary.
        """
        amateur = load(self.amateur)
        check_vocabulary(self, model, amateur)
        return ComposedModel(self, (model, amateur), self._combine)

    def _combine(self, logits: Sequence[Tensor]) -> Tensor:
        expert, amateur = logits
        weights = (1.0, -1.0) if self.beta is None else (1.0 + self.beta, -self.beta)
        contrasted = log_linear((expert, amateur.float() / self.amateur_temperature), weights)
        return contrasted.masked_fill(~plausible(expert, self.alpha), -torch.inf)
