"""A comparison as one HTML file that needs nothing else: no network, no other file, no JavaScript to be read."""

from __future__ import annotations

import math
from typing import Any

from decodelab.bench.run.comparison import Comparison, Token
from decodelab.io.text import printable
from decodelab.report.compare.summary import LEGEND, means_over, results_of, short, together, verdict
from decodelab.report.page import environment, script_digest, template_text

BINS = (0.9, 0.5, 0.2, 0.05, 0.01)
"""Probabilities at which the colour of a token changes."""


def to_html(comparison: Comparison) -> str:
    """Render a comparison.

    Everything a model or a prompt says is escaped twice over: unseen characters become escapes, then HTML's own
    characters are escaped by the template. A content security policy forbids every script but the report's.
    """
    templates = environment(
        verdict=verdict,
        bin=probability_bin,
        tip=tip,
        short=short,
        returns=lambda text: text.replace("\n", "↵\n"),
    )
    script = template_text("compare.js")
    return templates.get_template("compare.html").render(
        comparison=comparison,
        overview=[row for model in comparison.models for row in _overview(comparison, model)],
        by_strategy=[
            sorted(results, key=lambda r: comparison.strategies.index(r.strategy)) for results in comparison.results
        ],
        graded=[(i, q) for i, q in enumerate(comparison.questions) if q.task is not None],
        legend=LEGEND,
        together=together(comparison),
        bins=BINS,
        style=template_text("compare.css"),
        script=script,
        script_digest=script_digest(script),
    )


def _overview(comparison: Comparison, model: str) -> list[dict[str, Any]]:
    """A row of the table over all prompts for each strategy of a model that gave something."""
    rows = []
    for strategy in comparison.strategies:
        by_question = results_of(comparison, model, strategy)
        results = [r for rs in by_question for r in rs]
        if results:
            answers = [[a for r in rs for a in r.answers] for rs in by_question]
            rows.append({"model": model, "strategy": strategy, "means": means_over(results), "answers": answers})
    return rows


def probability_bin(p: float) -> int:
    """The colour of a probability: 0 for nearly certain, 5 for below one per cent.

    >>> [probability_bin(p) for p in (1.0, 0.5, 0.009)]
    [0, 1, 5]
    """
    # Probabilities come from float32 logarithms: a half may be a hair less.
    return sum(p < edge - 1e-6 for edge in BINS)


def tip(token: Token) -> str:
    """What is shown when the pointer rests on a token."""
    model, processed = _percent(token.p), _percent(token.processed_p)
    return f"{printable(token.name)!r}: p {model} under the model, {processed} under the processed distribution"


def _percent(p: float) -> str:
    if math.isnan(p):
        return "not shown"
    return f"{p:.1%}" if p >= 0.001 else f"{p:.1e}"
