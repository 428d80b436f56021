"""The same continuation whatever the batch, the order, the rows at once and the samples asked for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.values import Candidate

STRATEGIES = [
    "greedy",
    "sample(n=3)",
    "temperature=1.5 | top_k=4 | top_p=0.9 | min_p=0.05 | sample(n=2)",
    "typical_p=0.7 | sample",
    "beam(width=3, n=3)",
    "temperature=0.5 | beam(width=2, early_stopping=never, n=2)",
    "sample(n=4) | best_of",
]
# Prompts of 1 to 6 tokens, one of them twice.
PROMPTS = [(6,), (6, 0), (6, 1, 2), (6, 0), (6, 3, 3, 3, 3), (6, 4, 3, 2, 1, 0), (6, 2)]


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(
    order=st.permutations(range(len(PROMPTS))),
    count=st.integers(1, len(PROMPTS)),
    max_rows=st.integers(1, 40),
    seed=st.integers(0, 3),
)
@settings(max_examples=15)
def test_batch_order_and_rows_at_once_do_not_matter(random_table, strategy, order, count, max_rows, seed):
    model = random_table(9)
    chosen = order[:count]
    together = dl.generate(
        model, [PROMPTS[i] for i in chosen], strategy, max_new_tokens=6, seed=seed, max_rows=max_rows
    )
    assert [g.index for g in together] == list(range(count))
    for place, i in enumerate(chosen):
        alone = dl.generate(model, [PROMPTS[i]], strategy, max_new_tokens=6, seed=seed)[0]
        assert together[place].prompt_tokens == PROMPTS[i]
        assert together[place].candidates == alone.candidates  # every number bit for bit


@given(n=st.integers(1, 12), m=st.integers(1, 12), seed=st.integers())
@settings(max_examples=30)
def test_sample_i_is_the_same_however_many_are_asked_for(random_table, n, m, seed):
    model = random_table(4)
    few, many = sorted((n, m))
    small, large = (
        dl.generate(model, [(6, 1)], f"top_p=0.95 | sample(n={k})", max_new_tokens=6, seed=seed)[0] for k in (few, many)
    )
    assert large.candidates[:few] == small.candidates


def test_a_longer_limit_goes_on_where_a_shorter_one_stopped(random_table):
    model = random_table(4, eos=0.0)
    short, long = (dl.generate(model, "", "sample(n=4)", max_new_tokens=k)[0] for k in (3, 9))
    for a, b in zip(short.candidates, long.candidates, strict=True):
        assert b.tokens[:3] == a.tokens


@given(a=st.integers(), b=st.integers())
def test_seeds_are_any_integers_and_different_ones_differ(random_table, a, b):
    model = random_table(4, eos=0.0)

    def tokens(seed: int) -> list[tuple[int, ...]]:
        return [c.tokens for c in dl.generate(model, "", "sample(n=8)", max_new_tokens=8, seed=seed)[0].candidates]

    assert (tokens(a) == tokens(b)) == (a == b)  # 64 draws of five words: never equal by chance


def test_samples_of_one_prompt_differ_from_one_another(random_table):
    (g,) = dl.generate(random_table(4, eos=0.0), "", "sample(n=50)", max_new_tokens=12)
    assert len({c.tokens for c in g.candidates}) == 50


def test_the_same_prompt_twice_gives_the_same_samples(random_table):
    one, two = dl.generate(random_table(4), [(6, 1), (6, 1)], "sample(n=3)")
    assert one.candidates == two.candidates
    assert (one.index, two.index) == (0, 1)


STORIES = ["Once upon a time", "The dog", "", "Lily and Tom went to the big park near their house and", "She said"]


@pytest.mark.parametrize("strategy", ["greedy", "temperature=0.9 | top_p=0.95 | sample(n=3)", "beam(width=4, n=4)"])
def test_a_real_model_says_the_same_alone_in_ragged_batches_and_in_any_order(stories, strategy):
    def run(prompts: list[str], max_rows: int = 64) -> list[tuple[Candidate, ...]]:
        return [g.candidates for g in dl.generate(stories, prompts, strategy, max_new_tokens=32, max_rows=max_rows)]

    alone = [run([p])[0] for p in STORIES]
    for found in (run(STORIES), run(STORIES[::-1])[::-1], run(STORIES, max_rows=8)):
        for a, b in zip(found, alone, strict=True):
            assert [c.tokens for c in a] == [c.tokens for c in b]
            for c, d in zip(a, b, strict=True):
                # Its own arithmetic depends a little on the shape of the batch.
                assert c.token_logprobs == pytest.approx(d.token_logprobs, abs=1e-4)
                assert c.text == d.text


def test_a_real_model_gives_the_same_sample_i_of_2_as_of_5(stories):
    two, five = (
        dl.generate(stories, "Once", f"temperature=0.9 | sample(n={n})", max_new_tokens=32)[0].candidates
        for n in (2, 5)
    )
    assert [c.tokens for c in two] == [c.tokens for c in five[:2]]
    assert len({c.tokens for c in five}) == 5
