"""DoLa: decoding by contrasting layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.capabilities import Need
from decodelab.core.errors import InvalidParameter, UnsupportedStrategy
from decodelab.core.protocols import Cache, HiddenStates, LanguageModel, Load
from decodelab.core.stage import Kind, Stage, brief, check_number
from decodelab.core.values import Tokens
from decodelab.models.composed import composed_digest, log_linear, plausible

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Dola(Stage):
    """Prefer tokens that the last layer finds more probable than an earlier layer does.

    The model's head is put on the hidden states of the candidate layers. Of those the one whose distribution has the
    largest Jensen-Shannon divergence from the last layer's is taken (for each row and step by itself), and the logits
    are log p_last - log p_early for tokens at least `alpha` times as probable as the best; all others are removed.

    Layer 0 is the embedding, n the output of the n-th of N blocks. `low` are the layers 0, 2, 4, ... below N / 2, from
    2 on where embedding and head share their weights, `high` every second one from N / 2 on; of more than 40 layers
    only the 20 at that end.

    As transformers (and the authors' code), the head reads earlier layers without the final norm. Different are: the
    Jensen-Shannon divergence is the paper's, to the mean distribution, where transformers takes the two
    Kullback-Leibler divergences the other way around, and its layer is one for the whole batch; layers that are not
    there are refused, where transformers drops them. The authors recommend `repetition_penalty=1.2` behind it.

    Raises:
        InvalidParameter: if `layers` is none of these, or when it is composed, names a layer the model does not have.
        UnsupportedStrategy: when it is composed, if the model does not show its hidden states.

    >>> import decodelab as dl
    >>> found = dl.generate("pocket-small", "What is 2 + 3?", "dola(layers=[2, 3]) | greedy", max_new_tokens=4)
    >>> len(found[0].best.tokens)
    4
    """

    layers: Annotated[str | Sequence[int], "the early layers to choose from: low, high, or numbers from 0"] = "high"
    alpha: Annotated[float, "smallest probability to keep, relative to the largest, in [0, 1]; 0 removes none"] = 0.1

    name: ClassVar[str] = "dola"
    kind: ClassVar[Kind] = "model"
    uses_randomness: ClassVar[bool] = False
    needs: ClassVar[Need] = "hidden states"
    source: ClassVar[str] = "Chuang et al. 2024, DoLa, sections 2.1 to 2.3"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "alpha", low=0, high=1, fix="use 0.1 as the paper does, 0 to remove nothing")
        if self.layers in ("low", "high"):
            return
        given = self.layers
        numbers = (
            isinstance(given, Sequence)
            and not isinstance(given, str)
            and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in given)
        )
        if not numbers or not given:
            raise InvalidParameter(
                f"dola: layers must be low, high or a list of layer numbers from 0, got {brief(given)}; "
                "high is for short answers, low for long ones"
            )
        object.__setattr__(self, "layers", tuple(dict.fromkeys(given)))

    def compose(self, model: LanguageModel, load: Load) -> LanguageModel:
        """The model contrasted with its own early layers.

        Raises:
            UnsupportedStrategy: if the model does not show its hidden states.
            InvalidParameter: if it does not have one of the layers.
        """
        if not isinstance(model, HiddenStates):
            raise UnsupportedStrategy(
                f"dola: {model.name} does not expose the hidden states of its layers; use a transformers model"
            )
        layers = self.candidates(model.depth, model.tied)
        if max(layers) >= model.depth:
            raise InvalidParameter(
                f"dola: layers must be in [0, {model.depth - 1}], got {max(layers)}; {model.name} has {model.depth} "
                "blocks, and the last is the one contrasted"
            )
        return _Dola(self, model, layers)

    def candidates(self, depth: int, tied: bool) -> tuple[int, ...]:
        """The candidate layers of a model of `depth` blocks, whose head and embedding are `tied` or not.

        >>> Dola("low").candidates(32, tied=False), Dola("high").candidates(5, tied=True)
        ((0, 2, 4, 6, 8, 10, 12, 14), (2, 4))
        """
        if not isinstance(self.layers, str):
            return tuple(self.layers)
        if self.layers == "high":
            return tuple(range(depth // 2 if depth <= 40 else depth - 20, depth, 2))
        first = min(2, depth - 1) if tied else 0
        return tuple(range(first, depth // 2 if depth <= 40 else 20, 2)) or (first,)


class _Dola:
    """A model whose logits are its last layer's contrasted with those of an early one."""

    def __init__(self, stage: Dola, model: HiddenStates, layers: tuple[int, ...]) -> None:
        self.stage = stage
        self.model = model
        self.layers = layers
        self.name = f"{model.name} with {stage}"
        self.vocab = model.vocab
        self.context_length = model.context_length
        self.generation_config = model.generation_config

    @property
    def digest(self) -> str:
        """SHA-256 over the model's digest and the stage's parameters."""
        return composed_digest(self.stage, (self.model,))

    def cache_bytes(self, prompt: int, rows: int, new: int) -> int:
        """Bytes of the model's cache, which holds no hidden states."""
        return self.model.cache_bytes(prompt, rows, new)

    def prefill(self, prompts: Sequence[Tokens]) -> tuple[Tensor, Cache]:
        """Prefill prompts: the contrasted logits after each, [rows, vocab], and their cache."""
        logits, hidden, cache = self.model.prefill_with_hidden_states(prompts, self.layers)
        return self._contrasted(logits, hidden[:, :, -1]), cache

    def decode(self, cache: Cache, tokens: Tensor) -> tuple[Tensor, Cache]:
        """Append int64 tokens [rows, k] to every row: the contrasted logits after each, [rows, k, vocab]."""
        logits, hidden, cache = self.model.decode_with_hidden_states(cache, tokens, self.layers)
        return self._contrasted(logits, hidden), cache

    def _contrasted(self, logits: Tensor, hidden: Tensor) -> Tensor:
        """Logits [..., vocab] contrasted with the most unlike layer of hidden states [layers, ..., width]."""
        early = self.model.early_exit_logits(hidden).float()
        if len(early) == 1:
            chosen = early[0]
        else:
            divergence = jensen_shannon(logits.float().log_softmax(-1), early.log_softmax(-1))
            place = divergence.argmax(0)
            chosen = early.gather(0, place[None, ..., None].expand_as(early[:1]))[0]
        contrasted = log_linear((logits, chosen), (1.0, -1.0))
        return contrasted.masked_fill(~plausible(logits, self.stage.alpha), -torch.inf)


def jensen_shannon(one: Tensor, other: Tensor) -> Tensor:
    """The Jensen-Shannon divergence of two distributions, in nats, from their log-probabilities [..., vocab].

    >>> round(jensen_shannon(torch.tensor([1.0, 0.0]).log(), torch.tensor([0.0, 1.0]).log()).item(), 4)  # ln 2
    0.6931
    """
    mean = torch.logaddexp(one, other) - math.log(2)

    def divergence(distribution: Tensor) -> Tensor:
        return (distribution.exp() * (distribution - mean)).nan_to_num().sum(-1)

    return (divergence(one) + divergence(other)) / 2
