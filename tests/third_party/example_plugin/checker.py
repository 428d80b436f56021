"""A checker, for `check(checker=no_digits)` and `rejection(checker=no_digits)`."""

from decodelab.core.protocols import Verdict


def no_digits(text: str) -> Verdict:
    """Texts without digits: once there is one, nothing mends it."""
    return "invalid" if any(character.isdigit() for character in text) else "complete"
