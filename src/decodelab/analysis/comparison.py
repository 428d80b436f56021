"""A comparison: models x strategies x prompts, run and measured, as plain data for every kind of report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from decodelab.core.errors import InvalidParameter
from decodelab.core.values import Candidate, Chat, Generation, Limits, Prompt

if TYPE_CHECKING:
    from decodelab.core.protocols import LanguageModel
    from decodelab.engine.progress import Advance, TokensDone
    from decodelab.strategy.strategy import Strategy

Grade = Callable[[str], float]
"""How right a text is, 0 to 1."""


@dataclass(frozen=True)
class Question:
    """A prompt to compare strategies on.

    Attributes:
        prompt: what the model is given.
        title: what to call it; the prompt itself when empty.
        reference: a right answer, where one is known.
        grade: judges an answer, where that is possible.
    """

    prompt: str | Chat
    title: str = ""
    reference: str | None = None
    grade: Grade | None = None

    @property
    def text(self) -> str:
        """The prompt for the eye: a chat is the user's message."""
        return self.prompt.messages[-1]["content"] if isinstance(self.prompt, Chat) else str(self.prompt)


@dataclass(frozen=True)
class Token:
    """One generated token for the eye.

    Attributes:
        text: what it adds to the text; a character that several tokens make up belongs to the last of them.
        name: the token itself, readable.
        p: its probability under the model.
        processed_p: its probability under the distribution it was chosen from.
        shown: whether it is part of the text: not an end token, not cut off with a stop string.
    """

    text: str
    name: str
    p: float
    processed_p: float
    shown: bool


@dataclass(frozen=True)
class Answer:
    """One candidate with what is measured of it: `distinct_2` is NaN below 2 tokens, `grade` None without a grader."""

    candidate: Candidate
    tokens: tuple[Token, ...]
    distinct_2: float
    grade: float | None


@dataclass(frozen=True)
class Result:
    """What one strategy of one model gave for one question.

    Attributes:
        model: the model's name.
        strategy: the strategy as written in the request.
        generation: what came out, with the effective strategy and the cost.
        answers: its candidates, measured, best first.
    """

    model: str
    strategy: str
    generation: Generation
    answers: tuple[Answer, ...]

    @property
    def forward_tokens(self) -> int:
        """Token positions its model would compute for it alone; the strategies of a question share its prompt."""
        return len(self.generation.prompt_tokens) + self.generation.cost.decode_tokens


@dataclass(frozen=True)
class Speed:
    """How fast a model ran all questions under all strategies; they share batches, so none has a speed of its own.

    Attributes:
        model: the model's name.
        seconds: of the wall clock.
        new_tokens: tokens of all candidates.
    """

    model: str
    seconds: float
    new_tokens: int

    @property
    def tokens_per_second(self) -> float:
        """New tokens a second."""
        return self.new_tokens / max(self.seconds, 1e-9)


@dataclass(frozen=True)
class Comparison:
    """All results, by question.

    Attributes:
        questions: what was asked.
        results: for each question, those of all strategies of all models that came to an end or were interrupted.
        models: the models' names, in order.
        strategies: the strategies as written in the request, in order.
        seed: the seed of all of them.
        notes: terms that had no effect.
        interrupted: whether Ctrl-C ended it early.
        speeds: of each model that has run.
    """

    questions: tuple[Question, ...]
    results: tuple[tuple[Result, ...], ...]
    models: tuple[str, ...]
    strategies: tuple[str, ...]
    seed: int
    notes: tuple[str, ...]
    interrupted: bool
    speeds: tuple[Speed, ...]

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON-ready data."""
        return {
            "models": self.models,
            "strategies": self.strategies,
            "seed": self.seed,
            "notes": self.notes,
            "interrupted": self.interrupted,
            "speeds": [asdict(speed) | {"tokens_per_second": speed.tokens_per_second} for speed in self.speeds],
            "questions": [
                {
                    "title": question.title,
                    "prompt": question.text,
                    "reference": question.reference,
                    "results": [_result_data(result) for result in results],
                }
                for question, results in zip(self.questions, self.results, strict=True)
            ],
        }


def _result_data(result: Result) -> dict[str, Any]:
    generation = result.generation.to_dict()
    for row, answer in zip(generation["candidates"], result.answers, strict=True):
        row |= {"distinct_2": answer.distinct_2, "grade": answer.grade}
    return {
        "model": result.model,
        "strategy": result.strategy,
        "forward_tokens": result.forward_tokens,
        "generation": generation,
    }


def compare(
    models: Sequence[str],
    strategies: Sequence[str],
    questions: Sequence[Question],
    *,
    load: Callable[[str], LanguageModel],
    seed: int = 0,
    samples: int | None = None,
    max_rows: int = 64,
    limits: dict[str, Any],
    advance: Advance,
) -> Comparison:
    """Run every strategy of every model on every question.

    Models are loaded one after the other, so that only one is in memory. A short run nobody sees goes first, so that no
    strategy pays for the model's first forward pass.

    Args:
        models: names for `load`.
        strategies: in the strategy language; all are read before the first is run.
        questions: the prompts, and how to judge the answers.
        load: loads a model by name.
        seed: the seed of all draws; strategies share their random numbers.
        samples: continuations of strategies that sample and do not say how many.
        max_rows: rows computed at once.
        limits: of `decodelab.generate`.
        advance: told how many of `work(...)` units are done.

    Raises:
        DecodelabError: as `decodelab.generate`.
    """
    from decodelab.core.notices import notes
    from decodelab.engine.generate import generate
    from decodelab.engine.progress import TokensDone
    from decodelab.engine.threads import threads_for
    from decodelab.strategy.strategy import Strategy

    if samples is not None and samples < 1:
        raise InvalidParameter(f"--samples must be at least 1, got {samples}; ask for one or more")
    asked = [Strategy.of(s) for s in strategies]
    prompts = [q.prompt for q in questions]
    each = len(prompts) * limits["max_new_tokens"]
    found: list[list[Result]] = [[] for _ in questions]
    names: list[str] = []
    speeds: list[Speed] = []
    done = 0
    complete = False
    with notes() as said:
        try:
            for model_name in models:
                advance(done, f"loading {model_name}")
                model = load(model_name)
                names.append(model.name)
                plans = [_sampling(s.resolve(model), samples) for s in asked]
                with threads_for(model):
                    if was_interrupted(generate(model, prompts[:1], "greedy", max_new_tokens=2), 1):
                        raise KeyboardInterrupt
                    report = _reporter(advance, done, f"{model.name}: {len(plans)} strategies")
                    began = time.perf_counter()
                    run = _run(model, prompts, plans, limits, seed, max_rows, TokensDone(report))
                    new_tokens = sum(len(c.tokens) for g in run for c in g.candidates)
                    speeds.append(Speed(model.name, time.perf_counter() - began, new_tokens))
                    for generation in sorted(run, key=lambda g: g.index):
                        at, which = divmod(generation.index, len(plans))
                        found[at].append(
                            _measured(model, strategies[which], replace(generation, index=at), questions[at].grade)
                        )
                    if was_interrupted(run, len(prompts) * len(plans)):
                        raise KeyboardInterrupt
                    done += each * len(plans)
            complete = True
        except KeyboardInterrupt:
            # What is finished is worth having; the engine gave back what it had begun, marked.
            pass
    return Comparison(
        tuple(questions),
        tuple(map(tuple, found)),
        tuple(names),
        tuple(strategies),
        seed,
        tuple(said),
        not complete,
        tuple(speeds),
    )


def _run(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    plans: Sequence[Strategy],
    limits: dict[str, Any],
    seed: int,
    max_rows: int,
    progress: TokensDone,
) -> list[Generation]:
    """Every prompt under every strategy in one running batch, numbered prompt by prompt."""
    import warnings

    from decodelab.core.events import RunStarted
    from decodelab.core.notices import NoEffectWarning
    from decodelab.engine.generate import collected
    from decodelab.engine.job import check_limits, make_job
    from decodelab.engine.scheduler import Engine

    for note in dict.fromkeys(note for plan in plans for note in plan.no_effects()):
        warnings.warn(note, NoEffectWarning, stacklevel=2)
    bounds = Limits(**limits)
    check_limits(model, bounds)
    engine = Engine(model, max_rows=max_rows, observers=[progress])
    # The strategies of a prompt follow one another, so that they share its prefill.
    jobs = [
        replace(make_job(engine.composed(plan), i, prompt, plan, bounds, seed), index=i * len(plans) + j)
        for i, prompt in enumerate(prompts)
        for j, plan in enumerate(plans)
    ]
    for job in jobs:
        engine.enqueue(job)
    progress(RunStarted(tuple(job.tokens for job in jobs), bounds.max_new_tokens))
    return collected(engine, [progress])


def _reporter(advance: Advance, begun: float, what: str) -> Callable[[int], None]:
    """Report the tokens of one run on top of what was done before it."""
    return lambda tokens: advance(begun + tokens, what)


def was_interrupted(run: Sequence[Generation], wanted: int) -> bool:
    """Whether Ctrl-C ended a run of `decodelab.generate` before it was complete."""
    return len(run) < wanted or any(c.finish_reason == "interrupted" for g in run for c in g.candidates)


def work(models: int, strategies: int, questions: int, max_new_tokens: int) -> int:
    """How many units `compare` reports at the end."""
    return models * strategies * questions * max_new_tokens


def _sampling(strategy: Strategy, samples: int | None) -> Strategy:
    """The strategy with this many samples, if it samples and does not set the number itself."""
    from decodelab.search.sample import Sample

    if samples is None:
        return strategy
    return replace(strategy, stages=tuple(Sample(samples) if s == Sample() else s for s in strategy.stages))


def _measured(model: LanguageModel, strategy: str, generation: Generation, grade: Grade | None) -> Result:
    from decodelab.metrics import distinct_n

    answers = tuple(
        Answer(
            candidate,
            tokens_for_the_eye(model, generation, candidate),
            distinct_n([candidate.tokens], 2),
            None if grade is None else grade(candidate.text),
        )
        for candidate in generation.candidates
    )
    return Result(model.name, strategy, generation, answers)


def tokens_for_the_eye(model: LanguageModel, generation: Generation, candidate: Candidate) -> tuple[Token, ...]:
    """The tokens of a candidate, each with the text it adds and its probabilities."""
    from decodelab.engine.detokenizer import Detokenizer

    text = Detokenizer.after(generation.prompt_tokens)
    ends = set(model.vocab.eos_ids)
    tokens: list[Token] = []
    last = len(candidate.tokens) - 1
    for i, token in enumerate(candidate.tokens):
        after = text.push(model.vocab, token)
        whole = after.flushed(model.vocab) if i == last else after.text
        begin = len(text.text)
        # A stop string may begin inside a token.
        added = whole[begin : max(begin, len(candidate.text))]
        is_end = token in ends and i == last
        tokens.append(
            Token(
                added,
                model.vocab.token_text(token),
                math.exp(candidate.token_logprobs[i]),
                math.exp(candidate.processed_logprobs[i]),
                not is_end and (bool(added) or whole == text.text),
            )
        )
        text = after
    return tuple(tokens)
