"""What selections, scorers, checkers, answer readers, metrics, tasks, back ends and commands must do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import typer

from decodelab.backends.chat import Backend, ChatSettings, Reply
from decodelab.checkers.reading import begin_reading
from decodelab.core.errors import DecodelabError
from decodelab.core.protocols import AnyChecker, AnyScorer, AnyUtility, Question, Reader, Selection
from decodelab.core.stage import Stage
from decodelab.core.values import Candidate, Chat, Confidences, Partial
from decodelab.metrics.metric import ConfidenceMetric, Sample, TextMetric, TextSet
from decodelab.scorers.judging import judged
from decodelab.select.utility.catalogue import compared
from decodelab.tasks.task import Example, Task
from decodelab.testing.stage import check_stage, require

TEXTS = ("", "4", "So it is 4.", "x\n\ny", "\x00\u202e\ufffd", "é" * 50, "word " * 400)
"""Texts that models write: empty, short, long, hostile."""


def check_selection(selection: Selection) -> None:
    """Check that a selection ranks every candidate once, with a score, whatever their order and texts.

    Raises:
        AssertionError: naming the first promise that is broken.

    >>> from decodelab import Vote
    >>> check_selection(Vote())
    """
    if isinstance(selection, Stage):
        check_stage(selection)
    pool = [
        Candidate((i,), text, (-1.0 - i,), (-1.0 - i,), "eos", i, -1.0 - i, Confidences((1.0,), (1.0 + i,), (2.0 - i,)))
        for i, text in enumerate((*TEXTS, "So it is 4."))
    ]
    question = Question.of("2 + 2 =")
    for candidates in (pool, pool[::-1], pool[:1]):
        ranked = selection.rank(candidates, question)
        same = sorted(c.sample for c, _ in ranked) == sorted(c.sample for c in candidates)
        require(same, selection, "rank must give each candidate once")
        scores = [score for _, score in ranked]
        require(not any(math.isnan(s) for s in scores), selection, "a score must not be NaN")
        require(scores == sorted(scores, reverse=True), selection, "the best must come first")
        require(selection.rank(candidates, question) == ranked, selection, "rank must give the same result twice")


def check_scorer(scorer: AnyScorer) -> None:
    """Check that a scorer of texts gives one finite number a text, the same alone and among others.

    Raises:
        AssertionError, ScorerFailed: naming the first promise that is broken.

    >>> check_scorer(lambda prompt, texts: [float(len(text)) for text in texts])
    """
    partials = [Partial("2 + 2 =", (1,), (i,), text) for i, text in enumerate(TEXTS)]
    together = judged(scorer, partials)
    alone = [judged(scorer, [partial])[0] for partial in partials]
    require(together == alone, scorer, "the score of a text must not depend on the texts beside it")


def check_checker(checker: AnyChecker, valid: Sequence[str] = ()) -> None:
    """Check that a checker never takes back that a text is invalid, reads in pieces, and accepts what is valid.

    Args:
        checker: what to check.
        valid: texts that are right as they stand.

    Raises:
        AssertionError, CheckerFailed: naming the first promise that is broken.

    >>> check_checker("python", valid=["x = 1"])
    """
    for text in (*TEXTS, *valid):
        reading = begin_reading(checker)
        dead = False
        for character in text[:60]:
            reading = reading.read(character)
            require(reading.invalid or not dead, checker, f"an invalid text must stay invalid ({text[:20]!r})")
            dead = reading.invalid
            require(not (reading.invalid and reading.complete), checker, "a text cannot be invalid and complete")
        whole = begin_reading(checker).read(text[:60])
        same = (whole.invalid, whole.complete) == (reading.invalid, reading.complete) or not text
        require(same, checker, f"reading in pieces must give what reading at once does ({text[:20]!r})")
    for text in valid:
        require(begin_reading(checker).read(text).complete, checker, f"must accept {text[:40]!r}")


def check_reader(reader: Reader) -> None:
    """Check that an answer reader gives text or None for any text, and always the same.

    Raises:
        AssertionError: naming the first promise that is broken.

    >>> check_reader(lambda text: text.strip() or None)
    """
    for text in TEXTS:
        answer = reader(text)
        require(answer is None or isinstance(answer, str), reader, f"must give text or None for {text[:20]!r}")
        require(reader(text) == answer, reader, "must give the same answer twice")


def check_utility(utility: AnyUtility) -> None:
    """Check that a utility gives one finite number for each pair of texts, whatever texts are read beside them.

    Raises:
        AssertionError, UtilityFailed: naming the first promise that is broken.

    >>> check_utility("chrf")
    """
    places = range(len(TEXTS))
    together = compared(utility, TEXTS).utilities(places, places)
    for i in places:
        for j in places:
            pair = [TEXTS[i]] if i == j else [TEXTS[i], TEXTS[j]]
            alone = float(compared(utility, pair).utilities([0], [len(pair) - 1])[0, 0])
            same = math.isclose(alone, float(together[i, j]), abs_tol=1e-9)
            require(same, utility, f"a pair's utility must not depend on other texts ({TEXTS[i][:20]!r})")


def check_metric(metric: TextMetric | ConfidenceMetric) -> None:
    """Check that a metric says what it means and gives numbers.

    Raises:
        AssertionError: naming the first promise that is broken.

    >>> check_metric(TextMetric("number of texts", lambda texts: texts.whole(len(texts.texts))))
    """
    require(bool(metric.meaning.strip()), metric, "must say what it means")
    if metric.of == "texts":
        for samples in ([Sample(text) for text in TEXTS], [Sample("a b", "p", ("a b",)), Sample("c", "p", ("d",))]):
            estimate = metric.measure(TextSet(samples))
            if estimate is not None:
                require(not math.isinf(estimate.value), metric, "a value must not be infinite")
    else:
        confidence, correct = np.array([0.9, 0.6, 0.8, 0.3]), np.array([1.0, 0.0, 1.0, 0.0])
        value = float(metric.statistic(confidence, correct))
        require(math.isfinite(value), metric, "must give a finite number")


def check_task(task: Task, examples: Sequence[Example] = ()) -> None:
    """Check that a task judges whatever a model may write, from 0 to 1, and accepts its own right answers' form.

    Args:
        task: what to check.
        examples: some of its items; a task that generates items needs none.

    Raises:
        AssertionError: naming the first promise that is broken.

    >>> from decodelab.tasks.pocket import Pocket
    >>> check_task(Pocket("sums"))
    """
    from decodelab.tasks.task import Generated

    for attribute in ("name", "source"):
        require(bool(getattr(task, attribute, "")), task, f"must set {attribute}")
    items = list(examples)
    if isinstance(task, Generated):
        items += [task.generate(seed) for seed in range(3)]
        require(task.generate(0) == task.generate(0), task, "the item of a seed must always be the same")
    require(bool(items), task, "needs examples to be checked on")
    for example in items:
        require(bool(example.id), task, "an example must have an id")
        for text in TEXTS:
            verdict = task.judge(example, text)
            require(0 <= verdict.score <= 1, task, f"a score must be in [0, 1] ({text[:20]!r})")
            require(task.judge(example, text) == verdict, task, "must judge the same text alike twice")


def check_backend(backend: Backend, name: str, bad: str | None = None) -> None:
    """Check that a back end's chat models answer every conversation once, and that bad names are refused by name.

    Args:
        backend: what to check.
        name: of a model that it has.
        bad: a malformed name, if there are any.

    Raises:
        AssertionError: naming the first promise that is broken.
    """
    require(isinstance(backend.remote, bool), backend, "must say whether it is remote")
    backend.check_name(name)
    if bad is not None:
        try:
            backend.check_name(bad)
        except DecodelabError:
            pass
        else:
            require(False, backend, f"must refuse the name {bad!r}")
    model = backend.chat_model(name, ChatSettings(max_tokens=4))
    require(bool(model.identity), backend, "a model must have an identity")
    chats = [Chat.of("2 + 2?"), Chat.of("3 + 3?", "Be brief.")]
    require(all(model.tokens(chat) > 0 for chat in chats), backend, "tokens must be counted")
    found = dict(model.replies(chats))
    require(sorted(found) == [0, 1], backend, "each conversation must be answered once")
    require(all(isinstance(r, Reply | DecodelabError) for r in found.values()), backend, "must give replies")


def check_command(command: Any) -> None:
    """Check that a command has help with an example, and documents its parameters.

    Raises:
        AssertionError: naming the first promise that is broken.
    """
    if isinstance(command, typer.Typer):
        made = typer.main.get_command(command)
    else:
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command()(command)
        made = typer.main.get_command(single)
    require(bool((made.help or "").strip()), command, "must say in its docstring what it does")
    undocumented = [p.name for p in made.params if p.name != "help" and not getattr(p, "help", None)]
    require(not undocumented, command, f"must document {', '.join(map(str, undocumented))}")
