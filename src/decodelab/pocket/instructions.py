"""Instructions with one or two constraints that can be checked: counts, words to use, first words."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

from decodelab.pocket.item import LONGEST_ANSWER, Item, Split, draw

TASK = "instructions"

TOPICS = ("cat", "dog", "fox", "bear", "bird", "duck", "horse", "mouse", "boy", "girl", "king", "queen",
          "farmer", "baker", "teacher", "robot", "frog", "rabbit")  # fmt: skip
ADJECTIVES = ("little", "big", "happy", "sad", "brave", "quiet", "clever", "old", "young", "kind", "sleepy", "hungry")
VERBS = ("runs", "sleeps", "sings", "plays", "waits", "dances", "smiles", "walks", "rests", "jumps")
PLACES = ("in the garden", "by the river", "near the house", "under the tree", "on the hill", "at the market",
          "in the forest", "by the sea")  # fmt: skip
ADVERBS = ("today", "slowly", "quickly", "alone", "again", "happily", "often", "quietly")
STARTS = ("The", "A", "My", "Our", "This")
KINDS = ("words", "sentences", "include", "avoid", "start", "end", "mark", "lower")
LISTS = {
    "animals": ("cat", "dog", "fox", "bear", "duck", "horse", "mouse", "frog", "cow", "pig"),
    "fruits": ("apple", "pear", "plum", "grape", "lemon", "cherry", "banana", "peach"),
    "colours": ("red", "blue", "green", "yellow", "white", "black", "pink", "brown"),
    "toys": ("ball", "kite", "doll", "drum", "puzzle", "robot", "boat", "train"),
    "days": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
}


def _words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z']+", text)


def _sentences(text: str) -> int:
    return len(re.findall(r"[.!?]+(?=\s|$)", text))


def check(constraint: Mapping[str, Any], text: str) -> bool:
    """Return whether `text` meets one constraint.

    >>> check({"kind": "words", "value": 3}, "The cat sleeps.")
    True
    """
    text = text.strip()
    words = _words(text)
    if not words:
        return False
    kind, value = constraint["kind"], constraint["value"]
    if kind == "words":
        return len(words) == value
    if kind == "sentences":
        return _sentences(text) == value and text[-1] in ".!?"
    if kind == "include":
        return value.lower() in (word.lower() for word in words)
    if kind == "avoid":
        return value.lower() not in (word.lower() for word in words)
    if kind == "start":
        return words[0].lower() == value.lower() and text[0].isalpha()
    if kind == "end":
        return words[-1].lower() == value.lower()
    if kind == "mark":
        return text.endswith(value)
    if kind == "lower":
        return text == text.lower()
    if kind == "items":
        lines = text.split("\n")
        listed = [line.removeprefix(f"{number}. ").strip().lower() for number, line in enumerate(lines, 1)]
        numbered = all(line.startswith(f"{number}. ") for number, line in enumerate(lines, 1))
        return numbered and len(listed) == len(set(listed)) == value and all(listed)
    raise ValueError(f"unknown kind of constraint {kind!r}")


def _phrase(constraint: Mapping[str, Any]) -> str:
    kind, value = constraint["kind"], constraint["value"]
    return {
        "words": f"Use exactly {value} words.",
        "sentences": f"Write exactly {value} sentence{'' if value == 1 else 's'}.",
        "include": f"Use the word {value}.",
        "avoid": f"Do not use the word {value}.",
        "start": f"Start with the word {value}.",
        "end": f"End with the word {value}.",
        "mark": "End with an exclamation mark.",
        "lower": "Use only lower case letters.",
        "items": f"Give a list of {value}, numbered.",
    }[kind]


def _sentence(rng: random.Random, topic: str) -> str:
    adjective = rng.choice(ADJECTIVES) if rng.random() < 0.5 else ""
    front = " ".join(part for part in (rng.choice(STARTS), adjective, topic, rng.choice(VERBS)) if part)
    rest = rng.choices(("", rng.choice(ADVERBS), rng.choice(PLACES)), (2, 3, 4))[0]
    return re.sub(r"\bA (?=[aeiou])", "An ", f"{front} {rest}".strip()) + "."


def _list(rng: random.Random) -> tuple[str, list[dict[str, Any]], str]:
    kind = rng.choice(sorted(LISTS))
    count = rng.randint(2, 5)
    names = rng.sample(LISTS[kind], count)
    constraints: list[dict[str, Any]] = [{"kind": "items", "value": count}]
    if rng.random() < 0.4:
        constraints.append({"kind": "include", "value": rng.choice(names)})
    text = "\n".join(f"{number}. {name}" for number, name in enumerate(names, 1))
    return f"Name some {kind}.", constraints, text


def _text(rng: random.Random, topic: str) -> tuple[str, list[dict[str, Any]], str]:
    count = rng.choices((1, 2, 3), (7, 2, 1))[0]
    text = " ".join(_sentence(rng, topic) for _ in range(count))
    kinds = rng.sample(KINDS, rng.choice((1, 2)))
    if "words" in kinds and count > 1:
        kinds = ["sentences" if kind == "words" else kind for kind in kinds if kind != "sentences"]
    constraints: list[dict[str, Any]] = []
    for kind in sorted(kinds):
        words = _words(text)
        value: Any = True
        if kind == "words":
            value = len(words)
        elif kind == "sentences":
            value = count
        elif kind == "include":
            value = rng.choice([w for w in words[1:] if len(w) > 3 and w != topic] or [words[-1]])
        elif kind == "avoid":
            value = rng.choice([w for w in (*ADJECTIVES, *VERBS, *ADVERBS) if w not in words])
        elif kind == "start":
            value = words[0]
        elif kind == "end":
            value = words[-1]
        elif kind == "mark":
            value = "!"
            text = text[:-1] + "!"
        constraints.append({"kind": kind, "value": value})
    if "lower" in kinds:
        text = text.lower()
    return f"Write about {'an' if topic[0] in 'aeiou' else 'a'} {topic}.", constraints, text


def _make(rng: random.Random) -> tuple[str, Item]:
    # The answer comes first and the constraints are read off it, so every item can be satisfied.
    topic = "" if rng.random() < 0.2 else rng.choice(TOPICS)
    subject, constraints, text = _text(rng, topic) if topic else _list(rng)
    asked = " ".join([subject, *(_phrase(constraint) for constraint in constraints)])
    prompt = f"Instruction: {asked}\nGeneration:"
    return asked, Item(TASK, prompt, (" " if topic else "\n") + text, {"topic": topic, "constraints": constraints})


def generate(seed: int, split: Split) -> Item:
    """Return the instruction that `seed` names.

    >>> generate(0, "test").prompt.startswith("Instruction: ")
    True
    """
    return draw(TASK, seed, split, _make)


def grade(item: Item, text: str) -> float:
    """Return the share of the item's constraints that `text` meets.

    A text that is overlong, empty or not about the item's topic meets none, else silence would keep "do not".
    """
    topic = item.meta["topic"]
    if len(text) > LONGEST_ANSWER or (topic and topic not in _words(text.lower())):
        return 0.0
    constraints = item.meta["constraints"]
    return sum(check(constraint, text) for constraint in constraints) / len(constraints)
