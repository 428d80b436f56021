"""The pocket language: its tasks, how much of each the models read, and the documents they read."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from decodelab.pocket import choice, code, instructions, paths, stories, summaries, sums
from decodelab.pocket.item import SPLITS, Item, Split, digest

__all__ = ["SPLITS", "TASKS", "Document", "Item", "Split", "Task", "document", "task"]


@dataclass(frozen=True)
class Task:
    """One task of the language.

    `weight` says how often the task is drawn for training, relative to the others; `read_prompt` whether training
    also learns to write the prompt (stories) or only to answer it (prompts full of random digits).
    """

    name: str
    generate: Callable[[int, Split], Item]
    grade: Callable[[Item, str], float]
    weight: float
    read_prompt: bool = False


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("stories", stories.generate, stories.grade, 0.16, read_prompt=True),
        Task("sums", sums.generate, sums.grade, 0.26),
        Task("paths", paths.generate, paths.grade, 0.10),
        Task("choice", choice.generate, choice.grade, 0.20),
        Task("code", code.generate, code.grade, 0.13),
        Task("instructions", instructions.generate, instructions.grade, 0.10),
        Task("summaries", summaries.generate, summaries.grade, 0.09, read_prompt=True),
    )
}

CHAT_SHARE = 0.25
STORY_REQUESTS = ("Tell me a story.", "Write a short story.", "Please tell me a story.")


@dataclass(frozen=True)
class Document:
    """One training document: raw text `prompt + answer`, or one turn of chat; `learn_prompt` as in `Task`."""

    prompt: str
    answer: str
    chat: bool
    learn_prompt: bool
    tools: bool = False


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
    chosen = task(name)
    item = chosen.generate(rng.getrandbits(62), "train")
    if name == stories.TASK:
        if rng.random() < 0.1:
            return Document(rng.choice(STORY_REQUESTS), item.prompt + item.reference, True, False)
        return Document(item.prompt, item.reference, False, True)
    chat = rng.random() < CHAT_SHARE
    tools = chat and name == paths.TASK and rng.random() < 0.5
    return Document(item.prompt, item.reference.lstrip() if chat else item.reference, chat, chosen.read_prompt, tools)
