"""Short stories that begin "Once upon a time", from a small grammar that also knows its own.

A story is a list of parts; a part is one of several sentence templates with slots. A slot keeps its value
to the end of the story, and pronouns follow from names, so acceptance checks consistency as well as form.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from decodelab.pocket.item import LONGEST_ANSWER, Item, Split, draw

TASK = "stories"

BOYS = ("Tom", "Ben", "Sam", "Max", "Leo", "Jack", "Tim", "Bob", "Finn", "Otto")
GIRLS = ("Lily", "Ann", "Mia", "Zoe", "Eva", "Rosa", "Sue", "Amy", "Nina", "Ella")
NAMES = BOYS + GIRLS
KINDS = ("boy", "girl", "fox", "cat", "dog", "bear", "rabbit", "mouse", "bird", "duck", "frog", "horse",
         "pig", "owl")  # fmt: skip
THINGS = ("ball", "kite", "boat", "drum", "book", "hat", "doll", "bell", "lamp", "key", "coat", "robot")
COLOURS = ("red", "blue", "green", "yellow", "white", "black", "pink", "golden")
SKILLS = ("swim", "sing", "dance", "read", "paint", "cook", "climb", "skate", "whistle", "juggle")
SIGHTS = ("sea", "moon", "snow", "castle", "rainbow", "city", "lake", "circus")

SLOTS: dict[str, tuple[str, ...]] = {
    "name": NAMES,
    "friend": NAMES,
    "kind": KINDS,
    "other": KINDS,
    "adj": ("little", "small", "young", "brave", "kind", "shy", "happy", "clever", "quiet", "curious",
            "lonely"),
    "look": ("big", "tiny", "wise", "friendly", "gentle", "funny", "tall", "busy"),
    "home": ("in a small house", "in a deep forest", "by the river", "near the sea", "on a farm",
             "on a green hill", "in a tiny village", "under an old tree"),
    "hobby": ("play in the garden", "run in the grass", "look at the clouds", "count the stars",
              "jump over stones", "listen to the wind", "pick flowers", "watch the ants"),
    "colour": COLOURS,
    "thing": THINGS,
    "skill": SKILLS,
    "sight": SIGHTS,
    "where": ("under the bed", "behind a tree", "in the tall grass", "near the well", "in the barn",
              "on the roof", "beside the road", "inside a box"),
    "time": ("One day", "One morning", "One evening", "One sunny day", "One rainy day", "One night"),
    "gift": ("a cake", "a flower", "a big hug", "an apple", "some honey", "a shell", "a song"),
}  # fmt: skip

# Parts shared by all plots.
_OPENING = (
    "Once upon a time, there was a {adj} {kind} named {name}. {He} lived {home}.",
    "Once upon a time, a {adj} {kind} named {name} lived {home}.",
    "Once upon a time, there lived a {adj} {kind} {home}. {His} name was {name}.",
    "Once upon a time, {home}, there lived a {adj} {kind} called {name}.",
)
_HABIT = (
    "",
    " Every day, {name} liked to {hobby}.",
    " {name} loved to {hobby}.",
    " {He} liked to {hobby} all day long.",
)
_MEETING = (
    " Then {he} met {friend}, a {look} {other}.",
    " On the way, {name} met a {look} {other} named {friend}.",
    " Soon a {look} {other} called {friend} came by.",
    " There {he} saw {friend} the {other}, who was {look} and had time.",
)
_ENDING = (
    " From that day on, {name} and {friend} were best friends.",
    " {name} gave {friend} {gift} and they were friends forever.",
    " {name} thanked {friend} and went home with a smile.",
    " {friend} laughed, and {name} was never sad again.",
    " That night, {name} dreamed of {friend} and slept well.",
)

PLOTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "lost": (
        (
            " {time}, {name} lost {his} {colour} {thing}.",
            " {name} had a {colour} {thing}, but now it was gone.",
            " {time}, {he} could not find {his} {colour} {thing}.",
        ),
        (
            " {He} looked everywhere and began to cry.",
            " {name} was very sad.",
            " {He} searched all day, but it was not there.",
            "",
        ),
        _MEETING,
        (
            ' "Can you help me find my {thing}?" asked {name}.',
            ' "I lost my {thing}," said {name}.',
            ' "Why are you sad?" asked {friend}. "My {thing} is gone," said {name}.',
        ),
        (
            " Together they looked {where}, and there it was!",
            " They found the {thing} {where}.",
            " {friend} looked {where} and found the {thing}.",
        ),
        _ENDING,
    ),
    "learn": (
        (
            " {time}, {name} wanted to learn to {skill}.",
            " {name} could not {skill}, and {he} wanted to learn it.",
            " More than anything, {name} wanted to {skill}.",
        ),
        (
            " {He} tried and tried, but it was too hard.",
            " It was not easy, and {he} fell down.",
            " Everyone laughed at {him}.",
            "",
        ),
        _MEETING,
        (
            ' "Can you teach me to {skill}?" asked {name}.',
            ' "I wish I could {skill}," said {name}.',
            ' "I can {skill}," said {friend}. "Let me show you."',
        ),
        (
            " They worked hard every day, and at last {name} could {skill}.",
            " {friend} showed {him} how, and soon {he} could {skill} too.",
            " After a week, {name} could {skill} very well.",
        ),
        _ENDING,
    ),
    "see": (
        (
            " {time}, {name} wanted to see the {sight}.",
            " {name} had never seen the {sight}.",
            " {He} had heard of the {sight} and wanted to see it.",
        ),
        (
            " But the way was long and {he} was afraid.",
            " {He} packed a bag and set off.",
            " {name} did not know the way.",
            "",
        ),
        _MEETING,
        (
            ' "Do you know the way to the {sight}?" asked {name}.',
            ' "Let us go to the {sight}," said {friend}.',
            ' "I want to see the {sight}," said {name}. "Come with me," said {friend}.',
        ),
        (
            " They walked for a long time, and then they saw the {sight}.",
            " {friend} took {him} there, and the {sight} was beautiful.",
            " At last {name} stood before the {sight} and clapped.",
        ),
        _ENDING,
    ),
}

_SLOT = re.compile(r"\{(\w+)\}")


def _pronouns(name: str) -> dict[str, str]:
    he, his, him = ("he", "his", "him") if name in BOYS else ("she", "her", "her")
    return {"he": he, "his": his, "him": him, "He": he.capitalize(), "His": his.capitalize()}


def write(rng: random.Random) -> tuple[str, dict[str, str]]:
    """Return a story and its slots (with `plot`), drawn from `rng`."""
    plot = rng.choice(sorted(PLOTS))
    kind = rng.choice(KINDS)
    name = rng.choice(BOYS if kind == "boy" else GIRLS if kind == "girl" else NAMES)
    other = rng.choice(KINDS)
    friend = rng.choice([n for n in (BOYS if other == "boy" else GIRLS if other == "girl" else NAMES) if n != name])
    slots = {slot: rng.choice(values) for slot, values in SLOTS.items()}
    slots |= {"kind": kind, "name": name, "other": other, "friend": friend}
    parts = (_OPENING, _HABIT, *PLOTS[plot])
    text = "".join(rng.choice(part) for part in parts)
    values = slots | _pronouns(name)
    used = set(_SLOT.findall(text))
    story = _SLOT.sub(lambda match: values[match[1]], text)
    return story, {slot: value for slot, value in slots.items() if slot in used} | {"plot": plot}


def parse(text: str) -> dict[str, str] | None:
    """Return the slots (with `plot`) of a story of this grammar, or None if `text` is not one.

    >>> parse("Once upon a time, there was a cat.") is None
    True
    """
    text = text.strip()
    if len(text) > LONGEST_ANSWER:
        return None
    for plot, parts in PLOTS.items():
        for slots in _match((_OPENING, _HABIT, *parts), text, {}):
            return {slot: value for slot, value in slots.items() if slot in SLOTS} | {"plot": plot}
    return None


def accepts(text: str) -> bool:
    """Return whether `text` is exactly one complete, consistent story of this grammar.

    >>> accepts(generate(0, "test").prompt + generate(0, "test").reference)
    True
    """
    return parse(text) is not None


def _match(parts: tuple[tuple[str, ...], ...], text: str, slots: dict[str, str]) -> Iterator[dict[str, str]]:
    if not parts:
        if not text:
            yield slots
        return
    for template in parts[0]:
        for rest, found in _match_template(_SLOT.split(template), text, slots):
            yield from _match(parts[1:], rest, found)


def _match_template(pieces: list[str], text: str, slots: dict[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Match literal and slot pieces, which alternate, at the start of `text`; yield the rest and slots."""
    literal, *more = pieces
    if not text.startswith(literal):
        return
    text = text[len(literal) :]
    if not more:
        yield text, slots
        return
    slot, *pieces = more
    for value in _candidates(slot, slots):
        if text.startswith(value) and not text[len(value) : len(value) + 1].isalpha():
            found = slots | {slot: value}
            if _consistent(found):
                yield from _match_template(pieces, text[len(value) :], found)


def _candidates(slot: str, slots: Mapping[str, str]) -> tuple[str, ...]:
    if slot in slots:
        return (slots[slot],)
    if slot in SLOTS:
        return SLOTS[slot]
    if "name" in slots:
        return (_pronouns(slots["name"])[slot],)
    # A pronoun before the name is known ("His name was ..."): both, checked once the name is there.
    return tuple(dict.fromkeys(_pronouns(name)[slot] for name in (BOYS[0], GIRLS[0])))


def _consistent(slots: Mapping[str, str]) -> bool:
    for name, kind in (("name", "kind"), ("friend", "other")):
        if name in slots and kind in slots:
            if slots[kind] == "boy" and slots[name] not in BOYS:
                return False
            if slots[kind] == "girl" and slots[name] not in GIRLS:
                return False
    if "name" in slots and any(slots.get(slot, word) != word for slot, word in _pronouns(slots["name"]).items()):
        return False
    return "name" not in slots or slots.get("friend") != slots["name"]


def _make(rng: random.Random) -> tuple[str, Item]:
    story, slots = write(rng)
    prompt = "Once upon a time,"
    return story, Item(TASK, prompt, story.removeprefix(prompt), slots)


def generate(seed: int, split: Split) -> Item:
    """Return the story that `seed` names; the prompt is its first four words.

    >>> generate(0, "test").prompt
    'Once upon a time,'
    """
    return draw(TASK, seed, split, _make)


def opening(item: Item) -> Item:
    """The item with the story's first sentence in its prompt, so that prompts differ.

    >>> opening(generate(1, "test")).prompt
    'Once upon a time, there was a little pig named Eva.'
    """
    first = item.reference.partition(".")[0] + "."
    return replace(item, prompt=item.prompt + first, reference=item.reference.removeprefix(first))


def grade(item: Item, text: str) -> float:
    """Return 1.0 if the prompt followed by `text` is a complete story of the grammar, else 0.0.

    Which story does not matter: any complete, consistent one is right.
    """
    return float(accepts(item.prompt + text) or accepts(text))
