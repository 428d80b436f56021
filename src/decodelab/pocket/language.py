"""The pocket language: its tasks, and the documents that models read in training."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from decodelab.pocket import choice, code, instructions, paths, stories, summaries, sums
from decodelab.pocket.item import SPLITS, Item, Split, digest

__all__ = ["SPLITS", "TASKS", "Document", "Item", "Split", "Task", "document", "task"]


@dataclass(frozen=True)
class Task:
    """One task of the language: how its items are made and graded."""

    name: str
    generate: Callable[[int, Split], Item]
    grade: Callable[[Item, str], float]


TASKS: dict[str, Task] = {
    module.TASK: Task(module.TASK, module.generate, module.grade)
    for module in (stories, sums, paths, choice, code, instructions, summaries)
}

CHAT_SHARE = 0.25
STORY_REQUESTS = ("Tell me a story.", "Write a short story.", "Please tell me a story.")


@dataclass(frozen=True)
class Document:
    """One training document: raw text `prompt + answer`, or one turn of chat.

    The first `learnt` characters of the prompt are to be learnt like the answer. `facts` are strings that the document
    settles when they first occur and must keep to afterwards: names, objects, words that an instruction asks for, an
    option, its letter.
    """

    prompt: str
    answer: str
    chat: bool = False
    learnt: int = 0
    tools: bool = False
    facts: tuple[str, ...] = ()


def task(name: str) -> Task:
    """Return the task of that name; raises `ValueError` with the names there are."""
    if name not in TASKS:
        raise ValueError(f"pocket task: got {name!r}; choose one of {', '.join(TASKS)}")
    return TASKS[name]


def document(name: str, seed: int) -> Document:
    """Return the training document of task `name` that `seed` names; a quarter (stories: a tenth) are chats.

    >>> document("sums", 1) == document("sums", 1)
    True
    """
    rng = random.Random(digest("document", name, seed))
    item = task(name).generate(rng.getrandbits(62), "train")
    facts = _facts(item)
    if name == stories.TASK:
        if rng.random() < 0.1:
            return Document(rng.choice(STORY_REQUESTS), item.prompt + item.reference, chat=True, facts=facts)
        return Document(item.prompt, item.reference, learnt=len(item.prompt), facts=facts)
    chat = rng.random() < CHAT_SHARE
    tools = chat and name == paths.TASK and rng.random() < 0.5
    answer = item.reference.lstrip() if chat else item.reference
    # The story that a summary is asked of is as good as any to learn to tell one.
    learnt = len(item.prompt.removesuffix(summaries.REQUEST)) if name == summaries.TASK and not chat else 0
    return Document(item.prompt, answer, chat, learnt, tools, facts)


def _facts(item: Item) -> tuple[str, ...]:
    if item.task in (stories.TASK, summaries.TASK):
        return tuple(value for slot, value in item.meta.items() if slot != "plot")
    if item.task == instructions.TASK:
        words = [each["value"] for each in item.meta["constraints"] if each["kind"] in ("include", "start", "end")]
        return tuple(word for word in (item.meta["topic"], *words) if word)
    if item.task == choice.TASK:
        return (item.meta["option"], f"({item.meta['letter']})")
    return ()
