"""The hypotheses of one generation as a tree: what the search kept and what it dropped."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch

from decodelab.core.events import Event, Step
from decodelab.core.protocols import Vocab
from decodelab.core.values import Candidate, Generation, Tokens
from decodelab.kernels.fused import log_normaliser

Fate = Literal["returned", "ended", "dropped", "pruned"]
"""What became of a node: part of a candidate that was returned, of a finished hypothesis that was not, kept for a time
and dropped, or never kept."""


@dataclass(frozen=True)
class Node:
    """A token after a prefix.

    Attributes:
        id: its number; 0 is the prompt.
        parent: the number of the node before it.
        step: how many tokens lead to it, itself included.
        token: its id.
        text: what it adds to the text; the name of a token that adds none.
        logprob: its log-probability under the processed distribution, in nats.
        total: the sum of logprob from the prompt to here.
        fate: whether it was returned, ended, dropped or pruned.
        ended: whether a hypothesis ended with it.
        candidate: the place, from 1, of the candidate that ends with it.
        score: the search's score of that candidate.
    """

    id: int
    parent: int
    step: int
    token: int
    text: str
    logprob: float
    total: float
    fate: Fate
    ended: bool
    candidate: int | None = None
    score: float | None = None


@dataclass(frozen=True)
class StepCount:
    """The work of one step of a search.

    Attributes:
        step: which, from 1; a search that goes on from any depth counts by depth.
        rows: hypotheses expanded.
        scored: continuations that were possible, over all of them: rows times the size of the vocabulary, at most.
        kept: continuations kept.
        ended: those that ended.
    """

    step: int
    rows: int = 0
    scored: int = 0
    kept: int = 0
    ended: int = 0


@dataclass(frozen=True)
class Hypotheses:
    """The tree of one generation.

    Attributes:
        strategy: as written.
        generation: the result.
        nodes: in order, parents first; the prompt, number 0, is not among them.
        steps: the work of each step.
        left_out: nodes that were not recorded because there were too many.
    """

    strategy: str
    generation: Generation
    nodes: tuple[Node, ...]
    steps: tuple[StepCount, ...]
    left_out: int

    def children(self) -> dict[int, list[Node]]:
        """The nodes after each, kept ones first, then by total."""
        found: dict[int, list[Node]] = {}
        for node in self.nodes:
            found.setdefault(node.parent, []).append(node)
        for nodes in found.values():
            nodes.sort(key=lambda n: (n.fate == "pruned", -n.total, n.id))
        return found

    def to_dict(self) -> dict[str, Any]:
        """The tree as JSON-ready data."""
        return {
            "strategy": self.strategy,
            "runs_as": self.generation.strategy,
            "steps": [asdict(step) for step in self.steps],
            "scored": sum(step.scored for step in self.steps),
            "left_out": self.left_out,
            "candidates": self.generation.to_dict()["candidates"],
            "nodes": [asdict(node) for node in self.nodes],
        }


@dataclass
class _Seen:
    """A node while the search goes on."""

    step: int
    logprob: float
    total: float
    kept: bool
    ended: bool


@dataclass
class TreeRecorder:
    """An observer that records the search tree of one prompt.

    A node is identified by its tokens, so the order in which a search visits nodes does not matter. Of the
    continuations dropped at each step, the `pruned` most probable ones are recorded.

    Attributes:
        vocab: of the model.
        pruned: number of dropped continuations recorded per step.
        most: largest number of nodes recorded.
    """

    vocab: Vocab
    pruned: int = 2
    most: int = 2000
    _seen: dict[Tokens, _Seen] = field(default_factory=dict)
    _steps: dict[int, Counter[str]] = field(default_factory=dict)
    _left_out: int = 0

    def __call__(self, event: Event) -> None:
        """Take an event from the engine."""
        if not isinstance(event, Step):
            return
        prefixes = event.prefixes
        totals = [self._seen[p].total if p in self._seen else 0.0 if not p else math.nan for p in prefixes]
        norms = log_normaliser(event.processed).double()
        chosen: set[tuple[int, int]] = set()
        picked = event.processed[event.parents, event.tokens].double() - norms[event.parents]
        columns = (event.parents.tolist(), event.tokens.tolist(), event.ended.tolist(), picked.tolist())
        for row, token, ended, logprob in zip(*columns, strict=True):
            chosen.add((row, token))
            self._note((*prefixes[row], token), logprob, totals[row], kept=True, ended=ended)
        self._note_pruned(event, prefixes, totals, norms, chosen)

        possible = event.processed.isfinite().sum(-1).tolist()
        positions = event.positions.tolist()
        for row, position in enumerate(positions):
            self._steps.setdefault(position + 1, Counter()).update(rows=1, scored=possible[row])
        for row, _, ended, _ in zip(*columns, strict=True):
            self._steps[positions[row] + 1]["ended" if ended else "kept"] += 1

    def _note_pruned(
        self,
        event: Step,
        prefixes: Sequence[Tokens],
        totals: Sequence[float],
        norms: torch.Tensor,
        chosen: set[tuple[int, int]],
    ) -> None:
        """Note the most probable continuations that were not chosen."""
        if not self.pruned:
            return
        widest = max((sum(r == row for r, _ in chosen) for row in range(len(prefixes))), default=0)
        best = event.processed.topk(min(self.pruned + widest, event.processed.shape[-1]), dim=-1)
        logprobs = (best.values.double() - norms[:, None]).tolist()
        passed = [
            (totals[row] + logprob, row, token, logprob)
            for row, tokens in enumerate(best.indices.tolist())
            for token, logprob in zip(tokens, logprobs[row], strict=True)
            if (row, token) not in chosen and logprob > -math.inf
        ]
        for _, row, token, logprob in sorted(passed, key=lambda p: (-p[0], p[1], p[2]))[: self.pruned]:
            self._note((*prefixes[row], token), logprob, totals[row], kept=False, ended=False)

    def _note(self, tokens: Tokens, logprob: float, before: float, *, kept: bool, ended: bool) -> None:
        held = self._seen.get(tokens)
        if held is not None:
            held.kept, held.ended = held.kept or kept, held.ended or ended
        elif len(self._seen) >= self.most or (len(tokens) > 1 and tokens[:-1] not in self._seen):
            self._left_out += 1
        else:
            self._seen[tokens] = _Seen(len(tokens), logprob, before + logprob, kept, ended)

    def hypotheses(self, strategy: str, generation: Generation) -> Hypotheses:
        """The tree of the generation that was listened to; the paths of its candidates are whole whatever the bound."""
        for candidate in generation.candidates:
            self._add_path(candidate)
        ends = {c.tokens: (i, c.score) for i, c in reversed(list(enumerate(generation.candidates, 1)))}
        returned = {c.tokens[:k] for c in generation.candidates for k in range(1, len(c.tokens) + 1)}
        finished = {t[:k] for t, seen in self._seen.items() if seen.ended for k in range(1, len(t) + 1)}
        numbers: dict[Tokens, int] = {(): 0}
        texts: dict[Tokens, str] = {(): ""}
        nodes: list[Node] = []
        for tokens, seen in sorted(self._seen.items(), key=lambda pair: len(pair[0])):
            numbers[tokens] = len(numbers)
            texts[tokens] = self.vocab.decode_completion(generation.prompt_tokens, tokens).rstrip("\ufffd")
            fate: Fate = (
                "returned"
                if tokens in returned
                else "ended"
                if tokens in finished
                else "dropped"
                if seen.kept
                else "pruned"
            )
            place, score = ends.get(tokens, (None, None))
            before = texts[tokens[:-1]]
            adds = texts[tokens].startswith(before) and texts[tokens] != before
            text = texts[tokens][len(before) :] if adds else self.vocab.token_text(tokens[-1])
            nodes.append(
                Node(
                    numbers[tokens], numbers[tokens[:-1]], seen.step, tokens[-1], text, seen.logprob, seen.total,
                    fate, seen.ended, place, score,
                )
            )  # fmt: skip
        steps = [StepCount(n, **counts) for n, counts in sorted(self._steps.items())]
        return Hypotheses(strategy, generation, tuple(nodes), tuple(steps), self._left_out)

    def _add_path(self, candidate: Candidate) -> None:
        total = 0.0
        for k, logprob in enumerate(candidate.processed_logprobs, 1):
            total += logprob
            held = self._seen.setdefault(candidate.tokens[:k], _Seen(k, logprob, total, kept=True, ended=False))
            held.kept = True
        if candidate.tokens and candidate.finish_reason not in ("interrupted", "pruned"):
            self._seen[candidate.tokens].ended = True
