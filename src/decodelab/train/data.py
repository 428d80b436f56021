"""Training batches as a pure function of (seed, step): the step is the whole position in the data."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from decodelab.pocket.item import digest
from decodelab.pocket.language import Document, document
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


# Shares of documents.
MIXTURE = {"stories": 0.22, "sums": 0.13, "paths": 0.10, "choice": 0.22, "code": 0.07, "instructions": 0.15,
           "summaries": 0.11}  # fmt: skip
# A label of a document with n labels counts n ** -BALANCE: a choice has 20 labels, a graph 150, and both must count.
BALANCE = 0.5
# A label that repeats a fact counts this much more: most other words of a story are free, and drown it otherwise.
FACT = 4.0


@dataclass(frozen=True)
class Batch:
    """Packed documents: `tokens`, `labels` (not yet shifted) and their `weights`, all [rows, width].

    `mask` [rows, 1, width, width] says which tokens see which.
    """

    tokens: Tensor
    labels: Tensor
    weights: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Encoded:
    """A document in tokens; `weights` are those of the answer."""

    prompt: list[int]
    answer: list[int]
    weights: list[float]


def encode(tokenizer: PreTrainedTokenizerBase, each: Document) -> Encoded:
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
    answer = tokenizer(each.answer, add_special_tokens=False, return_offsets_mapping=True)
    repeated = _repetitions(each)
    weights = [
        FACT if any(start < last and end > first for first, last in repeated) else 1.0
        for start, end in answer["offset_mapping"]
    ]
    return Encoded(list(prompt), [*answer["input_ids"], EOS_ID], [*weights, 1.0])


def _repetitions(each: Document) -> list[tuple[int, int]]:
    """Return where (start, end) the answer repeats a fact that it or the prompt has told before."""
    found = []
    for fact in each.facts:
        pattern = re.compile(rf"(?<!\w){re.escape(fact)}(?!\w)", re.IGNORECASE)
        told = pattern.search(each.prompt) is not None
        found += [match.span() for match in pattern.finditer(each.answer)][0 if told else 1 :]
    return found


def batches(tokenizer: PreTrainedTokenizerBase, seed: int, step: int, tokens: int, length: int) -> list[Batch]:
    """Return what `step` reads: one row of `length` tokens, and rows half as wide up to `tokens` in all.

    Documents drawn from the mixture go whole into the first row with room for them, half rows first, until one fits
    nowhere; the rest is padding. (Attention costs a third less in half rows, and few documents need more.)
    Documents of a row do not see each other, since names and numbers of a neighbour make it much harder to learn
    to look up one's own; only in the long row of every fourth step do they, so that distances up to `length` are
    trained. Positions run on across documents.
    """
    rng = random.Random(digest("batch", seed, step))
    half = length // 2
    rows = [_Row(half) for _ in range((tokens - length) // half)] + [_Row(length)]
    while True:
        name = rng.choices(list(MIXTURE), list(MIXTURE.values()))[0]
        each = document(name, rng.getrandbits(62))
        encoded = encode(tokenizer, each)
        size = len(encoded.prompt) + len(encoded.answer)
        room = next((row for row in rows if len(row.tokens) + size <= row.width), None)
        if room is not None:
            room.add(encoded, each.learn_prompt)
        elif size <= half:
            break
    return [_batch(rows[:-1]), _batch(rows[-1:], step % 4 == 0)]


class _Row:
    def __init__(self, width: int) -> None:
        self.width = width
        self.documents = 0
        self.tokens: list[int] = []
        self.labels: list[int] = []
        self.weights: list[float] = []
        self.owner: list[int] = []

    def add(self, each: Encoded, learn_prompt: bool) -> None:
        self.documents += 1
        self.tokens += each.prompt + each.answer
        # No document predicts the first token of the next one.
        labels = [NO_LOSS, *each.prompt[1:]] if learn_prompt else [NO_LOSS] * len(each.prompt)
        labels += each.answer
        scale = sum(label != NO_LOSS for label in labels) ** -BALANCE
        self.labels += labels
        self.weights += [scale * weight for weight in [1.0] * len(each.prompt) + each.weights]
        self.owner += [self.documents] * len(labels)


def _batch(rows: list[_Row], joined: bool = False) -> Batch:
    def stack(lists: Sequence[list[Any]], fill: int) -> Tensor:
        return torch.tensor([ids + [fill] * (row.width - len(ids)) for ids, row in zip(lists, rows, strict=True)])

    owner = stack([row.owner for row in rows], 0)
    mask = owner[:, :, None] == owner[:, None, :]
    if joined:
        mask = torch.ones_like(mask)
    return Batch(
        stack([row.tokens for row in rows], PAD_ID),
        stack([row.labels for row in rows], NO_LOSS),
        stack([row.weights for row in rows], 0).float(),
        mask.tril()[:, None],
    )
