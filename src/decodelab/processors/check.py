"""Tokens that leave the text alive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from decodelab.checkers.catalogue import check_checker
from decodelab.checkers.reading import begin_reading
from decodelab.core.errors import UnsupportedStrategy
from decodelab.core.key import Keys
from decodelab.core.protocols import AnyChecker, ByteVocab, Reading, Vocab
from decodelab.core.stage import TokenProcessor, check_choice, check_number
from decodelab.core.values import Tokens


@dataclass(frozen=True)
class _Text:
    """What is read of one row's text.

    Attributes:
        reading: of the whole characters.
        bytes: of a character that is not finished.
        fresh: whether no text stands before the next token.
    """

    reading: Reading
    bytes: bytes
    fresh: bool

    @property
    def alive(self) -> bool:
        """Whether the text may go on; one that ends inside a character, with one of those that begin so."""
        if self.bytes:
            return any(not self.reading.read(character).dead for character in _begun_by(self.bytes))
        return not self.reading.dead

    def plus(self, vocab: ByteVocab, token: int) -> _Text | None:
        """The text with one more token; None where that is no text."""
        piece = vocab.token_bytes(token, first=True) if self.fresh else vocab.token_bytes(token)
        if not piece:
            return None
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
    """What is read of each row's text, with the vocabulary that spells it; None for a row whose text was left."""

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
    """Let only those tokens pass that leave the text alive, as a checker says: look-ahead by one token.

    A checker is any function that says of a text whether it is "dead" (nothing makes it right any more), "alive", or
    "complete" (right as it stands); `python` is built in. EOS passes exactly where the text is complete; special tokens
    never do. A beam takes its hypotheses from what passes, so that a dead one takes nobody's place.

    A character that several tokens spell is begun where one of up to 64 that begin so leaves the text alive.

    Tokens are looked at from the most probable on until `candidates` are found that leave the text alive, or, once
    there is one, until `look` have been looked at; all others are removed. `candidates=none, look=none` asks about
    every token, and the distribution is then the model's among the living ones. That distribution, like every mask's,
    is not the model's distribution of texts given that they are right: `rejection` draws from that
    (docs/constraints.md).

    Raises:
        InvalidParameter: if the checker is not known, or another parameter out of range.
        UnsupportedStrategy: if the vocabulary does not tell the bytes of its tokens.
        CheckerFailed: if the checker raises or gives no verdict, with the text that caused it.

    >>> import decodelab as dl
    >>> distribution = {"=": 0.5, "1": 0.3, "+": 0.1, "</s>": 0.1}
    >>> model = dl.TableModel(["1", "+", "="], {...: distribution}, bos="<s>", separator="")
    >>> dl.generate(model, "", "check=python | greedy", max_new_tokens=4)[0].best.text
    '1==1'
    """

    checker: Annotated[AnyChecker, "what judges the text: python, or in Python any function of a text"]
    prompt: Annotated[bool, "whether the prompt is a part of the text"] = True
    candidates: Annotated[int | None, "living tokens kept, most probable first; none keeps all"] = 20
    look: Annotated[int | None, "tokens looked at once one is alive; none looks at all"] = 500

    name: ClassVar[str] = "check"
    source: ClassVar[str] = "Scholak et al. 2021, PICARD, section 2: beams held to an incremental parser"
    constrains: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_checker(self, "checker")
        check_choice(self, "prompt", (True, False), fix="false judges the generated text alone")
        for parameter in ("candidates", "look"):
            if getattr(self, parameter) is not None:
                check_number(self, parameter, low=1, integer=True, fix="use none for no bound")

    def init(self, prompts: Sequence[Tokens], vocab: Vocab, keys: Keys) -> Texts:
        """The prompts are read, if they are a part of the text."""
        if not isinstance(vocab, ByteVocab):
            raise UnsupportedStrategy(
                "check: this model's vocabulary does not tell the bytes of its tokens, which constraints on text need; "
                "give it a method token_bytes"
            )
        begun = begin_reading(self.checker)
        texts: dict[Tokens, _Text] = {}
        for prompt in prompts:
            if prompt not in texts:
                before = vocab.decode(prompt)
                texts[prompt] = _Text(begun.read(before) if self.prompt and before else begun, b"", not before)
        return Texts(tuple(texts[p] for p in prompts), vocab, vocab.eos_ids)

    def apply(self, logits: Tensor, state: Texts) -> Tensor:
        """Remove tokens from float32 logits [rows, vocab]."""
        kept = torch.full_like(logits, -torch.inf)
        for row, text in enumerate(state.rows):
            if text is not None:
                ids = self._living(logits[row], text, state)
                kept[row, ids] = logits[row, ids]
        return kept

    def _living(self, logits: Tensor, text: _Text, state: Texts) -> list[int]:
        """The tokens that pass in one row."""
        found: list[int] = []
        for seen, token in enumerate(_by_probability(logits, 4 * (self.candidates or len(logits)))):
            if len(found) == self.candidates or (found and seen == self.look):
                break
            if token in state.ends:
                alive = not text.bytes and text.reading.complete
            else:
                after = text.plus(state.vocab, token)
                alive = after is not None and after.alive
            if alive:
                found.append(token)
        return found

    def update(self, state: Texts, logits: Tensor, tokens: Tensor) -> Texts:
        """Read the chosen tokens."""
        places = zip(state.rows, tokens.tolist(), strict=True)
        return replace(state, rows=tuple(t.plus(state.vocab, token) if t else None for t, token in places))


def _by_probability(logits: Tensor, few: int) -> Iterator[int]:
    """The tokens that are possible, most probable first, of equal ones that of lowest id.

    `few` is how many are likely to be asked for: all are sorted only when they are not enough.
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
    """Characters whose UTF-8 begins so: all where one byte is missing, else one for each next byte, best a letter."""
    length = 2 if head[0] < 0xE0 else 3 if head[0] < 0xF0 else 4
    nexts = [head + bytes([byte]) for byte in range(0x80, 0xC0)]
    if len(head) == length - 1:
        return tuple(filter(None, map(_decoded, nexts)))
    found = (_begun_by(longer) for longer in nexts)
    return tuple(next((c for c in some if c.isidentifier()), some[0]) for some in found if some)


def _decoded(spelt: bytes) -> str:
    """The character, if there is one."""
    return spelt.decode(errors="ignore")
