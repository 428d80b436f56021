"""The graphs of the course's N-best path task, and the exact answer to them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from decodelab.core.errors import InvalidData

Edge = tuple[int, int, int]
"""Source, target, weight."""

WeightedPath = tuple[tuple[int, ...], int]
"""The nodes of a path, and the sum of its weights."""


@dataclass(frozen=True)
class Question:
    """Which paths are asked for: the `count` cheapest simple ones from node 0 to the last.

    Attributes:
        nodes: how many nodes there are.
        edges: directed, each with a weight of at least 0.
        count: how many paths are asked for (P).

    Raises:
        InvalidData: for an edge outside the graph, one given twice, a negative weight or a count below 1.
    """

    nodes: int
    edges: tuple[Edge, ...]
    count: int

    def __post_init__(self) -> None:
        """Check what was read."""
        if self.nodes < 2 or self.count < 1:
            raise InvalidData(f"graph: needs at least 2 nodes and 1 path, got {self.nodes} and {self.count}")
        seen: set[tuple[int, int]] = set()
        for source, target, weight in self.edges:
            if not (0 <= source < self.nodes and 0 <= target < self.nodes) or weight < 0:
                raise InvalidData(
                    f"graph: edge {source} -> {target} of weight {weight} is outside {self.nodes} nodes or negative"
                )
            if (source, target) in seen:
                raise InvalidData(f"graph: edge {source} -> {target} is given twice; leave one out")
            seen.add((source, target))

    @property
    def prompt(self) -> str:
        """The question as the course writes it."""
        edges = "\n".join(f"{source} -> {target}, weight: {weight}" for source, target, weight in self.edges)
        plural = "s" if self.count > 1 else ""
        return (
            f"You are given a directed graph with {self.nodes} nodes (numbered 0 to {self.nodes - 1}) "
            f"and the following edges:\n\nEdges (source -> target, weight):\n{edges}\n\n"
            f"Find the top {self.count} shortest path{plural} from node 0 to node {self.nodes - 1}.\n\n"
            "Return your answer by calling the submit_paths function with:\n"
            "- paths: A list of paths, where each path is a list of node indices\n"
            "- weights: A list of corresponding path weights\n\n"
            "For example, if the shortest path is [0, 2, 4] with weight 10, call:\n"
            "submit_paths(paths=[[0, 2, 4]], weights=[10])\n"
        )


def acceptable_paths(question: Question) -> tuple[WeightedPath, ...]:
    """All paths that a right answer may contain, cheapest first: the best `count` and whatever ties with the last.

    Fewer than `count` where the graph has no more. By networkx (Yen 1971).

    >>> acceptable_paths(Question(3, ((0, 1, 1), (1, 2, 3), (0, 2, 4)), 1))
    (((0, 1, 2), 4), ((0, 2), 4))
    """
    import networkx

    graph = networkx.DiGraph()
    graph.add_nodes_from(range(question.nodes))
    graph.add_weighted_edges_from(question.edges)
    found: list[WeightedPath] = []
    try:
        for path in networkx.shortest_simple_paths(graph, 0, question.nodes - 1, weight="weight"):
            cost = sum(graph.edges[step]["weight"] for step in pairwise(path))
            if len(found) >= question.count and cost > found[question.count - 1][1]:
                break
            found.append((tuple(path), cost))
    except networkx.NetworkXNoPath:
        return ()
    return tuple(sorted(found, key=lambda pair: (pair[1], pair[0])))


def make_question(seed: int) -> Question:
    """A random question as the course makes them.

    N is 3 to 20, M is 2 to min(10, N - 1), weights are 1 to W with W from 10 to 1000; node i has edges to
    i + 1 .. i + M modulo N; P is 1, 2 or 3 in 70, 20 and 10 of 100 cases.

    >>> make_question(0) == make_question(0), make_question(1).count in (1, 2, 3)
    (True, True)
    """
    rng = random.Random(f"decodelab graph {seed}")
    nodes = rng.randint(3, 20)
    reach = rng.randint(2, min(10, nodes - 1))
    heaviest = rng.randint(10, 1000)
    count = rng.choices((1, 2, 3), weights=(70, 20, 10))[0]
    edges = tuple(
        (node, (node + step) % nodes, rng.randint(1, heaviest)) for node in range(nodes) for step in range(1, reach + 1)
    )
    return Question(nodes, edges, count)


@dataclass(frozen=True)
class Finding:
    """What is wrong with a published answer.

    Attributes:
        problem: in words.
        published, right: the published pairs, and those that are right (with whatever ties with the last).
    """

    problem: str
    published: tuple[WeightedPath, ...]
    right: tuple[WeightedPath, ...]


def audit(question: Question, published: Sequence[WeightedPath]) -> Finding | None:
    """Why a published answer is not one of the true answers to a question; None when it is.

    >>> audit(Question(3, ((0, 1, 1), (1, 2, 3), (0, 2, 9)), 1), [((0, 2), 9)]).problem
    'path [0, 2] of weight 9 is not among the 1 cheapest, which end at 4'
    """
    right = acceptable_paths(question)
    weights = {(source, target): weight for source, target, weight in question.edges}
    wanted = min(question.count, len(right))
    listed = tuple((tuple(path), cost) for path, cost in published)
    for path, cost in listed:
        shown = list(path)
        steps = list(pairwise(path))
        if len(set(path)) != len(path) or path[:1] != (0,) or path[-1:] != (question.nodes - 1,):
            return Finding(f"{shown} is not a simple path from 0 to {question.nodes - 1}", listed, right)
        missing = [step for step in steps if step not in weights]
        if missing:
            return Finding(f"path {shown} uses {missing[0][0]} -> {missing[0][1]}, which is no edge", listed, right)
        true_cost = sum(weights[step] for step in steps)
        if cost != true_cost:
            return Finding(f"path {shown} weighs {true_cost}, not {cost}", listed, right)
    if len(set(listed)) != len(listed) or len(listed) != wanted:
        return Finding(f"{len(set(listed))} different paths are given, {wanted} are right", listed, right)
    for path, cost in listed:
        if (path, cost) not in right:
            last = right[wanted - 1][1]
            problem = f"path {list(path)} of weight {cost} is not among the {wanted} cheapest, which end at {last}"
            return Finding(problem, listed, right)
    # A path that ties with the last may stand for it, but not for one that is cheaper.
    cheaper = {pair for pair in islice(right, wanted) if pair[1] < right[wanted - 1][1]}
    if not cheaper <= set(listed):
        path, cost = min(cheaper - set(listed), key=lambda pair: pair[1])
        return Finding(f"path {list(path)} of weight {cost} is missing", listed, right)
    return None
