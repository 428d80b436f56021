"""Predict the cost of a strategy without running it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

from decodelab.core.errors import InvalidParameter, PromptTooLong, UnsupportedStrategy
from decodelab.core.protocols import Composed, EncoderDecoder, LanguageModel, LooksAhead, ModelScorer, Search
from decodelab.core.stage import Stage
from decodelab.engine.composing import Composer
from decodelab.engine.runners.tree import KEPT_PER_ROW
from decodelab.models.arithmetic import Counted
from decodelab.models.composed import check_vocabulary
from decodelab.models.loading import load
from decodelab.scorers.catalogue import find_scorer
from decodelab.search.speculative import NGRAM, Speculative
from decodelab.strategy.strategy import Strategy, StrategyLike


@dataclass(frozen=True)
class Work:
    """The work of one way of computing.

    Attributes:
        prefill_tokens: token positions computed for the prompts.
        decode_tokens: token positions computed for the continuations.
        draft_tokens: token positions computed by a draft model.
        forward_passes: calls of the model.
        flops: floating-point operations of matrix products and attention; None if unknown.
        cache_bytes: largest possible size of the caches.
    """

    prefill_tokens: int
    decode_tokens: int
    draft_tokens: int
    forward_passes: int
    flops: int | None
    cache_bytes: int

    @property
    def forward_tokens(self) -> int:
        """All token positions the model computes: prefill and decode."""
        return self.prefill_tokens + self.decode_tokens


@dataclass(frozen=True)
class Prediction:
    """The predicted cost of a strategy, with and without a cache.

    Attributes:
        strategy: the effective strategy.
        model: the model's name.
        prompts: how many.
        prompt_tokens: tokens of each.
        new_tokens: tokens of each continuation.
        rows: largest number of sequences of a prompt computed at once.
        scores: next-token logits ranked by the search, over all steps.
        cached: with a key/value cache, as `Engine` decodes.
        uncached: recomputing every sequence for every token, without a draft model.
        notes: what the numbers leave out.
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
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The prediction as JSON-ready data."""
        found = asdict(self)
        for name, work in (("cached", self.cached), ("uncached", self.uncached)):
            found[name]["forward_tokens"] = work.forward_tokens
        return found


@dataclass(frozen=True)
class _Decoding:
    """What one prompt takes beyond itself.

    Attributes:
        rows: how many tokens are computed at each place behind the prompt, from 1 on; expected numbers under a draft.
        passes: calls of the model, the prompt's included.
        scored: rows of logits that are chosen from.
        peak: the most sequences computed at once.
        kept: sequences whose cache may be held.
        draft: tokens the draft computes at each place.
    """

    rows: Mapping[int, float]
    passes: float
    scored: float
    peak: int
    kept: int
    draft: Mapping[int, float] = field(default_factory=dict)


def predict_cost(
    model: LanguageModel | str,
    strategy: StrategyLike = "default",
    *,
    prompt_tokens: int,
    new_tokens: int,
    prompts: int = 1,
    max_rows: int = 64,
    acceptance: float = 0.0,
) -> Prediction:
    """Predict what a strategy will cost the model, with a cache and without.

    The tokens and passes are those the engine then counts when every continuation has `new_tokens` tokens and no
    token is impossible. Where some end before, beams come to an end early, a processor leaves fewer tokens than beams,
    or a tree search needs less than its budget, they are the most there can be. The formulas are in docs/cost.md.

    Args:
        model: a model, or the name of one for `load`.
        strategy: in any form of the strategy language.
        prompt_tokens: tokens of each prompt.
        new_tokens: tokens of each continuation.
        prompts: different prompts of that length.
        max_rows: rows computed at once, as `decodelab.generate` takes it.
        acceptance: for `speculative`, the probability that a proposal is accepted; the prediction is then a
            mean. 0 gives the highest cost.

    Raises:
        StrategyError: for a strategy that cannot be read, one whose cost nobody can know before, or a number out of
            its range.
        PromptTooLong: if prompt and continuation exceed the model's context.
        ModelError: if a model cannot be loaded.

    >>> found = predict_cost("pocket-nano", "beam(width=5)", prompt_tokens=100, new_tokens=20)
    >>> found.cached.forward_tokens, found.uncached.forward_tokens
    (195, 10550)
    """
    for name, number in (
        ("prompt_tokens", prompt_tokens), ("new_tokens", new_tokens), ("prompts", prompts), ("max_rows", max_rows),
    ):  # fmt: skip
        if number < 1:
            raise InvalidParameter(f"{name} must be at least 1, got {number}; count tokens, prompts and rows from 1")
    if not 0 <= acceptance <= 1:
        raise InvalidParameter(f"acceptance must be in [0, 1], got {acceptance}; use 0 for the highest cost")
    lm = load(model) if isinstance(model, str) else model
    plan = Strategy.of(strategy).resolve(lm)
    composer = Composer(lm)
    lm = composer(plan.compositions)
    _check_context(lm, prompt_tokens, new_tokens)

    words = lm.vocab.size - len(lm.vocab.eos_ids)
    decoding = _decoding(plan, words, new_tokens, acceptance)
    plain = _decoding(plan if plan.driver is None else _without_driver(plan), words, new_tokens, acceptance)
    together = 1 if plan.runner == "tree" else min(prompts, max(1, max_rows // decoding.peak))
    turns = -(-prompts // together)
    kept = min(decoding.kept, KEPT_PER_ROW * max_rows + decoding.peak)
    speculative = plan.speculative
    most = new_tokens + (0 if speculative is None else speculative.most)
    cached = _flops(lm, prompt_tokens, decoding.rows)
    nbytes = lm.cache_bytes(prompt_tokens, kept, most)
    draft_tokens = 0.0
    if speculative is not None and speculative.draft != NGRAM:
        draft = composer.load(speculative.draft) if isinstance(speculative.draft, str) else speculative.draft
        check_vocabulary(speculative, lm, draft)
        _check_context(draft, prompt_tokens, new_tokens - 1)
        draft_tokens = prompt_tokens + sum(decoding.draft.values())
        own = _flops(draft, prompt_tokens, decoding.draft)
        cached = None if cached is None or own is None else cached + own
        nbytes += draft.cache_bytes(prompt_tokens, kept, most)
    anew = _flops(lm, prompt_tokens, plain.rows, anew=True)
    return Prediction(
        str(plan),
        lm.name,
        prompts,
        prompt_tokens,
        new_tokens,
        decoding.peak,
        round(prompts * lm.vocab.size * decoding.scored),
        Work(
            prompts * prompt_tokens,
            round(prompts * sum(decoding.rows.values())),
            round(prompts * draft_tokens),
            round(turns * decoding.passes),
            None if cached is None else round(prompts * cached),
            together * nbytes,
        ),
        Work(
            prompts * prompt_tokens,
            round(prompts * sum(n * (prompt_tokens + t) for t, n in plain.rows.items())),
            0,
            round(turns * plain.passes),
            None if anew is None else round(prompts * anew),
            0,
        ),
        _notes(plan),
    )


def _check_context(model: LanguageModel, prompt: int, new: int) -> None:
    """Refuse what a model cannot hold."""
    held, room = prompt + new, model.context_length
    if isinstance(model, EncoderDecoder):
        longest = model.longest_prompt
        if longest is not None and prompt > longest:
            raise PromptTooLong(
                f"{prompt} prompt tokens exceed the {longest} that {model.name} can read; ask for fewer"
            )
        held, room = new, model.longest_answer
    if room is not None and held > room:
        raise PromptTooLong(
            f"{prompt} prompt and {new} new tokens exceed the context length {room} of {model.name}; ask for fewer"
        )


def _without_driver(plan: Strategy) -> Strategy:
    return replace(plan, stages=tuple(stage for stage in plan.stages if stage.kind != "driver"))


def _decoding(plan: Strategy, words: int, steps: int, acceptance: float) -> _Decoding:
    """What decoding one prompt under a strategy takes, `words` being the tokens that continue a sequence.

    Raises:
        UnsupportedStrategy: for a search that may take anything, or one that its driver cannot drive.
    """
    search, driver = plan.search, plan.speculative
    if plan.in_rounds is not None:
        raise UnsupportedStrategy(
            f"{search}: its cost depends on the texts that it draws; run it on a prompt and read the generation's cost"
        )
    if driver is not None:
        if not plan.search_stage.independent_rows:
            raise UnsupportedStrategy(
                f"{driver} works with greedy and sample only, got {search}; leave one of them out"
            )
        return _speculative(driver, search.peak_rows, steps, acceptance)
    if plan.runner == "tree":
        nodes = _most_nodes(plan.search_stage, steps)
        # Nobody knows at which depth; the last place is the dearest.
        return _Decoding({steps - 1: nodes} if nodes else {}, 1 + nodes, 1 + nodes, search.peak_rows, 1 + nodes)
    if plan.runner == "hidden_states":
        looks = min(cast(LooksAhead, search).looks_at, words)
        return _Decoding(dict.fromkeys(range(1, steps + 1), looks), 1 + steps, steps, looks, looks)
    rows = rows_by_step(search, words, steps)
    peak = search.peak_rows
    return _Decoding(dict(enumerate(rows[1:], 1)), steps, sum(rows), peak, peak)


def rows_by_step(search: Search, words: int, steps: int) -> list[int]:
    """The rows of a job at each step, when nothing ends before the last.

    A step chooses from the logits of the rows it has; those of the first are all the prompt.

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


def _most_nodes(search: Stage, steps: int) -> int:
    """The most prefixes a tree search computes, the prompt aside."""
    budget = search.prefix_budget(steps)
    if budget is None:
        raise UnsupportedStrategy(
            f"{search}: its cost depends on what it finds; run it on a prompt and read the generation's cost"
        )
    return budget


def _speculative(driver: Speculative, rows: int, steps: int, acceptance: float) -> _Decoding:
    """What speculative decoding takes on average, if each proposal is accepted with the same probability.

    A round that begins with t tokens proposes c = min(k, steps - t - 1), computes 1 + c, and ends with t + 1 + j of
    them, j being the proposals accepted before the first that is not (Leviathan et al. 2023, equation 1, but
    for the end of the text, where there is less to propose).
    """
    begins, after_all = [0.0] * (steps + 1), [0.0] * (steps + 1)
    begins[1] = 1.0
    computed: dict[int, float] = {}
    draft: dict[int, float] = {}
    for t in range(1, steps):
        count = min(driver.k, steps - t - 1)
        for place in range(t, t + count + 1):
            computed[place] = computed.get(place, 0.0) + rows * begins[t]
        for place in range(t, t + count):
            draft[place] = draft.get(place, 0.0) + rows * begins[t]
        if count:
            # Its own last proposal a draft has not computed: after a round in which all were right it has to catch up.
            draft[t - 1] = draft.get(t - 1, 0.0) + rows * after_all[t]
        for right in range(count):
            begins[t + 1 + right] += begins[t] * acceptance**right * (1 - acceptance)
        whole = begins[t] * acceptance**count
        begins[t + 1 + count] += whole
        after_all[t + 1 + count] += whole
    passes = 1 + sum(begins[1:steps])
    scored = rows + sum(computed.values())
    return _Decoding(computed, passes, scored, rows, rows, {} if driver.draft == NGRAM else draft)


def _flops(model: LanguageModel, prompt: int, rows: Mapping[int, float], *, anew: bool = False) -> float | None:
    """Operations of decoding one prompt, with a cache or with every sequence computed anew; None: not known.

    Logits are made of the last token of the prompt, or of each sequence, alone.
    """
    if isinstance(model, Composed):
        prompts = [given for (given,) in model.given([(0,) * prompt])]
        parts = [_flops(m, len(given), rows, anew=anew) for m, given in zip(model.parts, prompts, strict=True)]
        return None if None in parts else math.fsum(n for n in parts if n is not None)
    if not isinstance(model, Counted):
        return None
    arithmetic = model.arithmetic()
    total: list[float] = [arithmetic.flops(prompt, 1, _triangle(prompt))]
    for t, n in rows.items():
        length = prompt + t
        total.append(n * (arithmetic.flops(length, 1, _triangle(length)) if anew else arithmetic.flops(1, 1, length)))
    return math.fsum(total)


def _triangle(tokens: int) -> int:
    """Tokens that the tokens of a sequence see, each itself and those before it."""
    return tokens * (tokens + 1) // 2


def _notes(plan: Strategy) -> tuple[str, ...]:
    """What the numbers leave out."""
    notes: list[str] = []
    scorer = plan.search_stage.asks_scorer()
    if scorer is not None and isinstance(find_scorer(scorer), ModelScorer):
        notes.append(f"{plan.search}: what its scorer asks the model comes on top")
    if plan.speculative is not None and plan.speculative.adaptive:
        notes.append(f"{plan.driver}: predicted for k = {plan.speculative.k} throughout")
    if plan.windowed is not None:
        notes.append(f"{plan.driver}: predicted for all {plan.search.n} samples, drawn at once; it may end earlier")
    return tuple(notes)
