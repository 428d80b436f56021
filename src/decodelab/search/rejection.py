"""Rejection sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.checkers.catalogue import check_checker
from decodelab.checkers.reading import begin_reading
from decodelab.core.protocols import Advance, AnyChecker, Ranked, Rows
from decodelab.core.reasons import CONTINUES, EOS
from decodelab.core.stage import Kind, Stage, check_choice, check_number
from decodelab.kernels.fused import log_normaliser
from decodelab.search._read_text import ReadText
from decodelab.search.sample import inverse_cdf

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Attempts:
    """Tries that are still running, and those that were accepted.

    Attributes:
        samples: int64 [rows], the index of each try within its job.
        scores: float64 [rows], log-probability so far under the processed distribution, in nats.
        texts: the reading of each.
        accepted: for each job, (index of the hypothesis, score, index of the try).
        ended: how many hypotheses have ended so far.
    """

    samples: Tensor
    scores: Tensor
    texts: tuple[ReadText | None, ...]
    accepted: tuple[tuple[Ranked, ...], ...]
    ended: int


@dataclass(frozen=True)
class Rejection(Stage):
    """Draw whole continuations and keep those a checker accepts: samples of the distribution conditioned on validity.

    `tries` continuations are drawn in parallel as `sample(n=tries)` draws them, and each is dropped as soon as its text
    is invalid or ends with EOS without being complete. The first n accepted ones are returned, ordered by index and
    not by when they ended: they are independent draws from exactly the processed distribution given acceptance. A mask
    (`check`, `regex`) renormalises at every token instead, and so over-weights prefixes with few valid continuations. A
    text cut off by the token limit or a stop string is accepted unless it is invalid.

    If fewer than n are accepted, those are returned with a warning. The cost is 1 / P(accepted) tries per sample.

    Raises:
        InvalidParameter: if the checker is unknown, or another parameter is out of range.
        EmptySupport: if no try is accepted.
        CheckerFailed: if the checker raises or returns no verdict; names the text.

    >>> import decodelab as dl
    >>> model = dl.TableModel(["1", "+"], {...: {"1": 0.5, "+": 0.3, "</s>": 0.2}}, bos="<s>", separator="")
    >>> found = dl.generate(model, "", "rejection(checker=python, n=3)", max_new_tokens=9)[0].candidates
    >>> [c.text for c in found]
    ['', '1+1', '1']
    """

    checker: Annotated[AnyChecker, "what checks the text: python, linted_python, or in Python any function of a text"]
    n: Annotated[int, "continuations per prompt, at least 1"] = 1
    tries: Annotated[int, "continuations to draw, at least n"] = 32
    prompt: Annotated[bool, "whether the prompt is part of the text"] = True

    name: ClassVar[str] = "rejection"
    kind: ClassVar[Kind] = "search"
    source: ClassVar[str] = "von Neumann 1951, rejection sampling; invalid prefixes are dropped early"
    constrains: ClassVar[bool] = True
    if_empty: ClassVar[str] = "raise tries, or mask invalid tokens with check"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_checker(self, "checker")
        check_number(self, "n", low=1, integer=True, fix="use n=1 for one continuation")
        check_number(self, "tries", low=self.n, integer=True, fix="draw at least as many as you want accepted")
        check_choice(self, "prompt", (True, False), fix="false checks the generated text alone")

    @property
    def start_rows(self) -> int:
        """A row for each try."""
        return self.tries

    peak_rows = start_rows

    def init(self, jobs: int, samples: Tensor) -> Attempts:
        """All tries of all jobs."""
        scores = torch.zeros(len(samples), dtype=torch.float64, device=samples.device)
        return Attempts(samples, scores, (None,) * len(samples), ((),) * jobs, 0)

    def step(self, logits: Tensor, state: Attempts, rows: Rows) -> tuple[Advance, Attempts]:
        """Append a drawn token to every try and drop those that become invalid."""
        tokens = inverse_cdf(logits, rows.keys.uniform(rows.positions))
        scores = state.scores + logits.gather(-1, tokens[:, None])[:, 0].double() - log_normaliser(logits)
        everyone = torch.arange(len(tokens), device=tokens.device)
        reasons = rows.ends(everyone, tokens)
        partials = rows.partials(everyone, tokens)
        begun = begin_reading(self.checker)
        texts = [
            (old or ReadText(begun, "")).follow(begun, new, prompt=self.prompt)
            for old, new in zip(state.texts, partials, strict=True)
        ]

        jobs, samples = rows.jobs.tolist(), state.samples.tolist()
        accepted = [list(found) for found in state.accepted]
        over: list[int] = []
        going: list[int] = []
        for row, reason in enumerate(reasons.tolist()):
            if not texts[row].accepted(over=reason == EOS):
                continue
            if reason == CONTINUES:
                going.append(row)
                continue
            accepted[jobs[row]].append(Ranked(state.ended + len(over), float(scores[row]), samples[row]))
            over.append(row)
        first = [self._first(found) for found in accepted]
        # A try with a higher index than the n-th accepted one cannot be among the first n any more.
        going = [r for r in going if len(first[jobs[r]]) < self.n or samples[r] < first[jobs[r]][-1].sample]
        kept, ends = torch.tensor(going, dtype=torch.int64), torch.tensor(over, dtype=torch.int64)
        advance = Advance(kept, tokens[kept], ends, tokens[ends], reasons[ends])
        return advance, Attempts(
            state.samples[kept],
            scores[kept],
            tuple(texts[r] for r in going),
            tuple(map(tuple, accepted)),
            state.ended + len(over),
        )

    def _first(self, accepted: list[Ranked]) -> list[Ranked]:
        """The first n accepted tries by index."""
        return sorted(accepted, key=lambda r: r.sample)[: self.n]

    def finished(self, state: Attempts, job: int) -> list[Ranked]:
        """The first n accepted tries of a job."""
        return self._first(list(state.accepted[job]))
