"""Real models, forty prompts for each, and what transformers.generate says to them."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

import decodelab as dl
from decodelab.core.values import Tokens
from decodelab.pocket import TASKS

# `sentences` is stories260K with the full stop as one more EOS id: its hypotheses end at many lengths.
MODELS = ["stories260K", "sentences", "pocket-nano", "pocket-small"]

# Openings of children's stories, from nothing at all to fifty tokens.
WHO = ["Lily", "Tom and Mia", "The old cat", "A little bird", "Sam's mom", "One day, a boy", "The two friends"]
DID = ["went to the", "was very happy because", 'said, "I want', "saw a big red ball and", "did not like to"]


def opening(rng: random.Random, words: int) -> str:
    text = ""
    while len(text.split()) < words:
        text += f"{rng.choice(WHO)} {rng.choice(DID)} {rng.choice(['park', 'play.', 'house', 'share.', 'sea'])} "
    return " ".join(text.split()[:words])


def forty(name: str, model: dl.TransformersModel) -> list[Tokens]:
    """Forty prompts of very different lengths, as token ids."""
    rng = random.Random(name)
    if not name.startswith("pocket"):
        texts = ["", "Once upon a time", *(opening(rng, rng.randint(1, 30)) for _ in range(38))]
        return [model.vocab.encode(text) for text in texts]
    tasks = [task for task in TASKS.values() if task.name != "stories"]  # whose prompts are all alike
    items = [tasks[i % len(tasks)].generate(1000 + i, "test").prompt for i in range(30)]
    texts = ["", *items, *(item[: rng.randint(1, len(item))] for item in items[:4])]
    chats = [dl.Chat.of(item) for item in items[5:10]]
    return [*map(model.vocab.encode, texts), *(model.vocab.render_chat(chat)[1] for chat in chats)]


@pytest.fixture(scope="session", params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    """Each model in turn."""
    return request.param


@pytest.fixture(scope="session")
def model(name: str, request: pytest.FixtureRequest) -> dl.TransformersModel:
    """The model, in float32."""
    where: str | Path = name if name.startswith("pocket") else request.getfixturevalue("stories260k_dir")
    loaded = dl.load_transformers(where)
    assert loaded.dtype == torch.float32
    if name == "sentences":
        (stop,) = loaded.vocab.encode_completion(loaded.vocab.encode("a"), ".")
        loaded.model.generation_config.eos_token_id = [*loaded.vocab.eos_ids, stop]
        loaded = dl.TransformersModel(loaded.model, loaded.vocab.tokenizer, name=name)
        assert len(loaded.vocab.eos_ids) == 3
    return loaded


@pytest.fixture(scope="session")
def prompts(name: str, model: dl.TransformersModel) -> list[Tokens]:
    """Forty prompts, no two alike, of at least ten different lengths."""
    found = forty(name, model)
    assert len(set(found)) == len(found) == 40
    assert len({len(p) for p in found}) >= 10
    return found


Theirs = Callable[..., list[Tokens]]


@pytest.fixture(scope="session")
def theirs(model: dl.TransformersModel) -> Theirs:
    """Continue prompts with transformers.generate in one batch, padded on the left; the new tokens up to EOS."""

    def run(prompts: Sequence[Tokens], max_new_tokens: int, **settings: Any) -> list[Tokens]:
        width = max(map(len, prompts))
        eos = model.vocab.eos_ids
        config = GenerationConfig(
            do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=list(eos), pad_token_id=eos[-1], **settings
        )
        out = model.model.generate(
            torch.tensor([[eos[-1]] * (width - len(p)) + list(p) for p in prompts]),
            attention_mask=torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts]),
            generation_config=config,
        )
        return [until_eos(row[width:], eos) for row in out.tolist()]

    return run


def until_eos(tokens: list[int], eos: Sequence[int]) -> Tokens:
    ends = [i for i, t in enumerate(tokens) if t in eos]
    return tuple(tokens[: ends[0] + 1] if ends else tokens)
