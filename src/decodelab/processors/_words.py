"""Words as parameters: token ids, sequences of ids or text, and what sequences of tokens a text becomes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from decodelab.core.errors import InvalidParameter, VocabularyMismatch
from decodelab.core.phrases import spellings
from decodelab.core.protocols import Vocab
from decodelab.core.stage import Stage, brief
from decodelab.core.values import Tokens

Word = int | str | Sequence[int]
"""A token id, a text, or a sequence of token ids."""

_MOST = 2**63 - 1


def as_words(stage: Stage, parameter: str) -> tuple[int | str | Tokens, ...]:
    """A parameter that is one word or a list of them, as a tuple of words.

    Raises:
        InvalidParameter: if an item is no id, text or list of ids, or is empty.
    """
    value = getattr(stage, parameter)
    listed = [value] if _is_id(value) or isinstance(value, str) else value
    if not isinstance(listed, Iterable) or isinstance(listed, dict | bytes):
        raise InvalidParameter(
            f"{stage.name}: {parameter} must be words, token ids or lists of ids, got {brief(value)}; "
            f'write {stage.name}(["a word", 17])'
        )
    return tuple(as_word(stage, parameter, item) for item in listed)


def as_word(stage: Stage, parameter: str, item: Any) -> int | str | Tokens:
    """One word of a parameter: a text, an id of at least 0, or a tuple of several ids (a tuple of one is an id).

    Raises:
        InvalidParameter: if it is none of them, or empty.
    """
    if isinstance(item, str) and item:
        return item
    if _is_id(item):
        return int(item)
    if isinstance(item, Sequence) and not isinstance(item, str) and item and all(map(_is_id, item)):
        ids = tuple(int(i) for i in item)
        return ids if len(ids) > 1 else int(item[0])
    raise InvalidParameter(
        f"{stage.name}: {parameter} must hold texts, token ids of at least 0 or lists of ids, got {brief(item)}; "
        "leave out what is empty"
    )


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST


def as_ids(stage: Stage, parameter: str) -> Tokens:
    """A parameter that is a token id or a list of them, as a tuple of ids.

    Raises:
        InvalidParameter: if it is anything else, or empty.
    """
    value = getattr(stage, parameter)
    words = as_words(stage, parameter)
    if not words or not all(isinstance(word, int) for word in words):
        raise InvalidParameter(
            f"{stage.name}: {parameter} must be one or more token ids, got {brief(value)}; write them as numbers"
        )
    return tuple(word for word in words if isinstance(word, int))


def check_ids(stage: Stage, words: Iterable[int | str | Sequence[int]], vocab: Vocab) -> None:
    """Check that all token ids among words belong to the vocabulary.

    Raises:
        VocabularyMismatch: naming the first that does not.
    """
    for word in words:
        for token in () if isinstance(word, str) else (word,) if isinstance(word, int) else word:
            if token >= vocab.size:
                raise VocabularyMismatch(
                    f"{stage.name}: token id {token} is outside the model's vocabulary of {vocab.size}; "
                    "are these ids from another model?"
                )


def sequences(
    stage: Stage, words: Iterable[int | str | Tokens], vocab: Vocab, *, spaced: bool
) -> Iterator[tuple[int | str | Tokens, Tokens]]:
    """Each word with each sequence of tokens that spells it; a text has several where it can stand in several places.

    Args:
        stage: whose words they are, for errors.
        words: the words.
        vocab: the vocabulary.
        spaced: whether a text is also looked for with a space before it.

    Raises:
        VocabularyMismatch: if an id is outside the vocabulary.
        UnknownToken: if a text cannot be written with the vocabulary, or becomes no tokens.
    """
    words = tuple(words)
    check_ids(stage, words, vocab)
    for word in words:
        if isinstance(word, str):
            for tokens in spellings(stage, word, vocab, spaced=spaced):
                yield word, tokens
        else:
            yield word, (word,) if isinstance(word, int) else word
