"""Greedy and beam search give what `transformers.generate` gives, token for token, alone and in ragged batches."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import decodelab as dl
from decodelab.core.protocols import LanguageModel
from decodelab.core.values import Tokens
from decodelab.models.transformers_model import TransformersModel
from decodelab.pocket.language import TASKS

MODELS = ("stories260K", "sentences", "pocket-nano", "pocket-small")
"""`sentences` is stories260K with the full stop as one more EOS id, so that hypotheses end at many lengths."""
WIDTHS = (3, 25)
LENGTH_PENALTIES = (0.0, 0.6, 1.0, 2.0)
EARLY_STOPPING: tuple[Any, ...] = (True, False, "never")
NEW_TOKENS = 24
CLOSE = 1e-4
"""Two hypotheses whose scores differ by less than this are a tie as far as float32 batches can tell."""

OPENINGS = (
    "Once upon a time, there was a little dog named Max who liked to play in the big park",
    "One day, Lily and her mom went to the store to buy some milk and a red",
    "Tom had a toy car. He wanted to give it to his friend, but he could not find",
    "The sun was hot and the cat was very tired. She saw a small tree and",
    "Ben said, \"Can I play with you?\" The girl smiled and said",
    "It was a cold night. The bird sat in the nest and looked at the moon",
    "Mom made a cake with sugar. The boy was so happy that he",
    "There was a frog who lived near the pond. Every morning he would jump",
)


@dataclass(frozen=True)
class Config:
    """One setting of the grid; width 1 is greedy search."""

    width: int
    length_penalty: float = 1.0
    early_stopping: Any = False

    def strategy(self) -> dl.Strategy:
        if self.width == 1:
            return dl.Strategy.of("greedy")
        return dl.Strategy.of(dl.Beam(self.width, self.length_penalty, self.early_stopping))

    def settings(self) -> dict[str, Any]:
        beam = {"length_penalty": self.length_penalty, "early_stopping": self.early_stopping}
        return {"num_beams": self.width, "do_sample": False} | (beam if self.width > 1 else {})


GRID = [Config(1), *(Config(*c) for c in itertools.product(WIDTHS, LENGTH_PENALTIES, EARLY_STOPPING))]
SHORT_GRID = [Config(1), Config(3), Config(25, 0.0, "never"), Config(3, 2.0, True)]


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> dl.TransformersModel:
    if request.param.startswith("pocket"):
        return _load(request.param)
    directory = str(request.getfixturevalue("stories260k_dir"))
    return _sentences(directory) if request.param == "sentences" else _load(directory)


@cache
def _load(name: str) -> dl.TransformersModel:
    found = dl.load(name)
    assert isinstance(found, dl.TransformersModel)
    return found


@cache
def _sentences(directory: str) -> dl.TransformersModel:
    found = TransformersModel.load(directory)
    (stop,) = found.vocab.encode_completion(found.vocab.encode("a"), ".")
    found.model.generation_config.eos_token_id = [*found.vocab.eos_ids, stop]
    return TransformersModel(found.model, found.vocab.tokenizer, name="sentences")


def forty_prompts(model: LanguageModel) -> list[Tokens]:
    """40 prompts of many lengths: questions of every pocket task, or openings of stories cut at five places."""
    if "pocket" in model.name:
        names = [name for name in TASKS if name != "stories"]
        texts = [TASKS[names[i % len(names)]].generate(i, "test").prompt for i in range(39)] + ["Once upon a time,"]
    else:
        texts = [" ".join(o.split()[:n]) for o in OPENINGS for n in (1, 3, 6, 9, 14)]
    return [model.vocab.encode(text) for text in texts]


def ours(model: LanguageModel, prompts: Sequence[Tokens], config: Config) -> list[Tokens]:
    found = dl.generate(model, prompts, config.strategy(), max_new_tokens=NEW_TOKENS, max_rows=len(prompts) * config.width)
    return [g.best.tokens for g in found]


def theirs(model: dl.TransformersModel, prompts: Sequence[Tokens], config: Config) -> list[Tokens]:
    """transformers' answer, with the padding after the end taken off."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    eos = model.vocab.eos_ids
    neutral = {"temperature": None, "top_p": None, "top_k": None}
    with torch.inference_mode():
        sequences = model.model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=NEW_TOKENS,
            eos_token_id=list(eos),
            pad_token_id=eos[-1],
            **(neutral | config.settings()),
        )
    return [_until_eos(row, eos) for row in sequences[:, width:].tolist()]


def _until_eos(tokens: list[int], eos: Sequence[int]) -> Tokens:
    end = next((i + 1 for i, token in enumerate(tokens) if token in eos), len(tokens))
    return tuple(tokens[:end])


def score(model: LanguageModel, prompt: Tokens, tokens: Tokens, config: Config) -> float:
    total = dl.score(model, prompt, tokens).logprob
    return total / len(tokens) ** (config.length_penalty if config.width > 1 else 0.0)


def assert_same(model: dl.TransformersModel, prompts: Sequence[Tokens], config: Config, ragged: bool) -> int:
    """Equal token for token, but for prompts whose two answers tie in score; returns how many those are."""
    groups = [list(prompts)] if ragged else [[p] for p in prompts]
    ties = 0
    for group in groups:
        for prompt, a, b in zip(group, ours(model, group, config), theirs(model, group, config), strict=True):
            if a == b:
                continue
            gap = abs(score(model, prompt, a, config) - score(model, prompt, b, config))
            assert gap < CLOSE, f"{config} prompt {prompt}: {a} is not {b}, scores differ by {gap}"
            ties += 1
    return ties


@pytest.mark.parametrize("config", SHORT_GRID, ids=lambda c: str(c.strategy()))
def test_few_settings_on_ten_prompts_in_one_ragged_batch(model: dl.TransformersModel, config: Config) -> None:
    assert assert_same(model, forty_prompts(model)[::4], config, ragged=True) <= 1


@pytest.mark.parametrize("config", GRID, ids=lambda c: str(c.strategy()))
def test_every_setting_on_one_prompt(config: Config) -> None:
    model = _load("pocket-nano")
    assert assert_same(model, forty_prompts(model)[3:4], config, ragged=False) == 0


@pytest.mark.slow
@pytest.mark.parametrize("ragged", [False, True], ids=["alone", "ragged"])
@pytest.mark.parametrize("config", GRID, ids=lambda c: str(c.strategy()))
def test_every_setting_on_forty_prompts(model: dl.TransformersModel, config: Config, ragged: bool) -> None:
    prompts = forty_prompts(model)
    assert len(prompts) == 40
    assert len({len(p) for p in prompts}) >= 5
    assert assert_same(model, prompts, config, ragged) <= 2


def test_the_known_story_of_stories260k(stories260k_dir: Path) -> None:
    text = dl.generate(str(stories260k_dir), "", "greedy", max_new_tokens=200)[0].best.text
    assert text.startswith("Once upon a time, there was a little girl named Lily. She loved to play outside")
