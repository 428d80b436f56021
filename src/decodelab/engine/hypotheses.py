"""Hypotheses: how they end, and how those of a job become its candidates and its generation."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from decodelab.core.notices import FewerCandidates
from decodelab.core.protocols import LanguageModel, Ranked
from decodelab.core.reasons import CONTINUES, REASONS, STOP
from decodelab.core.thoughts import ends_in_thought, opens_thought
from decodelab.core.values import Candidate, Certificate, Cost, FinishReason, Generation
from decodelab.engine.detokenizer import Detokenizer
from decodelab.engine.job import Job
from decodelab.engine.stopping import StoppingCriteria

Path = tuple[list[int], list[float], list[float]]
"""Generated tokens, and the log-probability of each under the model and under the processed distribution."""


@dataclass(frozen=True)
class Ended:
    """A finished hypothesis; it becomes a `Candidate` when its job is done.

    Attributes:
        path: its tokens, the last one included.
        reason: why it ended, as a code of `decodelab.core.reasons`.
        cut: its text up to a stop string; None where none ended it.
    """

    path: Path
    reason: int
    cut: str | None


def ended(
    stops: StoppingCriteria,
    path: Path,
    text: Detokenizer | None,
    token: int,
    logprobs: tuple[float, float],
    reason: int,
) -> Ended:
    """The hypothesis that ends when a token follows what a row, with that text, had generated before.

    `logprobs` are the token's, under the model and under the processed distribution; `text` is None where no stop
    string needs it.
    """
    tokens, model, processed = path
    cut = stops.cut(text, token, over=True) if reason == STOP and text is not None else None
    return Ended(([*tokens, token], [*model, logprobs[0]], [*processed, logprobs[1]]), reason, cut)


def as_candidates(
    model: LanguageModel, job: Job, hypotheses: Sequence[Ended], ranked: Iterable[Ranked]
) -> list[Candidate]:
    """The hypotheses that a search ranks, best first, as candidates."""
    return [_candidate(model, job, hypotheses[r.hypothesis], r.sample, r.score) for r in ranked]


def unfinished(model: LanguageModel, job: Job, path: Path, sample: int) -> Candidate:
    """What a row has generated so far as an interrupted candidate."""
    return _candidate(model, job, Ended(path, CONTINUES, None), sample, sum(path[2]))


def _candidate(model: LanguageModel, job: Job, hypothesis: Ended, sample: int, score: float) -> Candidate:
    tokens, logprobs, processed = hypothesis.path
    reason: FinishReason = REASONS.get(hypothesis.reason, "interrupted")
    text = hypothesis.cut
    if text is None:
        text = model.vocab.decode_completion(job.before, tokens)
    return Candidate(tuple(tokens), text, tuple(logprobs), tuple(processed), reason, sample, score)


def selected(job: Job, candidates: list[Candidate]) -> list[Candidate]:
    """The candidates of a finished job as its selection ranks them; warns where constraints left too few.

    A selection sees no text of a candidate that the limit cut within a thought which the prompt had opened.
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
    if job.strategy.selection is None or not candidates:
        return candidates
    if not opens_thought(job.prompt):
        return [replace(c, score=score) for c, score in job.strategy.selection.rank(candidates)]
    texts = {c.sample: c.text for c in candidates}
    seen = [replace(c, text="") if _only_thinks(c) else c for c in candidates]
    return [replace(c, text=texts[c.sample], score=score) for c, score in job.strategy.selection.rank(seen)]


def _only_thinks(candidate: Candidate) -> bool:
    """Whether a candidate that begins within a thought was cut before its end."""
    return candidate.finish_reason == "length" and ends_in_thought(candidate.text, begun=True)


def generation(
    model: LanguageModel, job: Job, candidates: Sequence[Candidate], cost: Cost, certificate: Certificate | None = None
) -> Generation:
    """The outcome of a job."""
    return Generation(
        job.index, job.prompt, job.tokens, tuple(candidates), cost, job.seed, str(job.strategy),
        model.name, model.digest, certificate,
    )  # fmt: skip
