"""Multiple-choice questions over a small closed world, answered `The answer is (B)`."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from decodelab.core.options import read_option
from decodelab.core.thoughts import without_thoughts
from decodelab.pocket.item import LONGEST_ANSWER, Item, Split, draw

TASK = "choice"
LETTERS = "ABCD"
_OPTION = re.compile(r"(?:^|, )(.+?) \(([A-Z])\)")

NAMES = ("Tom", "Ann", "Sam", "Lily", "Ben", "Mia", "Max", "Zoe", "Leo", "Eva", "Jack", "Rosa")
THINGS = ("ball", "kite", "boat", "drum", "book", "hat", "cup", "lamp", "doll", "bell", "coat", "bag")
COLOURS = ("red", "blue", "green", "yellow", "white", "black", "pink", "brown")
PLACES = ("garden", "kitchen", "forest", "school", "barn", "park", "cave", "shop")

KINDS = {
    "animal": ("fox", "cat", "dog", "bear", "cow", "horse", "duck", "mouse"),
    "fruit": ("apple", "pear", "plum", "grape", "lemon", "cherry", "banana", "peach"),
    "colour": COLOURS,
    "toy": ("ball", "kite", "doll", "drum", "puzzle", "robot"),
    "tool": ("hammer", "saw", "axe", "shovel", "broom", "rake"),
    "number": ("one", "two", "three", "four", "five", "six", "seven", "eight"),
}
FACTS = {
    "What does a {} say?": {"cat": "meow", "dog": "woof", "cow": "moo", "duck": "quack", "sheep": "baa",
                            "pig": "oink", "frog": "croak", "lion": "roar"},
    "What colour is a {}?": {"banana": "yellow", "cherry": "red", "frog": "green", "crow": "black",
                             "swan": "white", "pig": "pink", "bear": "brown"},
    "What is the opposite of {}?": {"big": "small", "hot": "cold", "up": "down", "fast": "slow",
                                    "day": "night", "old": "young", "wet": "dry", "light": "dark",
                                    "happy": "sad", "open": "closed"},
    "What day comes after {}?": {"Monday": "Tuesday", "Tuesday": "Wednesday", "Wednesday": "Thursday",
                                 "Thursday": "Friday", "Friday": "Saturday", "Saturday": "Sunday",
                                 "Sunday": "Monday"},
    "What is a young {} called?": {"cat": "kitten", "dog": "puppy", "cow": "calf", "duck": "duckling",
                                   "sheep": "lamb", "horse": "foal", "pig": "piglet", "bear": "cub"},
    "How many legs has a {}?": {"dog": "4", "duck": "2", "spider": "8", "ant": "6", "snake": "0", "cow": "4",
                                "crow": "2", "bee": "6"},
}  # fmt: skip
LEGS = ("0", "2", "4", "6", "8")

# A question: context (may be empty), question, reason (may be empty), right option, three wrong ones.
Question = tuple[str, str, str, str, Sequence[str]]


# Facts are told as pairs, `kite Tom`: what is asked for follows what it is asked by, in the working as in the question.


def _owner(rng: random.Random) -> Question:
    names, things = rng.sample(NAMES, 4), rng.sample(THINGS, 3)
    told = [f"{thing} {name}" for thing, name in zip(things, names, strict=False)]
    pick = rng.randrange(3)
    others = [name for name in names if name != names[pick]]
    return f"Owners: {', '.join(told)}.", f"Who has the {things[pick]}?", f"{told[pick]}.", names[pick], others


def _colour(rng: random.Random) -> Question:
    things, colours = rng.sample(THINGS, 3), rng.sample(COLOURS, 4)
    told = [f"{thing} {colour}" for thing, colour in zip(things, colours, strict=False)]
    pick = rng.randrange(3)
    others = [colour for colour in colours if colour != colours[pick]]
    asked = f"What colour is the {things[pick]}?"
    return f"Colours: {', '.join(told)}.", asked, f"{told[pick]}.", colours[pick], others


def _where(rng: random.Random) -> Question:
    # Two hops: who has the thing, then where that person is.
    names, things, places = rng.sample(NAMES, 3), rng.sample(THINGS, 3), rng.sample(PLACES, 4)
    has = [f"{thing} {name}" for thing, name in zip(things, names, strict=True)]
    at = [f"{name} {place}" for name, place in zip(names, places, strict=False)]
    pick = rng.randrange(3)
    reason = f"{has[pick]}, {at[pick]}."
    rng.shuffle(at)
    others = [place for place in places if place != places[pick]]
    told = f"Owners: {', '.join(has)}. Places: {', '.join(at)}."
    return told, f"Where is the {things[pick]}?", reason, places[pick], others


def _count(rng: random.Random) -> Question:
    name, other = rng.sample(NAMES, 2)
    thing = rng.choice(THINGS[:6])
    first, second = rng.randint(2, 9), rng.randint(2, 9)
    if rng.random() < 0.5:
        value = first + second
        context = f"{name} has {first} {thing}s. {other} gives {name} {second} more."
        reason = f"{first}+{second}={value}."
    else:
        first, second = max(first, second) + 1, min(first, second)
        value = first - second
        context = f"{name} has {first} {thing}s. {name} gives {other} {second}."
        reason = f"{first}-{second}={value}."
    others = rng.sample([n for n in range(max(0, value - 4), value + 5) if n != value], 3)
    return context, f"How many {thing}s has {name} now?", reason, str(value), [str(n) for n in others]


def _compare(rng: random.Random) -> Question:
    names = rng.sample(NAMES, 4)
    word, best, worst = rng.choice(
        (("taller", "tallest", "shortest"), ("older", "oldest", "youngest"), ("faster", "fastest", "slowest"))
    )
    order = names[:3]
    told = f"{order[0]} is {word} than {order[1]}. {order[1]} is {word} than {order[2]}."
    top = rng.random() < 0.5
    right = order[0] if top else order[2]
    others = [name for name in names if name != right]
    return told, f"Who is the {best if top else worst}?", "", right, others


def _odd(rng: random.Random) -> Question:
    kind, other = rng.sample(sorted(KINDS), 2)
    same = rng.sample(KINDS[kind], 3)
    right = rng.choice([word for word in KINDS[other] if word not in KINDS[kind]])
    return "", "Which is the odd one out?", f"Three are {kind}s.", right, same


def _kind(rng: random.Random) -> Question:
    kind = rng.choice(sorted(KINDS))
    right = rng.choice(KINDS[kind])
    wrong = sorted({word for words in KINDS.values() for word in words} - set(KINDS[kind]))
    article = "an" if kind[0] in "aeiou" else "a"
    return "", f"Which of these is {article} {kind}?", "", right, rng.sample(wrong, 3)


def _fact(rng: random.Random) -> Question:
    question = rng.choice(sorted(FACTS))
    subject = rng.choice(sorted(FACTS[question]))
    right = FACTS[question][subject]
    pool = LEGS if right in LEGS else sorted(set(FACTS[question].values()))
    others = rng.sample([value for value in pool if value != right], 3)
    return "", question.format(subject), "", right, others


def _largest(rng: random.Random) -> Question:
    # No two share a digit in one place: the tens decide.
    numbers = [
        10 * tens + ones for tens, ones in zip(rng.sample(range(1, 10), 4), rng.sample(range(10), 4), strict=True)
    ]
    top = rng.random() < 0.5
    right = max(numbers) if top else min(numbers)
    others = [str(n) for n in numbers if n != right]
    return "", f"Which number is the {'largest' if top else 'smallest'}?", "", str(right), others


QUESTIONS: tuple[Callable[[random.Random], Question], ...] = (
    _owner, _colour, _where, _count, _compare, _odd, _kind, _fact, _largest,
)  # fmt: skip


def _make(rng: random.Random) -> tuple[str, Item]:
    context, question, reason, right, others = rng.choice(QUESTIONS)(rng)
    options = [right, *others]
    rng.shuffle(options)
    # The letter follows its option, and both stand in the answer as in the question: what to copy comes next.
    listing = ", ".join(f"{option} ({letter})" for letter, option in zip(LETTERS, options, strict=True))
    asked = f"{context} {question}" if context else question
    letter = LETTERS[options.index(right)]
    worked = " ".join(part for part in (reason, f"It is {right} ({letter}).", f"The answer is ({letter}).") if part)
    return f"{asked}|{listing}", Item(
        TASK, f"Question: {asked}\nOptions: {listing}\nAnswer:", f" {worked}", {"letter": letter, "option": right}
    )


def generate(seed: int, split: Split) -> Item:
    """Return the question that `seed` names: told facts, counting, comparing, odd one out, world knowledge.

    >>> generate(0, "test").prompt.splitlines()[-1]
    'Answer:'
    """
    return draw(TASK, seed, split, _make)


def grade(item: Item, text: str) -> float:
    """Return 1.0 if the option that `text` calls the answer is the right one, else 0.0."""
    return float(read(item.prompt, text) == item.meta["letter"])


def read(prompt: str, text: str) -> str | None:
    """The letter of the option that the text calls the answer, "ambiguous", or None, as without `answer is`."""
    text = without_thoughts(text)[-LONGEST_ANSWER:]
    options = _OPTION.findall(prompt.rpartition("\nOptions: ")[2].split("\n")[0])
    return (
        read_option(text, [words for words, _ in options] or ["", "", "", ""]) if "answer is" in text.lower() else None
    )
