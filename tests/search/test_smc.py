"""SMC against the enumerated twisted distribution, against plain sampling, and what its weights mean."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

import decodelab as dl
from decodelab.core.errors import InvalidParameter, ScorerFailed
from decodelab.search._particles import systematic
from decodelab.search.smc import SMC

MODEL = dl.TableModel(
    ["a", "b"],
    {(): {"a": 0.8, "b": 0.2}, "a": {"a": 0.6, "b": 0.2, "</s>": 0.2}, "b": {"a": 0.5, "b": 0.3, "</s>": 0.2}},
    bos="<s>",
)
LIMIT = 4


def share_of_b(prompt: str, texts: Sequence[str]) -> list[float]:
    """How many of the words are b."""
    return [float(text.split().count("b")) for text in texts]


def ends_with_b(prompt: str, texts: Sequence[str]) -> list[float]:
    """Only the last word counts, so that what is good now may turn bad."""
    return [0.0 if text.endswith("b") else -1.5 for text in texts]


def twisted(scorer, weight: float) -> dict[tuple[int, ...], float]:
    """The distribution SMC aims at: every sequence with p(x) e^(weight * score(x)), normalised."""
    found = {
        o.tokens: math.exp(o.logprob + weight * scorer("", [MODEL.vocab.decode(o.tokens)])[0])
        for o in MODEL.enumerate("", LIMIT)
    }
    total = math.fsum(found.values())
    return {tokens: p / total for tokens, p in found.items()}


def drawn(strategy: SMC, runs: int) -> list[tuple[int, ...]]:
    """One sequence a run: a candidate drawn by its share of the weight."""
    engine = dl.Engine(MODEL, max_rows=8192)
    for seed in range(runs):
        engine.submit("", strategy, max_new_tokens=LIMIT, seed=seed)
    rng = np.random.default_rng(0)
    found = []
    for generation in engine.run():
        assert isinstance(generation, dl.Generation), generation
        shares = np.exp([c.score for c in generation.candidates])
        assert shares.sum() == pytest.approx(1, abs=1e-9)
        found.append(generation.candidates[rng.choice(len(shares), p=shares / shares.sum())].tokens)
    return found


@pytest.mark.parametrize(
    ("scorer", "weight", "threshold"), [(share_of_b, 1.0, 0.0), (share_of_b, -1.5, 0.9), (ends_with_b, 1.0, 1.0)]
)
def test_with_many_particles_the_distribution_is_the_twisted_one(agrees, scorer, weight, threshold):
    # One draw of each of 300 independent runs. The bias is of the order of 1/40, which 300 draws do not see.
    found = drawn(SMC(particles=40, scorer=scorer, weight=weight, threshold=threshold), 300)
    assert agrees(found, twisted(scorer, weight)) > 1e-3


def test_with_one_particle_the_distribution_is_the_models_own(agrees):
    found = drawn(SMC(particles=1, scorer=share_of_b, weight=5), 500)
    assert agrees(found, {o.tokens: math.exp(o.logprob) for o in MODEL.enumerate("", LIMIT)}) > 1e-3


def test_the_error_falls_with_the_number_of_particles():
    target = twisted(share_of_b, 2.0)

    def error(particles: int) -> float:
        engine = dl.Engine(MODEL, max_rows=4096)
        for seed in range(60):
            engine.submit("", SMC(particles, share_of_b, 2.0), max_new_tokens=LIMIT, seed=seed)
        mean: dict[tuple[int, ...], float] = dict.fromkeys(target, 0.0)
        for generation in engine.run():
            assert isinstance(generation, dl.Generation)
            for c in generation.candidates:
                mean[c.tokens] += math.exp(c.score) / 60
        return sum(abs(mean[tokens] - p) for tokens, p in target.items())

    few, many = error(4), error(64)
    assert many < few / 2


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_without_weight_it_is_sampling_token_for_token(random_table, threshold):
    model = random_table(3)
    with pytest.warns(dl.NoEffectWarning, match="weight = 0"):
        (g,) = dl.generate(model, "", SMC(8, share_of_b, 0.0, threshold), max_new_tokens=6, seed=5)
    (plain,) = dl.generate(model, "", "sample(n=8)", max_new_tokens=6, seed=5)
    assert sorted(c.tokens for c in g.candidates) == sorted(c.tokens for c in plain.candidates)
    assert [c.score for c in g.candidates] == pytest.approx([-math.log(8)] * 8)


def test_processors_shape_the_distribution_that_is_steered(agrees, exact_distribution):
    distribution = exact_distribution(MODEL, "temperature=0.5", LIMIT)
    weighted = {t: p * math.exp(share_of_b("", [MODEL.vocab.decode(t)])[0]) for t, p in distribution.items()}
    total = sum(weighted.values())
    engine = dl.Engine(MODEL, max_rows=8192)
    for seed in range(200):
        engine.submit("", dl.Temperature(0.5) | SMC(30, share_of_b), max_new_tokens=LIMIT, seed=seed)
    rng = np.random.default_rng(1)
    found = []
    for generation in engine.run():
        assert isinstance(generation, dl.Generation)
        shares = np.exp([c.score for c in generation.candidates])
        found.append(generation.candidates[rng.choice(len(shares), p=shares / shares.sum())].tokens)
    assert agrees(found, {t: p / total for t, p in weighted.items()}) > 1e-3


def test_copies_of_a_finished_particle_are_one_candidate_with_their_weight():
    # Half the particles end at once; the scorer wants them, so the others become copies of them.
    model = dl.TableModel(["a"], {(): {"a": 0.5, "</s>": 0.5}, "a": {"a": 1.0}}, bos="<s>")
    (g,) = dl.generate(
        model, "", SMC(16, lambda prompt, texts: [-30.0 * len(t) for t in texts]), max_new_tokens=3, seed=1
    )
    ended = [c for c in g.candidates if c.finish_reason == "eos"]
    assert all(c.text == "" for c in ended)
    assert math.fsum(math.exp(c.score) for c in ended) == pytest.approx(1)
    assert len(g.candidates) < 16


def test_systematic_resampling_chooses_each_as_often_as_its_weight_says():
    weights = torch.tensor([[0.31, 0.05, 0.0, 0.44, 0.2]], dtype=torch.float64)
    counts = torch.zeros(5, dtype=torch.float64)
    for shift in torch.linspace(0.0005, 0.9995, 1000, dtype=torch.float64):
        chosen = systematic(weights, shift[None])
        count = torch.bincount(chosen[0], minlength=5)
        assert bool(((count == (5 * weights[0]).floor()) | (count == (5 * weights[0]).ceil())).all())
        counts += count / 1000
    assert counts.tolist() == pytest.approx((5 * weights[0]).tolist(), abs=2e-3)


def test_no_rounding_chooses_what_has_no_weight():
    weights = torch.tensor([[0.1] * 9 + [0.1 - 1e-16, 0.0]], dtype=torch.float64)
    assert int(systematic(weights, torch.tensor([1 - 1e-16], dtype=torch.float64)).max()) == 9


def test_jobs_in_a_batch_are_what_they_are_alone(random_table):
    model = random_table(4)
    prompts = [(5,), (5, 0), (5, 1, 1), (5, 2)]
    strategy = SMC(6, lambda prompt, texts: [float(t.count("w1")) for t in texts], 1.0)
    together = dl.generate(model, prompts, strategy, max_new_tokens=5, max_rows=18)
    for prompt, generation in zip(prompts, together, strict=True):
        assert generation.candidates == dl.generate(model, [prompt], strategy, max_new_tokens=5)[0].candidates


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("smc(particles=0, scorer=logprob)", r"smc: particles must be an integer, at least 1, got 0"),
        ("smc(particles=4, scorer=logprob, weight=inf)", r"smc: weight must be a finite number"),
        ("smc(particles=4, scorer=logprob, threshold=2)", r"smc: threshold must be in \[0, 1\], got 2"),
        ("smc(particles=4, scorer=logprop)", r"smc: scorer must be one of logprob, .* got logprop; did you mean"),
        ('smc(particles=4, scorer="<f>")', r'got "<f>"; a Python function can be given in Python only'),
        ("smc(particles=4, scorer=7)", r"smc: scorer must be a scorer's name or a function .* got 7"),
        ("smc(particles=4)", r"smc needs scorer"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(text, error):
    with pytest.raises(InvalidParameter, match=error):
        dl.Strategy.of(text)


def test_a_function_prints_as_its_name_which_cannot_be_read_back():
    strategy = dl.Strategy.of(SMC(4, share_of_b))
    assert str(strategy) == 'smc(particles=4, scorer="<share_of_b>")'
    assert strategy.to_json()[0]["smc"]["scorer"] == "<share_of_b>"
    with pytest.raises(InvalidParameter, match="a Python function"):
        dl.parse(str(strategy))


def test_a_named_scorer_makes_the_round_trip():
    strategy = dl.Strategy.of("top_p=0.9 | smc(particles=4, scorer=entropy, weight=-1)")
    assert dl.parse(str(strategy)) == dl.Strategy.from_yaml(strategy.to_yaml()) == strategy


def test_a_scorer_that_fails_fails_the_generation_by_name():
    def broken(prompt: str, texts: Sequence[str]) -> list[float]:
        return [math.nan for _ in texts]

    with pytest.raises(ScorerFailed, match="broken> must give a finite number, got nan for the text"):
        dl.generate(MODEL, "", SMC(2, broken), max_new_tokens=2)


def test_what_a_scorer_asks_of_the_model_is_counted():
    (plain,) = dl.generate(MODEL, "", "sample(n=2)", max_new_tokens=1)
    (g,) = dl.generate(MODEL, "", "smc(particles=2, scorer=logprob)", max_new_tokens=1)
    assert g.cost.forward_tokens == plain.cost.forward_tokens + 1  # the prompt, once more
    assert g.cost.forward_passes == plain.cost.forward_passes + 1
