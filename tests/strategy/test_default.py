"""`default` and generation configs: what transformers would do for them, or a refusal that names the setting."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig

import decodelab as dl
from decodelab.core.errors import InvalidParameter, UnsupportedStrategy

# Published generation_config.json files.
QWEN3 = {
    "bos_token_id": 151643,
    "do_sample": True,
    "eos_token_id": [151645, 151643],
    "pad_token_id": 151643,
    "temperature": 0.6,
    "top_k": 20,
    "top_p": 0.95,
    "transformers_version": "4.51.0",
}
LLAMA3 = {
    "bos_token_id": 128000,
    "do_sample": True,
    "eos_token_id": [128001, 128008, 128009],
    "temperature": 0.6,
    "top_p": 0.9,
    "transformers_version": "4.40.0.dev0",
}
GPT2 = {"_from_model_config": True, "bos_token_id": 50256, "eos_token_id": 50256, "transformers_version": "4.26.0"}


@pytest.mark.parametrize(
    ("config", "strategy"),
    [
        (QWEN3, "temperature=0.6 | top_k=20 | top_p=0.95 | sample"),
        # transformers samples from the 50 most probable unless told otherwise, also where a config is silent.
        (LLAMA3, "temperature=0.6 | top_k=50 | top_p=0.9 | sample"),
        (GPT2, "greedy"),
        ({}, "greedy"),
        ({"do_sample": False, "temperature": 0.7, "top_p": 0.5}, "greedy"),
        ({"do_sample": True}, "top_k=50 | sample"),
        ({"do_sample": True, "top_k": 0}, "sample"),
        ({"do_sample": True, "top_k": None}, "top_k=50 | sample"),
        ({"do_sample": True, "top_k": 0, "temperature": 1.0, "top_p": 1.0, "typical_p": 1.0}, "sample"),
        (
            {"do_sample": True, "typical_p": 0.9, "min_p": 0.1, "top_p": 0.8, "top_k": 5, "temperature": 2},
            "temperature=2.0 | top_k=5 | top_p=0.8 | min_p=0.1 | typical_p=0.9 | sample",
        ),
        ({"do_sample": True, "top_k": 0, "num_return_sequences": 4}, "sample(n=4)"),
        ({"num_beams": 3}, "beam(width=3)"),
        (
            {"num_beams": 4, "length_penalty": 0.6, "early_stopping": True, "num_return_sequences": 2},
            "beam(width=4, length_penalty=0.6, early_stopping=true, n=2)",
        ),
        ({"num_beams": 2, "early_stopping": "never"}, "beam(width=2, early_stopping=never)"),
        (
            {"num_beams": 3, "do_sample": True, "temperature": 0.7, "top_k": 0},
            "temperature=0.7 | beam(width=3, sampling=true)",
        ),
        (
            {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.8, "length_penalty": 0.6},
            "diverse_beam(width=4, groups=2, penalty=0.8, length_penalty=0.6, accumulate=penalised)",
        ),
        ({"repetition_penalty": 1.2}, "repetition_penalty=1.2 | greedy"),
        ({"suppress_tokens": [1, 2], "min_length": 4}, "min_new_tokens(n=4, prompt=true) | ban=[1, 2] | greedy"),
        ({"bad_words_ids": [[7], [5, 6], [2]], "eos_token_id": [2, 3]}, "ban=[7, [5, 6]] | greedy"),
        ({"bad_words_ids": [[2]], "eos_token_id": 2}, "greedy"),
        ({"forced_eos_token_id": 2, "max_new_tokens": 9, "max_length": 20}, "forced_eos(at=9, tokens=[2]) | greedy"),
        (
            {"forced_eos_token_id": [2, 3], "max_length": 20},
            "forced_eos(at=20, tokens=[2, 3], prompt=true) | greedy",
        ),
        ({"penalty_alpha": 0.6, "top_k": 4}, "contrastive_search"),
        ({"penalty_alpha": 0.4}, "contrastive_search(k=50, alpha=0.4)"),
        ({"guidance_scale": 1.5, "repetition_penalty": 1.2}, "guidance(scale=1.5) | repetition_penalty=1.2 | greedy"),
        ({"num_beams": 2, "no_repeat_ngram_size": 3}, "no_repeat_ngram=3 | beam(width=2)"),
        ({"do_sample": True, "top_k": 0, "epsilon_cutoff": 3e-4, "eta_cutoff": 0.0}, "epsilon_cutoff=0.0003 | sample"),
        ({"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "guidance_scale": None, "max_length": 99}, "greedy"),
    ],
)
def test_a_generation_config_is_the_strategy_transformers_would_run(config, strategy):
    assert str(dl.Strategy.from_generation_config(config)) == strategy


def warpers(config: GenerationConfig, length: int = 1) -> Any:
    """What `transformers.generate` itself builds for a config, by its own code."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tiny = LlamaConfig(vocab_size=4, hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1)
    model: Any = LlamaForCausalLM(tiny)
    prepared, _ = model._prepare_generation_config(config)
    model._prepare_special_tokens(prepared, device="cpu")
    return model._get_logits_processor(prepared, input_ids_seq_length=length)


EVERYTHING: dict[str, Any] = {
    "do_sample": True,
    "begin_suppress_tokens": [3],
    "suppress_tokens": [4],
    "exponential_decay_length_penalty": (1, 1.1),
    "forced_eos_token_id": 2,
    "max_length": 9,
    "min_new_tokens": 2,
    "min_length": 3,
    "bad_words_ids": [[5, 6]],
    "no_repeat_ngram_size": 2,
    "repetition_penalty": 1.3,
    "sequence_bias": [[[7], 1.5]],
    "eta_cutoff": 0.002,
    "epsilon_cutoff": 0.001,
    "typical_p": 0.9,
    "min_p": 0.01,
    "top_p": 0.8,
    "top_k": 50,
    "top_h": 0.7,
    "temperature": 2.0,
    "eos_token_id": 2,
}
THEIRS = {
    "logit_bias": "SequenceBiasLogitsProcessor",
    "repetition_penalty": "RepetitionPenaltyLogitsProcessor",
    "no_repeat_ngram": "NoRepeatNGramLogitsProcessor",
    "ban": "NoBadWordsLogitsProcessor",
    "min_new_tokens": "MinLengthLogitsProcessor",
    "forced_eos": "ForcedEOSTokenLogitsProcessor",
    "exponential_length": "ExponentialDecayLengthPenalty",
    "suppress_at_begin": "SuppressTokensAtBeginLogitsProcessor",
    "temperature": "TemperatureLogitsWarper",
    "top_h": "TopHLogitsWarper",
    "top_k": "TopKLogitsWarper",
    "top_p": "TopPLogitsWarper",
    "min_p": "MinPLogitsWarper",
    "typical_p": "TypicalLogitsWarper",
    "epsilon_cutoff": "EpsilonLogitsWarper",
    "eta_cutoff": "EtaLogitsWarper",
}


def test_the_order_of_stages_is_that_of_transformers():
    names = [type(p).__name__ for p in warpers(GenerationConfig(**EVERYTHING))]
    ours = [THEIRS[s.name] for s in dl.Strategy.from_generation_config(EVERYTHING).stages[:-1]]
    # Two processors of transformers are a stage that stands twice.
    twins = {
        "MinNewTokensLengthLogitsProcessor": "MinLengthLogitsProcessor",
        "SuppressTokensLogitsProcessor": "NoBadWordsLogitsProcessor",
    }
    assert [twins.get(n, n) for n in names] == ours
    assert len(names) == 18


@pytest.mark.parametrize("prompt", [[1], [1, 5], [1, 5, 6, 5, 4, 5]])
@pytest.mark.parametrize("new", [0, 1, 2, 3])
def test_every_setting_together_gives_the_distribution_of_transformers_at_every_step(prompt, new):
    generator = torch.Generator().manual_seed(new)
    strategy = dl.Strategy.from_generation_config(EVERYTHING | {"forced_bos_token_id": None})
    vocab = dl.TableModel([f"w{i}" for i in range(2)] + ["</s>"] + [f"w{i}" for i in range(3, 40)], {}).vocab
    ids = torch.tensor([[*prompt, *torch.randint(40, (new,), generator=generator).tolist()]])
    logits = 3 * torch.randn(1, 40, generator=generator)
    theirs = warpers(GenerationConfig(**EVERYTHING), len(prompt))(ids, logits.clone())
    processor: Any = dl.to_logits_processor(strategy, vocab)
    ours = [processor(ids[:, :length], logits) for length in range(len(prompt), ids.shape[1] + 1)][-1]
    torch.testing.assert_close(ours.softmax(-1), theirs.softmax(-1), rtol=1e-5, atol=1e-7)


configs = st.fixed_dictionaries(
    {"do_sample": st.just(True)},
    optional={
        "temperature": st.sampled_from([0.3, 0.6, 1.0, 1.5]),
        "top_k": st.sampled_from([0, 2, 5, 20]),
        "top_p": st.sampled_from([0.3, 0.8, 0.95, 1.0]),
        "min_p": st.sampled_from([0.0, 0.02, 0.2]),
        "typical_p": st.sampled_from([0.3, 0.9, 1.0]),
    },
)


@given(configs, st.integers(0, 2**31))
@settings(max_examples=60)
def test_the_distribution_of_default_is_the_distribution_of_transformers_for_the_same_config(config, seed):
    logits = 3 * torch.randn(1, 80, generator=torch.Generator().manual_seed(seed))
    theirs = warpers(GenerationConfig(**config))(torch.zeros(1, 1, dtype=torch.int64), logits.clone()).softmax(-1)
    ours = dl.distribution(logits, dl.Strategy.from_generation_config(config))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"encoder_repetition_penalty": 1.1}, "encoder_repetition_penalty=1.1"),
        ({"encoder_no_repeat_ngram_size": 3}, "encoder_no_repeat_ngram_size=3"),
        ({"watermarking_config": {"bias": 2.5}}, "watermarking_config="),
        ({"stop_strings": ["a"]}, "stop_strings="),
        ({"num_beams": 3, "repetition_penalty": 1.2}, "repetition_penalty=1.2 with num_beams > 1"),
        ({"num_beams": 3, "exponential_decay_length_penalty": (1, 1.2)}, "factor=1.2) with num_beams"),
        ({"forced_bos_token_id": 1, "begin_suppress_tokens": [2]}, "begin_suppress_tokens with forced_bos_token_id"),
        ({"penalty_alpha": 0.6, "top_k": 4, "do_sample": True}, "penalty_alpha=0.6"),
        ({"penalty_alpha": 0.6, "top_k": 1}, "penalty_alpha=0.6"),
        ({"dola_layers": "high"}, "dola_layers=high"),
        ({"num_beam_groups": 2, "num_beams": 4}, "num_beam_groups=2 needs a diversity_penalty"),
        ({"num_beam_groups": 2, "num_beams": 4, "diversity_penalty": 1.0, "do_sample": True}, "and no do_sample"),
        ({"guidance_scale": 1.5, "num_beams": 2}, "guidance_scale=1.5 with num_beams > 1"),
        ({"num_return_sequences": 3}, "num_return_sequences=3"),
        ({"force_words_ids": [[5] * 1000] * 1000}, "force_words_ids="),
    ],
)
def test_a_setting_that_is_unsupported_raises_an_error_that_names_it(config, named):
    with pytest.raises(UnsupportedStrategy, match=r"^generation config: ") as error:
        dl.Strategy.from_generation_config(config)
    assert named in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"temprature": 0.5}, "unknown setting 'temprature'; did you mean 'temperature'?"),
        ({"do_sample": True, "top_p": 1.5}, "top_p: p must be in"),
        ({"do_sample": True, "temperature": -1}, "temperature: temperature must be"),
        ({"do_sample": True, "temperature": "hot"}, "temperature: temperature must be"),
        ({"do_sample": True, "top_k": -1}, "top_k: k must be an integer"),
        ({"num_beams": 0}, "beam: width must be an integer"),
        ({"num_beams": "three"}, "beam: width must be an integer"),
        ({"num_beams": [3]}, "beam: width must be an integer"),
        ({"num_beams": 3, "length_penalty": "x"}, "beam: length_penalty must be"),
        ({"num_beams": 3, "early_stopping": "sometimes"}, "beam: early_stopping must be one of"),
        ({"num_beams": 2, "num_return_sequences": 3}, "beam: n must be"),
        ({"do_sample": True, "num_return_sequences": 0}, "sample: n must be"),
        ({"repetition_penalty": 0}, "repetition_penalty: penalty must be"),
        ({"no_repeat_ngram_size": -2}, "no_repeat_ngram: size must be"),
        ({"bad_words_ids": [[]]}, "ban: words must hold"),
        ({"bad_words_ids": "damn"}, "bad_words_ids must be a list of token ids, got damn"),
        ({"suppress_tokens": 5}, "suppress_tokens must be a list of token ids, got 5"),
        ({"forced_eos_token_id": 2}, "forced_eos_token_id needs max_new_tokens or max_length"),
        ({"exponential_decay_length_penalty": 5}, "decay_length_penalty must be a list [start, factor], got 5"),
        ({"min_new_tokens": -1}, "min_new_tokens: n must be"),
        ({"do_sample": True, "top_h": 1.5}, "top_h: h must be"),
    ],
)
def test_a_setting_that_is_wrong_is_refused_by_name(config, message):
    with pytest.raises(InvalidParameter) as error:
        dl.Strategy.from_generation_config(config)
    assert message in str(error.value)


@pytest.mark.parametrize("key", sorted(vars(GenerationConfig())))
def test_every_setting_transformers_has_is_known(key):
    # A setting at its own default changes nothing; none of them may be called unknown.
    value = getattr(GenerationConfig(), key)
    assert str(dl.Strategy.from_generation_config({key: value})) == "greedy"


# --- `default` in a strategy ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "resolved"),
    [
        ("default", "temperature=0.6 | top_k=20 | top_p=0.95 | sample"),
        ("default | sample(n=8)", "temperature=0.6 | top_k=20 | top_p=0.95 | sample(n=8)"),
        ("default | greedy", "temperature=0.6 | top_k=20 | top_p=0.95 | greedy"),
        ("default | min_p=0.1", "temperature=0.6 | top_k=20 | top_p=0.95 | min_p=0.1 | sample"),
        ("default | min_p=0.1 | beam(width=2)", "temperature=0.6 | top_k=20 | top_p=0.95 | min_p=0.1 | beam(width=2)"),
        ("default | vote", "temperature=0.6 | top_k=20 | top_p=0.95 | sample | vote"),
        ("top_p=0.5", "top_p=0.5 | sample"),
    ],
)
def test_default_stands_for_the_models_processors_and_search(configured, written, resolved):
    strategy = dl.Strategy.of(written).resolve(configured(do_sample=True, temperature=0.6, top_k=20, top_p=0.95))
    assert str(strategy) == resolved
    assert strategy.resolve(configured()) == strategy


def test_default_of_a_beam_model_is_a_beam_unless_another_search_is_written(configured):
    model = configured(num_beams=3, length_penalty=0.6)
    assert str(dl.Strategy.of("default").resolve(model)) == "beam(width=3, length_penalty=0.6)"
    assert str(dl.Strategy.of("default | greedy").resolve(model)) == "greedy"


def test_generate_runs_the_resolved_strategy_and_reports_it(configured):
    model = configured(do_sample=True, temperature=0.6, top_k=3)
    (by_default,) = dl.generate(model, "a", max_new_tokens=5, seed=3)
    (written,) = dl.generate(model, "a", "temperature=0.6 | top_k=3", max_new_tokens=5, seed=3)
    assert by_default.strategy == "temperature=0.6 | top_k=3 | sample"
    assert by_default.candidates == written.candidates
    assert all(t < 3 for t in by_default.best.tokens)


def test_a_model_with_a_setting_that_cannot_be_honoured_refuses_default_and_nothing_else(configured):
    model = configured(max_time=1.5)
    with pytest.raises(UnsupportedStrategy, match=r"max_time=1\.5"):
        dl.generate(model, "a", "default")
    assert dl.generate(model, "a", "greedy", max_new_tokens=1)


def test_the_default_of_a_directory_is_its_generation_config(stories260k_dir: Path):
    settings_of = json.loads((stories260k_dir / "generation_config.json").read_text())
    assert settings_of["do_sample"] is False
    assert str(dl.Strategy.of("default").resolve(dl.load(stories260k_dir))) == "greedy"


# --- explain --------------------------------------------------------------------------------------


def test_explain_shows_every_stage_every_parameter_and_where_it_comes_from():
    text = dl.Strategy.of("temperature=0.5 | beam(width=3, length_penalty=0.6) | best_of").explain()
    lines = text.splitlines()
    assert lines[0] == "temperature=0.5 | beam(width=3, length_penalty=0.6) | best_of"
    for expected in (
        "1. temperature (processor): Divide the logits by a temperature; 0 keeps only the most probable token.",
        "     temperature = 0.5: at least 0; below 1 sharpens, above 1 flattens, 0 is greedy",
        "     width = 3: hypotheses kept at every step, at least 1",
        "     length_penalty = 0.6 (default 1.0): exponent of the normaliser; 0 means the plain sum",
        "     early_stopping = False (default): true, false or never: when a full pool ends the search",
        "     n = 1 (default): hypotheses returned, at most width",
        "     source: Ackley, Hinton & Sejnowski 1985, eq. 5",
        "note: best_of: nothing to select from, the search returns one candidate",
    ):
        assert expected in lines


def test_explain_for_a_model_shows_what_default_stands_for(configured):
    text = dl.Strategy.of("default").explain(configured(do_sample=True, temperature=0.6, top_k=20))
    assert text.splitlines()[:2] == ["temperature=0.6 | top_k=20 | sample", "  (written as: default)"]
    assert "     k = 20" in text


@given(data=st.data())
def test_explain_names_every_parameter_of_every_stage(stage_lists, data):
    strategy = dl.Strategy.of(data.draw(stage_lists))
    text = strategy.explain()
    for stage in strategy.stages:
        assert f". {stage.name} ({stage.kind}): " in text
        for parameter in stage.parameters():
            assert f"     {parameter.name} = {getattr(stage, parameter.name)}" in text
            assert parameter.doc in text


def test_explain_says_what_a_strategy_needs():
    assert "needs: text" in dl.Strategy.of("temperature=0.5 | sample(n=3) | vote").explain().splitlines()
    assert "needs: logits (top_k)" in dl.Strategy.of("top_k=5 | sample(n=3) | vote").explain()
    assert "needs: hidden states (contrastive_search)" in dl.Strategy.of("contrastive_search").explain()
