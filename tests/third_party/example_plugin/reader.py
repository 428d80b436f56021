"""An answer reader, for `vote(answer=last_word)`."""


def last_word(text: str) -> str | None:
    """The last word in lower case."""
    words = text.casefold().split()
    return words[-1].strip(".,!?") if words else None
