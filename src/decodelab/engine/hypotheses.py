"""Hypotheses: how they end, and how those of a job become its candidates and its generation."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

from decodelab.core.key import Keys
from decodelab.core.notices import FewerCandidates
from decodelab.core.protocols import LanguageModel, Question, Ranked
from decodelab.core.reasons import CONTINUES, REASONS, STOP
from decodelab.core.values import Candidate, Certificate, Confidences, Cost, FinishReason, Generation
from decodelab.engine.counted import Counted
from decodelab.engine.job import Job
from decodelab.engine.row_text import RowText
from decodelab.engine.stopping import StoppingCriteria


class Path(NamedTuple):
    """Generated tokens.

    Attributes:
        tokens: their ids.
        logprobs, processed_logprobs: of each under the model and under the processed distribution.
        confidences: of each, the numbers of `Confidences`; empty where they are not recorded.
    """

    tokens: list[int]
    logprobs: list[float]
    processed_logprobs: list[float]
    confidences: Sequence[list[float]] = ()

    @staticmethod
    def of(candidate: Candidate | None) -> Path:
        """The tokens of a candidate; none at all for None."""
        if candidate is None:
            return Path([], [], [])
        c, kept = candidate, candidate.confidences
        rows = () if kept is None else zip(kept.entropy, kept.self_certainty, kept.top, strict=True)
        return Path(list(c.tokens), list(c.token_logprobs), list(c.processed_logprobs), [list(row) for row in rows])


@dataclass(frozen=True)
class Ended:
    """A finished hypothesis; it becomes a `Candidate` when its job is done.

    Attributes:
        path: its tokens, the last one included.
        reason: why it ended, as a code of `decodelab.core.reasons`.
        cut: its text as the stop that ended it leaves it; None where none did.
    """

    path: Path
    reason: int
    cut: str | None


def ended(
    stops: StoppingCriteria,
    path: Path,
    text: RowText | None,
    token: int,
    logprobs: tuple[float, float],
    reason: int,
    confidence: list[float] | None = None,
) -> Ended:
    """The hypothesis that ends when a token follows what a row, with that text, had generated before.

    `logprobs` are the token's, under the model and under the processed distribution; `text` is None where no stop
    needs it, `confidence` where none is recorded.
    """
    cut = stops.cut(text, token, over=True) if reason == STOP and text is not None else None
    longer = Path(
        [*path.tokens, token],
        [*path.logprobs, logprobs[0]],
        [*path.processed_logprobs, logprobs[1]],
        () if confidence is None else (*path.confidences, confidence),
    )
    return Ended(longer, reason, cut)


def as_candidates(
    model: LanguageModel, job: Job, hypotheses: Sequence[Ended], ranked: Iterable[Ranked]
) -> list[Candidate]:
    """The hypotheses that a search ranks, best first, as candidates."""
    return [_candidate(model, job, hypotheses[r.hypothesis], r.sample, r.score) for r in ranked]


def unfinished(model: LanguageModel, job: Job, path: Path, sample: int) -> Candidate:
    """What a row has generated so far as an interrupted candidate."""
    return _candidate(model, job, Ended(path, CONTINUES, None), sample, sum(path.processed_logprobs))


def _candidate(model: LanguageModel, job: Job, hypothesis: Ended, sample: int, score: float) -> Candidate:
    tokens, logprobs, processed, recorded = hypothesis.path
    reason: FinishReason = REASONS.get(hypothesis.reason, "interrupted")
    text = hypothesis.cut
    if text is None:
        text = model.vocab.decode_completion(job.before, tokens)
    confidences = Confidences(*(tuple(column) for column in zip(*recorded, strict=True))) if recorded else None
    return Candidate(tuple(tokens), text, tuple(logprobs), tuple(processed), reason, sample, score, confidences)


def selected(model: LanguageModel, job: Job, candidates: list[Candidate]) -> tuple[list[Candidate], Counted]:
    """The candidates of a finished job as its selection ranks them; warns where constraints left too few.

    Returns:
        The candidates, best first, and the model that the selection asks, as it was used.
    """
    search = job.strategy.search
    wanted = search.n
    constraints = [s.name for s in job.strategy.stages if s.constrains]
    if constraints and len(candidates) < wanted:
        warnings.warn(
            f"{job.name}: found {len(candidates)} of {wanted} candidates; {search} found no more sequences "
            f"that satisfy {' and '.join(constraints)}",
            FewerCandidates,
            stacklevel=2,
        )
    return ranked(model, job, candidates)


def ranked(model: LanguageModel, job: Job, candidates: list[Candidate]) -> tuple[list[Candidate], Counted]:
    """The candidates as the selection of their job ranks them, however many there should be; else as `selected`."""
    counted, selection = Counted(job.judge or model, job.rewards), job.strategy.selection
    if selection is None or not candidates:
        return candidates, counted
    return [replace(c, score=score) for c, score in selection.rank(candidates, asked(counted, job))], counted


def asked(model: Counted, job: Job) -> Question:
    """What the candidates of a job continue."""
    keys = Keys.of(job.seed, job.tokens, [job.first_sample])
    return Question(job.prompt, job.tokens, keys, cast(LanguageModel, model), job.read, job.chat)


def generation(
    model: LanguageModel, job: Job, candidates: Sequence[Candidate], cost: Cost, certificate: Certificate | None = None
) -> Generation:
    """The outcome of a job."""
    return Generation(
        job.index, job.prompt, job.tokens, tuple(candidates), cost, job.seed, str(job.strategy),
        model.name, model.digest, certificate,
    )  # fmt: skip
