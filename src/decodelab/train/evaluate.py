"""Evaluate a pocket model on held-out items of every task, decoded by the engine."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from decodelab.core.errors import DecodelabError
from decodelab.core.protocols import LanguageModel
from decodelab.core.values import Chat
from decodelab.engine.generate import generate
from decodelab.models.loading import load
from decodelab.pocket.item import Item, Split
from decodelab.pocket.language import TASKS
from decodelab.train.card import write_card, write_scores

# Stories are sampled (a greedy model tells one story only); everything else is greedy.
STORY_TEMPERATURE = 0.8
LONGEST = 340


@dataclass(frozen=True)
class Score:
    """The mean grade of one task over `items` held-out items."""

    task: str
    score: float
    items: int
    temperature: float


def answer(
    model: LanguageModel,
    items: Sequence[Item],
    *,
    temperature: float = 0.0,
    chat: bool = False,
    rows: int = 50,
    seed: int = 0,
) -> list[str]:
    """Return the model's answer to each item, decoded greedily (temperature 0) or by sampling.

    Items with one and the same prompt are answered by different samples of it.
    """
    times = Counter(item.prompt for item in items)
    prompts = list(times)
    strategy = f"temperature={temperature} | sample(n={max(times.values())})" if temperature else "greedy"
    asked = [Chat.of(prompt) if chat else prompt for prompt in prompts]
    found = generate(model, asked, strategy, max_new_tokens=LONGEST, max_rows=rows, seed=seed)
    texts = {prompt: [c.text for c in generation.candidates] for prompt, generation in zip(prompts, found, strict=True)}
    return [texts[item.prompt].pop(0) if temperature else texts[item.prompt][0] for item in items]


def evaluate(
    model: LanguageModel,
    *,
    items: int = 200,
    split: Split = "test",
    tasks: Sequence[str] = tuple(TASKS),
    chat: bool = False,
) -> list[Score]:
    """Return the score of each task over `items` items of `split`; a pure function of its arguments."""
    scores = []
    for name in tasks:
        asked = [TASKS[name].generate(seed, split) for seed in range(items)]
        temperature = STORY_TEMPERATURE if name == "stories" else 0.0
        # A story has no prompt of its own to put in a chat: it is always told from its first words.
        texts = answer(model, asked, temperature=temperature, chat=chat and name != "stories")
        grades = [TASKS[name].grade(item, text) for item, text in zip(asked, texts, strict=True)]
        scores.append(Score(name, sum(grades) / len(grades), items, temperature))
    return scores


def main(arguments: list[str] | None = None) -> int:
    """Score a pocket model directory: a table on stderr, JSON on stdout."""
    parser = argparse.ArgumentParser(prog="python -m decodelab.train.evaluate", description=main.__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--split", default="test", choices=("train", "dev", "test"))
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--card", action="store_true", help="record the scores in the model's card")
    parser.add_argument("--chat", action="store_true", help="ask through the chat template")
    given = parser.parse_args(arguments)
    try:
        model = load(str(given.model.resolve()))
    except DecodelabError as error:
        sys.stderr.write(f"evaluate: {error}\n")
        return 2
    scores = evaluate(model, items=given.items, split=given.split, tasks=given.tasks, chat=given.chat)
    if given.card:
        write_scores(given.model, [asdict(each) for each in scores])
        write_card(given.model)
    table = Table("task", "score", "items", "temperature", title=str(given.model))
    for each in scores:
        table.add_row(each.task, f"{each.score:.3f}", str(each.items), str(each.temperature))
    Console(stderr=True).print(table)
    sys.stdout.write(json.dumps({each.task: round(each.score, 4) for each in scores}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
