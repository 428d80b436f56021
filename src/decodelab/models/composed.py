"""Language models that combine the logits of several models given the same tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from decodelab.core.errors import InvalidParameter, VocabularyMismatch
from decodelab.core.protocols import Cache, Forkable, LanguageModel, Vocab, WholePrompts
from decodelab.core.stage import Stage, brief
from decodelab.core.values import Tokens

if TYPE_CHECKING:
    from torch import Tensor

FLOOR = -1000.0
"""The log-probability that an impossible token counts as where it is taken away; below those that models give."""

Combine: TypeAlias = "Callable[[Sequence[Tensor]], Tensor]"
"""From the logits [..., vocab] of each part to those of the whole; removed tokens are -inf."""


def log_linear(logits: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted sum of log-probabilities, float32 [..., vocab], unnormalised.

    A token that is impossible for a part of positive weight stays impossible. Under a negative weight an impossible
    token counts as one of log-probability `FLOOR`, so that the sum is finite. A part of weight 0 is ignored.

    >>> distribution = torch.tensor([[0.5, 0.5, 0.0]]).log()
    >>> total = log_linear([distribution, torch.tensor([[0.25, 0.75, 0.0]]).log()], [2.0, -1.0])
    >>> [round(p, 3) for p in total.softmax(-1)[0].tolist()]
    [0.75, 0.25, 0.0]
    """
    total: Tensor | None = None
    for part, weight in zip(logits, weights, strict=True):
        if not weight:
            continue
        logprobs = part.float().log_softmax(-1)
        if weight < 0:
            term = logprobs.clamp(min=FLOOR) * weight
        else:  # a weight too small for float32 times an infinity would be no number
            term = (logprobs * weight).masked_fill(logprobs == -torch.inf, -torch.inf)
        total = term if total is None else total + term.to(total.device)
    assert total is not None
    return total


def plausible(logits: Tensor, alpha: float) -> Tensor:
    """Tokens at least `alpha` times as probable as the most probable one, bool [..., vocab].

    >>> plausible(torch.tensor([0.6, 0.3, 0.1]).log(), 0.5).tolist()
    [True, True, False]
    """
    if not alpha:
        return torch.ones_like(logits, dtype=torch.bool)
    wide = logits.float()
    return wide >= wide.amax(-1, keepdim=True) + torch.tensor(alpha).log().to(wide.device)


def check_model_name(stage: Stage, parameter: str, name: object) -> None:
    """Refuse an invalid model name.

    Raises:
        InvalidParameter: if it is no text, or empty.
    """
    if not isinstance(name, str) or not name.strip():
        raise InvalidParameter(
            f"{stage.name}: {parameter} must be the name of a model, got {brief(name)}; `decodelab models` lists ours"
        )


def check_vocabulary(stage: Stage, model: LanguageModel, other: LanguageModel) -> None:
    """Refuse a part whose vocabulary differs from the model's.

    Raises:
        VocabularyMismatch: naming both models and the first difference.
    """
    mine, theirs = model.vocab, other.vocab
    if mine is theirs:
        return
    why = ""
    if mine.size != theirs.size:
        why = f"{theirs.size} tokens where {model.name} has {mine.size}"
    elif mine.eos_ids != theirs.eos_ids:
        why = f"other tokens end a sequence: {list(theirs.eos_ids)} where {model.name} has {list(mine.eos_ids)}"
    else:
        different = (t for t in range(mine.size) if mine.token_text(t) != theirs.token_text(t))
        token = next(different, None)
        if token is not None:
            texts = brief(theirs.token_text(token)), brief(mine.token_text(token))
            why = f"token {token} is {texts[0]} where {model.name} has {texts[1]}"
    if why:
        raise VocabularyMismatch(
            f"{stage.name}: {other.name} has a different vocabulary from {model.name} ({why}); "
            "use models that share a tokenizer"
        )


def composed_digest(stage: Stage, parts: Sequence[LanguageModel]) -> str:
    """SHA-256 of a stage with all its parameters and of its parts."""
    parameters = {p.name: getattr(stage, p.name) for p in stage.parameters()}
    data = [stage.name, parameters, [part.digest for part in parts]]
    return hashlib.sha256(json.dumps(data, default=list).encode()).hexdigest()


class ComposedModel:
    """A language model made of several, of which the first is the one decoded.

    Its cache holds the rows of all of them, and every token goes to each.

    Args:
        stage: what it is made by.
        parts: models that share a vocabulary.
        combine: their logits as one.
    """

    def __init__(self, stage: Stage, parts: Sequence[LanguageModel], combine: Combine) -> None:
        self.stage = stage
        self.parts = tuple(parts)
        self.combine = combine

    @property
    def name(self) -> str:
        """The first part's name and the stage."""
        return f"{self.parts[0].name} with {self.stage}"

    @property
    def digest(self) -> str:
        """SHA-256 over the parts' digests and the stage's parameters."""
        return composed_digest(self.stage, self.parts)

    @property
    def vocab(self) -> Vocab:
        """That of the first part."""
        return self.parts[0].vocab

    @property
    def context_length(self) -> int | None:
        """The longest sequence that all parts can hold."""
        return min((c for part in self.parts if (c := part.context_length) is not None), default=None)

    @property
    def generation_config(self) -> dict[str, Any]:
        """That of the first part."""
        return self.parts[0].generation_config

    @property
    def whole_prompts(self) -> bool:
        """Whether what `prefill` is given must be a whole prompt, as for one of its parts."""
        return any(needs_whole_prompts(part) for part in self.parts)

    def cache_bytes(self, prompt: int, rows: int, new: int) -> int:
        """Bytes the caches of all parts may come to hold together."""
        return sum(part.cache_bytes(prompt, rows, new) for part in self.parts)

    def prefill(self, prompts: Sequence[Tokens]) -> tuple[Tensor, ComposedCache]:
        """Prefill prompts in every part: the combined logits after each, [rows, vocab], and their cache."""
        begun = [part.prefill(given) for part, given in zip(self.parts, self.given(prompts), strict=True)]
        return self.combine([logits for logits, _ in begun]), ComposedCache([cache for _, cache in begun])

    def given(self, prompts: Sequence[Tokens]) -> Sequence[Sequence[Tokens]]:
        """The prompts of each part."""
        return [prompts] * len(self.parts)

    def decode(self, cache: Cache, tokens: Tensor) -> tuple[Tensor, ComposedCache]:
        """Append int64 tokens [rows, k] to every row of every part: the combined logits, [rows, k, vocab]."""
        assert isinstance(cache, ComposedCache)
        grown = [part.decode(held, tokens) for part, held in zip(self.parts, cache.parts, strict=True)]
        cache.parts = [held for _, held in grown]
        return self.combine([logits for logits, _ in grown]), cache


class ComposedCache:
    """The rows of several models; lengths are those of the first.

    A row of another part may be longer or shorter, by a difference that never changes.

    Attributes:
        parts: a cache for each model, of the same rows.
    """

    def __init__(self, parts: Sequence[Cache]) -> None:
        self.parts = list(parts)

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens held for each row by the first part."""
        return self.parts[0].lengths

    @property
    def nbytes(self) -> int:
        """Bytes of memory held by all parts."""
        return sum(part.nbytes for part in self.parts)

    def select(self, rows: Tensor) -> ComposedCache:
        """The given rows, in that order, of every part."""
        return ComposedCache([part.select(rows) for part in self.parts])

    def fork(self, rows: Tensor) -> ComposedCache:
        """A copy of the given rows of every part; all of them must be `Forkable`."""
        copies: list[Cache] = []
        for part in self.parts:
            assert isinstance(part, Forkable)
            copies.append(part.fork(rows))
        return ComposedCache(copies)

    def rewind(self, lengths: Sequence[int]) -> ComposedCache:
        """Forget as many of the last tokens of each row of every part as leave `lengths` in the first."""
        dropped = [held - left for held, left in zip(self.lengths, lengths, strict=True)]
        return ComposedCache([
            part.rewind([held - n for held, n in zip(part.lengths, dropped, strict=True)]) for part in self.parts
        ])  # fmt: skip

    def join(self, other: Cache) -> ComposedCache:
        """The rows of this cache followed by those of another of the same model."""
        assert isinstance(other, ComposedCache)
        return ComposedCache([mine.join(theirs) for mine, theirs in zip(self.parts, other.parts, strict=True)])


def needs_whole_prompts(model: LanguageModel) -> bool:
    """Whether a model must be given whole prompts: tokens it decodes mean something else to it than prompt tokens.

    Such a prompt can neither be computed in chunks nor continue a stored prefix.
    """
    return isinstance(model, WholePrompts) and model.whole_prompts
