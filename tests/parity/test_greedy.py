"""Greedy decoding says what transformers.generate says, token for token, alone and in ragged batches.

Where the two most probable tokens are nearer than float32 arithmetic can tell apart under another batch shape, the
argmax is a coin toss in both; `NEAR` is that distance, and a difference is accepted at such a token only.
"""

import pytest

import decodelab as dl
from decodelab.core.values import Tokens

NEAR = 1e-4


def agree(model: dl.TransformersModel, prompt: Tokens, ours: Tokens, theirs: Tokens) -> bool:
    """Whether both are equal; fails unless they part at a token where the best two logits are within NEAR."""
    if ours == theirs:
        return True
    common = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
    logits = model.prefill([(*prompt, *ours[:common])])[0][0]
    first, second = logits.topk(2).values.tolist()
    assert first - second < NEAR, f"{prompt} parts at token {common} by {first - second}"
    return False


def check(model, prompts, theirs, new_tokens: int, *, together: int) -> int:
    """Compare in batches of `together` prompts; the number of prompts that part at a near tie."""
    parted = 0
    for i in range(0, len(prompts), together):
        batch = prompts[i : i + together]
        ours = [g.best.tokens for g in dl.generate(model, batch, "greedy", max_new_tokens=new_tokens)]
        for prompt, mine, other in zip(batch, ours, theirs(batch, new_tokens), strict=True):
            parted += not agree(model, prompt, mine, other)
    return parted


def test_forty_prompts_in_ragged_batches(model, prompts, theirs):
    assert check(model, prompts, theirs, 32, together=20) <= 1


def test_every_fourth_prompt_alone(model, prompts, theirs):
    assert check(model, prompts[::4], theirs, 24, together=1) == 0


@pytest.mark.slow
@pytest.mark.parametrize("together", [1, 3, 8, 40])
def test_forty_prompts_for_long(model, prompts, theirs, together):
    assert check(model, prompts, theirs, 128, together=together) <= 1


def test_the_minimum_length_is_the_same(model, prompts, theirs):
    ours = dl.generate(model, prompts[:6], "greedy", max_new_tokens=40, min_new_tokens=40)
    assert [g.best.tokens for g in ours] == theirs(prompts[:6], 40, min_new_tokens=40)
