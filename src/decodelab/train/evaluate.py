"""A quick look at a pocket model: every task of the language, held-out items, batched decoding."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from decodelab.pocket.item import Item, Split
from decodelab.pocket.language import TASKS, Document
from decodelab.train.card import write_card, write_scores
from decodelab.train.data import encode
from decodelab.train.tokenizer import PAD_ID, load_tokenizer

# The type stubs of transformers 5 give no class whose generate() can be called.
CausalLM = Any

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
    model: CausalLM,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[Item],
    *,
    temperature: float = 0.0,
    chat: bool = False,
    batch: int = 50,
    seed: int = 0,
) -> list[str]:
    """Return the model's answer to each item, decoded greedily (temperature 0) or by sampling."""
    prompts = [encode(tokenizer, Document(item.prompt, "", chat)).prompt for item in items]
    order = sorted(range(len(items)), key=lambda index: len(prompts[index]))
    answers = [""] * len(items)
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        # transformers samples from the global generator only; it is put back afterwards.
        torch.manual_seed(seed)  # noqa: TID251
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            width = max(len(prompts[row]) for row in rows)
            ids = torch.full((len(rows), width), PAD_ID)
            for line, row in enumerate(rows):
                ids[line, width - len(prompts[row]) :] = torch.tensor(prompts[row])
            sampling: dict[str, Any] = (
                {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0}
                if temperature
                else {"do_sample": False, "temperature": None, "top_p": None}
            )
            new = min(LONGEST, model.config.max_position_embeddings - width)
            tokens = model.generate(ids, attention_mask=ids != PAD_ID, max_new_tokens=new, **sampling)
            for row, text in zip(
                rows, tokenizer.batch_decode(tokens[:, width:], skip_special_tokens=True), strict=True
            ):
                answers[row] = text
    return answers


def evaluate(
    model: CausalLM,
    tokenizer: PreTrainedTokenizerBase,
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
        texts = answer(model, tokenizer, asked, temperature=temperature, chat=chat and name != "stories")
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
    parser.add_argument("--float32", action="store_true", help="compute in float32 rather than the stored bfloat16")
    given = parser.parse_args(arguments)
    if not (given.model / "config.json").exists():
        sys.stderr.write(f"evaluate: no model in {given.model} (config.json is missing)\n")
        return 2
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32 if given.float32 else "auto")
    scores = evaluate(
        model.eval(), load_tokenizer(given.model), items=given.items, split=given.split, tasks=given.tasks,
        chat=given.chat,
    )  # fmt: skip
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
