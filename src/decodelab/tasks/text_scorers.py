"""Scorers of texts by name, for tasks of your own: what a text is worth against one reference answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import regex

from decodelab.core.errors import ScorerFailed
from decodelab.core.integers import read_integer
from decodelab.core.options import LETTERS, read_option
from decodelab.core.thoughts import without_thoughts
from decodelab.metrics.overlap import bleu, chrf, exact_match, integer_match, rouge, token_f1

_LONGEST = 200_000
"""Characters of a text that are looked at, from its end."""
_LONGEST_PATTERN = 1_000
_SECONDS = 1.0
"""A pattern that takes longer than this on a text is one whose time explodes: others take milliseconds."""


def contains(text: str, reference: str) -> bool:
    """Whether the reference stands in the text as whole words, whatever the case and white space.

    >>> contains("It is  Paris, of course", "paris"), contains("14", "4")
    (True, False)
    """
    plain, wanted = (" ".join(each.casefold().split()) for each in (text, reference))
    at = plain.find(wanted)
    while at >= 0:
        before, after = plain[at - 1 : at], plain[at + len(wanted) : at + len(wanted) + 1]
        if not (_joins(before, wanted[:1]) or _joins(wanted[-1:], after)):
            return True
        at = plain.find(wanted, at + 1)
    return False


def _joins(left: str, right: str) -> bool:
    return left.isalnum() and right.isalnum()


def matches(text: str, pattern: str) -> bool:
    """Whether a pattern (of the package regex, `.` is any character but a newline) is found in the text.

    Raises:
        ScorerFailed: if the search takes more than a second, as patterns such as `^(a|aa)+$` do.
    """
    try:
        return regex.search(pattern, text, timeout=_SECONDS) is not None
    except TimeoutError:
        raise ScorerFailed(
            f"pattern {pattern[:60]!r} took more than {_SECONDS:g} s on a text of {len(text)} characters; "
            "write it without nested repetitions"
        ) from None


SCORERS: Mapping[str, Callable[[str, str], float]] = {
    "exact_match": exact_match,
    "contains": contains,
    "integer": integer_match,
    "letter": lambda text, reference: read_option(text) == reference,
    "f1": token_f1,
    "rouge1": lambda text, reference: rouge(text, reference).rouge1,
    "rouge2": lambda text, reference: rouge(text, reference).rouge2,
    "rouge_l": lambda text, reference: rouge(text, reference).rouge_l,
    "rouge_lsum": lambda text, reference: rouge(text, reference).rouge_lsum,
    "bleu": lambda text, reference: bleu([text], [[reference]]) / 100,
    "chrf": lambda text, reference: chrf([text], [[reference]]) / 100,
    "regex": matches,
}
"""What a text is worth, from 0 to 1, given the text and a reference."""


def scored(
    name: str, text: str, references: Sequence[str], options: Sequence[str] | None = None
) -> tuple[float, str | None]:
    """The score of a text against the best of its references, and what was read from it.

    That is None for nothing, and `AMBIGUOUS` for several letters. Thoughts are no part of a text.

    Args:
        name: of `SCORERS`.
        text: what a model wrote.
        references: right answers.
        options: the words of the options, A first, where letters are read.

    Raises:
        ScorerFailed: for a pattern whose time explodes.

    >>> scored("integer", "So it is 1,200.", ["7", "1200"])
    (1.0, '1200')
    """
    text = without_thoughts(text)[-_LONGEST:]
    if name == "letter":
        letter = read_option(text, options)
        return float(letter in references), letter
    best = max(min(1.0, float(SCORERS[name](text, reference))) for reference in references)
    if name == "integer":
        found = read_integer(text)
        return best, None if found is None else str(found)
    return best, text.strip() or None


def fault(name: str, reference: str) -> str | None:
    """Why a scorer can make nothing of a reference, or None if it can.

    >>> fault("integer", "two"), fault("letter", "B")
    ('has no integer', None)
    """
    if name == "integer" and read_integer(reference) is None:
        return "has no integer"
    if name == "letter" and not (len(reference) == 1 and reference in LETTERS):
        return f"is no letter from {LETTERS[0]} to {LETTERS[-1]}"
    if name == "regex":
        if len(reference) > _LONGEST_PATTERN:
            return f"is longer than {_LONGEST_PATTERN} characters"
        try:
            regex.compile(reference)
        except regex.error as error:
            return f"is no pattern ({error})"
    elif not reference.strip():
        return "is empty"
    return None
