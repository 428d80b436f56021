"""Notes on prompts that a tokenizer reads in another way than they may be meant."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

from decodelab.core.notices import PromptWarning
from decodelab.core.protocols import KnowsUnknown, LanguageModel, SpecialTokens
from decodelab.core.stage import brief
from decodelab.core.values import Tokens

MOST = 3
"""Prompts, and characters, named in one note."""


@dataclass
class _Named:
    """The prompts that a note is about: the names of the first, and how many there are."""

    names: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, name: str) -> None:
        self.count += 1
        if self.count <= MOST:
            self.names.append(name)

    def __str__(self) -> str:
        more = f" and {self.count - MOST:,} more" if self.count > MOST else ""
        return ", ".join(self.names) + more


class PromptNotes:
    """Looks at texts as a model's tokenizer reads them, for two BOS, special tokens, and unknown characters.

    Args:
        model: whose tokenizer.
        literal: whether the caller has a way to read the names of special tokens as text.

    >>> import decodelab as dl
    >>> notes = PromptNotes(dl.TableModel(["a"], {...: {"a": 0.5, "</s>": 0.5}}, bos="<s>"))
    >>> notes.see("prompt 0", "a", (2, 0))
    >>> notes.tell()
    """

    def __init__(self, model: LanguageModel, *, literal: bool = False) -> None:
        """Prepare to look."""
        vocab = model.vocab
        self._model, self._vocab, self._literal = model.name, vocab, literal
        self._bos = vocab.bos_id
        special = vocab.special_tokens if isinstance(vocab, SpecialTokens) else {}
        self._special: dict[int, list[str]] = {}
        for name, token in special.items():
            self._special.setdefault(token, []).append(name)
        self._unknown = vocab.unknown_id if isinstance(vocab, KnowsUnknown) else None
        self._unknown_name = "" if self._unknown is None else vocab.token_text(self._unknown)
        self._twice, self._read, self._lost = _Named(), _Named(), _Named()
        self._became: dict[str, None] = {}
        self._characters: dict[str, None] = {}

    def see(self, name: str, text: str, tokens: Tokens) -> None:
        """Look at a text, by what it is to be called, and its token ids."""
        if self._bos is not None and tokens[:2] == (self._bos, self._bos):
            self._twice.add(name)
        there = set(tokens)
        became = [called for token in there & self._special.keys() for called in self._special[token] if called in text]
        if became:
            self._read.add(name)
            self._became |= dict.fromkeys(sorted(became, key=text.index))
        if self._unknown in there and not (self._unknown_name and self._unknown_name in text):
            self._lost.add(name)
            self._characters |= dict.fromkeys(text)

    def tell(self, stacklevel: int = 3) -> None:
        """Warn of what was seen.

        Warns:
            PromptWarning: once for each kind.
        """
        if self._bos is not None and self._twice.count:
            self._warn(
                "BOS",
                f"{self._twice}: begins with BOS ({brief(self._vocab.token_text(self._bos))}) twice, because the "
                "tokenizer puts one before every text; leave it out of the prompt",
                stacklevel,
            )
        if self._read.count:
            fix = (
                "literal=True (decodelab generate --literal) reads such names as text"
                if self._literal
                else "remove it if it is meant as text"
            )
            self._warn(
                "special",
                f"{self._read}: {', '.join(map(brief, self._became))} became a special token; {fix}",
                stacklevel,
            )
        if self._lost.count:
            lost = [one for one in self._characters if self._unknown in self._vocab.encode(one)]
            which = ", ".join(map(brief, lost[:MOST])) + (f" and {len(lost) - MOST} more" if len(lost) > MOST else "")
            self._warn(
                "unknown",
                f"{self._lost}: the tokenizer does not have {which or 'some characters'}, for which the model sees its "
                f"token for the unknown ({brief(self._unknown_name or '<unk>')})",
                stacklevel,
            )

    def _warn(self, kind: str, message: str, stacklevel: int) -> None:
        warnings.warn(PromptWarning(message, f"{kind} of {self._model}"), stacklevel=stacklevel + 1)
