"""Searches: which rows continue with which tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from decodelab.core.key import Keys
from decodelab.core.protocols.models import Vocab
from decodelab.core.protocols.scorers import AnyScorer
from decodelab.core.values import Partial

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Ahead:
    """Hidden states of continuations that a search has not chosen yet.

    Attributes:
        prompts: for each job the last hidden states of its prompt's tokens, float32 [tokens, width].
        look: the last hidden states of continuations (parents, tokens), int64 [n] each, once these tokens are
            appended: float32 [n, width]. It may be asked once a step, for all that the search will choose from.
    """

    prompts: Sequence[Tensor]
    look: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Rows:
    """The information a search has about its rows, besides their logits.

    Attributes:
        jobs: int64 [rows], non-decreasing: the job of each row.
        positions: int64 [rows]: tokens generated so far.
        keys: randomness of each row.
        max_new_tokens: int64 [jobs]: the limit of each job.
        eos_count: how many ids end a sequence.
        ends: for candidate continuations (parents, tokens), int64 [n] each, the reason each would end with
            that token, int64 [n], as a code of `decodelab.core.reasons`; 0 means it goes on.
        partials: the texts of candidate continuations (parents, tokens), for searches that ask a checker.
        judge: what a scorer gives candidate continuations (scorer, parents, tokens): float64 [n], finite.
        model_logits: the logits that the model itself gave, float32 [rows, vocab], for searches that score by them.
        unit_embeddings: the model's token vectors of unit length, float32 [vocab, width]; UnsupportedStrategy if it
            shows none.
        ahead: what lies ahead, for a search that `LooksAhead`; else None.
        vocab: the vocabulary, for searches that look for words; None where a test leaves it out.
    """

    jobs: Tensor
    positions: Tensor
    keys: Keys
    max_new_tokens: Tensor
    eos_count: int
    ends: Callable[[Tensor, Tensor], Tensor]
    partials: Callable[[Tensor, Tensor], Sequence[Partial]]
    judge: Callable[[AnyScorer, Tensor, Tensor], Tensor]
    model_logits: Callable[[], Tensor]
    unit_embeddings: Callable[[], Tensor]
    ahead: Ahead | None = None
    vocab: Vocab | None = None


@dataclass(frozen=True)
class Advance:
    """A search's decision: which rows go on with which tokens, and which hypotheses end.

    `parents` must be ordered by job. Rows that are nobody's parent are dropped; a job without rows is
    finished. The i-th hypothesis that a search ever ended (in the order reported) is its hypothesis i.
    """

    parents: Tensor
    tokens: Tensor
    ended_parents: Tensor
    ended_tokens: Tensor
    ended_reasons: Tensor


@dataclass(frozen=True)
class Ranked:
    """A hypothesis a search returns: its number among the ended ones, its score, its sample index."""

    hypothesis: int
    score: float
    sample: int


@runtime_checkable
class Search(Protocol):
    """Which rows go on with which tokens; never sees the model or its cache."""

    @property
    def n(self) -> int:
        """The most candidates it returns."""
        ...

    @property
    def start_rows(self) -> int:
        """Rows a job begins with."""
        ...

    @property
    def peak_rows(self) -> int:
        """The most rows a job ever has."""
        ...

    def init(self, jobs: int, samples: Tensor) -> Any:
        """State of new jobs; `samples` (int64 [rows]) are the sample indices of their rows."""
        ...

    def step(self, logits: Tensor, state: Any, rows: Rows) -> tuple[Advance, Any]:
        """Advance all rows by a token; `logits`, float32 [rows, vocab], are processed but not normalised."""
        ...

    def finished(self, state: Any, job: int) -> list[Ranked]:
        """The hypotheses of a job, best first."""
        ...


@runtime_checkable
class LooksAhead(Search, Protocol):
    """A search that looks at the hidden states of continuations before it decides for some of them (see `Ahead`)."""

    @property
    def looks_at(self) -> int:
        """The most continuations of a job that it looks at in a step."""
        ...
