"""Arithmetic sampling: each sample follows the distribution exactly, and all of them together are spread."""

import math
from collections import Counter, defaultdict
from typing import Any

import pytest
import torch

import decodelab as dl
from decodelab.core.errors import InvalidParameter

ROWS = {
    (): {"a": 0.55, "b": 0.3, "</s>": 0.15},
    ("a",): {"a": 0.5, "b": 0.1, "</s>": 0.4},
    ("b",): {"a": 0.8, "</s>": 0.2},
}


def row(prefix):
    return ROWS.get(prefix, {"a": 0.25, "</s>": 0.75})


def of_table(tokens):
    return tuple(t if t < 2 else 2 for t in tokens)


@pytest.mark.parametrize("sample", [0, 2])
def test_each_sample_follows_the_distribution(prompts_of_one_distribution, exact_distribution, agrees, sample):
    model, prompts = prompts_of_one_distribution("ab", row, 2000)
    found = dl.generate(model, prompts, "arithmetic(n=3)", max_new_tokens=4, max_rows=20_000, seed=sample)
    distribution = {
        of_table(s): p for s, p in exact_distribution(dl.TableModel("ab", row, bos="<s>"), "temperature=1.0", 4).items()
    }
    assert agrees([of_table(g.candidates[sample].tokens) for g in found], distribution) > 1e-3


@pytest.mark.parametrize("n", [2, 7, 40])
def test_of_n_samples_a_prefix_gets_its_share_rounded_up_or_down(random_table, n):
    for seed in range(6):
        model = random_table(seed)
        (g,) = dl.generate(model, "", f"arithmetic(n={n})", max_new_tokens=4, seed=seed)
        mass: dict[tuple[int, ...], float] = defaultdict(float)
        for outcome in model.enumerate("", 4):
            for end in range(1, len(outcome.tokens) + 1):
                mass[outcome.tokens[:end]] += math.exp(outcome.logprob)
        begun = Counter(c.tokens[:end] for c in g.candidates for end in range(1, len(c.tokens) + 1))
        for prefix, p in mass.items():
            assert math.floor(n * p - 1e-6) <= begun[prefix] <= math.ceil(n * p + 1e-6), prefix


def test_means_vary_less_than_those_of_independent_samples(prompts_of_one_distribution):
    model, prompts = prompts_of_one_distribution("ab", row, 400)

    def variance(strategy: str) -> float:
        found = dl.generate(model, prompts, strategy, max_new_tokens=4, max_rows=20_000)
        means = [sum(len(c.tokens) for c in g.candidates) / len(g.candidates) for g in found]
        centre = math.fsum(means) / len(means)
        return math.fsum((m - centre) ** 2 for m in means) / len(means)

    # The standard error of either variance is about 6 %.
    assert variance("arithmetic(n=8)") < 0.5 * variance("sample(n=8)")


def test_the_distribution_holds_long_after_the_first_52_bits_are_used_up(prompts_of_one_distribution, agrees):
    # Two bits a token: without new bits, the code is spent after 26.
    quarters = dict.fromkeys("abcd", 0.25)
    model, prompts = prompts_of_one_distribution("abcd", lambda prefix: quarters, 300)
    found = dl.generate(model, prompts, "arithmetic(n=2)", max_new_tokens=36, max_rows=20_000)
    for first in (24, 25, 26, 27, 28, 34):
        pairs = [g.best.tokens[first : first + 2] for g in found]
        assert agrees(pairs, {(i, j): 1 / 16 for i in range(4) for j in range(4)}) > 1e-3


def test_samples_do_not_depend_on_the_batch(random_table):
    model = random_table(2)
    prompts = [(5,), (5, 0), (5, 1, 1)]
    together = dl.generate(model, prompts, "arithmetic(n=4)", max_new_tokens=6)
    alone = [dl.generate(model, [p], "arithmetic(n=4)", max_new_tokens=6)[0] for p in prompts]
    assert [g.candidates for g in together] == [g.candidates for g in alone]


def test_texts_of_a_real_model_are_the_same_alone_and_in_a_batch(stories):
    # Its logits differ by 1e-7 with the rows beside them; codes that are rescaled to the end magnify that.
    prompts = ["Once upon a time", "Tim and Lily", "The big dog"]
    together = dl.generate(stories, prompts, "arithmetic(n=3)", max_new_tokens=60)
    alone = [dl.generate(stories, p, "arithmetic(n=3)", max_new_tokens=60)[0] for p in prompts]
    assert [c.tokens for g in together for c in g.candidates] == [c.tokens for g in alone for c in g.candidates]


def test_rounding_is_not_magnified(random_table):
    table = random_table(4, size=20)

    class Rounding:
        """The table with errors of 2e-7 in its logits that depend on how many rows there are."""

        def __getattr__(self, name):
            return getattr(table, name)

        def prefill(self, prompts):
            logits, cache = table.prefill(prompts)
            return self.rounded(logits), cache

        def decode(self, cache, tokens):
            logits, cache = table.decode(cache, tokens)
            return self.rounded(logits), cache

        def rounded(self, logits):
            sign = torch.arange(logits.shape[-1]) * len(logits) % 3 - 1
            return logits * (1 + 2e-7 * sign)

    prompts = [(0,), (1,), (2, 2), (3,)]
    model: Any = Rounding()
    together = dl.generate(model, prompts, "arithmetic(n=8)", max_new_tokens=60)
    alone = [dl.generate(model, [p], "arithmetic(n=8)", max_new_tokens=60)[0] for p in prompts]
    assert [c.tokens for g in together for c in g.candidates] == [c.tokens for g in alone for c in g.candidates]


def test_one_sample_is_an_ordinary_one(random_table):
    model = random_table(3)
    one, plain = (dl.generate(model, [(0,), (1,)], s, max_new_tokens=9, seed=7) for s in ("arithmetic(n=1)", "sample"))
    assert [g.best.tokens for g in one] == [g.best.tokens for g in plain]


def test_impossible_tokens_are_never_drawn(random_table):
    model = random_table(9, impossible=0.5)
    (g,) = dl.generate(model, "", "top_k=2 | arithmetic(n=64)", max_new_tokens=6)
    assert all(math.isfinite(c.processed_logprob) for c in g.candidates)


def test_refusals():
    with pytest.raises(InvalidParameter, match=r"arithmetic: n must be an integer, at least 1, got 2\.5"):
        dl.Arithmetic(2.5)  # pyright: ignore[reportArgumentType]
