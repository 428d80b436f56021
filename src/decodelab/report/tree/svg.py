"""A tree of hypotheses as an SVG image and as a self-contained HTML page without scripts."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from decodelab.analysis.search_tree import Hypotheses, Node
from decodelab.io.text import printable
from decodelab.report.page import environment, template_text
from decodelab.report.tree.text import MEANINGS

_ROW, _CHARACTER, _GAP, _LEAST, _LONGEST = 34, 7.3, 34, 14, 24
_BESIDE = 12
"""Pixels around the text of a box."""


@dataclass(frozen=True)
class Box:
    """A node with its position, in pixels; `parent` is the box before it."""

    node: Node | None
    text: str
    tip: str
    x: float
    y: float
    width: float
    parent: Box | None

    @property
    def p(self) -> float:
        """The probability of its token after the text before it."""
        return 0.0 if self.node is None else math.exp(self.node.logprob)

    @property
    def edge(self) -> str:
        """The line from the parent box, as an SVG path."""
        assert self.parent is not None
        start = self.parent.x + self.parent.width
        middle = (start + self.x) / 2
        points = [(start, self.parent.y), (middle, self.parent.y), (middle, self.y), (self.x, self.y)]
        first, *curve = (f"{x:.0f} {y:.0f}" for x, y in points)
        return f"M{first}C{' '.join(curve)}"


def to_svg(hypotheses: Hypotheses) -> str:
    """The tree as a self-contained SVG image; model-written text is escaped, nothing is fetched or run."""
    return _render("tree.svg", hypotheses)


def to_html(hypotheses: Hypotheses) -> str:
    """The tree as a page with the picture, its steps and its candidates.

    Model-written text is escaped twice over, as in the other pages; a content security policy forbids all scripts.
    """
    return _render("tree.html", hypotheses)


def _render(template: str, hypotheses: Hypotheses) -> str:
    boxes = _boxes(hypotheses)
    return (
        environment()
        .get_template(template)
        .render(
            hypotheses=hypotheses,
            boxes=boxes,
            width=max(box.x + box.width for box in boxes) + 10,
            height=max(box.y for box in boxes) + _ROW,
            meanings=MEANINGS,
            scored=sum(step.scored for step in hypotheses.steps),
            style=template_text("compare.css"),
        )
    )


def _drawn(text: str) -> str:
    """Model-written text for an image: without control characters and what XML forbids, and shortened."""
    shown = re.sub("[\ufffe\uffff]", "\ufffd", printable(text)).replace(" ", "\N{NO-BREAK SPACE}")
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"


def _tip(node: Node) -> str:
    """The tooltip of a box."""
    ends = "" if node.candidate is None else f"; candidate {node.candidate}, score {node.score:.6g}"
    text = re.sub("[\ufffe\uffff]", "\ufffd", printable(node.text))
    return f"'{text}' (token {node.token}) at step {node.step}: log p {node.logprob:.4f}, total {node.total:.4f}{ends}"


def _boxes(hypotheses: Hypotheses) -> list[Box]:
    """All boxes: one column per step, one row per leaf, each parent midway between its first and last child."""
    children = hypotheses.children()
    parents = {node.id: node.parent for node in hypotheses.nodes}
    by_id = {node.id: node for node in hypotheses.nodes}
    prompt = _drawn(hypotheses.generation.prompt) or "(BOS)"
    widths: dict[int, float] = {0: _BESIDE + _CHARACTER * len(prompt)}
    for node in hypotheses.nodes:
        widths[node.step] = max(widths.get(node.step, 0), _BESIDE + _CHARACTER * max(len(_drawn(node.text)), _LEAST))
    lefts: dict[int, float] = {}
    left = 10.0
    for step in sorted(widths):
        lefts[step] = left
        left += widths[step] + _GAP

    # Leaves from top to bottom, depth first; then every parent after its children, which have higher numbers.
    order: list[int] = []
    stack = [0]
    while stack:
        number = stack.pop()
        order.append(number)
        stack += [child.id for child in reversed(children.get(number, []))]
    rows: dict[int, float] = {}
    for number in order:
        if number not in children:
            rows[number] = _ROW * (len(rows) + 1)
    for number in sorted(parents.keys() | {0}, reverse=True):
        if number in children:
            below = [rows[child.id] for child in children[number]]
            rows[number] = (min(below) + max(below)) / 2

    boxes: dict[int, Box] = {0: Box(None, prompt, "the prompt", lefts[0], rows[0], widths[0], None)}
    for number in order[1:]:
        node = by_id[number]
        text = _drawn(node.text)
        width = _BESIDE + _CHARACTER * max(len(text), _LEAST)
        boxes[number] = Box(node, text, _tip(node), lefts[node.step], rows[number], width, boxes[node.parent])
    return [boxes[number] for number in order]
