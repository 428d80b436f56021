"""Language models, their vocabularies and caches, and optional capabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from decodelab.core.values import Chat, Tokens

if TYPE_CHECKING:
    import torch
    from torch import Tensor


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
        """The chat template applied, ready for the assistant's turn: its text and its tokens.

        Raises:
            NoChatTemplate: for a model that has none.
        """
        ...


@runtime_checkable
class ByteVocab(Protocol):
    """A vocabulary that gives the bytes of its tokens, which constraints on text need."""

    def token_bytes(self, token: int, first: bool = False) -> bytes:
        """The bytes a token adds to a text, or has with nothing before it (`first`); none for what is no text."""
        ...


@runtime_checkable
class SpecialTokens(Protocol):
    """A vocabulary that names its special tokens, which stand in a prompt by name and are no part of any text."""

    @property
    def special_tokens(self) -> Mapping[str, int]:
        """The id of each, by the text that stands for it in a prompt."""
        ...

    def encode_literal(self, text: str) -> Tokens:
        """As `encode`, but a special token's name is text like any other."""
        ...


@runtime_checkable
class KnowsUnknown(Protocol):
    """A vocabulary with one token for every character that it does not have."""

    @property
    def unknown_id(self) -> int | None:
        """That token, if there is one."""
        ...


class Cache(Protocol):
    """The state of a model's rows; opaque, owned by the model.

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


@runtime_checkable
class Forkable(Protocol):
    """A cache whose rows can be copied; without it, tree searches compute every node from the prompt."""

    def fork(self, rows: Tensor) -> Cache:
        """The given rows (int64 [n]) as a cache of their own; this one stays in use as it is."""
        ...


PAD = -1
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
    def context_length(self) -> int | None:
        """The longest sequence it can hold, or None when unbounded."""
        ...

    @property
    def generation_config(self) -> dict[str, Any]:
        """The model's own generation settings, in transformers' names; empty when it has none."""
        ...

    def cache_bytes(self, prompt: int, rows: int, new: int) -> int:
        """Bytes a cache may come to hold for `rows` continuations of `new` tokens of a prompt of `prompt` tokens."""
        ...

    def prefill(self, prompts: Sequence[Tokens]) -> tuple[Tensor, Cache]:
        """Prefill prompts of any lengths: the logits after each, [rows, vocab], and their cache."""
        ...

    def decode(self, cache: Cache, tokens: Tensor) -> tuple[Tensor, Cache]:
        """Append int64 tokens [rows, k] to every row: the logits after each, [rows, k, vocab].

        A row with fewer tokens (at least one) ends with `PAD`, whose logits mean nothing. Filler counts as held and
        has to fit the context; such a row must be dropped, or rewound to its own tokens, before it goes on.
        """
        ...


class Segment(Protocol):
    """The stored keys and values of some consecutive tokens; opaque, owned by the model."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""
        ...

    def split(self, at: int) -> tuple[Segment, Segment]:
        """Its first `at` tokens and the others, each in memory of its own."""
        ...


@runtime_checkable
class PrefixCaching(Protocol):
    """A language model that can store the prefix of a prompt and load it for others that begin with it."""

    def store_prefix(self, cache: Cache, row: int, start: int, stop: int) -> Segment:
        """A copy of what a cache holds of tokens `start` to `stop` of a row; the cache stays as it is."""
        ...

    def load_prefix(
        self, segments: Sequence[Sequence[Segment]], lengths: Sequence[int], tokens: Tensor
    ) -> tuple[Tensor, Cache]:
        """Prefill prompts whose prefixes are stored.

        Args:
            segments: for each row, the segments of its prefix, in order.
            lengths: how many tokens of them count, at least one.
            tokens: what follows, int64 [rows, k].

        Returns:
            The logits after each prompt, [rows, vocab], and their cache, as from `prefill`.
        """
        ...


@runtime_checkable
class HiddenStates(LanguageModel, Protocol):
    """A language model that exposes its layers' hidden states.

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

    def prefill_with_hidden_states(
        self, prompts: Sequence[Tokens], layers: Sequence[int]
    ) -> tuple[Tensor, Tensor, Cache]:
        """As `prefill`, and the hidden states of these layers, [layers, rows, longest, width].

        Those of a shorter prompt come last in its row; what stands before them means nothing.
        """
        ...

    def decode_with_hidden_states(
        self, cache: Cache, tokens: Tensor, layers: Sequence[int]
    ) -> tuple[Tensor, Tensor, Cache]:
        """As `decode`, and the hidden states of these layers, [layers, rows, k, width]."""
        ...

    def early_exit_logits(self, hidden: Tensor) -> Tensor:
        """The head's logits [..., vocab] of hidden states [..., width], without the final norm."""
        ...


Load = Callable[[str], LanguageModel]
"""Loads a model by name."""


@runtime_checkable
class Embeddings(LanguageModel, Protocol):
    """A language model that exposes its token embeddings."""

    @property
    def unit_embeddings(self) -> Tensor:
        """The vectors that stand for its tokens, scaled to unit length: float32 [vocab, width] on the CPU."""
        ...


@runtime_checkable
class EncoderDecoder(Protocol):
    """A language model that reads its prompt apart from what it writes: new tokens do not follow the prompt.

    What `prefill` gives are the logits after `begin`, given the prompt. `Cache.lengths` count prompt and new tokens.
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
class Network(Protocol):
    """A language model that is one network, computed with torch."""

    @property
    def weights(self) -> Sequence[Tensor]:
        """Its weights, each once."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        ...


@runtime_checkable
class Composed(Protocol):
    """A language model made of others."""

    @property
    def parts(self) -> Sequence[LanguageModel]:
        """Those it is made of; the first is the one decoded."""
        ...

    def given(self, prompts: Sequence[Tokens]) -> list[list[Tokens]]:
        """What each part is given for these prompts."""
        ...


@runtime_checkable
class WholePrompts(Protocol):
    """A language model to which tokens it decodes may mean something else than tokens of the prompt."""

    @property
    def whole_prompts(self) -> bool:
        """Whether a prompt can neither be computed in chunks nor continue a stored prefix."""
        ...
