"""`Detokenizer`: the text of a row, token by token, without splitting characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from decodelab.core.protocols import Vocab
from decodelab.core.values import Tokens

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Detokenizer:
    """The text generated so far and the tokens whose text is not final yet; immutable, so rows can fork.

    Tokens that end inside a UTF-8 character are held back until the character is complete.

    Attributes:
        context: the prompt and the tokens already in the text; as many as are needed are decoded with what follows.
        pending: tokens not yet in the text.
        text: the final text.
        held: the text of the pending tokens as it is now; a character that is not complete shows as U+FFFD.
    """

    context: Tokens
    pending: Tokens
    text: str
    held: str = ""

    @staticmethod
    def after(prompt: Sequence[int]) -> Detokenizer:
        """Nothing generated yet after this prompt."""
        return Detokenizer(tuple(prompt), (), "")

    def push(self, vocab: Vocab, token: int) -> Detokenizer:
        """The state after one more token."""
        pending = (*self.pending, token)
        added = vocab.decode_completion(self.context, pending)
        if added.endswith(_REPLACEMENT) or not added:
            return Detokenizer(self.context, pending, self.text, added)
        return Detokenizer((*self.context, *pending), (), self.text + added)

    @property
    def whole(self) -> str:
        """The text if it ended here, that of the pending tokens included."""
        return self.text + self.held

    @property
    def settled(self) -> str:
        """The text that no further token can change: all but U+FFFD at the end, which may become characters."""
        return self.whole.rstrip(_REPLACEMENT)
