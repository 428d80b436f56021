"""N-best path prediction: the P shortest paths of a directed graph, submitted by a tool call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, Field, model_validator

from decodelab.core.errors import InvalidData
from decodelab.core.thoughts import without_thoughts
from decodelab.core.values import Chat, Prompt
from decodelab.io.tabular import read_rows
from decodelab.pocket.paths import SUBMIT_PATHS
from decodelab.tasks.fields import Id, Row, Words, read_items
from decodelab.tasks.path_answers import read_call, read_paths
from decodelab.tasks.shortest_paths import Finding, Question, WeightedPath, acceptable_paths, audit, make_question
from decodelab.tasks.task import Example, Verdict

EXAMPLE = (
    '{"id": 1, "graph_params": {"N": 3, "P": 1}, "edges": [[0, 2, 5]], "prompt": "...", "solution": {"paths": []}}'
)


class _Size(BaseModel):
    N: int
    P: int


class _Path(BaseModel):
    path: list[int]
    weight: int


class _Solution(BaseModel):
    paths: list[_Path]


class _Row(Row):
    id: Id = Field(default=...)
    prompt: Words
    graph_params: _Size
    edges: list[tuple[int, int, int]]
    solution: _Solution

    @model_validator(mode="after")
    def _sound(self) -> _Row:
        self.question()  # refuses edges outside the graph, say
        return self

    def question(self) -> Question:
        return Question(self.graph_params.N, tuple(self.edges), self.graph_params.P)


@dataclass(frozen=True)
class Graph:
    """The course's graph task: |submitted (path, weight) pairs that are in the published answer| / P.

    As the course scores: pairs count as a set, and submitting more than P costs nothing. Where fewer than P are
    published nobody reaches 1, as in homework 1; the grader of the final project divides by the published ones.

    Attributes:
        ties: "published" counts the published paths only, as the course does; "all" counts, by our own solution and
            whatever was published, every path that is no dearer than the last of the P best, and at most P of them.
        tools: "none" asks in text; "free" shows the model the tool `submit_paths` through its chat template, "forced"
            also begins its turn with the call of it, as far as the template tells how (`tool_choice` in OpenAI's API).

    >>> task = Graph()
    >>> example = task.generate(0)
    >>> path, weight = example.reference[0]["path"], example.reference[0]["weight"]
    >>> task.judge(example, f"submit_paths(paths=[{path}], weights=[{weight}])").score > 0
    True
    """

    ties: str = "published"
    tools: str = "none"

    name: ClassVar[str] = "graph"
    source: ClassVar[str] = "11-763 LM inference, CMU, autumn 2025"

    def __post_init__(self) -> None:
        """Check the parameters."""
        if self.ties not in ("published", "all"):
            raise InvalidData(f"graph: ties must be published or all, got {self.ties!r}")
        if self.tools not in ("none", "free", "forced"):
            raise InvalidData(f"graph: tools must be none, free or forced, got {self.tools!r}")

    def read(self, path: Path) -> list[Example]:
        """The examples of a JSONL file in the course's format.

        Raises:
            RequestError, InvalidData: for a file or a line that cannot be read, with its number.
        """
        found = []
        for name, row in read_items(read_rows(path, EXAMPLE), _Row, EXAMPLE):
            reference = [path.model_dump() for path in row.solution.paths]
            found.append(Example(name, self._asked(row.prompt), reference, _meta(row.question())))
        return found

    def generate(self, seed: int) -> Example:
        """An example made by the course's rules, with the exact answer."""
        question = make_question(seed)
        best = acceptable_paths(question)[: question.count]
        reference = [{"path": list(path), "weight": weight} for path, weight in best]
        return Example(f"made-{seed}", self._asked(question.prompt), reference, _meta(question))

    def _asked(self, prompt: str) -> Prompt:
        """The question as text, or as a chat with the tool."""
        if self.tools == "none":
            return prompt
        name = SUBMIT_PATHS["function"]["name"] if self.tools == "forced" else None
        return Chat.of(prompt, tools=[SUBMIT_PATHS], tool_choice=name)

    def judge(self, example: Example, text: str) -> Verdict:
        """Score the pairs that the text submits."""
        text = without_thoughts(text)
        submitted = read_paths(text) if self.tools == "none" else read_call(text)
        if submitted is None:
            return Verdict(0.0, None)
        answer = [{"path": list(path), "weight": weight} for path, weight in submitted]
        if self.ties == "all":
            question = question_of(example)
            right = acceptable_paths(question)
            wanted = min(question.count, len(right))
        else:
            right = published_of(example)
            wanted = question_of(example).count
        hits = len(set(right) & set(submitted))
        return Verdict(min(hits, wanted) / wanted if wanted else 0.0, answer)

    def audit(self, examples: Sequence[Example]) -> dict[str, Finding]:
        """The examples whose published answer is not a true one, by id."""
        found = {example.id: audit(question_of(example), published_of(example)) for example in examples}
        return {name: finding for name, finding in found.items() if finding is not None}


def question_of(example: Example) -> Question:
    """The graph and what is asked of it."""
    edges = tuple((source, target, weight) for source, target, weight in example.meta["edges"])
    return Question(example.meta["nodes"], edges, example.meta["count"])


def published_of(example: Example) -> tuple[WeightedPath, ...]:
    """The published answer."""
    return tuple((tuple(pair["path"]), pair["weight"]) for pair in example.reference)


def _meta(question: Question) -> dict[str, Any]:
    return {"nodes": question.nodes, "edges": [list(edge) for edge in question.edges], "count": question.count}


def published_row(example: Example) -> dict[str, Any]:
    """An example as the course writes it, a line of its JSONL."""
    prompt = example.prompt.messages[-1]["content"] if isinstance(example.prompt, Chat) else example.prompt
    return {
        "id": example.id,
        "graph_params": {"N": example.meta["nodes"], "P": example.meta["count"]},
        "edges": example.meta["edges"],
        "prompt": prompt,
        "solution": {"paths": example.reference},
    }
