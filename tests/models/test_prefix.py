"""Rows of a prompt share its keys and values: the same logits, the same tokens, a fraction of the memory."""

from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.notices import PlainCacheWarning
from decodelab.models import TransformersModel
from decodelab.models.cache import KeyValueCache
from decodelab.models.prefix import bucketed

HEADS_OF_8 = {"head_dim": 8}
# Windows shorter than the prompts, so that part of the shared prefix is out of sight.
WINDOW = {"sliding_window": 5}
ARCHITECTURES = {
    "llama": {},
    "llama without grouped queries": {"num_key_value_heads": 4},
    "qwen3": HEADS_OF_8,
    "gemma2": {**HEADS_OF_8, **WINDOW, "query_pre_attn_scalar": 8},
    "gemma3_text": {**HEADS_OF_8, **WINDOW, "query_pre_attn_scalar": 8, "num_hidden_layers": 7},
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128},
    "gpt_neox": {},
    "gpt_oss": {
        **HEADS_OF_8, **WINDOW, "num_local_experts": 4, "num_experts_per_tok": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
    "mistral": WINDOW,
    "phi": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32, "pad_token_id": 1},
}  # fmt: skip
PROMPTS = ["w3 w41 w5 w8 w1 w30 w22", "w7 w2 w60 w13 w13 w9 w28 w33 w4 w50", "w11 w12"]
STRATEGIES = ["greedy", "beam(width=4, n=4)", "top_p=0.9 | sample(n=5)"]


def plain(model: TransformersModel) -> TransformersModel:
    """The same model with a copy of the prompt for every row."""
    other = TransformersModel(model.model, model.vocab.tokenizer)
    other._unshared = "copies"
    return other


def run(model, prompts, strategy, new=10):
    return dl.generate(model, prompts, strategy, max_new_tokens=new, seed=3)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_strategy_says_the_same_with_shared_and_with_copied_prompts(build, name):
    shared = build(name.split(" ")[0], **ARCHITECTURES[name])
    copied = plain(shared)
    for strategy in STRATEGIES:
        mine = run(shared, PROMPTS, strategy)
        with pytest.warns(PlainCacheWarning) if strategy != "greedy" else nullcontext():
            other = run(copied, PROMPTS, strategy)
        for a, b in zip(mine, other, strict=True):
            assert [c.tokens for c in a.candidates] == [c.tokens for c in b.candidates]
            for c, d in zip(a.candidates, b.candidates, strict=True):
                assert c.token_logprobs == pytest.approx(d.token_logprobs, abs=1e-4)


@pytest.mark.parametrize("name", ["pocket-nano", "pocket-small", "stories260K"])
def test_real_weights_say_the_same_with_shared_and_with_copied_prompts(name, request):
    where = request.getfixturevalue("stories260k_dir") if name == "stories260K" else name
    model, copied = dl.load(where), dl.load(where)
    assert isinstance(copied, dl.LlamaModel)
    copied._unshared = "copies"
    prompts = ["Once upon a time there was a little dog who", "The cat", "Lily and Tom went to the"]
    for strategy in ("beam(width=8, n=8)", "temperature=0.9 | sample(n=6)"):
        mine = run(model, prompts, strategy, 24)
        with pytest.warns(PlainCacheWarning):
            other = run(copied, prompts, strategy, 24)
        assert [[c.tokens for c in g.candidates] for g in mine] == [[c.tokens for c in g.candidates] for g in other]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bit_numbers(build_network, word_tokenizer, dtype):
    model = TransformersModel(build_network("llama").to(dtype), word_tokenizer)
    _, cache = model.prefill([tuple(range(20))])
    mine, _ = model.decode(cache.select(torch.tensor([0, 0])), torch.tensor([[5], [6]]))
    alone, _ = model.prefill([(*range(20), 5)])
    assert mine.dtype == dtype
    scale = float(alone.float().abs().max())
    assert float((mine[0, 0].float() - alone[0].float()).abs().max()) < 0.05 * scale


TOKEN = 2 * 8 * 3 * 2 * 4  # heads, size, layers, keys and values, bytes


def test_a_prompt_is_held_once_however_many_rows_there_are(build):
    model = build("qwen3", **HEADS_OF_8)
    _, cache = model.prefill([tuple(i % 60 for i in range(100))])
    alone = cache.nbytes
    cache = cache.select(torch.zeros(25, dtype=torch.int64))
    assert list(cache.lengths) == [100] * 25
    assert cache.nbytes == alone
    for _ in range(4):
        _, cache = model.decode(cache, torch.arange(25)[:, None])
    assert cache.nbytes <= alone + 25 * 12 * TOKEN
    assert list(cache.lengths) == [104] * 25


def test_reordering_beams_leaves_the_prompt_where_it_is(build):
    model = build("llama")
    _, cache = model.prefill([tuple(range(30))])
    cache = cache.select(torch.tensor([0, 0, 0]))
    block = cache.blocks[0]
    _, cache = model.decode(cache, torch.tensor([[1], [2], [3]]))
    cache = cache.select(torch.tensor([2, 2, 0]))
    assert cache.blocks[0] is block


def test_prompts_that_no_row_reads_any_more_are_let_go(build):
    model = build("llama")
    _, cache = model.prefill([tuple(range(40)), (1, 2), (3, 4, 5), (6,), (7, 8)])
    cache = cache.select(torch.tensor([0, 0, 1, 2, 3, 4]))
    before = cache.nbytes
    cache = cache.select(torch.tensor([2, 3]))
    assert cache.nbytes < before / 10
    assert cache.blocks[0].positions == 3
    _, cache = model.prefill([(5, 6, 7)])
    cache = cache.select(torch.tensor([0, 0])).select(torch.tensor([], dtype=torch.int64))
    assert not cache.blocks


def test_many_joined_forks_are_kept_in_few_blocks(build):
    model = build("qwen3", **HEADS_OF_8)
    rows: list[tuple[int, ...]] = []
    whole: KeyValueCache | None = None
    for i in range(9):
        prompt = tuple(range(i, 2 * i + 3))
        _, cache = model.prefill([prompt])
        cache = cache.select(torch.tensor([0] * (1 + i % 3)))
        rows += [prompt] * (1 + i % 3)
        whole = cache if whole is None else whole.join(cache)
    assert whole is not None
    assert len(whole.blocks) <= 4
    assert list(whole.lengths) == [len(r) for r in rows]
    logits, _ = model.decode(whole, torch.full((len(rows), 1), 7))
    for row, got in zip(rows, logits[:, 0], strict=True):
        torch.testing.assert_close(got, model.prefill([(*row, 7)])[0][0], atol=1e-4, rtol=1e-4)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), min_size=1, max_size=60))
@settings(max_examples=100)
def test_every_row_has_one_place_in_a_bucket_that_holds_its_prefix(owners):
    buckets = bucketed(owners, [6, 6, 6], torch.device("cpu"))
    found: list[int] = []
    for bucket in buckets:
        places = bucket.count * bucket.width
        rows = list(range(places)) if bucket.rows is None else bucket.rows.tolist()
        taken = [True] * places if bucket.taken is None else bucket.taken.tolist()
        assert len(rows) == places
        for place, (row, real) in enumerate(zip(rows, taken, strict=True)):
            if real:
                assert owners[row] == (bucket.block, bucket.first + place // bucket.width)
                found.append(row)
    assert sorted(found) == list(range(len(owners)))


def test_one_prompt_with_many_rows_does_not_widen_the_others():
    owners = [(0, 0)] * 25 + [(0, i) for i in range(1, 32)]
    places = sum(b.count * b.width for b in bucketed(owners, [32], torch.device("cpu")))
    assert places <= 2 * len(owners)
