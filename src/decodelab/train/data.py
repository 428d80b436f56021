"""Training batches as a pure function of (seed, step): the step is the whole position in the data."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from decodelab.pocket.item import digest
from decodelab.pocket.language import Document, document, shuffle

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
    """Packed documents: `tokens` and `labels`, both [rows, length]; labels are not yet shifted."""

    tokens: Tensor
    labels: Tensor


def encode(tokenizer: PreTrainedTokenizerBase, each: Document) -> tuple[list[int], list[int]]:
    """Return the tokens of the prompt (with BOS and roles) and of the answer (with EOS) of a document."""
    if each.chat:
        rendered = tokenizer.apply_chat_template(
            [{"role": "user", "content": each.prompt}],
            tools=[SUBMIT_PATHS] if each.tools else None,
            add_generation_prompt=True,
            tokenize=False,
        )
        prompt = tokenizer.encode(rendered, add_special_tokens=False)
    else:
        prompt = tokenizer.encode(each.prompt)
    return prompt, [*tokenizer.encode(each.answer, add_special_tokens=False), tokenizer.eos_token_id]


def batch(tokenizer: PreTrainedTokenizerBase, seed: int, step: int, rows: int, length: int) -> Batch:
    """Return the batch of `step`.

    Each row is filled with whole documents, the last one cut; positions run on across them. Rows go round the
    tasks, so two documents of one task seldom share a row: attention needs no mask between documents (which
    would cost a third of the speed), and yet no question sees the facts of another one of its kind.
    """
    tokens = torch.empty(rows, length, dtype=torch.long)
    labels = torch.empty(rows, length, dtype=torch.long)
    for row in range(rows):
        rng = random.Random(digest("row", seed, step, row))
        ids: list[int] = []
        targets: list[int] = []
        while len(ids) < length:
            for name in shuffle(rng):
                each = document(name, rng.getrandbits(62))
                prompt, answer = encode(tokenizer, each)
                ids += prompt + answer
                # No document predicts the first token of the next one.
                targets += [NO_LOSS, *prompt[1:]] if each.learn_prompt else [NO_LOSS] * len(prompt)
                targets += answer
        tokens[row] = torch.tensor(ids[:length])
        labels[row] = torch.tensor(targets[:length])
    return Batch(tokens, labels)
