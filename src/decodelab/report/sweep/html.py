"""The results of a sweep as one HTML file that needs nothing else, every answer in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from decodelab.bench.plan import Plan
from decodelab.bench.records import CellStats
from decodelab.bench.stats.comparison import Results
from decodelab.report.number import p_value, signed, signed_interval
from decodelab.report.page import environment, script_digest, template_text
from decodelab.report.sweep import plot as bench_plot
from decodelab.report.sweep.plot import plot, points_of, reliability
from decodelab.report.sweep.samples import Packed
from decodelab.report.sweep.table import (
    advice,
    forward_tokens,
    groups,
    more_of,
    odd_lengths,
    title,
    unread,
    verdict_of,
    winner_of,
)

_BAR = 144
"""Width of the drawing of an interval."""


def to_html(plan: Plan, results: Results, answers: Packed) -> str:
    """Render the results of a sweep.

    Tables and plots need no JavaScript. Everything a model, a task or a plan says is escaped: unseen characters become
    escapes, then the template escapes HTML; the answers stand in the page as base64 and reach it as text nodes
    only. A content security policy forbids every script but the report's.
    """
    from markupsafe import Markup

    templates = environment(pt=lambda place: f"{place:.4g}")
    script = template_text("bench_answers.js", "bench.js")
    shown = [_group(plan, results, *names, rows) for names, rows in groups(results)]
    return templates.get_template("bench.html").render(
        plan=plan,
        tasks=list(zip(plan.task_names, plan.tasks, strict=True)),
        baseline=results.baseline,
        answered_only=results.answered_only,
        groups=shown,
        glance=list(_glance(plan, results)),
        advice=advice(results),
        size={
            "width": bench_plot.WIDTH,
            "height": bench_plot.HEIGHT,
            "left": bench_plot.LEFT,
            "right": bench_plot.WIDTH - bench_plot.RIGHT,
            "top": bench_plot.TOP,
            "bottom": bench_plot.HEIGHT - bench_plot.BOTTOM,
        },
        side=bench_plot.SIDE,
        index=Markup(answers.index() if answers.blocks else ""),
        blocks=[Markup(block) for block in answers.blocks],
        style=template_text("compare.css", "bench.css"),
        script=script,
        script_digest=script_digest(script),
    )


def _group(plan: Plan, results: Results, task: str, model: str, rows: Sequence[CellStats]) -> dict[str, Any]:
    """One task and model as the template wants it."""
    more = more_of(rows)
    flags = [name for name, share in FLAGS.items() if any(map(share, rows)) or (name == NO_ANSWER and rows[0].reads)]
    same_task = [row for row in results.cells if row.task == task]
    place = _scale(same_task)
    baseline = next((r.score.value for r in rows if r.strategy == results.baseline and r.score is not None), None)
    return {
        "task": task,
        "model": model,
        "task_number": plan.task_names.index(task),
        "model_number": plan.models.index(model),
        "title": title(task, model, rows),
        "verdict": verdict_of(results, task, model, rows),
        "unread": unread(rows),
        "odd_lengths": odd_lengths(rows, results.baseline),
        "more": more,
        "flags": flags,
        "rows": [_row(row, place, baseline, flags, more) for row in rows],
        "plots": [
            drawn for drawn in (plot(name, points_of(rows, of)) for name, of in COSTS.items()) if drawn is not None
        ],
        "agreement": _agreement(results, task, model, [row.strategy for row in rows]),
        "calibration": [
            {"of": c, "diagram": reliability(c.bins)} for c in results.calibration if (c.task, c.model) == (task, model)
        ],
    }


COSTS: dict[str, Callable[[CellStats], float]] = {
    "forward tokens per answer": forward_tokens,
    "seconds per answer": lambda row: row.seconds,
}
"""The cost of an answer, by what plots call it."""
NO_ANSWER = "no answer"
FLAGS: dict[str, Callable[[CellStats], float]] = {
    NO_ANSWER: lambda row: row.unread,
    "cut off": lambda row: row.unfinished,
    "loops": lambda row: row.repeated,
}
"""Shares of answers that are odd, by the name of their column; one without any has no column, but for that of answers
which were not read."""


def _scale(rows: Sequence[CellStats]) -> Callable[[float], float]:
    """The position of a score in a bar, the same for all models of a task."""
    ends = [v for r in rows if r.score for v in (r.score.value, r.score.low, r.score.high) if not math.isnan(v)]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    width = high - low or 1.0
    return lambda score: 5 + (score - low) / width * (_BAR - 10)


def _row(
    row: CellStats, place: Callable[[float], float], baseline: float | None, flags: Sequence[str], more: Sequence[str]
) -> dict[str, Any]:
    score, difference = row.score, row.difference
    forward = forward_tokens(row)
    bar = None
    if score is not None:
        ends = (None, None) if math.isnan(score.low) else (place(score.low), place(score.high))
        zero = None if baseline is None else place(baseline)
        bar = {"value": place(score.value), "low": ends[0], "high": ends[1], "zero": zero}
    before = [_number("" if score is None else f"{score.value:.3f}", score and score.value)]
    after = [
        _number("" if score is None else f"{score.low:.3f} to {score.high:.3f}", score and score.low),
        _number(
            "" if difference is None else f"{signed(difference.value)} {signed_interval(difference)}",
            difference and difference.value,
        ),
        _number("" if row.p is None else p_value(row.p), row.p),
        _number(f"{forward:,.1f}", forward),
        _number(f"{row.seconds:.3g}", row.seconds),
        _number(f"{row.tokens:.1f}", row.tokens),
        *(_number(f"{share:.0%}" if share else "", share, "n flag") for share in (FLAGS[name](row) for name in flags)),
        *(_number(f"{row.more[name]:.3g}", row.more[name]) if name in row.more else _number("", None) for name in more),
    ]
    return {"name": row.strategy, "bar": bar, "before": before, "after": after}


def _number(text: str, value: float | None, kind: str = "n") -> tuple[str, str, str]:
    """A cell: what it shows, what it is sorted by, and its class."""
    if value is None or math.isnan(value):
        return ("", "", kind)
    return (text, repr(float(value)), kind)


def _agreement(results: Results, task: str, model: str, names: Sequence[str]) -> dict[str, Any] | None:
    """Shares of equal answers as a matrix; None where nothing can be compared."""
    shares = {(a.first, a.second): a.share for a in results.agreement if (a.task, a.model) == (task, model)}
    if not shares:
        return None
    rows = [[shares.get((a, b), shares.get((b, a))) for b in names] for a in names]
    return {"names": names, "rows": rows}


def _glance(plan: Plan, results: Results) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Each strategy's mean score for every task and model, and what is known of it."""
    for strategy in plan.strategies:
        marks = []
        for (task, model), rows in groups(results):
            score = next((row.score for row in rows if row.strategy == strategy), None)
            winner = winner_of(results, task, model)
            kinds = []
            if winner is not None:
                kinds += ["best"] * (strategy in (winner.best, *winner.tied)) + ["good"] * (strategy in winner.as_good)
                kinds += ["undecided"] * (strategy in winner.undecided)
            value = None if score is None else score.value
            text, key, _ = _number("" if value is None else f"{value:.3f}", value)
            marks.append({"text": text, "value": key, "kind": " ".join(kinds)})
        yield strategy, marks
