"""Call a scorer and check that it returns one finite number per text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from decodelab.core.errors import DecodelabError, ScorerFailed
from decodelab.core.protocols import AnyScorer, LanguageModel, ModelScorer
from decodelab.core.stage import Written, brief, plain
from decodelab.core.values import Partial
from decodelab.scorers.catalogue import find_scorer


class NoModel(Exception):
    """A scorer asks for what only the model has, where none is at hand."""


def judged(scorer: AnyScorer, partials: Sequence[Partial], model: LanguageModel | None = None) -> list[float]:
    """The values of a scorer for continuations of one prompt, from one call.

    Args:
        scorer: a name or a scorer.
        partials: the continuations.
        model: for scorers that query it.

    Raises:
        ScorerFailed: if it raises, or gives another number of values, or one that is no finite number; with the
            text that caused it, found by asking again for one text at a time.

    >>> judged(lambda prompt, texts: [len(text) for text in texts], [Partial("", (), (4,), "four")])
    [4.0]
    """
    if not partials:
        return []
    name, ask = _asked(scorer, model)
    try:
        answers = list(ask(partials))
    except DecodelabError:
        raise
    except NoModel:
        raise _no_model(name) from None
    except Exception as error:  # whatever other people's code raises
        culprit = next((p for p in partials if _raises(ask, p)), partials[0])
        raised = f"raised {type(error).__name__}: {brief(' '.join(str(error).split()))}"
        raise ScorerFailed(f"scorer {name} {raised} for the text {brief(culprit.text)}; fix the scorer") from error
    if len(answers) != len(partials):
        raise ScorerFailed(
            f"scorer {name} gave {len(answers)} numbers for {len(partials)} texts, the first being "
            f"{brief(partials[0].text)}; return one per text"
        )
    return [_finite(answer, name, partial) for answer, partial in zip(answers, partials, strict=True)]


Ask = Callable[[Sequence[Partial]], Sequence[Any]]


def _asked(scorer: AnyScorer, model: LanguageModel | None) -> tuple[str, Ask]:
    """What errors call a scorer, and how it is asked."""
    name = str(scorer) if isinstance(scorer, Written) else plain(scorer)
    found = find_scorer(scorer)
    if isinstance(found, ModelScorer):
        if model is None:
            raise _no_model(name)
        return name, lambda partials: found.score(model, partials)
    return name, lambda partials: found(partials[0].prompt, [p.text for p in partials])


def _no_model(name: str) -> ScorerFailed:
    return ScorerFailed(f"scorer {name} needs the model, which is not available here; use a scorer of texts")


def _raises(ask: Ask, partial: Partial) -> bool:
    try:
        ask([partial])
    except Exception:  # as in `judged`
        return True
    return False


def _finite(answer: Any, name: str, partial: Partial) -> float:
    try:
        value = math.nan if isinstance(answer, str | bytes) else float(answer)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise ScorerFailed(
            f"scorer {name} must give a finite number, got {brief(answer)} for the text {brief(partial.text)}; "
            "for impossible texts return a large negative number"
        )
    return value
