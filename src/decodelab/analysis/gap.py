"""Search errors: how far searches stay below the most probable sequence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from decodelab.core.errors import InvalidParameter
from decodelab.core.events import Event, Finished, Step
from decodelab.core.stage import brief

if TYPE_CHECKING:
    from decodelab.core.protocols import LanguageModel
    from decodelab.core.values import Chat, Generation

ROWS = 8
"""Prefixes that the search for the optimum computes in one pass."""

SAME = 1e-3
"""Log-probabilities this close are equal: a model's own arithmetic differs as much from batch to batch."""


@dataclass(frozen=True)
class Outcome:
    """The result of a search for a prompt.

    Attributes:
        search: in the strategy language.
        text: what it found.
        tokens: how many, the one that ends it included.
        logprob: under the processed distribution, in nats.
        finish_reason: why it ended.
        gap: distance to the best known sequence, in nats: a lower bound of the distance to the optimum.
        gap_bound: upper bound of the distance to the optimum; equals `gap` if the optimum is proved.
        forward_tokens: token positions computed.
    """

    search: str
    text: str
    tokens: int
    logprob: float
    finish_reason: str
    gap: float
    gap_bound: float
    forward_tokens: int

    @property
    def below(self) -> bool:
        """Whether something more probable is known."""
        return self.gap > SAME


@dataclass(frozen=True)
class Case:
    """A prompt: the best known sequence, and the result of each search.

    Attributes:
        prompt: the prompt as text.
        text: the most probable finished sequence known.
        tokens: how many, the one that ends it included.
        logprob: under the processed distribution, in nats.
        finish_reason: why it ended.
        proved: whether it is the optimum.
        bound: no finished sequence is more probable than this.
        evaluated: prefixes evaluated to find and prove it.
        outcomes: one for each search.
    """

    prompt: str
    text: str
    tokens: int
    logprob: float
    finish_reason: str
    proved: bool
    bound: float
    evaluated: int
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True)
class Summary:
    """A search over all prompts.

    Attributes:
        search: in the strategy language.
        width: of the beam, 1 for greedy.
        prompts: how many.
        below: prompts with a more probable known sequence.
        shorter: prompts where that sequence is shorter.
        empty: prompts where that sequence is empty and the search's is not.
        mean_gap: mean of the gaps to the best known, in nats.
        mean_gap_bound: mean of the upper bounds of the gaps.
        worst_gap: the largest gap to the best known sequence.
        forward_tokens: mean token positions computed.
    """

    search: str
    width: int
    prompts: int
    below: int
    shorter: int
    empty: int
    mean_gap: float
    mean_gap_bound: float
    worst_gap: float
    forward_tokens: float


@dataclass(frozen=True)
class Gap:
    """All results of `measure_gap`.

    Attributes:
        model: the model's name.
        model_digest: digest of weights and vocabulary.
        processors: the processors applied first, in the strategy language; empty for the model's own distribution.
        max_new_tokens: the limit.
        budget: most prefixes evaluated per prompt.
        widths: of the beams.
        cases: one for each prompt that was finished.
        interrupted: whether prompts are missing.
    """

    model: str
    model_digest: str
    processors: str
    max_new_tokens: int
    budget: int
    widths: tuple[int, ...]
    cases: tuple[Case, ...]
    interrupted: bool

    @property
    def proved(self) -> int:
        """Of how many prompts the optimum is proved."""
        return sum(case.proved for case in self.cases)

    def summaries(self) -> list[Summary]:
        """Each search over all prompts; empty without any."""
        if not self.cases:
            return []
        return [self._summary(place, width) for place, width in enumerate(self.widths)]

    def _summary(self, place: int, width: int) -> Summary:
        pairs = [(case, case.outcomes[place]) for case in self.cases]
        lower = [(case, outcome) for case, outcome in pairs if outcome.below]
        n = len(pairs)
        return Summary(
            pairs[0][1].search,
            width,
            n,
            len(lower),
            sum(case.tokens < outcome.tokens for case, outcome in lower),
            sum(not case.text and bool(outcome.text) for case, outcome in lower),
            sum(outcome.gap for _, outcome in pairs) / n,
            sum(outcome.gap_bound for _, outcome in pairs) / n,
            max(outcome.gap for _, outcome in pairs),
            sum(outcome.forward_tokens for _, outcome in pairs) / n,
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data, the summaries included."""
        data = dataclasses.asdict(self)
        data["proved"] = self.proved
        data["searches"] = [dataclasses.asdict(summary) for summary in self.summaries()]
        return data


def read_widths(text: str) -> tuple[int, ...]:
    """The beam widths, sorted and without duplicates.

    Raises:
        InvalidParameter: if they are not positive numbers separated by commas.

    >>> read_widths("10,1, 3")
    (1, 3, 10)
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) < 9 and int(part) > 0 for part in parts):
        raise InvalidParameter(f"--widths must be numbers of at least 1, got {brief(text)}; write for example 1,3,10")
    return tuple(sorted({int(part) for part in parts}))


def search_of(width: int) -> str:
    """The search of a width: a beam that returns its most probable sequence, with scores not divided by the length."""
    return "greedy" if width == 1 else f"beam(width={width}, length_penalty=0.0, early_stopping=never)"


def measure_gap(
    model: LanguageModel,
    prompts: Sequence[str | Chat],
    *,
    widths: Sequence[int],
    processors: str = "",
    budget: int,
    limits: dict[str, Any],
    max_rows: int = 64,
    report: Callable[[float], None] = lambda done: None,
) -> Gap:
    """Search every prompt with each beam width, and with A* for the optimum.

    Args:
        model: the language model.
        prompts: the prompts.
        widths: of the beams; 1 is greedy.
        processors: stages before the search; empty for the model's own distribution.
        budget: most prefixes A* may evaluate per prompt.
        limits: as of `generate`.
        max_rows: as of `generate`.
        report: called with the share done, from 0 to 1.

    Raises:
        DecodelabError: as `generate` does.
    """
    from decodelab.engine.generate import generate
    from decodelab.strategy.strategy import Strategy

    searches = [search_of(width) for width in widths]
    optimum = f"astar(budget={budget}, rows={ROWS})"
    plans = [Strategy.of(f"{processors} | {search}" if processors else search) for search in (*searches, optimum)]
    runs: list[list[Generation]] = []
    interrupted = False
    for at, plan in enumerate(plans):
        share = 0.2 / max(1, len(searches)) if at < len(searches) else 0.8
        done = 0.2 if at == len(searches) else share * at
        most = len(prompts) * (budget if at == len(searches) else limits["max_new_tokens"])
        observer = Looked(most, lambda part, done=done, share=share: report(done + share * part))
        found = generate(model, prompts, plan, observers=[observer], max_rows=max_rows, **limits)
        ended = [g for g in found if all(c.finish_reason != "interrupted" for c in g.candidates)]
        runs.append(ended)
        interrupted = len(ended) < len(prompts)
        if interrupted:
            break
    complete = len(runs) == len(plans)
    by_index = [{g.index: g for g in run} for run in runs]
    everywhere = [i for i in range(len(prompts)) if complete and all(i in run for run in by_index)]
    cases = [_case([run[i] for run in by_index[:-1]], by_index[-1][i], searches) for i in everywhere]
    return Gap(
        model.name, model.digest, processors, limits["max_new_tokens"], budget, tuple(widths), tuple(cases), interrupted
    )


def _case(found: Sequence[Generation], exact: Generation, searches: Sequence[str]) -> Case:
    """One prompt: the best of all that was found is the best known, and the certificate bounds the rest."""
    certificate = exact.certificate
    assert certificate is not None
    finished = [g.best for g in (exact, *found) if g.best.finish_reason != "pruned"]
    best = max(finished, key=lambda c: c.processed_logprob)
    bound = best.processed_logprob if certificate.proved else max(certificate.bound, best.processed_logprob)
    outcomes = []
    for search, generation in zip(searches, found, strict=True):
        c = generation.best
        gap = best.processed_logprob - c.processed_logprob
        outcomes.append(
            Outcome(
                search, c.text, len(c.tokens), c.processed_logprob, c.finish_reason, gap, bound - c.processed_logprob,
                generation.cost.forward_tokens,
            )
        )  # fmt: skip
    return Case(
        exact.prompt, best.text, len(best.tokens), best.processed_logprob, best.finish_reason, certificate.proved,
        bound, certificate.evaluated, tuple(outcomes),
    )  # fmt: skip


class Looked:
    """An observer that reports the share of a run's budget that is spent."""

    def __init__(self, most: int, report: Callable[[float], None]) -> None:
        self.most = most
        self.report = report
        self.done = 0

    def __call__(self, event: Event) -> None:
        """Take an event from the engine."""
        if isinstance(event, Step):
            self.done += int((~event.ended).sum())
            self.report(min(1.0, self.done / self.most))
        elif isinstance(event, Finished):
            self.report(min(1.0, self.done / self.most))
