"""Top-P shortest paths in a small ring-like directed graph, answered by `submit_paths(...)`.

The graphs are those of the course task (node i has edges to i+1 .. i+M modulo N, paths run from 0 to
N-1), smaller. The reference works by enumerating every simple path in order of its nodes, rewriting each
edge with its weight before adding it, and keeping the P best totals after each path.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from decodelab.pocket.item import LONGEST_ANSWER, Item, Split, draw

TASK = "paths"
LONGEST_NUMBER = 6
SUBMIT_PATHS: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "submit_paths",
        "description": "Submit the top P shortest paths found",
        "parameters": {
            "type": "object",
            "properties": {
                "paths": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
                "weights": {"type": "array", "items": {"type": "integer"}},
            },
            "required": ["paths", "weights"],
        },
    },
}
"""The tool as the course defines it, for chat templates and the OpenAI API."""


def simple_paths(nodes: int, edges: Sequence[Sequence[int]]) -> list[tuple[int, tuple[int, ...]]]:
    """Return `(weight, path)` of every simple path from node 0 to the last, in order of the nodes visited.

    >>> simple_paths(3, [[0, 1, 1], [0, 2, 9], [1, 2, 3]])
    [(4, (0, 1, 2)), (9, (0, 2))]
    """
    out: dict[int, dict[int, int]] = {node: {} for node in range(nodes)}
    for source, target, weight in edges:
        out[source][target] = weight

    def walk(path: tuple[int, ...], total: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        if path[-1] == nodes - 1:
            yield total, path
            return
        for target in sorted(out[path[-1]]):
            if target not in path:
                yield from walk((*path, target), total + out[path[-1]][target])

    return list(walk((0,), 0))


def _make(rng: random.Random) -> tuple[str, Item]:
    nodes = rng.choices((3, 4, 5, 6), weights=(2, 3, 3, 2))[0]
    reach = 3 if nodes == 4 and rng.random() < 0.25 else 2
    count = 2 if rng.random() < 0.2 else 1
    edges = sorted(
        [node, (node + step) % nodes, rng.randint(1, 9)] for node in range(nodes) for step in range(1, reach + 1)
    )
    listing = "\n".join(f"{source}->{target}:{weight}" for source, target, weight in edges)
    ask = "shortest path" if count == 1 else f"top {count} shortest paths"
    prompt = (
        f"Directed graph with {nodes} nodes. Edges (source->target:weight):\n{listing}\n"
        f"Find the {ask} from node 0 to node {nodes - 1}."
    )
    weights = {(source, target): weight for source, target, weight in edges}
    lines, best = [], []
    for total, path in simple_paths(nodes, edges):
        running, steps = 0, []
        for source, target in pairwise(path):
            running += weights[source, target]
            steps.append(f"{source}->{target}:{weights[source, target]}" + (f"={running}" if source != 0 else ""))
        best = sorted([*best, (total, len(lines), path)])[:count]
        lines.append(f"{' '.join(steps)} best {' '.join(str(entry[0]) for entry in best)}")
    answer = f"submit_paths(paths={[list(entry[2]) for entry in best]}, weights={[entry[0] for entry in best]})"
    reference = "\n" + "\n".join([*lines, answer])
    meta = {"nodes": nodes, "reach": reach, "count": count, "edges": edges}
    return f"{count} {edges}", Item(TASK, prompt, reference, meta)


def generate(seed: int, split: Split) -> Item:
    """Return the graph question that `seed` names: 3 to 6 nodes, weights 1 to 9, P = 1 (80 %) or 2.

    >>> "Find the" in generate(0, "test").prompt
    True
    """
    return draw(TASK, seed, split, _make)


def parse_call(text: str) -> list[tuple[tuple[int, ...], int]] | None:
    """Return the `(path, weight)` pairs of the last well-formed `submit_paths(...)` in `text`, or None.

    Arguments come in either order; numbers are bounded; nothing is evaluated.

    >>> parse_call("submit_paths(weights=[10], paths=[[0, 2, 4]])")
    [((0, 2, 4), 10)]
    >>> parse_call("submit_paths(paths=[[0, 2, 4]], weights=[])") is None
    True
    """
    numbers = rf"\[[\d\s,]{{0,{LONGEST_ANSWER}}}\]"
    lists = rf"\[[\[\]\d\s,]{{0,{LONGEST_ANSWER}}}?\]"
    calls = re.findall(
        rf"submit_paths\(\s?(?:paths\s?=\s?({lists})\s?,\s?weights\s?=\s?({numbers})"
        rf"|weights\s?=\s?({numbers})\s?,\s?paths\s?=\s?({lists}))\s?\)",
        text[:LONGEST_ANSWER],
        re.ASCII,
    )
    if not calls:
        return None
    first_paths, first_weights, second_weights, second_paths = calls[-1]
    paths = _read(first_paths or second_paths)
    weights = _read(first_weights or second_weights)
    if paths is None or weights is None or len(paths) != len(weights):
        return None
    if not all(isinstance(path, list) and all(type(node) is int for node in path) for path in paths):
        return None
    if not all(type(weight) is int for weight in weights):
        return None
    return [(tuple(path), weight) for path, weight in zip(paths, weights, strict=True)]


def _read(text: str) -> list[Any] | None:
    depth = 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if depth > 2:
            return None
    if re.search(rf"\d{{{LONGEST_NUMBER + 1}}}", text):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def grade(item: Item, text: str) -> float:
    """Return the share of the P best `(path, weight)` pairs that `text` submits.

    Where several paths tie at the P-th weight any of them counts, so a correct answer is never marked
    wrong for the way it breaks a tie; more than P submitted pairs score 0 (no fishing).
    """
    pairs = parse_call(text)
    count = item.meta["count"]
    if pairs is None or len(pairs) > count:
        return 0.0
    every = {path: weight for weight, path in simple_paths(item.meta["nodes"], item.meta["edges"])}
    cut = sorted(every.values())[:count][-1]
    right = {path for path, weight in pairs if every.get(path) == weight and weight <= cut}
    return len(right) / count
