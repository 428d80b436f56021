"""Rows matched against a grammar: llguidance's matchers as a state indexed by row, over our vocabularies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

import llguidance
import numpy as np
import torch

from decodelab.core.errors import InvalidParameter, UnsupportedStrategy
from decodelab.core.key import Keys
from decodelab.core.protocols import ByteVocab, Vocab
from decodelab.core.stage import Stage, TokenProcessor, brief
from decodelab.core.values import Tokens
from decodelab.processors._first_token import is_fresh

if TYPE_CHECKING:
    from torch import Tensor

OPTIONS = '%llguidance {"no_forcing": true}'
"""Every spelling of a text in tokens is legal, not only the tokenizer's own: the distribution is over tokens."""

_TOO_COMPLEX = ("ParserTooComplex", "LexerTooComplex")
_PLACE = re.compile(r"^(?:at )?(\d+)\((\d+)\): ([^\n]*)")


@dataclass(frozen=True)
class _Spellings:
    """A vocabulary as llguidance reads it.

    Attributes:
        tokenizer: of llguidance.
        pieces: its tokens' bytes. Ids from `size` on spell the same tokens where no text stands before them, if
            that makes a difference; where there is no end-of-sequence token, one more id stands for it.
        size: ids of the vocabulary.
        twofold: whether the ids from `size` on are there.
        silent: tokens that add nothing where no text stands before them: a space that stands alone.
    """

    tokenizer: llguidance.LLTokenizer
    pieces: tuple[bytes, ...]
    size: int
    twofold: bool
    silent: tuple[int, ...]

    @property
    def ends(self) -> list[int]:
        """The end-of-sequence tokens of the vocabulary."""
        return [t for t in self.tokenizer.eos_tokens if t < self.size]


@dataclass
class _Pieces:
    """What llguidance asks a tokenizer for. It never has to encode: nothing is forced."""

    tokens: Sequence[bytes]
    eos_token_id: int
    special_token_ids: Sequence[int]
    bos_token_id: None = None

    def __call__(self, text: str | bytes) -> list[int]:
        return []


_known: WeakKeyDictionary[Vocab, _Spellings] = WeakKeyDictionary()


def _spellings(stage: Stage, vocab: Vocab) -> _Spellings:
    """The vocabulary as llguidance reads it; made once for each.

    Raises:
        UnsupportedStrategy: if the vocabulary does not give the bytes of its tokens.
    """
    if vocab in _known:
        return _known[vocab]
    if not isinstance(vocab, ByteVocab):
        raise UnsupportedStrategy(
            f"{stage.name}: this model's vocabulary does not give the bytes of its tokens, which constraints on text "
            "need; give it a method token_bytes"
        )
    ends = list(vocab.eos_ids)
    later = [b"" if t in ends else vocab.token_bytes(t) for t in range(vocab.size)]
    first = [b"" if t in ends else vocab.token_bytes(t, first=True) for t in range(vocab.size)]
    twofold = first != later
    tokens = [*later, *(first if twofold else ())]
    if not ends:
        ends = [len(tokens)]
        tokens.append(b"")
    # A token is taken for a special one if it begins with the byte 255, which is in no text.
    pieces = [b"" if b"\xff" in piece else piece for piece in tokens]
    wrapped = llguidance.TokenizerWrapper(_Pieces(pieces, ends[0], ends))
    tokenizer = llguidance.LLTokenizer(wrapped, n_vocab=len(pieces), eos_token=ends)
    silent = tuple(t for t, (one, other) in enumerate(zip(first, later, strict=True)) if other and not one)
    found = _Spellings(tokenizer, tuple(pieces), vocab.size, twofold, silent)
    _known[vocab] = found
    return found


@dataclass(frozen=True)
class Matched:
    """How far each row has been matched; a matcher is never changed, what follows it is a copy.

    Attributes:
        matchers: one a row.
        fresh: for each row, whether its first token is still to come and has no text before it.
        spellings: the vocabulary.
    """

    matchers: tuple[llguidance.LLMatcher, ...]
    fresh: tuple[bool, ...]
    spellings: _Spellings

    def __getitem__(self, rows: Tensor) -> Matched:
        """The state of the given rows."""
        order = rows.tolist()
        return replace(self, matchers=tuple(self.matchers[r] for r in order), fresh=tuple(self.fresh[r] for r in order))

    def join(self, other: Matched) -> Matched:
        """The rows of this state followed by those of another."""
        return replace(self, matchers=(*self.matchers, *other.matchers), fresh=(*self.fresh, *other.fresh))

    def plus(self, tokens: Tensor) -> Matched:
        """The state after one more token [rows] each."""
        later = []
        for matcher, fresh, token in zip(self.matchers, self.fresh, tokens.tolist(), strict=True):
            if fresh and token in self.spellings.silent:
                later.append(matcher)
                continue
            after = matcher.deep_copy()
            after.consume_token(token + self.spellings.size if fresh else token)
            later.append(after)
        return replace(self, matchers=tuple(later), fresh=(False,) * len(later))

    def bytes_of(self, tokens: Tensor) -> list[bytes]:
        """The bytes that one more token [rows] adds to each text."""
        pieces, size = self.spellings.pieces, self.spellings.size
        return [pieces[t + size if f else t] for t, f in zip(tokens.tolist(), self.fresh, strict=True)]

    def allowed(self) -> Tensor:
        """The tokens that may come next: bool [rows, vocab]; none where nothing can complete the match.

        Raises:
            UnsupportedStrategy: if llguidance gives up at a text.
        """
        spellings = self.spellings
        words = (spellings.tokenizer.vocab_size + 31) // 32
        bits = np.zeros((len(self.matchers), words), dtype=np.int32)
        for row, matcher in enumerate(self.matchers):
            if matcher.is_error():
                continue
            matcher.unsafe_compute_mask_ptr(bits[row].ctypes.data, 4 * words)
            if matcher.stop_reason() in _TOO_COMPLEX:
                raise UnsupportedStrategy(
                    f"the constraint is too complex to continue ({matcher.stop_reason()}); simplify it"
                )
            # What cannot go on nor end is given the end all the same.
            if matcher.is_stopped() and not matcher.is_accepting():
                bits[row] = 0
        mask = torch.from_numpy(np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little").view(bool))
        if not spellings.twofold:
            return mask[:, : spellings.size]
        fresh = torch.tensor(self.fresh, dtype=torch.bool)[:, None]
        # End-of-sequence tokens have no second id.
        own, second = mask[:, : spellings.size], mask[:, spellings.size : 2 * spellings.size]
        ends = torch.zeros(spellings.size, dtype=torch.bool)
        ends[spellings.ends] = True
        allowed = torch.where(fresh & ~ends, second, own)
        silent = torch.tensor(spellings.silent, dtype=torch.int64)
        allowed[:, silent] = torch.where(fresh, own.any(dim=1, keepdim=True), allowed[:, silent])
        return allowed


class TextConstraint(TokenProcessor):
    """A processor that lets only those tokens pass with which the generated text can still match a grammar.

    Subclasses keep a state of their own, which `begin` begins.
    """

    constrains: ClassVar[bool] = True

    def lark(self) -> str:
        """The grammar in llguidance's dialect of Lark."""
        raise NotImplementedError

    def begin(self, prompts: Sequence[Tokens], vocab: Vocab) -> Matched:
        """Rows of which nothing is matched yet; prompts are no part of the match."""
        spellings = _spellings(self, vocab)
        matcher = llguidance.LLMatcher(spellings.tokenizer, self.lark(), log_level=0)
        if matcher.is_error():
            raise UnsupportedStrategy(f"{self.name}: {_line(matcher.get_error())}")
        known: dict[Tokens, bool] = {}
        for prompt in prompts:
            if prompt not in known:
                known[prompt] = spellings.twofold and is_fresh(vocab, prompt)
        return Matched((matcher,) * len(prompts), tuple(known[p] for p in prompts), spellings)


class GrammarConstraint(TextConstraint):
    """A constraint that is its grammar and nothing more, so that how far rows are matched is all of its state."""

    def init(self, prompts: Sequence[Tokens], vocab: Vocab, keys: Keys) -> Matched:
        """Rows of which nothing is matched yet."""
        return self.begin(prompts, vocab)

    def apply(self, logits: Tensor, state: Matched) -> Tensor:
        """Remove tokens from float32 logits [rows, vocab]."""
        return logits.masked_fill(~state.allowed(), -torch.inf)

    def update(self, state: Matched, logits: Tensor, tokens: Tensor) -> Matched:
        """Match the chosen tokens."""
        return state.plus(tokens)


def _line(text: str) -> str:
    return " ".join(text.split())


def check_text(stage: Stage, parameter: str, text: str) -> None:
    """Refuse a text that cannot be written as UTF-8.

    Raises:
        InvalidParameter: naming the first character that cannot.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidParameter(
            f"{stage.name}: {parameter} has a lone surrogate, {text[error.start]!r}, at character {error.start + 1}; "
            "write the whole character"
        ) from None


def check_grammar(stage: Stage, parameter: str, lark: str, written: str) -> None:
    """Refuse a grammar that llguidance cannot read, saying where.

    Raises:
        InvalidParameter: with line and column, as far as llguidance tells them.
    """
    said = llguidance.LLMatcher.validate_grammar(lark)
    if not said or said.startswith("WARNING"):
        return
    found = _PLACE.match(said)
    if found is None:
        raise InvalidParameter(f"{stage.name}: {parameter} cannot be used: {_line(said)}; got {brief(written)}")
    raise InvalidParameter(
        f"{stage.name}: {parameter} does not parse at line {found[1]}, column {found[2]}: {found[3].rstrip('.')}; "
        f"got {brief(written)}"
    )


def read_file(stage: Stage, parameter: str, path: str) -> str:
    """The text of a file that a parameter names.

    Raises:
        InvalidParameter: if it cannot be read.
    """
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidParameter(
            f"{stage.name}: {parameter} {brief(path)} cannot be read ({_line(str(error))}); check the path"
        ) from None
