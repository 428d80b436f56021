"""Keep only tokens after which the text can still become valid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.checkers.catalogue import check_checker
from decodelab.checkers.reading import begin_reading
from decodelab.core.errors import UnsupportedStrategy
from decodelab.core.key import Keys
from decodelab.core.protocols import AnyChecker, ByteVocab, Reading, Vocab
from decodelab.core.stage import TokenProcessor, check_choice, check_number
from decodelab.core.values import Tokens
from decodelab.processors._first_token import is_fresh, is_silent

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class _Text:
    """The reading of one row's text.

    Attributes:
        reading: of the complete characters.
        bytes: of an unfinished character.
        fresh: whether the next token begins the text.
    """

    reading: Reading
    bytes: bytes
    fresh: bool

    @property
    def viable(self) -> bool:
        """Whether the text is not invalid; where it ends inside a character, with some completion of it."""
        if self.bytes:
            return any(not self.reading.read(character).invalid for character in _begun_by(self.bytes))
        return not self.reading.invalid

    def plus(self, vocab: ByteVocab, token: int) -> _Text | None:
        """The text with one more token; None where that is not text."""
        piece = vocab.token_bytes(token, first=True) if self.fresh else vocab.token_bytes(token)
        if not piece:
            return replace(self, fresh=False) if self.fresh and is_silent(vocab, token) else None
        whole = self.bytes + piece
        try:
            text, rest = whole.decode(), b""
        except UnicodeDecodeError as error:
            if error.end != len(whole) or error.reason != "unexpected end of data":
                return None
            text, rest = whole[: error.start].decode(), whole[error.start :]
        return _Text(self.reading.read(text) if text else self.reading, rest, False)


@dataclass(frozen=True)
class Texts:
    """The reading of each row's text, with its vocabulary; None for a row whose text became invalid."""

    rows: tuple[_Text | None, ...]
    vocab: ByteVocab
    ends: Tokens

    def __getitem__(self, rows: Tensor) -> Texts:
        """The state of the given rows."""
        return replace(self, rows=tuple(self.rows[r] for r in rows.tolist()))

    def join(self, other: Texts) -> Texts:
        """The rows of this state followed by those of another."""
        return replace(self, rows=(*self.rows, *other.rows))


@dataclass(frozen=True)
class Check(TokenProcessor):
    """Keep only tokens after which a checker does not call the text invalid: a look-ahead of one token.

    A checker is any function that maps a text to "invalid" (no continuation is valid), "prefix" (some continuation is)
    or "complete" (valid as it stands); `python` is built in. EOS passes exactly where the text is complete; special
    tokens never do. A beam fills its width from the tokens that pass, so invalid hypotheses take up no places.

    A token that starts a multi-token character passes if one of up to 64 characters with that start does.

    Tokens are checked from the most probable down until `candidates` of them pass or, once one has passed, until `look`
    have been checked; all others are removed. `candidates=none, look=none` checks every token, and the distribution is
    then the model's, renormalised over the tokens that pass. As with every mask, this is not the model's distribution
    over texts conditioned on being valid: `rejection` draws from that one (docs/constraints.md).

    Raises:
        InvalidParameter: if the checker is unknown, or another parameter is out of range.
        UnsupportedStrategy: if the vocabulary does not give the bytes of its tokens.
        CheckerFailed: if the checker raises or returns no verdict; names the text.

    >>> import decodelab as dl
    >>> distribution = {"=": 0.5, "1": 0.3, "+": 0.1, "</s>": 0.1}
    >>> model = dl.TableModel(["1", "+", "="], {...: distribution}, bos="<s>", separator="")
    >>> dl.generate(model, "", "check=python | greedy", max_new_tokens=4)[0].best.text
    '1==1'
    """

    checker: Annotated[AnyChecker, "what checks the text: python, linted_python, or in Python any function of a text"]
    prompt: Annotated[bool, "whether the prompt is part of the text"] = True
    candidates: Annotated[int | None, "passing tokens to keep, most probable first; none keeps all"] = 20
    look: Annotated[int | None, "tokens to check once one has passed; none checks all"] = 500

    name: ClassVar[str] = "check"
    source: ClassVar[str] = "Scholak et al. 2021, PICARD, section 2: beams held to an incremental parser"
    constrains: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_checker(self, "checker")
        check_choice(self, "prompt", (True, False), fix="false checks the generated text alone")
        for parameter in ("candidates", "look"):
            if getattr(self, parameter) is not None:
                check_number(self, parameter, low=1, integer=True, fix="use none for no bound")

    def init(self, prompts: Sequence[Tokens], vocab: Vocab, keys: Keys) -> Texts:
        """Read the prompts, if they are part of the text."""
        if not isinstance(vocab, ByteVocab):
            raise UnsupportedStrategy(
                "check: this model's vocabulary does not give the bytes of its tokens, which constraints on text need; "
                "give it a method token_bytes"
            )
        begun = begin_reading(self.checker)
        texts: dict[Tokens, _Text] = {}
        for prompt in prompts:
            if prompt not in texts:
                before = vocab.decode(prompt)
                reading = begun.read(before) if self.prompt and before else begun
                texts[prompt] = _Text(reading, b"", is_fresh(vocab, prompt))
        return Texts(tuple(texts[p] for p in prompts), vocab, vocab.eos_ids)

    def apply(self, logits: Tensor, state: Texts) -> Tensor:
        """Remove tokens from float32 logits [rows, vocab]."""
        kept = torch.full_like(logits, -torch.inf)
        for row, text in enumerate(state.rows):
            if text is not None:
                ids = self._passing(logits[row], text, state)
                kept[row, ids] = logits[row, ids]
        return kept

    def _passing(self, logits: Tensor, text: _Text, state: Texts) -> list[int]:
        """The tokens that pass in one row."""
        found: list[int] = []
        for seen, token in enumerate(_by_probability(logits, 4 * (self.candidates or len(logits)))):
            if len(found) == self.candidates or (found and seen == self.look):
                break
            if token in state.ends:
                passes = not text.bytes and text.reading.complete
            else:
                after = text.plus(state.vocab, token)
                passes = after is not None and after.viable
            if passes:
                found.append(token)
        return found

    def update(self, state: Texts, logits: Tensor, tokens: Tensor) -> Texts:
        """Read the chosen tokens."""
        places = zip(state.rows, tokens.tolist(), strict=True)
        return replace(state, rows=tuple(t.plus(state.vocab, token) if t else None for t, token in places))


def _by_probability(logits: Tensor, few: int) -> Iterator[int]:
    """The possible tokens, most probable first; ties go to the lowest id.

    `few` is how many are likely to be needed: all are sorted only if not enough.
    """
    done = 0
    if few < len(logits):
        best = logits.topk(few).values
        sure = (logits > best[-1]).nonzero()[:, 0]
        order = sure[logits[sure].sort(descending=True, stable=True).indices]
        yield from order.tolist()
        done = len(order)
    values, order = logits.sort(descending=True, stable=True)
    yield from order[done : int(values.isfinite().sum())].tolist()


@cache
def _begun_by(head: bytes) -> tuple[str, ...]:
    """Characters whose UTF-8 starts so: all if one byte is missing, else one a next byte, preferably a letter."""
    length = 2 if head[0] < 0xE0 else 3 if head[0] < 0xF0 else 4
    nexts = [head + bytes([byte]) for byte in range(0x80, 0xC0)]
    if len(head) == length - 1:
        return tuple(filter(None, map(_decoded, nexts)))
    found = (_begun_by(longer) for longer in nexts)
    return tuple(next((c for c in some if c.isidentifier()), some[0]) for some in found if some)


def _decoded(spelt: bytes) -> str:
    """The character, if there is one."""
    return spelt.decode(errors="ignore")
