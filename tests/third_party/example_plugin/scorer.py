"""A scorer, for guided searches such as `value_beam(width=4, scorer=brevity)`."""

from collections.abc import Sequence


def brevity(prompt: str, texts: Sequence[str]) -> list[float]:
    """Minus the number of characters: shorter is better."""
    return [-float(len(text)) for text in texts]
