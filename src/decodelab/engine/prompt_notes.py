"""Notes on prompts that a tokenizer reads in another way than they may be meant."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

from decodelab.core.notices import PromptWarning
from decodelab.core.protocols import KnowsUnknown, SpecialTokens, Vocab
from decodelab.core.stage import brief
from decodelab.core.values import Tokens

MOST = 3
"""Prompts named in one note."""


def note_special_tokens(vocab: Vocab, texts: Sequence[tuple[str, str, Tokens]]) -> None:
    """Warn of texts (name, text, tokens) with two BOS, names that became special tokens, or unknown characters.

    Warns:
        PromptWarning: once for each kind.
    """
    bos = vocab.bos_id
    specials = vocab.special_tokens if isinstance(vocab, SpecialTokens) else {}
    twice = [name for name, _, tokens in texts if bos is not None and tokens[:2] == (bos, bos)]
    read: dict[str, list[str]] = {}
    for name, text, tokens in texts:
        for special, token in specials.items():
            if special in text and token in tokens:
                read.setdefault(special, []).append(name)
    notes: list[str] = []
    if bos is not None and twice:
        notes.append(
            f"{_named(twice)}: begins with BOS ({brief(vocab.token_text(bos))}) twice, because the tokenizer puts one "
            "before every text; leave it out of the prompt"
        )
    if read:
        names = list(dict.fromkeys(name for found in read.values() for name in found))
        notes.append(
            f"{_named(names)}: {', '.join(map(brief, read))} became a special token; literal=True (--literal) reads "
            "such names as text"
        )
    if isinstance(vocab, KnowsUnknown) and vocab.unknown_id is not None:
        notes += _unknown(vocab, vocab.unknown_id, texts)
    for note in notes:
        warnings.warn(note, PromptWarning, stacklevel=3)


def _unknown(vocab: Vocab, unknown: int, texts: Sequence[tuple[str, str, Tokens]]) -> Iterator[str]:
    """A note on the characters that the tokenizer does not have, if there are any."""
    called = vocab.token_text(unknown)
    found = [(name, text) for name, text, tokens in texts if unknown in tokens and (not called or called not in text)]
    if not found:
        return
    characters = dict.fromkeys(character for _, text in found for character in text)
    lost = [character for character in characters if unknown in vocab.encode(character)]
    which = ", ".join(map(brief, lost[:MOST])) + (f" and {len(lost) - MOST} more" if len(lost) > MOST else "")
    yield (
        f"{_named([name for name, _ in found])}: the tokenizer does not have {which or 'some characters'}, for which "
        f"the model sees its token for the unknown ({brief(called or '<unk>')})"
    )


def _named(names: Sequence[str]) -> str:
    """Some of them, and how many more."""
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + more
