"""Drills: words said and facts told again and again, which teach a small model to look things up."""

from __future__ import annotations

import random

from decodelab.pocket.choice import COLOURS, LETTERS, NAMES, PLACES, THINGS
from decodelab.pocket.item import digest
from decodelab.pocket.language import Document

NAME = "drills"
WORDS = tuple(sorted({*NAMES, *THINGS, *COLOURS, *PLACES}))
SAID = (*WORDS, *"0123456789", *(f"({letter})" for letter in LETTERS))
# What is looked up, by what, and how the fact is told; the answer comes last.
_FACTS = (
    ("{} ({})", WORDS, LETTERS),
    ("{}{} ({})", None, LETTERS),
    ("{} {}", THINGS, NAMES),
    ("{} {}", THINGS, COLOURS),
    ("{} {}", NAMES, PLACES),
)


def drill(seed: int) -> Document:
    """Return the drill that `seed` names: facts told three times, each time in another order, or words said thrice.

    An option and its letter, who has what, what is where: as the choice task tells them, whose items have one such
    look-up in twenty tokens and teach it too slowly. Random words repeated in the same order come first in
    learning: each of them says that what followed a token once follows it again, and without them the facts
    are not looked up after a thousand steps, only guessed by elimination.

    >>> drill(2).answer.count(".")
    2
    """
    rng = random.Random(digest("drill", seed))
    if rng.random() < 0.5:
        said = " ".join(rng.sample(SAID, rng.randint(5, 14)))
        return Document(f"Facts: {said}.", f" {said}. {said}.")
    told, keys, values = rng.choice(_FACTS)
    if keys is None:
        firsts, seconds = rng.sample("0123456789", 4), rng.sample("0123456789", 4)
        facts = [told.format(*pair) for pair in zip(firsts, seconds, values, strict=True)]
    else:
        pairs = zip(rng.sample(keys, 4), rng.sample(values, 4), strict=True)
        facts = [told.format(key, value) for key, value in pairs]
    lines = []
    for _ in range(3):
        rng.shuffle(facts)
        lines.append(", ".join(facts) + ".")
    return Document(f"Facts: {lines[0]}", "".join(f" {line}" for line in lines[1:]))
