"""Training batches as a pure function of (seed, step): the step is the whole position in the data."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from decodelab.pocket.item import digest
from decodelab.pocket.language import TASKS, Document, document
from decodelab.train.tokenizer import EOS_ID, PAD_ID

NO_LOSS = -100
SUBMIT_PATHS = {
    "type": "function",
    "function": {
        "name": "submit_paths",
        "description": "Submit the top P shortest paths found",
        "parameters": {
            "type": "object",
            "properties": {
                "paths": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
                "weights": {"type": "array", "items": {"type": "integer"}},
            },
            "required": ["paths", "weights"],
        },
    },
}


@dataclass(frozen=True)
class Batch:
    """Packed documents: `tokens` and `labels` [rows, width] (not yet shifted), `mask` [rows, 1, width, width]."""

    tokens: Tensor
    labels: Tensor
    mask: Tensor


def encode(tokenizer: PreTrainedTokenizerBase, each: Document) -> tuple[list[int], list[int]]:
    """Return the tokens of the prompt (with BOS and roles) and of the answer (with EOS) of a document."""
    if each.chat:
        rendered = tokenizer.apply_chat_template(
            [{"role": "user", "content": each.prompt}],
            tools=[SUBMIT_PATHS] if each.tools else None,
            add_generation_prompt=True,
            tokenize=False,
        )
        prompt = tokenizer.encode(str(rendered), add_special_tokens=False)
    else:
        prompt = tokenizer.encode(each.prompt)
    return prompt, [*tokenizer.encode(each.answer, add_special_tokens=False), EOS_ID]


def batches(tokenizer: PreTrainedTokenizerBase, seed: int, step: int, tokens: int, length: int) -> list[Batch]:
    """Return what `step` reads: one row of `length` tokens, and rows half as wide up to `tokens` in all.

    Documents drawn by the weights of their tasks go whole into the first row with room for them, half rows first,
    until one fits nowhere; the rest is padding. (Attention costs a third less in half rows, and few documents need
    more.) Documents of a row do not see each other, since names and numbers of a neighbour make it harder to
    learn to look up one's own; only in the long row of every fourth step do they, so that distances up to
    `length` are trained. Positions run on across documents.
    """
    rng = random.Random(digest("batch", seed, step))
    names, weights = zip(*((name, task.weight) for name, task in TASKS.items()), strict=True)
    half = length // 2
    rows = [_Row(half) for _ in range((tokens - length) // half)] + [_Row(length)]
    while True:
        each = document(rng.choices(names, weights)[0], rng.getrandbits(62))
        prompt, answer = encode(tokenizer, each)
        room = next((row for row in rows if len(row.tokens) + len(prompt) + len(answer) <= row.width), None)
        if room is not None:
            room.add(prompt, answer, each.learn_prompt)
        elif len(prompt) + len(answer) <= half:
            break
    return [_batch(rows[:-1]), _batch(rows[-1:], step % 4 == 0)]


class _Row:
    def __init__(self, width: int) -> None:
        self.width = width
        self.documents = 0
        self.tokens: list[int] = []
        self.labels: list[int] = []
        self.owner: list[int] = []

    def add(self, prompt: list[int], answer: list[int], learn_prompt: bool) -> None:
        self.documents += 1
        self.tokens += prompt + answer
        # No document predicts the first token of the next one.
        self.labels += [NO_LOSS, *prompt[1:]] if learn_prompt else [NO_LOSS] * len(prompt)
        self.labels += answer
        self.owner += [self.documents] * (len(prompt) + len(answer))


def _batch(rows: list[_Row], joined: bool = False) -> Batch:
    def stack(lists: list[list[int]], fill: int) -> Tensor:
        return torch.tensor([ids + [fill] * (row.width - len(ids)) for ids, row in zip(lists, rows, strict=True)])

    owner = stack([row.owner for row in rows], 0)
    mask = owner[:, :, None] == owner[:, None, :]
    if joined:
        mask = torch.ones_like(mask)
    return Batch(
        stack([row.tokens for row in rows], PAD_ID), stack([row.labels for row in rows], NO_LOSS), mask.tril()[:, None]
    )
