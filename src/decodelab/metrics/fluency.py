"""Fluency of texts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

import numpy as np

from decodelab.core.errors import InvalidData
from decodelab.core.thoughts import without_thoughts
from decodelab.metrics.checks import Floats
from decodelab.metrics.classifier import Classifier

_ACCEPTABLE = ("acceptable", "label_1", "1")
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,9})?")


def acceptability(judge: Classifier, texts: Sequence[str], *, label: str | None = None) -> Floats:
    """The probability of "acceptable" for each text by a classifier trained on CoLA, float64 [texts].

    CoLA's sentences are short and English: a long or foreign text is judged outside of what the judge learnt.

    Args:
        judge: a sequence classifier.
        texts: what to judge; empty texts get 0.
        label: which label means acceptable; by default one named so, or LABEL_1 as CoLA numbers it.

    Raises:
        InvalidData: if the judge has no such label.

    Source: Warstadt et al. 2019; as a measure of fluency Krishna et al. 2020 (STRAP), section 5.
    """
    names = [n.lower() for n in judge.labels]
    wanted = [label.lower()] if label is not None else list(_ACCEPTABLE)
    column = next((names.index(w) for w in wanted if w in names), None)
    if column is None:
        raise InvalidData(f"{judge.name} has the labels {', '.join(judge.labels)}; name the one that means acceptable")
    found = np.zeros(len(texts))
    rows = [i for i, t in enumerate(texts) if t.strip()]
    found[rows] = judge.probabilities([texts[i] for i in rows])[:, column]
    return found


def accepted(texts: Sequence[str], accepts: Callable[[str], bool]) -> float:
    """The share of texts that a grammar accepts; NaN without texts.

    For pocket stories the grammar is `decodelab.pocket.stories.accepts`.

    >>> accepted(["ab", "ba"], lambda text: text.startswith("a"))
    0.5
    """
    return sum(bool(accepts(t)) for t in texts) / len(texts) if texts else math.nan


def rating_prompt(text: str) -> str:
    """What to ask a language model for a rating of fluency and coherence from 0 to 10, to be read by `stated_rating`.

    Source: in the manner of CMU 11-763 (2025), `02-generation-basics/generation.py`, `evaluate_fluency`.
    """
    return (
        "How fluent and coherent is the following text, from 0 (not at all) to 10 (perfectly)? "
        "Answer with a number only.\n"
        f"Text: {text}\nRating:"
    )


def stated_rating(answer: str) -> float | None:
    """The first number of a judge's answer without its thoughts, held to 0 to 10, or None without one.

    Source: CMU 11-763 (2025), as `rating_prompt`.

    >>> stated_rating("8/10"), stated_rating("12"), stated_rating("fine")
    (8.0, 10.0, None)
    """
    found = _NUMBER.search(without_thoughts(answer))
    return min(10.0, float(found[0])) if found else None
