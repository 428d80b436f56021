"""The special tokens that a tokenizer puts around a text, or around a pair of texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from decodelab.core.values import Tokens


@dataclass(frozen=True)
class TokenFrame:
    """What stands around texts.

    Attributes:
        around: the special tokens before and after a single text.
        pair: those before, between and after two texts.
        segments: the segments of `pair`'s three parts and of the two texts; None for a network without segments.
    """

    around: tuple[Tokens, Tokens]
    pair: tuple[Tokens, Tokens, Tokens]
    segments: tuple[tuple[Tokens, Tokens, Tokens], tuple[int, int]] | None

    @staticmethod
    def of(tokenizer: Any) -> TokenFrame:
        """The frame of a tokenizer, seen around two words."""
        first, second = (_encode(tokenizer, word, special=False)[0] for word in ("a", "b"))
        single, _ = _encode(tokenizer, "a")
        at = _place(single, first, 0)
        both, kinds = _encode(tokenizer, "a", "b")
        one = _place(both, first, 0)
        after = one + len(first)
        two = _place(both, second, after)
        end = two + len(second)
        segmented = kinds is not None and "token_type_ids" in getattr(tokenizer, "model_input_names", ())
        return TokenFrame(
            (single[:at], single[at + len(first) :]),
            (both[:one], both[after:two], both[end:]),
            ((kinds[:one], kinds[after:two], kinds[end:]), (kinds[one], kinds[two])) if segmented and kinds else None,
        )

    def framed(self, text: Tokens) -> tuple[Tokens, Tokens | None]:
        """The tokens of a text with what stands around it, and their segments."""
        before, after = self.around
        tokens = (*before, *text, *after)
        return tokens, None if self.segments is None else (self.segments[1][0],) * len(tokens)

    def paired(self, first: Tokens, second: Tokens) -> tuple[Tokens, Tokens | None]:
        """The tokens of two texts with what stands around them, and their segments."""
        before, between, after = self.pair
        tokens = (*before, *first, *between, *second, *after)
        if self.segments is None:
            return tokens, None
        (start, middle, end), (one, two) = self.segments
        return tokens, (*start, *[one] * len(first), *middle, *[two] * len(second), *end)


def _encode(tokenizer: Any, *texts: str, special: bool = True) -> tuple[Tokens, Tokens | None]:
    """Token ids and segments of a text or two."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        found = backend.encode(*texts, add_special_tokens=special)
        return tuple(found.ids), tuple(found.type_ids)
    found = tokenizer(*texts, add_special_tokens=special)
    kinds = found.get("token_type_ids")
    return tuple(found["input_ids"]), None if kinds is None else tuple(kinds)


def _place(tokens: Tokens, part: Tokens, start: int) -> int:
    """Where a part stands in tokens, from a place on; the end where it does not."""
    places = range(start, len(tokens) - len(part) + 1)
    return next((at for at in places if part and tokens[at : at + len(part)] == part), len(tokens) - len(part))
