"""The five abstractions everything is composed of (design, section 2).

Rows are the live hypotheses of a batch. Whatever belongs to a row (a cache, a processor's state, a
search's scores) is a value indexed by row: forking, dropping and reordering rows is one gather.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from decodelab.core.key import Keys
from decodelab.core.values import Candidate, Chat, Partial, Tokens


class Vocab(Protocol):
    """The token side of a model: ids, text and the special tokens."""

    @property
    def size(self) -> int:
        """How many ids the logits range over."""
        ...

    @property
    def bos_id(self) -> int | None:
        """The token that begins a sequence, if any."""
        ...

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """All tokens that end a sequence (possibly none)."""
        ...

    def encode(self, text: str) -> Tokens:
        """Token ids of a prompt's text, with the BOS the model expects."""
        ...

    def encode_completion(self, prompt: Tokens, text: str) -> Tokens:
        """Token ids of text that follows a prompt: no BOS."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of a whole sequence, special tokens left out."""
        ...

    def decode_completion(self, prompt: Sequence[int], tokens: Sequence[int]) -> str:
        """Text that `tokens` add after `prompt` (a leading space that decoding alone would drop is kept)."""
        ...

    def token_text(self, token: int) -> str:
        """One token as readable text, special tokens by name."""
        ...

    def render_chat(self, chat: Chat) -> tuple[str, Tokens]:
        """The chat template applied, ready for the assistant's turn: its text and its tokens."""
        ...


@runtime_checkable
class ByteVocab(Protocol):
    """A vocabulary that tells the bytes of its tokens, which constraints on text are matched with."""

    def token_bytes(self, token: int, first: bool = False) -> bytes:
        """The bytes a token adds to a text, or has with nothing before it (`first`); none for what is no text."""
        ...


class Cache(Protocol):
    """What a model remembers of its rows; opaque, owned by the model.

    The methods return the cache to use from now on; the old one must not be used again.
    """

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens held for each row."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""
        ...

    def select(self, rows: Tensor) -> Cache:
        """The given rows (int64 [n]), in that order: forks, drops and reorders."""
        ...

    def rewind(self, lengths: Sequence[int]) -> Cache:
        """Forget the last tokens of each row so that `lengths` remain."""
        ...

    def join(self, other: Cache) -> Cache:
        """The rows of this cache followed by those of another of the same model."""
        ...


FILLER = -1
"""Stands for no token where rows of different lengths are written as one tensor."""


class LanguageModel(Protocol):
    """Where next-token logits come from."""

    @property
    def name(self) -> str:
        """The name it was loaded under."""
        ...

    @property
    def digest(self) -> str:
        """Hex digest of weights and vocabulary."""
        ...

    @property
    def vocab(self) -> Vocab:
        """Its vocabulary."""
        ...

    @property
    def context(self) -> int | None:
        """The longest sequence it can hold, or None when unbounded."""
        ...

    @property
    def generation_config(self) -> dict[str, Any]:
        """The model's own generation settings, in transformers' names; empty when it has none."""
        ...

    def cache_bytes(self, prompt: int, rows: int, new: int) -> int:
        """Bytes a cache may come to hold for `rows` continuations of `new` tokens of a prompt of `prompt` tokens."""
        ...

    def start(self, prompts: Sequence[Tokens]) -> tuple[Tensor, Cache]:
        """Prefill prompts of any lengths: the logits after each, [rows, vocab], and their cache."""
        ...

    def extend(self, cache: Cache, tokens: Tensor) -> tuple[Tensor, Cache]:
        """Append int64 tokens [rows, k] to every row: the logits after each, [rows, k, vocab].

        A row with fewer tokens (at least one) ends with `FILLER`, whose logits mean nothing. Filler counts as held and
        has to fit the context; such a row must be dropped, or rewound to its own tokens, before it goes on.
        """
        ...


class Segment(Protocol):
    """What a model remembers of some consecutive tokens of a sequence; opaque, owned by the model."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""
        ...

    def split(self, at: int) -> tuple[Segment, Segment]:
        """Its first `at` tokens and the others, each in memory of its own."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """A language model that can begin a prompt from what it remembers of another that begins alike."""

    def remember(self, cache: Cache, row: int, start: int, stop: int) -> Segment:
        """A copy of what a cache holds of the tokens `start` to `stop` of a row of it; the cache goes on unchanged."""
        ...

    def resume(
        self, pasts: Sequence[Sequence[Segment]], lengths: Sequence[int], tokens: Tensor
    ) -> tuple[Tensor, Cache]:
        """Prefill prompts of which the beginning is known.

        Args:
            pasts: for each row, the segments of its beginning, in order.
            lengths: how many tokens of them count, at least one.
            tokens: what follows, int64 [rows, k].

        Returns:
            The logits after each prompt, [rows, vocab], and their cache, as from `start`.
        """
        ...


@runtime_checkable
class HiddenStates(LanguageModel, Protocol):
    """A language model that shows what its layers make of the tokens.

    Layer 0 is the embedding, layer n the output of the n-th block; that of the last, `depth`, is shown as the head
    reads it, behind the final norm.
    """

    @property
    def depth(self) -> int:
        """How many blocks it has."""
        ...

    @property
    def tied(self) -> bool:
        """Whether embedding and head share their weights."""
        ...

    def start_showing(self, prompts: Sequence[Tokens], layers: Sequence[int]) -> tuple[Tensor, Tensor, Cache]:
        """As `start`, and the hidden states of these layers, [layers, rows, longest, width].

        Those of a shorter prompt come last in its row; what stands before them means nothing.
        """
        ...

    def extend_showing(self, cache: Cache, tokens: Tensor, layers: Sequence[int]) -> tuple[Tensor, Tensor, Cache]:
        """As `extend`, and the hidden states of these layers, [layers, rows, k, width]."""
        ...

    def exits(self, hidden: Tensor) -> Tensor:
        """The head's logits [..., vocab] of hidden states [..., width], without the final norm."""
        ...


Load = Callable[[str], LanguageModel]
"""Loads a model by name."""


@runtime_checkable
class Embeddings(LanguageModel, Protocol):
    """A language model that shows what its tokens mean to it."""

    @property
    def unit_embeddings(self) -> Tensor:
        """The vectors that stand for its tokens, scaled to unit length: float32 [vocab, width] on the CPU."""
        ...


@runtime_checkable
class EncoderDecoder(Protocol):
    """A language model that reads its prompt apart from what it writes: new tokens do not follow the prompt.

    What `start` gives are the logits after `begin`, given the prompt. `Cache.lengths` count prompt and new tokens.
    """

    @property
    def begin(self) -> Tokens:
        """What its decoder begins with, before the first new token; never empty."""
        ...

    @property
    def longest_prompt(self) -> int | None:
        """The most tokens it can read, or None when unbounded."""
        ...

    @property
    def longest_answer(self) -> int | None:
        """The most new tokens it can write, or None when unbounded."""
        ...


@runtime_checkable
class Composition(Protocol):
    """A language model made of others: guidance, contrast, mixtures. Processors and searches see one model."""

    def compose(self, model: LanguageModel, load: Load) -> LanguageModel:
        """The model that stands for `model` below the processors; `load` gives the others that it is made of."""
        ...


@runtime_checkable
class Processor(Protocol):
    """Logits to logits; never draws a token.

    State is None or a value indexed by row: `state[rows]` must give the state of these rows. A state that is neither
    None nor a tensor should be `Joinable`: speculative decoding refuses a processor whose state is not.
    """

    def init(self, prompts: Sequence[Tokens], vocab: Vocab, keys: Keys) -> Any:
        """State of rows that begin with these prompts; `keys` are their randomness, for streams of `PROCESSOR` on."""
        ...

    def apply(self, logits: Tensor, state: Any) -> Tensor:
        """New logits, float32 [rows, vocab]; removed tokens are -inf. Must not change its input."""
        ...

    def update(self, state: Any, logits: Tensor, tokens: Tensor) -> Any:
        """State after int64 tokens [rows] were chosen; `logits` are those given to `apply`."""
        ...


@runtime_checkable
class Joinable(Protocol):
    """A state of a processor that takes up rows which have seen more or fewer tokens."""

    def join(self, other: Any) -> Any:
        """The rows of this state followed by those of another state of the same processor."""
        ...


@runtime_checkable
class Randomised(Protocol):
    """A processor that tosses coins: what `apply` may give, so that the law over many samples can be computed."""

    def outcomes(self, logits: Tensor, state: Any) -> Sequence[tuple[float, Tensor]]:
        """Every result `apply` could have, with its probability, in the order of the coin's uniform number.

        The coin is the row's number of stream `PROCESSOR` at its position, which all stages of a chain share.
        """
        ...


@runtime_checkable
class Observable(Protocol):
    """A processor with something to show of itself besides logits: a controller's state, a coin."""

    def observe(self, logits: Tensor, state: Any) -> Mapping[str, Tensor]:
        """Named readings of each row, [rows] each, from what `apply` is given; NaN where there is none."""
        ...


@runtime_checkable
class ObservesChoice(Protocol):
    """A processor with something to show of the token that was chosen: how far it is from what it steers to."""

    def observe_choice(self, logits: Tensor, state: Any, tokens: Tensor) -> Mapping[str, Tensor]:
        """Named readings of each row after int64 tokens [rows] were chosen, [rows] each; NaN where there is none."""
        ...


@dataclass(frozen=True)
class Ahead:
    """What the model makes of continuations that a search has not decided for yet.

    Attributes:
        prompts: for each job the last hidden states of its prompt's tokens, float32 [tokens, width].
        look: the last hidden states of continuations (parents, tokens), int64 [n] each, once these tokens are
            appended: float32 [n, width]. It may be asked once a step, for all that the search will choose from.
    """

    prompts: Sequence[Tensor]
    look: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Rows:
    """What a search may know of its rows, besides their logits.

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


@runtime_checkable
class Selection(Protocol):
    """Which finished candidate wins."""

    def rank(self, candidates: Sequence[Candidate]) -> list[tuple[Candidate, float]]:
        """The candidates with their scores, best first."""
        ...


class Scorer(Protocol):
    """An external judgement of texts: a task's score, a reward model, a checker."""

    def __call__(self, prompt: str, texts: Sequence[str], /) -> Sequence[float]:
        """One finite number a text, higher is better."""
        ...


@runtime_checkable
class ModelScorer(Protocol):
    """A judgement that asks the model which is being decoded."""

    def score(self, model: LanguageModel, partials: Sequence[Partial]) -> Sequence[float]:
        """One finite number a continuation, higher is better; all continue the same prompt."""
        ...


AnyScorer = str | Scorer | ModelScorer
"""A scorer as a stage names it: by its name, or in Python as what it is."""


Verdict = Literal["dead", "alive", "complete"]
"""Of a text that may go on: nothing makes it right any more; it is right so far; it is right as it stands."""


class Reading(Protocol):
    """What a checker has read of a text: a value, so that texts can fork."""

    @property
    def dead(self) -> bool:
        """Whether nothing can make the text right any more."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the text is right as it stands."""
        ...

    def read(self, text: str) -> Reading:
        """The reading after some more text."""
        ...


@runtime_checkable
class ReadingChecker(Protocol):
    """A checker that reads on where it stopped."""

    def begin(self) -> Reading:
        """Nothing read yet."""
        ...


AnyChecker = str | Callable[[str], Verdict] | ReadingChecker
"""A checker as a stage names it: by its name, or in Python as what it is."""
