"""Models made of models: each has exactly the distribution it says, whatever the batch and the search."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import log_softmax

import decodelab as dl
from decodelab.core.errors import (
    InvalidParameter,
    ModelNotFound,
    PromptTooLong,
    StrategyError,
    UnsupportedStrategy,
    VocabularyMismatch,
)
from decodelab.core.protocols import LanguageModel
from decodelab.engine import composing
from decodelab.models import COMPOSITIONS
from decodelab.models.composed import FLOOR
from decodelab.strategy.strategy import Strategy
from decodelab.testing import check_model, check_stage

WORDS = ["a", "b", "c"]
PREFIXES = [words for n in range(4) for words in itertools.product(WORDS, repeat=n)]


def random_row(rng: np.random.Generator, impossible: float = 0.0) -> dict[str, float]:
    """Random probabilities, some of them 0."""
    weights = rng.dirichlet(np.ones(len(WORDS) + 1))
    gone = rng.random(len(weights)) < impossible
    gone[rng.integers(len(weights))] = False
    weights = np.where(gone, 0, weights)
    return dict(zip([*WORDS, "</s>"], (weights / weights.sum()).tolist(), strict=True))


def table(seed: int, impossible: float = 0.0, **more: Any) -> dl.TableModel:
    """A random table with a row of its own for every prefix of up to three words."""
    rng = np.random.default_rng(seed)
    rows = {prefix: random_row(rng, impossible) for prefix in PREFIXES}
    return dl.TableModel(WORDS, rows, bos="<s>", missing="eos", **more)


def chain(seed: int) -> dl.TableModel:
    """A random Markov chain over the same words."""
    rng = np.random.default_rng(seed)
    return dl.TableModel(WORDS, {key: random_row(rng) for key in ((), *WORDS)}, bos="<s>", missing="eos")


def made(stage: Any, model: LanguageModel, others: Mapping[str, LanguageModel] = {}) -> LanguageModel:
    """What a stage makes of a model, the others given by name."""
    return stage.compose(model, others.__getitem__)


def distribution(model: LanguageModel, prompt: str, new: str = "") -> np.ndarray:
    """Next-token probabilities after a prompt and new words, float64."""
    logits, cache = model.prefill([model.vocab.encode(prompt)])
    for word in new.split():
        logits, cache = model.decode(cache, torch.tensor([[WORDS.index(word)]]))
        logits = logits[:, 0]
    return logits[0].double().softmax(-1).numpy()


def normalised(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum()


# --- exact distributions -----------------------------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1)
prefixes = st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join)


@given(seed=seeds, prefix=prefixes, alpha=st.sampled_from([0.0, 0.1, 0.6, 1.0]), beta=st.floats(0, 3))
@settings(max_examples=40)
def test_contrast_is_expert_to_1_plus_beta_over_amateur_to_beta_among_the_plausible(seed, prefix, alpha, beta):
    expert, amateur = table(seed), table(seed + 1)
    p, q = distribution(expert, prefix), distribution(amateur, prefix)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = normalised(np.where((p >= alpha * p.max()) & (p > 0), p ** (1 + beta) / q**beta, 0))
    stage = dl.Contrast("amateur", alpha=alpha, beta=beta)
    assert distribution(made(stage, expert, {"amateur": amateur}), prefix) == pytest.approx(expected, abs=1e-5)


@given(seed=seeds, temperature=st.sampled_from([0.5, 1.0, 2.0]))
@settings(max_examples=10)
def test_without_beta_it_is_the_ratio_of_li_et_al_with_the_amateur_at_its_temperature(seed, temperature):
    expert, amateur = table(seed), table(seed + 1)
    p, q = distribution(expert, "")[:4], normalised(distribution(amateur, "")[:4] ** (1 / temperature))
    expected = normalised(np.where(p >= 0.1 * p.max(), p / q, 0))
    stage = dl.Contrast("amateur", beta=None, amateur_temperature=temperature)
    assert distribution(made(stage, expert, {"amateur": amateur}), "")[:4] == pytest.approx(expected, abs=1e-5)


@given(seed=seeds, prompt=prefixes, new=prefixes, scale=st.floats(0, 4))
@settings(max_examples=40)
def test_guidance_goes_from_the_distribution_behind_the_negative_prompt_to_that_behind_the_prompt(
    seed, prompt, new, scale
):
    model = table(seed)
    with np.errstate(divide="ignore"):
        p, q = np.log(distribution(model, f"{prompt} {new}")), np.log(distribution(model, f"b {new}"))
    if scale > 1:
        q = np.maximum(q, FLOOR)
    total = sum(weight * logs for weight, logs in ((scale, p), (1 - scale, q)) if weight)
    with np.errstate(invalid="ignore"):  # no token is possible under both: no distribution
        expected = np.exp(log_softmax(total))
    assert distribution(made(dl.Guidance(scale, "b"), model), prompt, new) == pytest.approx(
        expected, abs=1e-4, nan_ok=True
    )


def test_without_a_negative_prompt_guidance_starts_from_the_last_token_as_transformers_does():
    model = table(3)
    p, q = distribution(model, "a b c", "a"), distribution(dl.TableModel(WORDS, model._table, missing="eos"), "c", "a")
    expected = normalised(np.where(p[:4] > 0, p[:4] ** 2 / q[:4], 0))
    assert distribution(made(dl.Guidance(2), model), "a b c", "a")[:4] == pytest.approx(expected, abs=1e-5)


@given(seed=seeds, prefix=prefixes, weight=st.floats(0, 1))
@settings(max_examples=40)
def test_mixtures_are_the_weighted_sum_or_the_normalised_weighted_product(seed, prefix, weight):
    one, other = table(seed, impossible=0.2), table(seed + 1)
    p, q = distribution(one, prefix), distribution(other, prefix)
    mixed = made(dl.Mix("other", [weight, 1 - weight]), one, {"other": other})
    assert distribution(mixed, prefix) == pytest.approx(weight * p + (1 - weight) * q, abs=1e-6)
    product = p**weight * q ** (1 - weight)
    if product.sum() > 1e-9:
        geometric = made(dl.Mix("other", [weight, 1 - weight], "logits"), one, {"other": other})
        assert distribution(geometric, prefix) == pytest.approx(normalised(product), abs=1e-5)


def test_what_the_amateur_finds_impossible_is_preferred_but_finite():
    expert = dl.TableModel(WORDS, {...: {"a": 0.5, "b": 0.5}}, bos="<s>")
    amateur = dl.TableModel(WORDS, {...: {"b": 1.0}}, bos="<s>")
    logits, _ = made(dl.Contrast("amateur"), expert, {"amateur": amateur}).prefill([expert.vocab.encode("")])
    assert logits[0, :2].tolist() == pytest.approx([1.5 * math.log(0.5) - 0.5 * FLOOR, 1.5 * math.log(0.5)])
    assert logits[0, 2:].isinf().all()


@pytest.mark.parametrize("layers", ["low", "high", [0], [1, 2], [0, 1, 2]])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3", "opt"])
def test_dola_contrasts_the_last_layer_with_the_most_divergent_early_exit(build, kind, layers):
    model = build(kind, **({"n_layer": 3} if kind == "gpt2" else {}))
    stage = dl.Dola(layers)
    composed = made(stage, model)
    network = model.model
    prompts = [(5, 9, 20, 3, 8), (7, 1)]
    logits, cache = composed.prefill(prompts)
    more, _ = composed.decode(cache, torch.tensor([[2, 4], [6, 6]]))
    for row, (prompt, new) in enumerate(zip(prompts, ((2, 4), (6, 6)), strict=True)):
        with torch.no_grad():
            out = network(input_ids=torch.tensor([[*prompt, *new]]), output_hidden_states=True)
            last = out.logits[0].double().log_softmax(-1)
            early = {
                layer: network.get_output_embeddings()(out.hidden_states[layer][0]).double().log_softmax(-1)
                for layer in stage.candidates(3, model.tied)
            }
        for place, got in (
            (len(prompt) - 1, logits[row]),
            (len(prompt), more[row, 0]),
            (len(prompt) + 1, more[row, 1]),
        ):
            p = last[place].exp()
            divergence = {}
            for layer, logprobs in early.items():
                q = logprobs[place].exp()
                mean = (p + q) / 2
                divergence[layer] = float((p * (p / mean).log()).nansum() + (q * (q / mean).log()).nansum()) / 2
            got_distribution = got.double().log_softmax(-1).numpy()
            kept = p >= 0.1 * p.max()
            expected = [
                (last[place] - early[layer][place]).masked_fill(~kept, -torch.inf).log_softmax(-1).numpy()
                for layer, d in divergence.items()
                if d > max(divergence.values()) - 1e-5  # distributions that have nothing in common tie at ln 2
            ]
            assert any(got_distribution == pytest.approx(distribution, abs=2e-3) for distribution in expected)


@pytest.mark.parametrize(
    ("depth", "tied", "low", "high"),
    [
        (1, False, (0,), (0,)),
        (1, True, (0,), (0,)),
        (2, True, (1,), (1,)),
        (3, True, (2,), (1,)),
        (4, True, (2,), (2,)),
        (12, False, (0, 2, 4), (6, 8, 10)),
        (12, True, (2, 4), (6, 8, 10)),
        (48, True, tuple(range(2, 20, 2)), tuple(range(28, 48, 2))),
        (80, False, tuple(range(0, 20, 2)), tuple(range(60, 80, 2))),
    ],
)
def test_low_and_high_are_the_layers_transformers_takes(depth, tied, low, high):
    assert dl.Dola("low").candidates(depth, tied) == low
    assert dl.Dola("high").candidates(depth, tied) == high


@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt", "gemma2"])
def test_hidden_states_are_those_of_the_network_in_any_batch(build, kind):
    model = build(kind)
    layers = range(model.depth + 1)
    prompts = [(5, 9, 20, 3, 8), (7, 1)]
    logits, hidden, cache = model.prefill_with_hidden_states(prompts, layers)
    assert torch.equal(logits, model.prefill(prompts)[0])
    cache = cache.select(torch.tensor([1, 0, 0]))
    _, more, _ = model.decode_with_hidden_states(cache, torch.tensor([[4, 2], [6, 6], [6, 1]]), layers)
    rows = [(7, 1, 4, 2), (5, 9, 20, 3, 8, 6, 6), (5, 9, 20, 3, 8, 6, 1)]
    for row, tokens in enumerate(rows):
        with torch.no_grad():
            out = model.model(input_ids=torch.tensor([tokens]), output_hidden_states=True)
        expected = torch.stack(out.hidden_states)[:, 0]
        begun = hidden[:, 1 - min(row, 1), -(len(tokens) - 2) :]
        assert torch.allclose(torch.cat([begun, more[:, row]], 1), expected, atol=2e-4)


# --- as a model -----------------------------------------------------------------------------------

TABLES = {"other": table(7), "third": table(8)}
MADE: dict[str, Callable[[LanguageModel], LanguageModel]] = {
    "contrast": lambda model: made(dl.Contrast("other"), model, TABLES),
    "mix": lambda model: made(dl.Mix(["other", "third"]), model, TABLES),
    "mix in logits": lambda model: made(dl.Mix("other", [0.5, 0.5], "logits"), model, TABLES),
    "contrast of a mixture": lambda model: made(dl.Contrast("other"), made(dl.Mix("third"), model, TABLES), TABLES),
}


@pytest.mark.parametrize("name", MADE)
def test_they_keep_the_promises_of_a_model(name):
    check_model(MADE[name](table(1)), ["a", "b c", "a b"])


def test_real_models_keep_them_too():
    model = dl.load("pocket-nano")
    for strategy in ("contrast", "dola(layers=[0, 1, 2, 3])"):
        check_model(dl.compose(model, strategy), ["Once", "What is 2"])


def test_a_guided_row_is_the_same_forked_cut_back_joined_and_alone():
    model = made(dl.Guidance(1.7, "b"), table(2))
    vocab = model.vocab
    logits, cache = model.prefill([vocab.encode("a"), vocab.encode("a b c")])
    assert list(cache.lengths) == [2, 4]
    _, cache = model.decode(cache, torch.tensor([[0, 1, 2], [1, 0, 0]]))
    cache = cache.rewind([3, 5]).select(torch.tensor([1, 0, 1]))
    logits, joined = model.prefill([vocab.encode("c c")])
    cache = cache.join(joined)
    logits, cache = model.decode(cache, torch.tensor([[2], [1], [1], [0]]))
    assert list(cache.lengths) == [6, 4, 6, 4]
    for row, (prompt, new) in enumerate([("a b c", "b c"), ("a", "a b"), ("a b c", "b b"), ("c c", "a")]):
        assert logits[row, 0].double().softmax(-1).numpy() == pytest.approx(distribution(model, prompt, new), abs=1e-6)
    assert cache.nbytes == 8 * ((6 + 4 + 6 + 4) + (4 + 4 + 4 + 3))


def test_name_digest_and_context_are_of_all_parts():
    model, other = table(1, context_length=9, name="one"), table(2, context_length=7, name="two")
    composed = made(dl.Contrast("x"), model, {"x": other})
    assert composed.name == "one with contrast(amateur=x)"
    assert composed.context_length == 7
    assert composed.vocab is model.vocab
    assert composed.cache_bytes(3, 2, 1) == 2 * model.cache_bytes(3, 2, 1)
    digests = {
        model.digest,
        composed.digest,
        made(dl.Contrast("x"), model, {"x": table(3, name="two")}).digest,
        made(dl.Contrast("x", beta=1), model, {"x": other}).digest,
        made(dl.Mix("x"), model, {"x": other}).digest,
    }
    assert len(digests) == 5
    assert made(dl.Contrast("x"), model, {"x": other}).digest == composed.digest


def test_new_tokens_of_guided_text_fit_the_context_behind_both_prompts():
    model = table(1, context_length=6)
    guided = made(dl.Guidance(2, "a b c"), model)  # 4 tokens with BOS
    assert guided.context_length == 3
    _, cache = guided.prefill([model.vocab.encode("")])
    guided.decode(cache, torch.tensor([[0, 0]]))


# --- under searches -------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with tables in it."""
    for name, model in {"one": table(1, context_length=20), "two": chain(2), "three": chain(3)}.items():
        (tmp_path / f"{name}.yaml").write_text(model.to_yaml())
    (tmp_path / "other.yaml").write_text(dl.TableModel(["a", "b", "d"], {...: {"a": 1.0}}, bos="<s>").to_yaml())
    monkeypatch.chdir(tmp_path)
    return tmp_path


STRATEGIES = [
    'contrast(amateur="two.yaml")',
    'contrast(amateur="two.yaml", alpha=0, beta=none)',
    "guidance=2.0",
    'guidance(scale=0.5, negative_prompt="b c")',
    'mix(models=["two.yaml", "three.yaml"], weights=[0.5, 0.25, 0.25])',
    'mix(models=["two.yaml"], space=logits) | guidance=1.5',
    'guidance=1.5 | contrast(amateur="two.yaml")',
]


def sequences(model: LanguageModel, prompt: str, limit: int) -> dict[tuple[int, ...], float]:
    """Every sequence a model can give, with its probability."""
    found: dict[tuple[int, ...], float] = {}

    def visit(new: tuple[int, ...], p: float) -> None:
        if len(new) == limit or (new and new[-1] in model.vocab.eos_ids):
            found[new] = p
            return
        for token, q in enumerate(distribution(model, prompt, " ".join(WORDS[t] for t in new)).tolist()):
            if q > 0:
                visit((*new, token), p * q)

    visit((), 1.0)
    return found


@pytest.mark.parametrize("models", STRATEGIES)
def test_a_wide_beam_finds_the_most_probable_sequences(folder, models):
    composed = dl.compose("one.yaml", models)
    expected = sorted(sequences(composed, "a", 3).items(), key=lambda pair: -pair[1])[:3]
    (found,) = dl.generate("one.yaml", "a", f"{models} | beam(width=99, length_penalty=0, n=3)", max_new_tokens=3)
    assert [c.tokens for c in found.candidates] == [tokens for tokens, _ in expected]
    assert [math.exp(c.logprob) for c in found.candidates] == pytest.approx([p for _, p in expected], rel=1e-4)
    assert found.model_digest == composed.digest


@pytest.mark.parametrize("models", STRATEGIES)
def test_searches_that_fork_and_drivers_that_cut_back_decode_them_too(folder, models):
    best = max(sequences(dl.compose("one.yaml", models), "a", 3).items(), key=lambda pair: pair[1])[0]
    (found,) = dl.generate("one.yaml", "a", f"{models} | exact", max_new_tokens=3)
    assert found.best.tokens == best
    plain, drafted = (
        dl.generate("one.yaml", ["a", "b c"], f"{models} | {search}", max_new_tokens=5, seed=4)
        for search in ("sample(n=3)", 'sample(n=3) | speculative(draft="two.yaml", k=2)')
    )
    assert [[c.tokens for c in g.candidates] for g in plain] == [[c.tokens for c in g.candidates] for g in drafted]


@pytest.mark.parametrize("models", STRATEGIES)
def test_samples_follow_the_composed_distribution(folder, models):
    # Pearson's chi-square over 2,000 samples; p below 1e-4 fails, seeds fixed.
    expected = sequences(dl.compose("one.yaml", models), "a", 2)
    (found,) = dl.generate("one.yaml", "a", f"{models} | sample(n=2000)", max_new_tokens=2, seed=1, max_rows=2000)
    counts = Counter(c.tokens for c in found.candidates)
    assert set(counts) <= set(expected)
    # Sequences expected fewer than five times share a cell.
    large = {s: 2000 * p for s, p in expected.items() if 2000 * p >= 5}
    observed, wanted = [counts[s] for s in large], list(large.values())
    if 2000 - sum(wanted) > 1e-3:
        observed.append(2000 - sum(observed))
        wanted.append(2000 - sum(wanted))
    assert stats.chisquare(observed, np.array(wanted) * 2000 / sum(wanted)).pvalue > 1e-4


@pytest.mark.parametrize("models", STRATEGIES)
@pytest.mark.parametrize("search", ["sample(n=3)", "beam(width=3)", "repetition_penalty=1.3 | greedy"])
def test_neither_the_batch_nor_the_order_matters(folder, models, search):
    model = dl.load("one.yaml")
    prompts = ["a", "b c", "", "a b c"]
    together = dl.generate(model, prompts, f"{models} | {search}", max_new_tokens=4, seed=3)
    backwards = dl.generate(model, prompts[::-1], f"{models} | {search}", max_new_tokens=4, seed=3, max_rows=4)[::-1]
    for prompt, found, again in zip(prompts, together, backwards, strict=True):
        (alone,) = dl.generate(model, prompt, f"{models} | {search}", max_new_tokens=4, seed=3)
        assert [c.tokens for c in found.candidates] == [c.tokens for c in alone.candidates]
        assert [c.tokens for c in found.candidates] == [c.tokens for c in again.candidates]


def test_jobs_of_composed_and_plain_models_share_an_engine(folder):
    engine = dl.Engine("one.yaml")
    asked = ["greedy", *(f"{models} | greedy" for models in STRATEGIES), "beam(width=2)"]
    for strategy in asked:
        engine.submit("a b", strategy, max_new_tokens=4)
    found = sorted((g for g in engine.run() if isinstance(g, dl.Generation)), key=lambda g: g.index)
    for strategy, generation in zip(asked, found, strict=True):
        (alone,) = dl.generate("one.yaml", "a b", strategy, max_new_tokens=4)
        assert generation.best.tokens == alone.best.tokens


def test_each_model_is_loaded_once_for_all_jobs(folder, monkeypatch):
    loaded: list[str] = []
    real = composing.load
    monkeypatch.setattr(composing, "load", lambda name, **more: loaded.append(name) or real(name, **more))
    engine = dl.Engine(dl.load("one.yaml"))
    for strategy in (*STRATEGIES, *STRATEGIES):
        engine.submit("a", f"{strategy} | greedy", max_new_tokens=2)
    assert len([*engine.run()]) == 2 * len(STRATEGIES)
    assert sorted(loaded) == ["three.yaml", "two.yaml"]


def test_a_long_prompt_is_guided_as_a_whole_while_others_run():
    model = dl.load("pocket-nano")
    long = "The cat sat on the mat. " * 45
    assert 256 < len(model.vocab.encode(long)) < 480
    engine = dl.Engine(model)
    engine.submit("Once upon a time", "guidance=1.5 | greedy", max_new_tokens=12)
    for _ in range(3):
        assert not [*engine.step()]
    number = engine.submit(long, "guidance=1.5 | greedy", max_new_tokens=6)
    found = {g.index: g for g in engine.run() if isinstance(g, dl.Generation)}
    (alone,) = dl.generate(model, long, "guidance=1.5 | greedy", max_new_tokens=6)
    assert found[number].best.tokens == alone.best.tokens


def test_scores_are_those_of_the_composed_distribution(folder):
    for strategy in STRATEGIES:
        composed = dl.compose("one.yaml", strategy)
        expected = [distribution(composed, "a", new)[token] for new, token in (("", 1), ("b", 2), ("b c", 0))]
        found = dl.score(composed, "a", " b c a")
        assert np.exp(found.token_logprobs) == pytest.approx(expected, abs=1e-5)


def test_windows_of_a_text_are_no_prompts_to_be_guided_by(folder):
    model = dl.compose(dl.load("one.yaml"), "guidance=2")
    with pytest.raises(StrategyError, match=r"table with guidance\(scale=2.0\): needs the whole prompt"):
        dl.score(model, "a", "b c " * 20, stride=4)


# --- transformers ---------------------------------------------------------------------------------

PROMPTS = {"What is 27 + 35?": 1.5, "Once upon a time, there was a": 3.0}


@pytest.mark.parametrize("negative", ["", "Once upon a time"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_guided_text_is_that_of_transformers(prompt, negative):
    model = dl.load_transformers("pocket-small")
    ids = model.vocab.encode(prompt)
    more = {"negative_prompt_ids": torch.tensor([model.vocab.encode(negative)])} if negative else {}
    scale = PROMPTS[prompt]
    theirs = model.model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.int64),
        guidance_scale=scale,
        max_new_tokens=16,
        do_sample=False,
        pad_token_id=0,
        **more,
    )[0, len(ids) :].tolist()
    (ours,) = dl.generate(model, prompt, dl.Guidance(scale, negative) | dl.Greedy(), max_new_tokens=16)
    assert list(ours.best.tokens) == theirs


# --- in the language, and bad input ---------------------------------------------------------------


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_they_are_stages_like_any_other(name):
    for stage in {
        "contrast": [dl.Contrast(), dl.Contrast("./my model", 0, None, 0.5)],
        "dola": [dl.Dola(), dl.Dola("low"), dl.Dola([3, 1, 3], alpha=0.5)],
        "guidance": [dl.Guidance(1.5), dl.Guidance(2, 'say "no"')],
        "mix": [dl.Mix("pocket-nano"), dl.Mix(["a/b", "c.yaml"], [0.2, 0.3, 0.5], "logits")],
    }[name]:
        check_stage(stage)


def test_model_names_with_hyphens_need_no_quotes():
    strategy = Strategy.of("contrast(amateur=pocket-small) | mix(models=[pocket-nano]) | greedy")
    assert strategy.stages[0] == dl.Contrast("pocket-small")
    assert str(strategy) == "contrast(amateur=pocket-small) | mix(models=[pocket-nano]) | greedy"


def test_stages_without_effect_are_reported():
    assert Strategy.of("guidance=1 | greedy").no_effects() == [
        "guidance(scale=1.0): scale=1 leaves the model unchanged"
    ]
    assert len(Strategy.of("contrast(alpha=0, beta=0) | greedy").no_effects()) == 1
    assert not Strategy.of("contrast(beta=0) | guidance=0 | greedy").no_effects()


@pytest.mark.parametrize(
    ("strategy", "complaint"),
    [
        ("guidance=-1", r"guidance: scale must be a finite number, at least 0, got -1"),
        ("guidance=nan", r"scale must be .* got nan"),
        ("guidance", r"guidance needs scale"),
        ("guidance(scale=2, negative_prompt=3)", r"negative_prompt must be text, got 3"),
        ("contrast(amateur=3)", r"amateur must be the name of a model, got 3"),
        ("contrast(amateur=' ')", r"amateur must be the name of a model"),
        ("contrast(alpha=1.5)", r"alpha must be in \[0, 1\], got 1.5"),
        ("contrast(beta=-0.1)", r"beta must be .* at least 0, got -0.1"),
        ("contrast(amateur_temperature=0)", r"amateur_temperature must be .* greater than 0, got 0"),
        ("dola(layers=middle)", r"layers must be low, high or a list of layer numbers from 0, got middle"),
        ("dola(layers=[])", r"layers must be"),
        ("dola(layers=[-1])", r"layers must be"),
        ("dola(layers=[true])", r"layers must be"),
        ("dola(layers=3)", r"layers must be"),
        ("dola(alpha=-1)", r"alpha must be in \[0, 1\]"),
        ("mix", r"mix needs models"),
        ("mix(models=[])", r"models must be the names of one or more models"),
        ("mix(models=[1])", r"models must be the name of a model, got 1"),
        ("mix(models=[a], weights=[1])", r"weights must be 2 numbers of at least 0, the decoded model's first, got \["),
        ("mix(models=[a], weights=[0.5, 0.6])", r"weights must sum to 1, got .* with sum 1.1"),
        ("mix(models=[a], weights=[1.5, -0.5])", r"weights must be 2 numbers of at least 0"),
        ("mix(models=[a], weights=half)", r"weights must be 2 numbers"),
        ("mix(models=[a], space=log)", r"space must be one of probs, logits, got log"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(strategy, complaint):
    with pytest.raises(InvalidParameter, match=complaint) as error:
        Strategy.of(strategy)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("strategy", "complaint"),
    [
        ('contrast(amateur="other.yaml")', r"contrast: .* a different vocabulary .*token 2 is d where .* has c"),
        (
            "contrast(amateur=pocket-nano)",
            r"contrast: pocket-nano has a different vocabulary .*1024 tokens where .* has 5",
        ),
        ('mix(models=["two.yaml", "other.yaml"])', r"mix: .* a different vocabulary"),
    ],
)
def test_another_vocabulary_is_refused_naming_both_models(folder, strategy, complaint):
    with pytest.raises(VocabularyMismatch, match=complaint):
        dl.generate("one.yaml", "a", strategy, max_new_tokens=2)


def test_other_end_tokens_are_another_vocabulary():
    endless = dl.TableModel(WORDS, {...: {"a": 1.0}}, eos=None, bos="</s>", name="endless")
    ending = dl.TableModel(WORDS, {...: {"a": 1.0}}, name="ending")
    with pytest.raises(VocabularyMismatch, match=r"endless has a different vocabulary from ending \(other tokens end"):
        made(dl.Contrast("x"), ending, {"x": endless})


def test_a_model_that_is_not_there_is_named(folder):
    with pytest.raises(ModelNotFound, match="nowhere"):
        dl.generate("one.yaml", "a", "contrast(amateur=nowhere)", max_new_tokens=2)


def test_layers_are_refused_where_there_are_none(folder):
    with pytest.raises(UnsupportedStrategy, match="dola: table does not expose the hidden states"):
        dl.generate("one.yaml", "a", "dola", max_new_tokens=2)
    with pytest.raises(InvalidParameter, match=r"layers must be in \[0, 3\], got 4; pocket-nano has 4 blocks"):
        dl.generate("pocket-nano", "a", "dola(layers=[1, 4])", max_new_tokens=2)


def test_a_prompt_too_long_for_any_part_is_refused_before_anything_is_computed(folder):
    with pytest.raises(PromptTooLong, match=r"guidance: negative_prompt has 21 tokens, .* holds 20"):
        dl.generate("one.yaml", "a", dl.Guidance(2, "a " * 20), max_new_tokens=2)
    with pytest.raises(PromptTooLong, match=r"prompt 0 has 9 tokens, .* with guidance.* has context length 8"):
        dl.generate("one.yaml", "a b a b a b a b", dl.Guidance(2, "a " * 12), max_new_tokens=2)
    (found,) = dl.generate("one.yaml", "a", dl.Mix("two.yaml") | dl.Greedy(), max_new_tokens=3)
    assert len(found.best.tokens) <= 3


def test_compose_takes_only_stages_that_make_models():
    with pytest.raises(UnsupportedStrategy, match=r"top_p=0.9 \(processor\) is not a model stage"):
        dl.compose("pocket-nano", "guidance=2 | top_p=0.9")
    with pytest.raises(UnsupportedStrategy, match=r"greedy \(search\) is not a model stage"):
        dl.compose("pocket-nano", "guidance=2 | greedy")


def test_a_distribution_from_logits_alone_has_no_models_in_it():
    with pytest.raises(StrategyError, match=r"guidance\(scale=2.0\) computes the logits"):
        dl.distribution([1.0, 2.0], "guidance=2")


class Answering:
    """A table that says it is an encoder-decoder model."""

    begin = (0,)
    longest_prompt = None
    longest_answer = None

    def __init__(self) -> None:
        self.table = table(1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.table, name)


@pytest.mark.parametrize("strategy", ["guidance=2", "mix(models=[x])"])
def test_encoder_decoder_models_are_refused(strategy):
    with pytest.raises(UnsupportedStrategy, match=r"table is an encoder-decoder model"):
        dl.compose(Answering(), strategy)  # pyright: ignore[reportArgumentType]
