"""A search: the second most probable token first, then greedily."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from decodelab.core.protocols import Advance, Ranked, Rows
from decodelab.core.stage import Kind, Stage


@dataclass(frozen=True)
class State:
    """The log-probability of each live row, float64 [rows], and of each hypothesis that ended, with its job."""

    scores: Tensor
    ended: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class SecondFirst(Stage):
    """Begin with the second most probable token, if there is one, and go on greedily."""

    name: ClassVar[str] = "second_first"
    kind: ClassVar[Kind] = "search"
    source: ClassVar[str] = "docs/extending.md"
    uses_randomness: ClassVar[bool] = False
    n: ClassVar[int] = 1
    start_rows: ClassVar[int] = 1
    peak_rows: ClassVar[int] = 1

    def init(self, jobs: int, samples: Tensor) -> State:
        """One row a job."""
        return State(torch.zeros(len(samples), dtype=torch.float64))

    def step(self, logits: Tensor, state: State, rows: Rows) -> tuple[Advance, State]:
        """Append a token to every row; rows that end with it leave."""
        best = logits.argmax(-1)
        others = logits.scatter(1, best[:, None], -torch.inf)
        second = (rows.positions == 0) & others.isfinite().any(-1)
        tokens = torch.where(second, others.argmax(-1), best)
        scores = state.scores + logits.double().log_softmax(-1).gather(1, tokens[:, None])[:, 0]
        everyone = torch.arange(len(tokens))
        reasons = rows.ends(everyone, tokens)
        live, over = (reasons == 0).nonzero()[:, 0], reasons.nonzero()[:, 0]
        ended = zip(rows.jobs[over].tolist(), scores[over].tolist(), strict=True)
        advance = Advance(live, tokens[live], over, tokens[over], reasons[over])
        return advance, State(scores[live], (*state.ended, *ended))

    def finished(self, state: State, job: int) -> list[Ranked]:
        """The hypothesis of a job, by its number among all that ended."""
        return [Ranked(i, score, 0) for i, (owner, score) in enumerate(state.ended) if owner == job]
