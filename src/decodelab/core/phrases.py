"""The sequences of tokens that spell a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from decodelab.core.errors import UnknownToken
from decodelab.core.protocols import Vocab
from decodelab.core.stage import Stage, brief
from decodelab.core.values import Tokens


def spellings(stage: Stage, text: str, vocab: Vocab, *, spaced: bool) -> list[Tokens]:
    """The sequences of tokens that the tokenizer spells a text with, after several contexts, in order.

    Args:
        stage: whose text it is, for errors.
        text: the text.
        vocab: the vocabulary.
        spaced: whether the text is also spelt with a space before it.

    Raises:
        UnknownToken: if a text cannot be written with the vocabulary, or becomes no tokens.
    """
    contexts = list(_contexts(vocab))
    found = _spellings(stage, text, vocab, contexts)
    if spaced and not text[0].isspace():
        # A special token, say, cannot follow a space: then there is only the word itself.
        with suppress(UnknownToken):
            found |= _spellings(stage, " " + text, vocab, contexts)
    return sorted(found)


def _contexts(vocab: Vocab) -> Iterator[Tokens]:
    """Prompts after which a text can be spelt differently: the beginning, a line end, a letter."""
    for before in ("", "\n", "a"):
        try:
            yield vocab.encode(before)
        except UnknownToken:
            continue


def _spellings(stage: Stage, text: str, vocab: Vocab, contexts: Sequence[Tokens]) -> set[Tokens]:
    """The sequences of tokens that spell a text after some context."""
    found: set[Tokens] = set()
    got: Tokens = ()
    for context in contexts:
        try:
            got = vocab.encode_completion(context, text)
        except UnknownToken as error:
            raise UnknownToken(f"{stage.name}: {brief(text)} cannot be written; {error}") from None
        if got and (_spells(vocab, context, got, text) or (len(got) == 1 and vocab.token_text(got[0]) == text)):
            found.add(got)
    if not found:
        written = brief(vocab.decode(got)) if got else "no tokens"
        raise UnknownToken(
            f"{stage.name}: {brief(text)} becomes {written} in this vocabulary; leave it out, or give token ids"
        )
    return found


def _spells(vocab: Vocab, context: Tokens, tokens: Tokens, text: str) -> bool:
    """Whether the tokens add the text after the context; where words are separated, a space before it is no matter."""
    added = vocab.decode_completion(context, tokens)
    return added == text or added.lstrip(" ") == text.lstrip(" ") != ""
