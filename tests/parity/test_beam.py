"""Beam search says what transformers.generate says, token for token: widths, length penalties, stopping rules.

Both add float32 log-probabilities, we in float64, they in float32, so a decision between hypotheses whose scores are
nearer than that rounding can fall either way. `NEAR` is the distance, 1e-4 nats; where the results differ, a slow beam
in this file recomputes every decision of the search (which beams go on, which enter the pool, when it ends, which wins)
and the difference is accepted only if one of them was nearer than NEAR.
"""

import itertools
import math

import pytest
import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

import decodelab as dl
from decodelab.core.values import Tokens

NEAR = 1e-4
WIDTHS = [3, 25]
PENALTIES = [0.0, 0.6, 1.0, 2.0]
EARLY = [True, False, "never"]
GRID = list(itertools.product(WIDTHS, PENALTIES, EARLY))


def nearest_decision(model: dl.TransformersModel, prompt: Tokens, beam: dl.Beam, limit: int) -> float:
    """The smallest distance by which any decision of this search was made, in nats."""
    eos, width = model.vocab.eos_ids, beam.width
    live: list[tuple[float, Tokens]] = [(0.0, ())]
    pool: list[float] = []
    nearest = math.inf

    def gap(scores: list[float], at: int) -> None:
        nonlocal nearest
        if 0 < at < len(scores):
            nearest = min(nearest, scores[at - 1] - scores[at])

    for length in range(1, limit + 1):
        logits, _ = model.prefill([(*prompt, *tokens) for _, tokens in live])
        total = logits.double().log_softmax(-1) + torch.tensor([s for s, _ in live], dtype=torch.float64)[:, None]
        best, index = total.flatten().topk(min(total.numel(), width * (1 + len(eos)) + 1))
        found = [
            (s, (*live[i // total.shape[1]][1], i % total.shape[1]))
            for s, i in zip(best.tolist(), index.tolist(), strict=True)
        ]
        over = [f[1][-1] in eos or length == limit for f in found]
        if any(over[width - 1 : width + 1]):
            gap([s for s, _ in found], width)
        going = [f for f, o in zip(found, over, strict=True) if not o]
        gap([s for s, _ in going], width)
        pool += [s / length**beam.length_penalty for (s, _), o in zip(found[:width], over, strict=False) if o]
        pool.sort(reverse=True)
        gap(pool, 1)
        gap(pool, width)
        del pool[width:]
        live = going[:width]
        if not live:
            break
        if len(pool) == width:
            horizon = limit if beam.early_stopping == "never" and beam.length_penalty > 0 else length
            bound = live[0][0] / horizon**beam.length_penalty
            if beam.early_stopping is not True:
                nearest = min(nearest, abs(bound - pool[-1]))
            if beam.early_stopping is True or bound <= pool[-1]:
                break
    return nearest


def compare(model, prompts, theirs, beam: dl.Beam, limit: int, *, together: int) -> int:
    """Compare in batches of `together` prompts; the number that differ, each by a decision nearer than NEAR."""
    differ = 0
    settings = {
        "num_beams": beam.width,
        "length_penalty": beam.length_penalty,
        "early_stopping": beam.early_stopping,
    }
    for i in range(0, len(prompts), together):
        batch = prompts[i : i + together]
        ours = dl.generate(model, batch, beam, max_new_tokens=limit, max_rows=together * beam.width)
        for prompt, mine, other in zip(batch, ours, theirs(batch, limit, **settings), strict=True):
            if mine.best.tokens != other:
                nearest = nearest_decision(model, prompt, beam, limit)
                assert nearest < NEAR, f"{beam} {prompt}: {mine.best.tokens} is not {other}, nearest {nearest}"
                differ += 1
    return differ


@pytest.mark.parametrize(("width", "penalty", "early"), GRID)
def test_every_setting_on_two_prompts_in_a_ragged_batch(model, prompts, theirs, width, penalty, early):
    at = GRID.index((width, penalty, early))
    pair = [prompts[at], prompts[(7 * at + 20) % 40]]
    assert compare(model, pair, theirs, dl.Beam(width, penalty, early), 16, together=2) <= 1


def test_every_prompt_under_one_setting_in_ragged_batches(model, prompts, theirs):
    assert compare(model, prompts, theirs, dl.Beam(3), 24, together=8) <= 1


def test_every_fourth_prompt_alone(model, prompts, theirs):
    assert compare(model, prompts[::4], theirs, dl.Beam(3, 0.6, True), 24, together=1) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("together", [1, 8])
@pytest.mark.parametrize(("width", "penalty", "early"), GRID)
def test_forty_prompts_under_every_setting(model, prompts, theirs, width, penalty, early, together):
    assert compare(model, prompts, theirs, dl.Beam(width, penalty, early), 32, together=together) <= 2


def test_the_whole_list_of_hypotheses_and_their_scores(model, prompts):
    for prompt in prompts[:6]:
        ours = dl.generate(model, [prompt], dl.Beam(4, 0.6, n=4), max_new_tokens=16)[0].candidates
        eos = model.vocab.eos_ids
        config = GenerationConfig(
            do_sample=False, num_beams=4, num_return_sequences=4, length_penalty=0.6, max_new_tokens=16,
            eos_token_id=list(eos), pad_token_id=eos[-1], return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        out = model.model.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), generation_config=config
        )
        assert [c.score for c in ours] == pytest.approx(out.sequences_scores.tolist(), abs=NEAR)


# --- where transformers differs -------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny() -> dl.TransformersModel:
    """A random Llama of four tokens: EOS and three others."""
    config = LlamaConfig(
        vocab_size=4, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=32, bos_token_id=0, eos_token_id=3, pad_token_id=3,
    )  # fmt: skip
    llama = LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in llama.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"a": 0, "b": 1, "c": 2, "</s>": 3}, unk_token="a"))
    return dl.TransformersModel(llama, PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>"))


def beams_of_transformers(model: dl.TransformersModel, prompt: Tokens, **settings) -> tuple[list[Tokens], list[float]]:
    config = GenerationConfig(
        do_sample=False, eos_token_id=[3], pad_token_id=3, return_dict_in_generate=True, output_scores=True, **settings
    )
    out = model.model.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), generation_config=config
    )
    rows = [row[len(prompt) :] for row in out.sequences.tolist()]
    return [tuple(row[: row.index(3) + 1] if 3 in row else row) for row in rows], out.sequences_scores.tolist()
