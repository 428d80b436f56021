"""Costs of paths stated in a text, checked against the graph in its prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from decodelab.core.errors import InvalidData

_NUMBER = r"\d{1,6}"
_EDGE = re.compile(rf"\b({_NUMBER})->({_NUMBER}):({_NUMBER})\b", re.ASCII)
_STEP = re.compile(rf"({_NUMBER})->({_NUMBER})(?::({_NUMBER})(?:=({_NUMBER}))?)?", re.ASCII)
_BEST = re.compile(rf"\bbest((?: {_NUMBER})*)", re.ASCII)
_PATHS = re.compile(r"submit_paths\(paths=\[([\[\]\d, ]*)", re.ASCII)
_PATH = re.compile(r"\[([\d, ]*)(\]?)", re.ASCII)
_WEIGHTS = re.compile(r"weights=\[([\d, ]*)", re.ASCII)
_BEGUN = re.compile(rf"(?:{_NUMBER}(?:->?)?|:|=|b|be|bes|s(?:u(?:b(?:m(?:i(?:t(?:_[a-z]*)?)?)?)?)?)?)", re.ASCII)
"""What a line may end in where the next step, `best` or the answer has only begun."""
_LISTS = re.compile(r"\[[\[\]\d, ]*", re.ASCII)
_FORM = "submit_paths(paths=[weights=[)"
"""The answer without what stands in its lists."""

Graph = dict[tuple[str, str], int]
Path = tuple[str, ...]


def path_cost(prompt: str, texts: Sequence[str]) -> list[float]:
    """The negative error of the costs in a partial answer to a shortest-path question, at most 0.

    The graph is read from the prompt, where its edges stand as `source->target:weight`; no solution is. A text counts
    1 for every step that is no edge or does not go on where the last one ended, every weight, running total and list
    of best totals that is missing or that the graph or the lines above contradict, every submitted weight that is not
    its path's, and every line that says anything else (or a text without statements would be the best). A submitted
    path counts what it costs more than the cheapest that the text itself has listed, in units of the heaviest edge
    (at most 1; the second more than the second cheapest, and so on), as far as it is written: by the cheapest listed
    path that begins so. The last number of an unfinished text may still grow.

    Source: external knowledge for guided search, as in Xie et al. 2023, Self-evaluation guided beam search; the form of
    the answers is that of the pocket language.

    Raises:
        InvalidData: if the prompt has no edges.

    >>> graph = "Directed graph with 3 nodes. Edges (source->target:weight):\\n0->1:4\\n1->2:1\\n0->2:9"
    >>> right = "\\n0->1:4 1->2:1=5 best 5"
    >>> path_cost(graph, [right, "\\n0->1:4 1->2:1=6", f"{right}\\n0->2:9 best 9"])
    [0.0, -1.0, -1.0]
    """
    graph = {(source, target): int(weight) for source, target, weight in _EDGE.findall(prompt)}
    if not graph:
        raise InvalidData("path_cost: the prompt has no graph; write its edges as 0->1:4")
    return [-_wrong(graph, text) or 0.0 for text in texts]


def _wrong(graph: Graph, text: str) -> float:
    """What is wrong with a text."""
    working, _, answer = text.partition("submit_paths")
    listed: list[tuple[int, Path]] = []
    wrong = 0.0
    lines = working.split("\n")
    for number, line in enumerate(lines):
        if line or 0 < number < len(lines) - 1:
            wrong += _wrong_line(graph, line, listed, unfinished=number == len(lines) - 1 and not answer)
    return wrong + (_wrong_answer(graph, "submit_paths" + answer.rstrip(), sorted(listed)) if answer else 0)


def _fits(said: str, right: str, may_grow: bool) -> bool:
    """Whether a number is right, or can become it."""
    return said == right or (may_grow and right.startswith(said))


def _wrong_line(graph: Graph, line: str, listed: list[tuple[int, Path]], *, unfinished: bool) -> int:
    """What is wrong with a line of working; the path that it lists is added to those listed."""
    wrong, total, path = 0, 0, ()
    for step in _STEP.finditer(line):
        source, target, weight, running = step.groups()
        open_end = unfinished and step.end() >= len(line.rstrip(":"))
        wrong += bool(path) and path[-1] != source
        path = (*(path or (source,)), target)
        right = graph.get((source, target))
        if right is None:
            growing = open_end and weight is None
            wrong += not any(s == source and _fits(target, t, growing) for s, t in graph)
            continue
        total += right
        wrong += not open_end if weight is None else not _fits(weight, str(right), open_end and running is None)
        wrong += running is not None and not _fits(running, str(total), open_end)
    best = _BEST.search(line)
    rest = _BEST.sub("", _STEP.sub("", line), count=1).strip(" ")
    wrong += not (unfinished and (not rest or _BEGUN.fullmatch(rest))) if rest or best is None else 0
    if best is not None:
        listed.append((total, path))
        said = best[1].split()
        right = [str(t) for t, _ in sorted(listed)[: len(said)]]
        same = said[:-1] == right[:-1] and len(said) == len(right)
        wrong += bool(said) and not (same and _fits(said[-1], right[-1], unfinished and best.end() == len(line)))
    return wrong


def _wrong_answer(graph: Graph, answer: str, listed: Sequence[tuple[int, Path]]) -> float:
    """What is wrong with the paths and weights that are submitted, as far as they are written."""
    wrong = 0.0 if _FORM.startswith(_LISTS.sub("[", answer)) else 1.0
    found = _PATHS.match(answer)
    if found is None:
        return wrong
    heaviest = max(max(graph.values()), 1)
    costs: list[int] = []
    for place, written in enumerate(_PATH.finditer(found[1])):
        path = tuple(written[1].replace(",", " ").split())
        complete = bool(written[2])
        costs.append(sum(graph.get(step, 0) for step in pairwise(path)))
        wrong += sum(step not in graph for step in pairwise(path))
        if listed and path:
            begun = [cost for cost, whole in listed if (path == whole if complete else path == whole[: len(path)])]
            least = listed[min(place, len(listed) - 1)][0]
            wrong += min(1.0, max(0, min(begun) - least) / heaviest) if begun else 1.0
    weights = _WEIGHTS.search(answer)
    if weights is not None:
        said = weights[1].replace(",", " ").split()
        for place, weight in enumerate(said):
            growing = place == len(said) - 1 and weights.end() == len(answer)
            wrong += place >= len(costs) or not _fits(weight, str(costs[place]), growing)
    return wrong
