"""One item of the pocket language, and how items are dealt to train, dev and test."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

# No answer in the language comes near this; longer text is refused before it is looked at.
LONGEST_ANSWER = 4000


@dataclass(frozen=True)
class Item:
    """One question of the pocket language with its reference answer.

    `prompt + reference` is the whole document as the models see it in training: prompts never end in
    white space, references begin with it. `meta` is plain JSON data, all that grading needs.

    >>> Item("sums", "What is 1 + 2?", "\\n1+2=3, so 1+2=3.\\nThe answer is 3.", {"value": 3}).task
    'sums'
    """

    task: str
    prompt: str
    reference: str
    meta: Mapping[str, Any] = field(default_factory=dict)


def digest(*parts: object) -> int:
    """Return a 64-bit integer that depends on the text of `parts` only, the same in every process.

    >>> digest("sums", 7) == digest("sums", "7")
    True
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def split_of(task: str, content: str) -> Split:
    """Return the split of the item with this canonical content (80 % train, 10 % dev, 10 % test).

    >>> sorted({split_of("sums", str(n)) for n in range(100)})
    ['dev', 'test', 'train']
    """
    bucket = digest("split", task, content) % 10
    return "test" if bucket == 0 else "dev" if bucket == 1 else "train"


def draw(task: str, seed: int, split: Split, make: Callable[[random.Random], tuple[str, Item]]) -> Item:
    """Draw items from `make` until one falls in `split`; a pure function of its arguments.

    `make` returns the canonical content, which decides the split, and the item. Raises `ValueError` for
    an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"{task}: split must be one of {', '.join(SPLITS)}, got {split!r}")
    rng = random.Random(digest("item", task, split, seed))
    while True:
        content, item = make(rng)
        if split_of(task, content) == split:
            return item
