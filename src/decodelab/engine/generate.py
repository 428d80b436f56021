"""`generate`: many prompts, one strategy, plain results."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from numbers import Integral
from typing import Any

from decodelab.core.errors import PromptTooLong
from decodelab.core.events import Finished, Observer, RunStarted
from decodelab.core.notices import NoEffectWarning
from decodelab.core.protocols import LanguageModel
from decodelab.core.values import Chat, Generation, Limits, Prompt
from decodelab.engine.job import check_limits, make_job
from decodelab.engine.prompt_notes import PromptNotes
from decodelab.engine.runners.runner import Failed
from decodelab.engine.scheduler import Engine
from decodelab.models.loading import load
from decodelab.strategy.strategy import Strategy, StrategyLike


def generate(
    model: LanguageModel | str,
    prompts: Prompt | Sequence[Prompt],
    strategy: StrategyLike = "default",
    *,
    max_new_tokens: int = 128,
    min_new_tokens: int = 0,
    stop: str | Sequence[str] = (),
    stop_token_ids: Sequence[int] = (),
    seed: int = 0,
    observers: Sequence[Observer] = (),
    max_rows: int = 64,
    literal: bool = False,
    stacklevel: int = 2,
) -> list[Generation]:
    """Continue prompts under a strategy.

    The result does not depend on the other prompts, their order, `max_rows`, or how many samples are
    asked for (on a real model as far as its own floating-point results do not depend on the batch).

    Args:
        model: a model, or the name of one for `load`.
        prompts: one prompt or several: texts, token id sequences, `Chat`s.
        strategy: in any form of the strategy language.
        max_new_tokens: most new tokens of each continuation.
        min_new_tokens: EOS, stop tokens and stop strings cannot end a continuation before this many tokens.
        stop: strings that end a continuation; the text is cut before the first. The name of a special token stands for
            that token.
        stop_token_ids: further token ids that end a continuation.
        seed: any integer; all random numbers follow from it.
        observers: told of every step (see `decodelab.core.events`).
        max_rows: how many rows (beams, samples) the model computes at once; bounds the memory.
        literal: whether the names of special tokens in a text prompt, such as `</s>`, are text like any other; the
            tokenizer's own BOS is added all the same. Otherwise a `PromptWarning` tells of them.
        stacklevel: whose line a warning names, as `warnings.warn` counts.

    Returns:
        One Generation a prompt, in order. After Ctrl-C, those that were started, with unfinished
        candidates marked `interrupted`.

    Raises:
        StrategyError, RequestError, ModelError, EmptySupport: each with one line saying what to do.

    >>> import decodelab as dl
    >>> model = dl.load("pocket-nano")
    >>> out = dl.generate(model, ["Once upon a time"], "top_p=0.9 | sample(n=2)", max_new_tokens=8, seed=1)
    >>> len(out[0].candidates), len(out[0].best.tokens)
    (2, 8)
    """
    lm = load(model) if isinstance(model, str) else model
    plan = Strategy.of(strategy).resolve(lm)
    for note in plan.no_effects():
        warnings.warn(note, NoEffectWarning, stacklevel=stacklevel)
    limits = Limits(
        max_new_tokens, min_new_tokens, (stop,) if isinstance(stop, str) else tuple(stop), tuple(stop_token_ids)
    )
    engine = Engine(lm, max_rows=max_rows, observers=observers)
    composed = engine.composed(plan)
    check_limits(composed, limits)
    asked = as_prompts(prompts)
    jobs = [make_job(composed, i, p, plan, limits, seed, literal=literal) for i, p in enumerate(asked)]
    if not literal:
        notes = PromptNotes(composed, literal=True)
        for job, prompt in zip(jobs, asked, strict=True):
            if isinstance(prompt, str):
                notes.see(job.name, job.prompt, job.tokens)
        notes.tell()
    # Prompts of similar length share a prefill, so that little of it is padding.
    for job in sorted(jobs, key=lambda job: len(job.tokens)):
        engine.enqueue(job)
    for observer in observers:
        observer(RunStarted(tuple(job.tokens for job in jobs), max_new_tokens))
    return sorted(collected(engine, observers), key=lambda g: g.index)


def too_long(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    strategy: Strategy,
    limits: Mapping[str, Any],
    literal: bool = False,
) -> dict[int, str]:
    """The prompts, by index, that leave no room in the model's context, and why.

    Args:
        model: which model.
        prompts: which prompts.
        strategy: resolved for the model.
        limits: as `generate` takes them.
        literal: as `generate` takes it.

    Raises:
        RequestError: as `generate`, for what is wrong otherwise.
    """
    composed, found = Engine(model).composed(strategy), dict[int, str]()
    for i, prompt in enumerate(prompts):
        try:
            make_job(composed, i, prompt, strategy, Limits(**limits), 0, literal=literal)
        except PromptTooLong as error:
            found[i] = str(error)
    return found


def collected(engine: Engine, observers: Sequence[Observer] = ()) -> list[Generation]:
    """Run an engine to the end, telling observers of each generation as it finishes.

    After Ctrl-C, the generations of the jobs that had begun, as far as they came.

    Raises:
        DecodelabError: of the first job that fails.
    """
    found: list[Generation] = []

    def collect(outcomes: Iterable[Generation | Failed]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Failed):
                raise outcome.error
            found.append(outcome)
            for observer in observers:
                observer(Finished(outcome))

    running = engine.run()
    try:
        collect(running)
    except KeyboardInterrupt:
        # Raised in a step, it has ended the run already; raised here, in an observer, the run must hear of it.
        with suppress(KeyboardInterrupt, StopIteration):
            collect(chain([running.throw(KeyboardInterrupt())], running))
    return found


def as_prompts(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    """One prompt or several as a list; a sequence of integers is one prompt."""
    if isinstance(prompts, str | Chat):
        return [prompts]
    listed = list(prompts)
    if listed and all(isinstance(p, Integral) for p in listed):
        return [listed]  # pyright: ignore[reportReturnType]  (all are integers, hence token ids)
    return listed  # pyright: ignore[reportReturnType]


def was_interrupted(run: Sequence[Generation], wanted: int) -> bool:
    """Whether Ctrl-C ended a run of `generate` before it was complete."""
    return len(run) < wanted or any(c.finish_reason == "interrupted" for g in run for c in g.candidates)
