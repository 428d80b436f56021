"""Strategies side by side on a few prompts: a sweep on a temporary journal, as plain data for every kind of report."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from decodelab.backends.catalogue import names_text_model
from decodelab.bench.plan import Plan, TaskPlan
from decodelab.bench.records import WorkItem
from decodelab.bench.run.executor import LocalExecutor, WithServers
from decodelab.bench.run.sweep import run
from decodelab.bench.run.text_worker import TextWorker
from decodelab.bench.run.worker import Worker
from decodelab.bench.run.worklist import LoadedTask
from decodelab.bench.store import views
from decodelab.bench.store.journal import temporary
from decodelab.core.errors import InvalidParameter
from decodelab.core.events import Finished, RunStarted
from decodelab.core.notices import NoEffectWarning, notes
from decodelab.core.protocols import LanguageModel
from decodelab.core.values import Candidate, Chat, Generation, Limits, Prompt
from decodelab.engine.detokenizer import Detokenizer
from decodelab.engine.generate import generate, was_interrupted
from decodelab.engine.job import check_counts, check_limits
from decodelab.engine.progress import Advance, TokensDone
from decodelab.engine.threads import threads_for
from decodelab.metrics.diversity import distinct_n
from decodelab.strategy.strategy import Strategy
from decodelab.tasks.response import Response
from decodelab.tasks.task import Example, Task, judged


@dataclass(frozen=True)
class Question:
    """A prompt to compare strategies on.

    Attributes:
        example: the prompt, and a right answer where one is known.
        title: what to call it; the prompt itself when empty.
        task: what grades the answers; None: nothing does.
    """

    example: Example
    title: str = ""
    task: Task | None = None

    @property
    def text(self) -> str:
        """The prompt for the eye: a chat is the user's message."""
        prompt = self.example.prompt
        return prompt.messages[-1]["content"] if isinstance(prompt, Chat) else str(prompt)

    def grade(self, response: Response) -> float | None:
        """How right a response is, from 0 to 1; None where nothing grades it."""
        return None if self.task is None else judged(self.task, self.example, response).score


@dataclass(frozen=True)
class Token:
    """One generated token for the eye.

    Attributes:
        text: what it adds to the text; a character that consists of several tokens belongs to the last of them.
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
class Measured:
    """A candidate with its measures: `distinct_2` is NaN below 2 tokens, `grade` None where nothing grades it."""

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
    answers: tuple[Measured, ...]

    @property
    def forward_tokens(self) -> int:
        """Token positions its model would compute for it alone; the strategies of a question share its prompt."""
        cost = self.generation.cost
        return (len(self.generation.prompt_tokens) or cost.prefill_tokens) + cost.decode_tokens


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
        results: for each question, those of all strategies of all models that were finished or interrupted.
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
                    "reference": question.example.reference,
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
    limits: Limits,
    advance: Advance,
) -> Comparison:
    """Run every strategy of every model on every question.

    Models are loaded one after the other, so that only one is in memory. A short warm-up goes first, so that no
    strategy pays for the model's first forward pass.

    Args:
        models: names for `load`.
        strategies: in the strategy language; all are read before the first is run.
        questions: the prompts, and what grades the answers.
        load: loads a model by name.
        seed: the seed of all draws; strategies share their random numbers.
        samples: continuations of strategies that sample and do not say how many.
        max_rows: rows computed at once.
        limits: of each answer.
        advance: called with how many of `work(...)` units are done.

    Raises:
        DecodelabError: as `decodelab.generate`.
    """
    if samples is not None and samples < 1:
        raise InvalidParameter(f"--samples must be at least 1, got {samples}; ask for one or more")
    for text in strategies:
        Strategy.of(text)
    asked = TaskPlan(name="compare", max_new_tokens=limits.max_new_tokens)
    tasks = [LoadedTask(f"{i}", asked, q.task, [q.example], given=limits) for i, q in enumerate(questions)]
    each = work(1, len(strategies), len(questions), limits.max_new_tokens)
    found: list[list[Result]] = [[] for _ in questions]
    names: list[str] = []
    speeds: list[Speed] = []
    complete = False
    with notes() as said, temporary() as journal:
        try:
            for place, name in enumerate(models):
                begun = place * each
                advance(begun, f"loading {name}")
                generations: dict[str, Generation] = {}
                progress = TokensDone(_reporter(advance, begun, f"{name}: {len(strategies)} strategies"))
                record = _recorder(generations, progress)
                plan = Plan(
                    models=(name,),
                    strategies={text: text for text in strategies},
                    tasks=(asked,),
                    samples=samples or 1,
                    seed=seed,
                    max_rows=max_rows,
                )
                if names_text_model(name):
                    worker = texts = TextWorker(record)
                    texts.begin(plan, tasks)
                    check_counts(limits)
                    executor, shown, seen = WithServers(LocalExecutor(), texts), name, text_for_the_eye
                else:
                    worker = local = Worker(load, threads_for, [progress], record)
                    local.begin(plan, tasks)
                    model = local.model(name)
                    check_limits(model, limits)
                    executor, shown, seen = LocalExecutor(local), model.name, partial(tokens_for_the_eye, model)
                    _warm_up(model, questions[0].example.prompt)
                names.append(shown)
                for one in worker.worklist(name):
                    for note in worker.strategy(one).no_effects():
                        warnings.warn(note, NoEffectWarning, stacklevel=2)
                progress(RunStarted((), limits.max_new_tokens))
                began = time.perf_counter()
                try:
                    outcome = run(plan, journal, executor=executor, tasks=tasks)
                    if outcome.failures:
                        raise outcome.failures[0].error
                finally:
                    new_tokens = sum(map(_new_tokens, generations.values()))
                    speeds.append(Speed(shown, time.perf_counter() - began, new_tokens))
                    for one in views.work_items(journal, plan.digest):
                        # Strategies that are one and the same for this model are generated once.
                        if one.keys[0] in generations:
                            generation = replace(generations[one.keys[0]], index=int(one.task))
                            question = questions[generation.index]
                            found[generation.index].append(_measured(shown, seen, one.strategy, generation, question))
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


def work(models: int, strategies: int, questions: int, max_new_tokens: int) -> int:
    """How many units `compare` reports at the end."""
    return models * strategies * questions * max_new_tokens


def _reporter(advance: Advance, begun: float, what: str) -> Callable[[int], None]:
    """Report the tokens of one model on top of what was done before it."""
    return lambda tokens: advance(begun + tokens, what)


def _recorder(found: dict[str, Generation], progress: TokensDone) -> Callable[[WorkItem, Generation], None]:
    """Record each generation by its key, all its candidates included, of which the journal stores the best."""

    def record(one: WorkItem, generation: Generation) -> None:
        found[one.keys[0]] = generation
        progress(Finished(generation))

    return record


def _warm_up(model: LanguageModel, prompt: Prompt) -> None:
    """Make a model's first forward passes, which cost more than others."""
    with threads_for(model):
        if was_interrupted(generate(model, prompt, "greedy", max_new_tokens=2), 1):
            raise KeyboardInterrupt


def _new_tokens(generation: Generation) -> int:
    """Tokens that were generated, or those that a server counted."""
    return sum(len(c.tokens) for c in generation.candidates) or generation.cost.decode_tokens


def _measured(
    model: str,
    seen: Callable[[Generation, Candidate], tuple[Token, ...]],
    strategy: str,
    generation: Generation,
    question: Question,
) -> Result:
    answers = tuple(
        Measured(
            candidate,
            seen(generation, candidate),
            distinct_n([candidate.tokens], 2),
            question.grade(Response(candidate.text, candidate.finish_reason == "length", generation.prompt)),
        )
        for candidate in generation.candidates
    )
    return Result(model, strategy, generation, answers)


def text_for_the_eye(generation: Generation, candidate: Candidate) -> tuple[Token, ...]:
    """A server's text as one token, as its own are not known, with its mean probability, or NaN."""
    logprobs = candidate.token_logprobs
    p = math.exp(candidate.logprob / len(logprobs)) if logprobs else math.nan
    return (Token(candidate.text, candidate.text, p, p, True),)


def tokens_for_the_eye(model: LanguageModel, generation: Generation, candidate: Candidate) -> tuple[Token, ...]:
    """The tokens of a candidate, each with the text it adds and its probabilities."""
    text = Detokenizer.after(generation.prompt_tokens)
    ends = set(model.vocab.eos_ids)
    tokens: list[Token] = []
    last = len(candidate.tokens) - 1
    for i, token in enumerate(candidate.tokens):
        after = text.push(model.vocab, token)
        whole = after.whole if i == last else after.text
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
