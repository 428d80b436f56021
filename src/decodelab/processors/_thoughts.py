"""Where a text stands among its thinking marks, token by token."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from decodelab.core.errors import UnknownToken
from decodelab.core.phrases import spellings
from decodelab.core.protocols import Vocab
from decodelab.core.stage import Stage
from decodelab.core.thoughts import MARKS
from decodelab.core.values import Tokens
from decodelab.processors._words import Word, sequences


class Marks:
    """The marks around thoughts, and what is written in place of an early end, under one vocabulary.

    Marks are found as text, whatever tokens they are made of, and are written as the shortest sequence of tokens that
    spells them.

    Args:
        stage: whose they are, for errors.
        start, end: the marks; None for the model's own (`own_marks`).
        continuation: a text, a token id or several; None where none will be written.
        vocab: the vocabulary.

    Raises:
        UnknownToken: if a text cannot be written with the vocabulary.
        VocabularyMismatch: if an id is outside it.
    """

    def __init__(
        self, stage: Stage, start: str | None, end: str | None, continuation: Word | None, vocab: Vocab
    ) -> None:
        own = own_marks(vocab)
        self.start, self.end = start or own[0], end or own[1]
        spelt = spellings(stage, self.end, vocab, spaced=False)
        self.closing = min(spelt, key=len)
        self.first_of_end = {tokens[0] for tokens in spelt} | set(vocab.eos_ids)
        words = [] if continuation is None else [_word(continuation)]
        self.continuation: Tokens = min(
            (t for _, t in sequences(stage, words, vocab, spaced=False)), key=len, default=()
        )
        self.reach = max(len(self.start), len(self.end))
        self._vocab = vocab
        self._texts: dict[int, str] = {}
        self._completing: dict[int, set[int]] = {}

    def ends(self, tail: Tokens) -> list[int]:
        """The tokens that begin the end mark after the last tokens of a thought, complete it, or end the text."""
        found = set(self.first_of_end)
        text = "".join(map(self._text, tail))
        for begun in range(1, len(self.end)):
            if text.endswith(self.end[:begun]):
                if begun not in self._completing:
                    rest, size = self.end[begun:], self._vocab.size
                    self._completing[begun] = {token for token in range(size) if self._text(token).startswith(rest)}
                found |= self._completing[begun]
        return sorted(found)

    def begun(self, tail: Tokens) -> int:
        """How many of the last tokens the beginning of an end mark takes; 0 where none is begun."""
        text = ""
        found = 0
        for taken, token in enumerate(reversed(tail), 1):
            text = self._text(token) + text
            if any(text.endswith(self.end[:n]) for n in range(len(text) - len(self._text(token)) + 1, len(self.end))):
                found = taken
        return found

    def length(self, mark: str, tail: Tokens) -> int:
        """How many of the last tokens a mark takes that ends in the last of them; 0 where none does."""
        if not tail or mark[-1] not in self._text(tail[-1]):
            return 0
        last, text = len(self._text(tail[-1])), ""
        for taken, token in enumerate(reversed(tail), 1):
            text = self._text(token) + text
            if mark in text:
                return taken if text.rfind(mark) + len(mark) > len(text) - last else 0
        return 0

    def opened(self, prompt: Tokens) -> bool:
        """Whether a prompt ends with the mark that opens a thought."""
        text = "".join(map(self._text, prompt[-2 * self.reach :]))
        return text.rstrip().endswith(self.start)

    def _text(self, token: int) -> str:
        if token not in self._texts:
            self._texts[token] = self._vocab.token_text(token)
        return self._texts[token]


@dataclass(frozen=True)
class Place:
    """Where one row stands.

    Attributes:
        thinking: whether it is within a thought.
        spent: tokens of its thoughts, those of an end mark that is not whole included.
        forced: the tokens that come next.
        closing: whether these are the end mark's.
        tail: the last tokens since the last mark.
    """

    thinking: bool
    spent: int = 0
    forced: Tokens = ()
    closing: bool = False
    tail: Tokens = ()

    def after(self, token: int, marks: Marks, budget: int | None, replaced: bool) -> Place:
        """The place after a token; `replaced`: it stands for an end, and the rest of the continuation follows."""
        tail = (*self.tail, token)[-marks.reach :]
        if not self.thinking:
            began = marks.length(marks.start, tail) > 0
            return Place(True, self.spent).limited(marks, budget) if began else Place(False, self.spent, tail=tail)
        spent, forced = self.spent + 1, self.forced[1:]
        taken = marks.length(marks.end, tail)
        if taken or (self.closing and not forced):
            return Place(False, spent - (taken or len(marks.closing)))
        if replaced:
            forced = marks.continuation[1:]
        return Place(True, spent, forced, self.closing, tail).limited(marks, budget)

    def limited(self, marks: Marks, budget: int | None) -> Place:
        """This place, with the end mark to come where the budget is spent; what is there of it stays."""
        if budget is None or self.closing or self.spent < budget:
            return self
        mark = marks.closing
        begun = next(
            n for n in range(min(len(mark) - 1, len(self.tail)), -1, -1) if self.tail[len(self.tail) - n :] == mark[:n]
        )
        return dataclasses.replace(self, forced=mark[begun:], closing=True)


def own_marks(vocab: Vocab) -> tuple[str, str]:
    """The marks of a model: the first known ones that are a token each, or `<think>` and `</think>`."""
    return next((pair for pair in MARKS if all(_is_token(mark, vocab) for mark in pair)), MARKS[0])


def _is_token(mark: str, vocab: Vocab) -> bool:
    try:
        tokens = vocab.encode_completion((), mark)
    except UnknownToken:
        return False
    return len(tokens) == 1 and vocab.token_text(tokens[0]) == mark


def _word(word: Word) -> int | str | Tokens:
    return word if isinstance(word, int | str) else tuple(word)


def places(prompts: Sequence[Tokens], marks: Marks, budget: int | None) -> tuple[Place, ...]:
    """Where rows stand that have their prompts and nothing more."""
    opened = {prompt: marks.opened(prompt) for prompt in set(prompts)}
    return tuple(Place(opened[prompt]).limited(marks, budget) if opened[prompt] else Place(False) for prompt in prompts)
