"""Tokens at the very beginning of a text, where some vocabularies leave out a space."""

from __future__ import annotations

from decodelab.core.protocols import ByteVocab, Vocab
from decodelab.core.values import Tokens


def is_silent(vocab: ByteVocab, token: int) -> bool:
    """Whether a token adds nothing at the beginning of a text but something later: a space that stands alone."""
    return not vocab.token_bytes(token, first=True) and bool(vocab.token_bytes(token))


def is_fresh(vocab: Vocab, prompt: Tokens) -> bool:
    """Whether what follows a prompt begins the text: the prompt has no text, and no space that was left out."""
    if vocab.decode(prompt):
        return False
    silent = {t for t in prompt if is_silent(vocab, t)} if isinstance(vocab, ByteVocab) else ()
    return not any(vocab.decode_completion(prompt, (t,)) for t in silent)
