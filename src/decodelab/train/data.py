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
from decodelab.pocket.paths import SUBMIT_PATHS
from decodelab.train import drills
from decodelab.train.drills import drill
from decodelab.train.tokenizer import EOS_ID, PAD_ID

NO_LOSS = -100

# Shares of documents, and of the first steps, until the model has learnt to look things up.
MIXTURE = {"stories": 0.16, "sums": 0.14, "paths": 0.08, "choice": 0.22, "code": 0.06, "instructions": 0.16,
           "summaries": 0.12, drills.NAME: 0.06}  # fmt: skip
FIRST_SHARE = 0.7  # of drills
FIRST_STEPS = 400
# A label of a document with n labels counts n ** -BALANCE: a choice has 20 labels, a graph 150, and both must count.
BALANCE = 0.5
# A label that repeats a fact counts this much more: most other words of a story are free, and drown it otherwise.
FACT = 4.0


@dataclass(frozen=True)
class Batch:
    """Packed documents: `tokens`, `labels` (not yet shifted) and their `weights`, all [rows, width].

    `mask` [rows, 1, width, width] is added to the attention scores: 0 where a token sees another, else hugely negative.
    """

    tokens: Tensor
    labels: Tensor
    weights: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Encoded:
    """A document in tokens, from BOS to EOS, and how much each counts as a label; 0 where it is not to be learnt."""

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
    learnt = tokenizer(each.prompt[: each.learnt], add_special_tokens=False, return_offsets_mapping=True)
    begin = len(each.prompt)
    spans = [*learnt["offset_mapping"], *((begin + start, begin + end) for start, end in answer["offset_mapping"])]
    repeated = _repetitions(each)
    weights = [FACT if any(start < last and end > first for first, last in repeated) else 1.0 for start, end in spans]
    # What is learnt of a prompt stands at its beginning, after BOS.
    silent = len(prompt) - len(learnt["input_ids"]) - 1
    known = len(learnt["input_ids"])
    return Encoded(
        list(prompt), [*answer["input_ids"], EOS_ID], [0.0, *weights[:known], *[0.0] * silent, *weights[known:], 1.0]
    )


def _repetitions(each: Document) -> list[tuple[int, int]]:
    """Return where (start, end) in prompt and answer a fact is repeated that has been told before."""
    text = each.prompt + each.answer
    found = []
    for fact in each.facts:
        found += [match.span() for match in re.finditer(rf"(?<!\w){re.escape(fact)}(?!\w)", text, re.IGNORECASE)][1:]
    return found


def batches(tokenizer: PreTrainedTokenizerBase, seed: int, step: int, tokens: int, length: int) -> list[Batch]:
    """Return what `step` reads: one row of `length` tokens, some of half that width, and most of a quarter of it.

    Documents drawn from the mixture go whole into the narrowest row with room for them, until one fits nowhere; the
    rest is padding. (Attention costs the less the narrower a row is, and few documents need more than a quarter.)
    Documents of a row do not see each other, since names and numbers of a neighbour make it much harder to learn
    to look up one's own; only in the long row of every fourth step do they, so that distances up to `length` are
    trained. Positions run on across documents.
    """
    rng = random.Random(digest("batch", seed, step))
    first = step < FIRST_STEPS
    half, quarter = length // 2, length // 4
    halves = (tokens - length) // (3 * half)
    quarters = (tokens - length - halves * half) // quarter
    rows = [_Row(width) for width, count in ((quarter, quarters), (half, halves), (length, 1)) for _ in range(count)]
    while True:
        name = rng.choices(list(MIXTURE), list(MIXTURE.values()))[0]
        if first and rng.random() < FIRST_SHARE:
            name = drills.NAME
        number = rng.getrandbits(62)
        encoded = encode(tokenizer, drill(number) if name == drills.NAME else document(name, number))
        size = len(encoded.weights)
        room = next((row for row in rows if len(row.tokens) + size <= row.width), None)
        if room is not None:
            room.add(encoded)
        elif size <= half:
            break
    groups = [[row for row in rows if row.width == width] for width in (quarter, half, length)]
    return [_batch(group, group[0].width == length and step % 4 == 0) for group in groups if group]


class _Row:
    def __init__(self, width: int) -> None:
        self.width = width
        self.documents = 0
        self.tokens: list[int] = []
        self.labels: list[int] = []
        self.weights: list[float] = []
        self.owner: list[int] = []

    def add(self, each: Encoded) -> None:
        self.documents += 1
        tokens = each.prompt + each.answer
        self.tokens += tokens
        self.labels += [token if weight else NO_LOSS for token, weight in zip(tokens, each.weights, strict=True)]
        scale = sum(weight > 0 for weight in each.weights) ** -BALANCE
        self.weights += [scale * weight for weight in each.weights]
        self.owner += [self.documents] * len(tokens)


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
        torch.zeros(mask.shape).masked_fill_(~mask.tril(), torch.finfo(torch.bfloat16).min)[:, None],
    )
