"""Every kind of rotary embedding: what follows a text is what one pass over the text says, on both sides of the length
at which its angles change, alone and in a batch."""

import pytest
import torch
from transformers import GenerationConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

import decodelab as dl
from decodelab.core.errors import UnsupportedStrategy
from decodelab.core.notices import PlainCacheWarning
from decodelab.core.quiet import quiet
from decodelab.engine.prefix_cache import PrefixCache
from decodelab.models.context import context_length
from decodelab.testing.model import check_model

SWITCH = 12
FACTORS = {"short_factor": [1.0, 1.5, 2.0, 2.5], "long_factor": [4.0, 6.0, 9.0, 12.0]}
KINDS = {
    "default": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 4.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": SWITCH},
    "longrope": {**FACTORS, "original_max_position_embeddings": SWITCH},
    "llama3": {
        "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": SWITCH,
    },
    "proportional": {"factor": 4.0, "partial_rotary_factor": 0.5},
}  # fmt: skip
LASTING = [kind for kind in KINDS if kind not in ("dynamic", "longrope")]
PHI3 = {"pad_token_id": 0, "original_max_position_embeddings": SWITCH}
PROMPTS = [
    "w3 w41 w5",
    "w7 w2 w60 w13 w13 w9 w28 w33 w4 w50 w1",
    " ".join(f"w{i}" for i in range(20)),
    "w8 " * 11 + "w9",
]


def rope(kind: str) -> dict:
    """The settings of a network whose angles change, if they do, at `SWITCH` tokens."""
    return {
        "max_position_embeddings": SWITCH if kind == "dynamic" else 64,
        "rope_parameters": {"rope_type": kind, "rope_theta": 100.0, **KINDS[kind]},
    }


@pytest.fixture(scope="module")
def models(build):
    made = {}

    def model(kind, architecture="llama", **sizes):
        if (kind, architecture) not in made:
            made[kind, architecture] = build(architecture, **rope(kind), **sizes)
        return made[kind, architecture]

    return model


def one_pass(model, tokens):
    """The logits after a sequence by one pass of the bare network, which has seen nothing before."""
    rotary = model.model.model.rotary_emb
    fresh = type(rotary)(model.model.config)
    model.model.model.rotary_emb = fresh
    with torch.no_grad():
        logits = model.model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1]
    model.model.model.rotary_emb = rotary
    return logits


def test_these_are_all_kinds_of_transformers():
    assert set(KINDS) == {"default", *ROPE_INIT_FUNCTIONS}


@pytest.mark.parametrize("kind", KINDS)
def test_any_life_of_a_cache_keeps_all_promises(models, kind):
    check_model(models(kind), PROMPTS)


def test_likewise_for_phi3(models):
    check_model(models("longrope", "phi3", **PHI3), PROMPTS)


def test_likewise_where_the_architecture_is_probed_and_scales_its_angles_too(build):
    scaled = {**FACTORS, "original_max_position_embeddings": SWITCH, "short_mscale": 1.1, "long_mscale": 1.3}
    sizes = {"num_local_experts": 4, "num_experts_per_tok": 2}
    model = build("phimoe", **sizes, rope_parameters={"rope_type": "longrope", "rope_theta": 100.0, **scaled})
    with pytest.warns(PlainCacheWarning):
        check_model(model, PROMPTS[:2])


@pytest.mark.parametrize("kind", KINDS)
def test_each_token_is_the_likeliest_after_one_pass_over_all_before_it(models, kind):
    model = models(kind)
    together = dl.generate(model, PROMPTS, "greedy", max_new_tokens=14)
    alone = [dl.generate(model, [prompt], "greedy", max_new_tokens=14)[0] for prompt in PROMPTS]
    assert [g.best.tokens for g in together] == [g.best.tokens for g in alone]
    for generation in together:
        tokens = generation.prompt_tokens
        for token in generation.best.tokens:
            logits = one_pass(model, tokens)
            assert float(logits.max() - logits[token]) < 1e-4
            tokens = (*tokens, token)
        assert len(tokens) > SWITCH


# With longrope, and with dynamic scaling, transformers goes on with the keys of the old angles; Phi-3 has them anew.
@pytest.mark.parametrize(("architecture", "kind"), [*(("llama", kind) for kind in LASTING), ("phi3", "longrope")])
def test_it_is_what_transformers_generates(models, kind, architecture):
    model = models(kind, architecture, **(PHI3 if architecture == "phi3" else {}))
    greedy = GenerationConfig(max_new_tokens=14, do_sample=False, pad_token_id=0, eos_token_id=63)
    for generation in dl.generate(model, PROMPTS, "greedy", max_new_tokens=14):
        with quiet():
            ids = torch.tensor([generation.prompt_tokens])
            theirs = model.model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=greedy)
        assert list(generation.best.tokens) == theirs[0, ids.shape[1] :].tolist()


@pytest.mark.parametrize("kind", ["longrope", "dynamic"])
@pytest.mark.parametrize(
    "strategy",
    [
        "temperature=1.3 | sample(n=3)",
        "beam(width=3)",
        "diverse_beam(width=4, groups=2)",
        "greedy | speculative(draft=ngram, k=3)",
        "temperature=0.9 | sample | speculative(draft=ngram, k=4)",
    ],
)
def test_strategies_across_the_switch_are_the_same_alone_and_in_a_batch(models, kind, strategy):
    model = models(kind)
    together = dl.generate(model, PROMPTS, strategy, max_new_tokens=10, seed=3)
    for prompt, generation in zip(PROMPTS, together, strict=True):
        alone = dl.generate(model, [prompt], strategy, max_new_tokens=10, seed=3)[0]
        assert [c.tokens for c in generation.candidates] == [c.tokens for c in alone.candidates]


@pytest.mark.parametrize("kind", ["longrope", "dynamic"])
def test_a_text_is_scored_as_it_was_generated(models, kind):
    model = models(kind)
    generation = dl.generate(model, PROMPTS[1], "greedy", max_new_tokens=8)[0]
    score = dl.score(model, PROMPTS[1], generation.best.tokens)
    assert score.token_logprobs == pytest.approx(generation.best.token_logprobs, abs=1e-4)


@pytest.mark.parametrize("kind", ["longrope", "dynamic"])
def test_stored_prefixes_are_used_only_under_the_same_angles(models, kind):
    model = models(kind)
    stem = tuple(range(1, 20))
    cache = PrefixCache(model)
    for prompts in ([stem], [(*stem, 30), stem[:17]], [(*stem, 31, 32), (*stem[:18], 5)]):
        found = cache.prefill(prompts)
        for prompt, logits in zip(found.prompts, found.logits, strict=True):
            torch.testing.assert_close(logits, one_pass(model, prompt), atol=1e-4, rtol=1e-4)


def test_stored_prefixes_across_the_switch(build):
    parameters = {"rope_type": "longrope", "rope_theta": 100.0, **FACTORS, "original_max_position_embeddings": 24}
    model = build("llama", rope_parameters=parameters)
    stem = tuple(range(1, 20))
    cache = PrefixCache(model)
    for prompts in ([stem], [(*stem, 30), (*stem, *range(30, 40))], [(*stem, *range(30, 40), 4), stem[:17]]):
        found = cache.prefill(prompts)
        for prompt, logits in zip(found.prompts, found.logits, strict=True):
            torch.testing.assert_close(logits, one_pass(model, prompt), atol=1e-4, rtol=1e-4)
            grown, _ = model.decode(model.prefill([prompt])[1], torch.tensor([[1, 2, 3, 4, 5, 6, 7]]))
            for n in range(7):
                expected = one_pass(model, (*prompt, *range(1, n + 2)))
                torch.testing.assert_close(grown[0, n], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("strategy", ["dola | greedy", "contrastive_search(k=3, alpha=0.6)"])
def test_what_reads_hidden_states_is_refused_where_angles_change(models, strategy):
    with pytest.raises(UnsupportedStrategy, match="rotary angles depend on the length"):
        dl.generate(models("longrope"), PROMPTS[0], strategy, max_new_tokens=2)


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"max_position_embeddings": 64, "rope_scaling": {"type": "yarn", "factor": 4.0}}, 256),
        ({"max_position_embeddings": 64, "rope_scaling": {"rope_type": "linear", "factor": 4}}, 256),
        ({"max_position_embeddings": 64, "rope_parameters": {"rope_type": "dynamic", "factor": 2.5}}, 160),
        ({"max_position_embeddings": 64, "rope_parameters": {"rope_type": "proportional", "factor": 2.0}}, 128),
        # DeepSeek-V3, gpt-oss, Llama 3.1, Phi-3: the length stated is the stretched one already.
        (
            {
                "max_position_embeddings": 163840,
                "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096},
            },
            163840,
        ),
        (
            {
                "max_position_embeddings": 131072,
                "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192},
            },
            131072,
        ),
        (
            {
                "max_position_embeddings": 131072,
                "original_max_position_embeddings": 4096,
                "rope_scaling": {"type": "longrope", **FACTORS},
            },
            131072,
        ),
        # Qwen 2.5 with the setting its card recommends for long texts.
        (
            {
                "max_position_embeddings": 32768,
                "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
            },
            131072,
        ),
        # Gemma 3: the factor is that of some layers only.
        (
            {
                "max_position_embeddings": 131072,
                "rope_local_base_freq": 1e4,
                "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            },
            131072,
        ),
        (
            {
                "max_position_embeddings": 128,
                "rope_parameters": {
                    "full_attention": {"rope_type": "linear", "factor": 8.0},
                    "sliding_attention": {"rope_type": "default"},
                },
            },
            128,
        ),
        ({"max_position_embeddings": 64, "rope_scaling": None}, 64),
        ({"max_position_embeddings": 64, "rope_scaling": {"rope_type": "default"}}, 64),
        ({"max_position_embeddings": 64, "rope_scaling": {"rope_type": "yarn", "factor": "four"}}, 64),
        ({"max_position_embeddings": 64, "rope_scaling": {"rope_type": "yarn", "factor": float("inf")}}, 64),
        ({"max_position_embeddings": 64, "rope_scaling": {"rope_type": "linear", "factor": 0.5}}, 64),
        ({"n_positions": 77}, 77),
        ({"max_position_embeddings": True}, None),
        ({}, None),
    ],
)
def test_the_context_counts_the_factor(config, length):
    assert context_length(config) == length


@pytest.mark.parametrize("kind", ["yarn", "linear", "dynamic"])
def test_a_prompt_beyond_the_stated_positions_is_taken(build, kind):
    parameters = {"rope_type": kind, "rope_theta": 100.0, "factor": 4.0}
    model = build("llama", max_position_embeddings=64, rope_parameters=parameters)
    assert model.context_length == 256
    prompt = tuple(i % 60 for i in range(89))
    torch.testing.assert_close(model.prefill([prompt])[0][0], one_pass(model, prompt), atol=1e-4, rtol=1e-4)
