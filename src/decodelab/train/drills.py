"""Drills: facts told, then told again in another order, which teach a small model to look things up."""

from __future__ import annotations

import random

from decodelab.pocket.choice import COLOURS, LETTERS, NAMES, PLACES, THINGS
from decodelab.pocket.item import digest
from decodelab.pocket.language import Document

NAME = "drills"
WORDS = tuple(sorted({*NAMES, *THINGS, *COLOURS, *PLACES}))
# What is looked up, by what, and how the fact is told; the answer comes last.
_FACTS = (
    ("{} ({})", WORDS, LETTERS),
    ("{}{} ({})", None, LETTERS),
    ("the {} is with {}", THINGS, NAMES),
    ("the {} is {}", THINGS, COLOURS),
    ("{} is in the {}", NAMES, PLACES),
)


def drill(seed: int) -> Document:
    """Return the drill that `seed` names: four facts, told three times, each time in another order.

    An option and its letter, who has what, what is where: in the words of the choice task, whose items have one
    such look-up in twenty tokens and teach it too slowly.

    >>> drill(2).answer.count(".")
    2
    """
    rng = random.Random(digest("drill", seed))
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
