"""What more samples buy, as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from decodelab.bench.scaling.study import Scaling
from decodelab.report.number import fixed
from decodelab.report.page import environment, template_text
from decodelab.report.scaling.figure import to_svg
from decodelab.report.scaling.table import CHOICES, called, cell, choice_row, cost, notes


def to_html(found: Sequence[Scaling]) -> str:
    """Render curves, tables, levels of difficulty and the best choice for each budget.

    The page has no scripts; whatever a model, a task or a plan says is escaped.
    """
    templates = environment(score=fixed, cost=cost, called=called)
    return templates.get_template("scaling.html").render(
        choice_columns=CHOICES,
        studies=[_study(study) for study in found],
        style=template_text("compare.css", "bench.css", "scaling.css"),
    )


def _study(study: Scaling) -> dict[str, Any]:
    from markupsafe import Markup

    counts = sorted({point.k for curve in study.curves for point in curve.points})
    return {
        "title": f"{study.task}, {study.model}",
        "svg": Markup(to_svg(study)),
        "counts": counts,
        "rows": [
            {
                "strategy": curve.strategy,
                "selection": called(curve.selection),
                "cells": [next((cell(p) for p in curve.points if p.k == k), "") for k in counts],
                "costs": ", ".join(cost(point.forward_tokens) for point in curve.points),
            }
            for curve in study.curves
        ],
        "levels": study.levels,
        "choices": list(map(choice_row, study.choices)),
        "notes": list(notes(study)),
    }
