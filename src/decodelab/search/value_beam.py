"""Beam search guided by a scorer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch

from decodelab.core.chunks import SENTENCE_END
from decodelab.core.protocols import Advance, AnyScorer, Ranked, Rows
from decodelab.core.stage import Kind, Stage, check_choice, check_number
from decodelab.kernels.fused import log_normaliser
from decodelab.scorers.catalogue import check_scorer
from decodelab.search._by_job import best_of_jobs
from decodelab.search._enough import counted, enough
from decodelab.search._pool import Pool
from decodelab.search._ranking import EarlyStopping, check_ranking, is_done, normalised
from decodelab.search._top import top_ids

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ValueBeamState:
    """Live beams and the best finished hypotheses of every job.

    Attributes:
        scores: float64 [rows], log-probability of each live beam; best first within a job, judgement included.
        values: float64 [rows], weight times what the scorer last gave each.
        pool: the finished ones.
        ended: how many hypotheses have ended so far.
    """

    scores: Tensor
    values: Tensor
    pool: Pool
    ended: int


@dataclass(frozen=True)
class ValueBeam(Stage):
    """Keep the `width` hypotheses that are best by log-probability plus a scorer's value of their text.

    A hypothesis of t tokens and log-probability s under the processed distribution ranks by s / t^length_penalty +
    weight * score(text so far). At each step, the scorer is called once for the `candidates` most probable
    continuations of a prompt; those among the `width` best by rank that end enter the pool of finished hypotheses, and
    the best `width` that do not end continue. So a score can raise an improbable continuation only if it is among the
    candidates; where so many of these end that fewer than `width` would continue, further ones are scored.

    With `every="sentence"`, hypotheses are scored at their first token, where a sentence may have ended (the text ends
    with a mark such as . ! ? or a new line) and when they end; in between they keep their last score.

    `early_stopping` says when a job with a full pool is done: `true` at once; `false` when the best live beam ranks no
    better than the worst in the pool (a heuristic, because future scores are unknown); `never` when no live beam is
    left. The pool has `width` places. With weight 0 this is `beam`.

    Differs from Xie et al. in that a beam takes the best candidates instead of drawing them, and that the score is that
    of the whole text, not a product over its steps.

    Raises:
        InvalidParameter: if a parameter is out of its range, there is no such scorer, or candidates < width.

    >>> str(ValueBeam(width=4, scorer="path_cost", weight=2))
    'value_beam(width=4, scorer=path_cost, weight=2.0)'
    """

    width: Annotated[int, "hypotheses kept at every step, at least 1"]
    scorer: Annotated[AnyScorer, "scores the text so far: logprob, entropy, self_eval, path_cost or a function"]
    weight: Annotated[float, "factor of the scorer's value, which is added to the log-probability"] = 1.0
    every: Annotated[Literal["token", "sentence"], "when to score: after every token, or at sentence ends"] = "token"
    candidates: Annotated[int | None, "continuations to score per step, at least width; none means 4 * width"] = None
    length_penalty: Annotated[float, "exponent of the length that divides the log-probability; 0 means the sum"] = 1.0
    early_stopping: Annotated[EarlyStopping, "true, false or never: when a full pool ends the search"] = False
    n: Annotated[int, "hypotheses returned, at most width"] = 1

    name: ClassVar[str] = "value_beam"
    kind: ClassVar[Kind] = "search"
    uses_randomness: ClassVar[bool] = False
    source: ClassVar[str] = "Xie et al. 2023, Self-evaluation guided beam search; Mudgal et al. 2024 (a value, added)"
    start_rows: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "width", low=1, integer=True, fix="use width=1 for a single beam")
        check_scorer(self, "scorer")
        check_number(self, "weight", fix="use 0 for a plain beam")
        check_choice(self, "every", ("token", "sentence"), fix="token scores after every token")
        if self.candidates is not None:
            check_number(self, "candidates", low=self.width, integer=True, fix="score at least as many as are kept")
        check_ranking(self, self.width)

    def no_effect(self) -> str | None:
        """A weight of 0 guides nothing."""
        return f"weight = 0 searches as beam(width={self.width}) does" if self.weight == 0 else None

    def asks_scorer(self) -> AnyScorer:
        """The scorer that judges the texts so far."""
        return self.scorer

    @property
    def peak_rows(self) -> int:
        """As many rows as beams."""
        return self.width

    def init(self, jobs: int, samples: Tensor) -> ValueBeamState:
        """One empty beam a job."""
        zero = torch.zeros(jobs, dtype=torch.float64, device=samples.device)
        return ValueBeamState(zero, zero, Pool.empty(jobs, self.width, samples.device), 0)

    def step(self, logits: Tensor, state: ValueBeamState, rows: Rows) -> tuple[Advance, ValueBeamState]:
        """Extend all beams of all jobs, judge, and keep the best."""
        live, beams = rows.jobs.unique_consecutive(return_counts=True)
        length = (rows.positions[torch.searchsorted(rows.jobs, live)] + 1).double()
        last = rows.max_new_tokens[live] <= length
        normaliser = log_normaliser(logits)
        k = judged = 4 * self.width if self.candidates is None else self.candidates
        while True:
            per_row = min(k, logits.shape[-1])
            own = top_ids(logits, per_row)
            logprobs = logits.gather(-1, own).double() - normaliser[:, None]
            scores, at = best_of_jobs(state.scores[:, None] + logprobs, beams, k)
            possible = scores.isfinite()
            parents, tokens = at // per_row, own.flatten()[at]
            reasons = torch.zeros_like(parents)
            reasons[possible] = rows.ends(parents[possible], tokens[possible])
            going = possible & (reasons == 0)
            if enough(possible, going, k, self.width, last):
                break
            k *= 2
        possible &= counted(going, judged, self.width, last)
        values = state.values[parents]
        values[possible] = self._values(values[possible], parents[possible], tokens[possible], reasons[possible], rows)

        ranks = normalised(scores, length[:, None], self.length_penalty) + values
        ranks.masked_fill_(~possible, -torch.inf)
        # Stable: of equal ones the more probable goes first.
        order = ranks.sort(dim=1, descending=True, stable=True).indices
        ranks, scores, values, parents, tokens, reasons, possible = (
            given.gather(1, order) for given in (ranks, scores, values, parents, tokens, reasons, possible)
        )
        over = possible & (reasons != 0)
        over[:, self.width :] = False
        pool = state.pool.enter(live, ranks, over, state.ended, None)

        going = possible & (reasons == 0)
        going &= going.cumsum(1) <= self.width
        best = ranks.masked_fill(~going, -torch.inf).amax(1)
        # Nothing is known of what the scorer will say, so nothing bounds what a continuation may come to.
        done = is_done(self.early_stopping, pool.worst(live), best, torch.full_like(best, torch.inf))
        going &= ~torch.as_tensor(done)[:, None]
        advance = Advance(parents[going], tokens[going], parents[over], tokens[over], reasons[over])
        return advance, ValueBeamState(scores[going], values[going], pool, state.ended + int(over.sum()))

    def _values(self, kept: Tensor, parents: Tensor, tokens: Tensor, reasons: Tensor, rows: Rows) -> Tensor:
        """Weight times the judgement of each continuation, float64 [n]; `kept` are those of their parents."""
        if self.every == "token":
            return self.weight * rows.judge(self.scorer, parents, tokens)
        due = (reasons != 0) | (rows.positions[parents] == 0)
        texts = [partial.text for partial in rows.partials(parents[~due], tokens[~due])]
        due[~due] = torch.tensor([bool(SENTENCE_END.search(text)) for text in texts], dtype=torch.bool)
        values = kept.clone()
        values[due] = self.weight * rows.judge(self.scorer, parents[due], tokens[due])
        return values

    def finished(self, state: ValueBeamState, job: int) -> list[Ranked]:
        """The n best finished hypotheses of a job."""
        return state.pool.ranked(job)[: self.n]
