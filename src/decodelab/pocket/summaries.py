"""One-sentence summaries of pocket stories, asked for by `TL;DR:`."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

from decodelab.pocket import stories
from decodelab.pocket.item import LONGEST_ANSWER, Item, Split, draw

TASK = "summaries"
REQUEST = "\nTL;DR:"

_SENTENCES = {
    "lost": "{name} the {kind} lost a {thing} and found it with {friend} the {other}.",
    "learn": "{name} the {kind} learned to {skill} with {friend} the {other}.",
    "see": "{name} the {kind} went to see the {sight} with {friend} the {other}.",
}
_FOLLOWS = {"lost": "thing", "learn": "skill", "see": "sight"}


def _pattern(sentence: str) -> re.Pattern[str]:
    slots = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[\\w ]{1,20}?)", re.escape(sentence))
    return re.compile(slots, re.ASCII)


_PATTERNS = {plot: _pattern(sentence) for plot, sentence in _SENTENCES.items()}


def summarise(slots: Mapping[str, str]) -> str:
    """Return the one sentence that sums up a story with these slots.

    >>> hero, friend = {"name": "Tom", "kind": "fox"}, {"friend": "Mia", "other": "owl"}
    >>> summarise({"plot": "learn", "skill": "swim", **hero, **friend})
    'Tom the fox learned to swim with Mia the owl.'
    """
    return _SENTENCES[slots["plot"]].format(**slots)


def _make(rng: random.Random) -> tuple[str, Item]:
    story, slots = stories.write(rng)
    return story, Item(TASK, story + REQUEST, " " + summarise(slots), slots)


def generate(seed: int, split: Split) -> Item:
    """Return the story to sum up that `seed` names.

    >>> generate(0, "test").prompt.endswith("TL;DR:")
    True
    """
    return draw(TASK, seed, split, _make)


def grade(item: Item, text: str) -> float:
    """Return the share of the summary's slots that the first line of `text` has right; 0 if it is none.

    The slots are who, what kind, what happened (right only with the right plot), with whom, of what kind.
    """
    line = text[:LONGEST_ANSWER].strip().split("\n")[0]
    for plot, pattern in _PATTERNS.items():
        found = pattern.fullmatch(line)
        if found:
            slots = found.groupdict()
            if plot != item.meta["plot"]:
                slots[_FOLLOWS[plot]] = None
            return sum(value is not None and item.meta[slot] == value for slot, value in slots.items()) / len(slots)
    return 0.0
