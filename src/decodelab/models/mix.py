"""Mixtures of models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch

from decodelab.core.errors import InvalidParameter
from decodelab.core.protocols import LanguageModel, Load
from decodelab.core.stage import Kind, Stage, brief, check_choice
from decodelab.models.composed import ComposedModel, check_model_name, check_vocabulary, log_linear

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Mix(Stage):
    """Decode from the weighted mean of several models' probabilities, or of their logits.

    `space="probs"` is the linear mixture, sum of w_i p_i: a token that one of the models finds likely is likely.
    `space="logits"` is the geometric one, the product of p_i^w_i normalised: a token that one of them finds impossible
    is impossible. The first weight is that of the model that is decoded.

    Raises:
        InvalidParameter: if there are no models, or the weights are not one for each, at least 0, with a sum of 1.
        VocabularyMismatch: when it is composed, if a model has a different vocabulary.

    >>> str(Mix(["pocket-nano"], [0.75, 0.25]))
    'mix(models=[pocket-nano], weights=[0.75, 0.25])'
    """

    models: Annotated[Sequence[str] | str, "names of the other models; a single one needs no list"]
    weights: Annotated[
        Sequence[float] | None, "of the decoded model, then of each other; they sum to 1; none means equal weights"
    ] = None
    space: Annotated[Literal["probs", "logits"], "what is averaged: probs (linear) or logits (geometric)"] = "probs"

    name: ClassVar[str] = "mix"
    kind: ClassVar[Kind] = "model"
    names_models: ClassVar[tuple[str, ...]] = ("models",)
    uses_randomness: ClassVar[bool] = False
    source: ClassVar[str] = "linear and logarithmic opinion pools (Genest & Zidek 1986); Hinton 2002"

    def __post_init__(self) -> None:
        """Check the parameters."""
        names = (self.models,) if isinstance(self.models, str) else self.models
        if not isinstance(names, Sequence) or not names:
            raise InvalidParameter(
                f"mix: models must be the names of one or more models, got {brief(self.models)}; "
                "write mix(models=[pocket-nano])"
            )
        for name in names:
            check_model_name(self, "models", name)
        object.__setattr__(self, "models", tuple(names))
        check_choice(self, "space", ("probs", "logits"), fix="probs is the linear mixture")
        if self.weights is not None:
            object.__setattr__(self, "weights", self._checked(self.weights))

    def _checked(self, weights: object) -> tuple[float, ...]:
        wanted = len(self.models) + 1
        listed = list(weights) if isinstance(weights, Sequence) else []
        numbers = all(isinstance(w, int | float) and not isinstance(w, bool) and 0 <= w < math.inf for w in listed)
        if not numbers or len(listed) != wanted:
            raise InvalidParameter(
                f"mix: weights must be {wanted} numbers of at least 0, the decoded model's first, "
                f"got {brief(weights)}; leave them out for equal ones"
            )
        if abs(math.fsum(listed) - 1) > 1e-6:
            raise InvalidParameter(
                f"mix: weights must sum to 1, got {brief(weights)} with sum {math.fsum(listed):g}; divide each by it"
            )
        return tuple(map(float, listed))

    def compose(self, model: LanguageModel, load: Load) -> LanguageModel:
        """The mixture of the model and the others.

        Raises:
            VocabularyMismatch: if one has a different vocabulary.
        """
        others = [load(name) for name in self.models]
        for other in others:
            check_vocabulary(self, model, other)
        return ComposedModel(self, (model, *others), self._combine)

    def _combine(self, logits: Sequence[Tensor]) -> Tensor:
        weights = self.weights or [1 / len(logits)] * len(logits)
        if self.space == "logits":
            return log_linear(logits, weights)
        terms = [
            part.float().log_softmax(-1).to(logits[0].device) + math.log(weight)
            for part, weight in zip(logits, weights, strict=True)
            if weight
        ]
        return torch.stack(terms).logsumexp(0)
