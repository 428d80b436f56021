"""Allowed words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.errors import InvalidParameter
from decodelab.core.key import Keys
from decodelab.core.protocols import Vocab
from decodelab.core.stage import TokenProcessor, check_choice
from decodelab.core.values import Tokens
from decodelab.processors._words import Word, as_words, sequences

if TYPE_CHECKING:
    from torch import Tensor

Begun = frozenset[Tokens]
"""The beginnings of words that the last tokens can be; () where a new word may begin."""


class Grammar:
    """Sequences of words of one vocabulary, read token by token; what is found out is kept for the next time."""

    def __init__(self, words: Iterable[Tokens], ends: Sequence[int]) -> None:
        self.words = frozenset(words)
        self.ends = tuple(ends)
        self.after: dict[Tokens, set[int]] = {}
        for word in self.words:
            for at, token in enumerate(word):
                self.after.setdefault(word[:at], set()).add(token)
        self.begun: list[Begun] = [frozenset([()])]
        self.numbers: dict[Begun, int] = {self.begun[0]: 0}
        self.known: dict[int, Tensor] = {}

    def allowed(self, number: int) -> Tensor:
        """The ids that may come next, int64 [n], where the begun words have this number."""
        if number not in self.known:
            begun = self.begun[number]
            ids = set().union(*(self.after.get(start, ()) for start in begun))
            self.known[number] = torch.tensor(sorted(ids.union(self.ends if () in begun else ())), dtype=torch.int64)
        return self.known[number]

    def follow(self, number: int, token: int) -> int:
        """The number of the begun words after one more token; one that no word has there begins anew."""
        longer = {(*start, token) for start in self.begun[number] if token in self.after.get(start, ())}
        begun = frozenset(start for start in longer if start in self.after) | (
            {()} if not longer or longer & self.words else set()
        )
        if begun not in self.numbers:
            self.numbers[begun] = len(self.begun)
            self.begun.append(begun)
        return self.numbers[begun]


@dataclass(frozen=True)
class Begins:
    """Which words each row has begun: their number in the grammar, int64 [rows]."""

    numbers: Tensor
    grammar: Grammar

    def __getitem__(self, rows: Tensor) -> Begins:
        """The state of the given rows."""
        return dataclasses.replace(self, numbers=self.numbers[rows])

    def join(self, other: Begins) -> Begins:
        """The rows of this state followed by those of another."""
        return dataclasses.replace(self, numbers=torch.cat([self.numbers, other.numbers]))


@dataclass(frozen=True)
class Allow(TokenProcessor):
    """Generate only these words, one after another: texts, token ids or lists of ids.

    A word of several tokens, once started, is completed; then any word may follow. A text is allowed as the tokenizer
    writes it, with and without a space before it. The generation may end between words, unless `eos=false`. With only
    ids and `eos=false` it is vLLM's `allowed_token_ids`.

    Raises:
        InvalidParameter: if there is no word, or one is empty, or no text, id of at least 0 or list of ids.
        VocabularyMismatch: if an id is outside the model's vocabulary.
        UnknownToken: if a text becomes no tokens, or cannot be written with the vocabulary.

    >>> from decodelab import TableModel
    >>> vocab = TableModel(list("abcd"), {}, eos=None).vocab
    >>> stage = Allow([3, [1, 2]], eos=False)
    >>> begun = stage.update(stage.init([(0,)], vocab, None), None, torch.tensor([1]))
    >>> stage.apply(torch.zeros(1, 4), begun).tolist()
    [[-inf, -inf, 0.0, -inf]]
    """

    words: Annotated[Sequence[Word] | Word, "texts, token ids or lists of ids; a single one needs no list"]
    eos: Annotated[bool, "whether to allow end-of-sequence tokens between words"] = True

    name: ClassVar[str] = "allow"
    source: ClassVar[str] = "a trie of token sequences, De Cao et al. 2021 (GENRE), section 3.2, repeated"

    def __post_init__(self) -> None:
        """Check the parameters."""
        object.__setattr__(self, "words", as_words(self, "words"))
        if not self.words:
            raise InvalidParameter("allow: words must hold at least one word, got none; leave allow out to allow all")
        check_choice(self, "eos", (True, False), fix="true allows the generation to end between words")

    def init(self, prompts: Sequence[Tokens], vocab: Vocab, keys: Keys) -> Begins:
        """Rows in which a word may begin; what the prompt ends with is nobody's beginning."""
        words = as_words(self, "words")
        found = (tokens for _, tokens in sequences(self, words, vocab, spaced=True))
        return Begins(torch.zeros(len(prompts), dtype=torch.int64), Grammar(found, vocab.eos_ids if self.eos else ()))

    def apply(self, logits: Tensor, state: Begins) -> Tensor:
        """Remove all other tokens from float32 logits [rows, vocab]."""
        kept = torch.full_like(logits, -torch.inf)
        for number in state.numbers.unique().tolist():
            rows = (state.numbers == number).nonzero()
            ids = state.grammar.allowed(number)
            kept[rows, ids] = logits[rows, ids]
        return kept

    def update(self, state: Begins, logits: Tensor, tokens: Tensor) -> Begins:
        """Follow the chosen tokens."""
        places = zip(state.numbers.tolist(), tokens.tolist(), strict=True)
        numbers = [state.grammar.follow(*place) for place in places]
        return dataclasses.replace(state, numbers=torch.tensor(numbers, dtype=torch.int64))
