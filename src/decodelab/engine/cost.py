"""What a strategy will cost the model, before it is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from decodelab.core.errors import InvalidParameter, PromptTooLong
from decodelab.core.protocols import LanguageModel, Search
from decodelab.engine.composing import Composer
from decodelab.models.arithmetic import Arithmetic, arithmetic_of
from decodelab.models.loading import load
from decodelab.strategy.strategy import Strategy, StrategyLike


@dataclass(frozen=True)
class Work:
    """What one way of computing takes.

    Attributes:
        prefill_tokens: token positions computed for the prompts.
        decode_tokens: those computed for rows that go on.
        forward_passes: calls of the model.
        flops: floating-point operations of matrix products and attention; None for a model that has none.
        cache_bytes: the most a cache may come to hold.
    """

    prefill_tokens: int
    decode_tokens: int
    forward_passes: int
    flops: int | None
    cache_bytes: int

    @property
    def forward_tokens(self) -> int:
        """All token positions computed: prefill and decode."""
        return self.prefill_tokens + self.decode_tokens


@dataclass(frozen=True)
class Prediction:
    """What a strategy will cost, with a cache and without.

    Attributes:
        strategy: the effective strategy.
        model: the model's name.
        prompts: how many.
        prompt_tokens: tokens of each.
        new_tokens: tokens of each continuation.
        rows: the most rows a prompt has at once.
        scores: next-token scores the search chooses from, over all steps.
        cached: with keys and values kept, as `Engine` decodes.
        uncached: with every sequence computed anew for every token.
    """

    strategy: str
    model: str
    prompts: int
    prompt_tokens: int
    new_tokens: int
    rows: int
    scores: int
    cached: Work
    uncached: Work

    def to_dict(self) -> dict[str, Any]:
        """The prediction as JSON-ready data."""
        found = asdict(self)
        for name, work in (("cached", self.cached), ("uncached", self.uncached)):
            found[name]["forward_tokens"] = work.forward_tokens
        return found


def predict_cost(
    model: LanguageModel | str,
    strategy: StrategyLike = "default",
    *,
    prompt_tokens: int,
    new_tokens: int,
    prompts: int = 1,
    max_rows: int = 64,
) -> Prediction:
    """Predict what a strategy will cost the model, with a cache and without.

    The tokens and passes are those the engine then counts when every continuation has `new_tokens` tokens and no
    token is impossible; where some end before, beams come to an end early, or a processor leaves fewer tokens than
    beams, they are the most there can be. The formulas are in docs/cost.md.

    Args:
        model: a model, or the name of one for `load`.
        strategy: in any form of the strategy language.
        prompt_tokens: tokens of each prompt.
        new_tokens: tokens of each continuation.
        prompts: different prompts of that length.
        max_rows: rows computed at once, as `decodelab.generate` takes it.

    Raises:
        StrategyError: for a strategy that cannot be read, or a number below 1.
        PromptTooLong: if prompt and continuation exceed the model's context.
        ModelError: if the model cannot be loaded.

    >>> found = predict_cost("pocket-nano", "beam(width=5)", prompt_tokens=100, new_tokens=20)
    >>> found.cached.forward_tokens, found.uncached.forward_tokens
    (195, 10550)
    """
    for name, number in (
        ("prompt_tokens", prompt_tokens), ("new_tokens", new_tokens), ("prompts", prompts), ("max_rows", max_rows),
    ):  # fmt: skip
        if number < 1:
            raise InvalidParameter(f"{name} must be at least 1, got {number}; count tokens, prompts and rows from 1")
    lm = load(model) if isinstance(model, str) else model
    if lm.context is not None and prompt_tokens + new_tokens > lm.context:
        raise PromptTooLong(
            f"{prompt_tokens} prompt and {new_tokens} new tokens exceed the context of {lm.context} of {lm.name}; "
            "ask for fewer"
        )
    plan = Strategy.of(strategy).resolve(lm)
    lm = Composer(lm)(plan.compositions)
    # A step chooses from the logits of `rows[t]` rows that have t tokens; those of t = 0 are all the prompt.
    rows = rows_by_step(plan.search, lm.vocab.size - len(lm.vocab.eos_ids), new_tokens)
    together = min(prompts, max(1, max_rows // plan.search.peak_rows))
    passes = new_tokens * -(-prompts // together)
    arithmetic = arithmetic_of(lm)
    decode = sum(rows[1:])
    again = sum(n * (prompt_tokens + t) for t, n in enumerate(rows[1:], 1))
    cached = Work(
        prompts * prompt_tokens,
        prompts * decode,
        passes,
        _flops(arithmetic, rows, prompt_tokens, prompts, cached=True),
        together * lm.cache_bytes(prompt_tokens, plan.search.peak_rows, new_tokens),
    )
    uncached = Work(
        prompts * prompt_tokens,
        prompts * again,
        passes,
        _flops(arithmetic, rows, prompt_tokens, prompts, cached=False),
        0,
    )
    return Prediction(
        str(plan), lm.name, prompts, prompt_tokens, new_tokens, plan.search.peak_rows,
        prompts * lm.vocab.size * sum(rows), cached, uncached,
    )  # fmt: skip


def rows_by_step(search: Search, words: int, steps: int) -> list[int]:
    """The rows of a job at each step, when nothing ends before the last.

    Args:
        search: says with how many it begins and how many it has at most.
        words: tokens that continue a sequence.
        steps: tokens of a continuation.

    >>> from decodelab import Beam
    >>> rows_by_step(Beam(width=7), words=3, steps=4)
    [1, 3, 7, 7]
    """
    rows = [search.start_rows]
    while len(rows) < steps:
        grown = rows[-1] * words if search.start_rows < search.peak_rows else rows[-1]
        rows.append(min(search.peak_rows, grown))
    return rows


def _flops(
    arithmetic: Arithmetic | None, rows: Sequence[int], prompt: int, prompts: int, *, cached: bool
) -> int | None:
    """Operations of a whole run; the prompt's pass makes logits of its last token only."""
    if arithmetic is None:
        return None
    total = arithmetic.flops(prompt, 1, _triangle(prompt))
    for t, n in enumerate(rows[1:], 1):
        length = prompt + t
        total += n * (arithmetic.flops(1, 1, length) if cached else arithmetic.flops(length, 1, _triangle(length)))
    return prompts * total


def _triangle(tokens: int) -> int:
    """Tokens that the tokens of a sequence see, each itself and those before it."""
    return tokens * (tokens + 1) // 2
