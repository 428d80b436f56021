"""Beam search."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch

from decodelab.core.key import Keys
from decodelab.core.protocols import Advance, Ranked, Rows
from decodelab.core.stage import Kind, Stage, check_choice, check_number
from decodelab.kernels.fused import log_normaliser
from decodelab.search._by_job import best_of_jobs, places
from decodelab.search._enough import counted, enough
from decodelab.search._pool import Pool, repeats
from decodelab.search._ranking import EarlyStopping, Normaliser, bound, check_ranking, is_done, normalised
from decodelab.search._top import top_ids

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class BeamState:
    """Live beams and the best finished hypotheses of every job.

    Attributes:
        scores: float64 [rows], log-probability of each live beam, in the order in which they were ranked within a job.
        pool: the finished ones.
        ended: how many hypotheses have ended so far.
    """

    scores: Tensor
    pool: Pool
    ended: int


@dataclass(frozen=True)
class _Candidates:
    """Continuations of each job in the order in which they were chosen, [jobs, candidates] each.

    Attributes:
        keys: float64, what they were chosen by, -inf where there is none.
        ranks: float64, what they are ranked by.
        scores: float64, their log-probabilities.
        parents: int64, the rows they continue.
        tokens: int64.
        reasons: int64, why each ends, 0 where it goes on.
        texts: int64, what stands for their texts; None where nobody compares them.
        all: whether no job has more of them.
    """

    keys: Tensor
    ranks: Tensor
    scores: Tensor
    parents: Tensor
    tokens: Tensor
    reasons: Tensor
    texts: Tensor | None
    all: bool

    def at(self, order: Tensor) -> _Candidates:
        """The candidates at these places, int64 [jobs, n]."""

        def taken(values: Tensor) -> Tensor:
            return values.gather(1, order)

        return replace(
            self,
            keys=taken(self.keys),
            ranks=taken(self.ranks),
            scores=taken(self.scores),
            parents=taken(self.parents),
            tokens=taken(self.tokens),
            reasons=taken(self.reasons),
            texts=None if self.texts is None else taken(self.texts),
        )


@dataclass(frozen=True)
class Beam(Stage):
    """Keep the `width` most probable hypotheses at every step; return the n best finished ones.

    Of the (1 + number of EOS ids) * width best continuations of a step, those among the first `width` that end enter
    the pool of finished hypotheses, and the first `width` that do not end go on; where stop tokens or stop strings
    end so many that fewer would, further continuations are looked at. A finished hypothesis of t tokens (EOS
    included) and log-probability s is ranked by its normalised score:

    * `normaliser="length"`: s / t^length_penalty (transformers);
    * `normaliser="gnmt"`: s / ((5 + t) / 6)^length_penalty (Wu et al. 2016, equation 14; their penalty on what of the
      source is not covered needs a source to attend to, which these models have not);
    * `normaliser=None`: s.

    `early_stopping` says when a job with a full pool is done: `true` at once; `false` when the best
    live beam, normalised at its present length, is no better than the worst in the pool (a heuristic);
    `never` when it cannot become better at any length the limit allows (exact, for the beams kept).

    `scores="processed"`: log-probabilities are those of the processed distribution, so that temperature and
    penalties change what is best. `scores="model"`: they are the model's own, and processors only say which tokens are
    possible; a score is then the sum of the candidate's `token_logprobs`.

    `sampling=True` (beam sampling) draws the continuations of a step without replacement, in proportion to e^(score of
    the beam) times the processed distribution of the token, and then goes on as above with those drawn, best first.

    `dedupe="text"`: of hypotheses with the same text and different tokens only the best takes a place, among the beams
    of a step and in the pool (when sampling: the one drawn first). It keeps its own score: the others' probability is
    not added to it, because a sum over those that a beam happens to see is less than the probability of the text by an
    unknown amount. A text with broken bytes in it, or whose last character is not complete yet, is equal to no other;
    of what a stop string ends, the text before it counts.

    Token for token what transformers 5 returns without processors, with these differences: scores are
    accumulated in float64 and ties go to the better beam, then the lowest token id (float32 and unspecified
    there); processors act on logits and the result is normalised (there they act on log-probabilities, which
    are then summed unnormalised); impossible beams are dropped rather than carried at -1e9. When sampling,
    transformers 5 lets hypotheses end by the order of the draw; here, as in its version 4, those drawn are sorted by
    score first. They are drawn by Gumbel-top-k with our keys, which is the distribution of its `torch.multinomial`.

    Raises:
        InvalidParameter: if a parameter is out of its range, or n is greater than width.

    >>> str(Beam(width=25, length_penalty=0.6))
    'beam(width=25, length_penalty=0.6)'
    >>> str(Beam(width=4, normaliser=None, sampling=True))
    'beam(width=4, normaliser=none, sampling=true)'
    """

    width: Annotated[int, "hypotheses kept at every step, at least 1"]
    length_penalty: Annotated[float, "exponent of the normaliser; 0 means the plain sum"] = 1.0
    early_stopping: Annotated[EarlyStopping, "true, false or never: when a full pool ends the search"] = False
    n: Annotated[int, "hypotheses returned, at most width"] = 1
    normaliser: Annotated[Normaliser, "divisor of a finished score: length, gnmt ((5 + t) / 6), or none"] = "length"
    sampling: Annotated[bool, "whether to draw the continuations of a step instead of taking the best"] = False
    scores: Annotated[
        Literal["processed", "model"], "log-probabilities to sum: processed, or the model's own (model)"
    ] = "processed"
    dedupe: Annotated[Literal["text"] | None, "text keeps one hypothesis per text; none keeps all"] = None

    name: ClassVar[str] = "beam"
    kind: ClassVar[Kind] = "search"
    source: ClassVar[str] = "Lowerre 1976; Wu et al. 2016 (gnmt); scoring and stopping as in transformers 5"
    start_rows: ClassVar[int] = 1
    drops_dead_ends: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "width", low=1, integer=True, fix="use width=1 for a single beam")
        check_ranking(self, self.width)
        check_choice(
            self, "normaliser", ("length", "gnmt", None), fix="leave it out to divide by length^length_penalty"
        )
        check_choice(self, "sampling", (True, False), fix="leave it out to take the best")
        check_choice(self, "scores", ("processed", "model"), fix="leave it out for the processed distribution")
        check_choice(self, "dedupe", ("text", None), fix="leave it out to keep all")

    def deterministic(self) -> bool:
        """Only beam sampling draws."""
        return not self.sampling

    @property
    def peak_rows(self) -> int:
        """As many rows as beams."""
        return self.width

    def init(self, jobs: int, samples: Tensor) -> BeamState:
        """One empty beam a job."""
        scores = torch.zeros(jobs, dtype=torch.float64, device=samples.device)
        return BeamState(scores, Pool.empty(jobs, self.width, samples.device), 0)

    def step(self, logits: Tensor, state: BeamState, rows: Rows) -> tuple[Advance, BeamState]:
        """Extend all beams of all jobs, keep the best."""
        return self.extend(logits, state, rows)

    def extend(
        self,
        logits: Tensor,
        state: BeamState,
        rows: Rows,
        seats: Tensor | None = None,
        penalty: Tensor | None = None,
        normaliser: Tensor | None = None,
    ) -> tuple[Advance, BeamState]:
        """Extend all beams, for searches that are made of beams.

        Args:
            logits: as in `step`, and the others too.
            seats: int64 [rows], the number under which each row draws; by default its place within its job.
            normaliser: float64 [rows], what `log_normaliser` gives for the logits, where it is known.
            penalty: [rows, vocab], subtracted when continuations are ranked, but not from their log-probabilities.
        """
        live, beams = rows.jobs.unique_consecutive(return_counts=True)
        if normaliser is None:
            normaliser = log_normaliser(logits)
        candidates = partial(self._candidates, logits, normaliser, state.scores, beams, rows, seats, penalty)
        length = (rows.positions[beams.cumsum(0) - 1] + 1).double()
        last = rows.max_new_tokens[live] <= length
        found = self._chosen(candidates, max(2, 1 + rows.eos_count) * self.width, last)
        possible = found.keys.isfinite()
        first = possible.cumsum(1) <= self.width
        over = possible & (found.reasons != 0) & first
        ranked_by = self.length_penalty, self.normaliser
        pool = state.pool
        if bool(over.any()):
            scores = normalised(found.scores, length[:, None], *ranked_by)
            pool = pool.enter(live, scores, over, state.ended, found.texts)

        going = possible & (found.reasons == 0)
        going &= going.cumsum(1) <= self.width
        worst = pool.worst(live)
        if bool(worst.isfinite().any()):
            best = found.scores.masked_fill(~going, -torch.inf).amax(dim=1)
            ever = bound(best, length, rows.max_new_tokens[live].double(), *ranked_by)
            done = is_done(self.early_stopping, worst, normalised(best, length, *ranked_by), ever)
            going &= ~torch.as_tensor(done)[:, None]
        advance = Advance(
            found.parents[going], found.tokens[going], found.parents[over], found.tokens[over], found.reasons[over]
        )
        return advance, BeamState(found.scores[going], pool, state.ended + len(advance.ended_parents))

    def _chosen(self, candidates: Callable[[int], _Candidates], wanted: int, last: Tensor) -> _Candidates:
        """The candidates of a step, best first, of which as many go on or end as find a place."""
        k = wanted
        while True:
            found = candidates(k)
            possible = found.keys.isfinite()
            fresh = possible if found.texts is None else possible & ~repeats(found.texts, possible)
            going = fresh & (found.reasons == 0)
            full = bool(((fresh.sum(1) >= wanted) | (possible.sum(1) < k)).all())
            if found.all or (full and enough(possible, going, k, self.width, last)):
                break
            k *= 2
        if k > wanted or found.texts is not None:
            # What repeats a text goes behind all others; it counts as impossible, as does what no job needs.
            order = fresh.to(torch.int8).sort(dim=1, descending=True, stable=True).indices
            found = found.at(order)
            kept = fresh.gather(1, order) & counted(going.gather(1, order), wanted, self.width, last)
            found.keys.masked_fill_(~kept, -torch.inf)
        if not self.sampling:
            return found
        ranks = found.ranks.masked_fill(found.keys.isneginf(), -torch.inf)
        return found.at(ranks.sort(dim=1, descending=True, stable=True).indices)

    def _candidates(
        self,
        logits: Tensor,
        normaliser: Tensor,
        scores: Tensor,
        beams: Tensor,
        rows: Rows,
        seats: Tensor | None,
        penalty: Tensor | None,
        k: int,
    ) -> _Candidates:
        """The first k continuations of each job in the order of choice.

        Each row contributes its own best k, which must contain those of its job.
        """
        per_row = min(k, logits.shape[-1])
        own = rows.model_logits() if self.scores == "model" else logits
        noise = None
        if self.sampling:
            drawing = Keys(rows.keys.words, places(rows.jobs) if seats is None else seats)
            noise = drawing.gumbel(rows.positions, logits.shape[-1])
            base = logits + noise
        else:
            base = own if own is logits else own.masked_fill(logits == -torch.inf, -torch.inf)
        tokens = top_ids(base if penalty is None else base - penalty, per_row)

        gone = logits.gather(-1, tokens).isneginf()

        def summed(of: Tensor, normaliser: Tensor) -> Tensor:
            logprobs = of.gather(-1, tokens).double() - normaliser[:, None]
            return scores[:, None] + logprobs.masked_fill(gone, -torch.inf)

        distribution = summed(logits, normaliser)
        total = distribution if own is logits else summed(own, log_normaliser(own))
        fine = 0.0 if penalty is None else penalty.gather(-1, tokens)
        ranks = total - fine
        keys = ranks if noise is None else distribution - fine + noise.gather(-1, tokens)
        keys, at = best_of_jobs(keys, beams, k)
        parents, chosen = at // per_row, tokens.flatten()[at]
        possible = keys.isfinite()
        reasons = torch.zeros_like(parents)
        reasons[possible] = rows.ends(parents[possible], chosen[possible])
        texts = self._texts(rows, parents, chosen, reasons, possible) if self.dedupe else None
        complete = per_row == logits.shape[-1] and k >= per_row * int(beams.max())
        return _Candidates(keys, ranks.flatten()[at], total.flatten()[at], parents, chosen, reasons, texts, complete)

    def _texts(self, rows: Rows, parents: Tensor, tokens: Tensor, reasons: Tensor, possible: Tensor) -> Tensor:
        """A number for the text of each candidate; what ends and what goes on have different ones."""
        partials = rows.partials(parents[possible], tokens[possible])
        numbers = torch.zeros_like(parents)
        numbers[possible] = torch.tensor(
            [
                _number(f"{reason != 0} {p.text}" + (f" {p.tokens}" if "\ufffd" in p.text or not p.complete else ""))
                for p, reason in zip(partials, reasons[possible].tolist(), strict=True)
            ],
            dtype=torch.int64,
        )
        return numbers

    def finished(self, state: BeamState, job: int) -> list[Ranked]:
        """The n best finished hypotheses of a job."""
        return state.pool.ranked(job)[: self.n]


def _number(text: str) -> int:
    """63 bits that stand for a text."""
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") >> 1
