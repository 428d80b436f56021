"""Rejection draws from the distribution given that texts are right, look-ahead does not; both against enumeration."""

import math
import warnings

import pytest

import decodelab as dl
from decodelab.core.errors import EmptySupport
from decodelab.core.notices import FewerCandidates

LETTERS = {
    (): {"a": 0.5, "b": 0.4, "</s>": 0.1},
    "a": {"a": 0.6, "b": 0.1, "</s>": 0.3},
    "b": {"a": 0.3, "b": 0.5, "</s>": 0.2},
}


def letters() -> dl.TableModel:
    return dl.TableModel(["a", "b"], LETTERS, bos="<s>", separator="")


def at_most_one_b_and_ends_in_b(text: str):
    """Complete: exactly one b, the last letter. Dead: a letter after it."""
    if text.count("b") > 1 or "b" in text[:-1]:
        return "invalid"
    return "complete" if text.endswith("b") else "prefix"


LIMIT = 4


def conditioned() -> dict[tuple[int, ...], float]:
    """The distribution given acceptance: complete at EOS, not invalid at the limit."""
    model = letters()
    right = {
        o.tokens: math.exp(o.logprob)
        for o in model.enumerate("", LIMIT)
        if at_most_one_b_and_ends_in_b(model.vocab.decode(o.tokens))
        in (("complete",) if o.reason == "eos" else ("prefix", "complete"))
    }
    total = math.fsum(right.values())
    return {tokens: p / total for tokens, p in right.items()}


def drawn(strategy, prompts: int = 12) -> list[tuple[int, ...]]:
    """Token sequences of many generations, each under a seed of its own."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewerCandidates)
        for seed in range(prompts):
            (g,) = dl.generate(letters(), "", strategy, max_new_tokens=LIMIT, seed=seed)
            found += [c.tokens for c in g.candidates]
    return found


def test_rejection_draws_from_the_conditioned_distribution(agrees):
    stage = dl.Rejection(at_most_one_b_and_ends_in_b, n=100, tries=1200)
    assert agrees(drawn(stage), conditioned()) > 0.001


def test_look_ahead_draws_from_another_distribution_which_is_the_product_of_masked_ones(agrees):
    exact = dl.Check(at_most_one_b_and_ends_in_b, candidates=None, look=None)
    sequences = drawn(exact | dl.Sample(n=100))
    assert agrees(sequences, conditioned()) < 1e-6
    masked = {(1, 2): 0.4 / 0.9, (0, 1, 2): 0.5 / 0.9 * 0.1 / 0.7}
    masked[(0, 0, 1, 2)] = 0.5 / 0.9 * 0.6 / 0.7 * 0.1 / 0.7
    masked[(0, 0, 0, 1)] = 0.5 / 0.9 * (0.6 / 0.7) ** 2 * 0.1 / 0.7
    masked[(0, 0, 0, 0)] = 0.5 / 0.9 * (0.6 / 0.7) ** 3
    assert math.fsum(masked.values()) == pytest.approx(1)
    assert agrees(sequences, masked) > 0.001


def test_the_accepted_are_those_of_plain_samples_that_are_right():
    plain = dl.generate(letters(), "", dl.Sample(n=50), max_new_tokens=LIMIT, seed=5)[0].candidates
    right = [c for c in plain if c.tokens in conditioned()][:8]
    kept = dl.generate(
        letters(), "", dl.Rejection(at_most_one_b_and_ends_in_b, n=8, tries=50), max_new_tokens=LIMIT, seed=5
    )
    assert [(c.sample, c.tokens) for c in kept[0].candidates] == [(c.sample, c.tokens) for c in right]
    assert [c.logprob for c in kept[0].candidates] == pytest.approx([c.logprob for c in right])


def test_tries_after_the_last_that_is_wanted_stop_early():
    lenient = dl.Rejection(lambda text: "complete", n=1, tries=64)
    (g,) = dl.generate(letters(), "", lenient, max_new_tokens=LIMIT, seed=1)
    (all_of_them,) = dl.generate(letters(), "", dl.Sample(n=64), max_new_tokens=LIMIT, seed=1)
    assert g.best.tokens == all_of_them.candidates[0].tokens
    assert g.cost.decode_tokens < all_of_them.cost.decode_tokens


def test_fewer_than_wanted_are_returned_with_a_word_and_none_is_an_error():
    with pytest.warns(FewerCandidates, match=r"prompt 0: found \d+ of 60 candidates; rejection.* satisfy rejection"):
        (g,) = dl.generate(
            letters(), "", dl.Rejection(at_most_one_b_and_ends_in_b, n=60, tries=60), max_new_tokens=LIMIT
        )
    assert 0 < len(g.candidates) < 60
    with pytest.raises(EmptySupport, match=r"prompt 0: rejection.*tries=7\) found no text; raise tries"):
        dl.generate(letters(), "a", dl.Rejection(lambda text: "invalid", tries=7), max_new_tokens=10**6)


def test_a_prompt_for_which_nothing_is_accepted_leaves_the_others_alone():
    engine = dl.Engine(letters())
    for prompt in ("a", "b"):
        engine.submit(prompt, dl.Rejection(lambda text: "invalid" if text[0] == "a" else "complete"), max_new_tokens=3)
    failed, found = sorted(engine.run(), key=lambda outcome: outcome.index)
    assert isinstance(failed, dl.Failed)
    assert isinstance(failed.error, EmptySupport)
    assert isinstance(found, dl.Generation)


def test_an_unfinished_text_does_not_end():
    def two(text: str):
        return "complete" if len(text) == 2 else "prefix" if len(text) < 2 else "invalid"

    for stages in (
        dl.Rejection(two, n=5, tries=60),
        dl.Check(two) | dl.Sample(n=5),
        dl.Check(two) | dl.Beam(width=4, n=4),
    ):
        (g,) = dl.generate(letters(), "", stages, max_new_tokens=9)
        assert {len(c.text) for c in g.candidates} == {2}
        assert {c.finish_reason for c in g.candidates} == {"eos"}


def test_the_prompt_is_a_part_of_the_text_unless_said_otherwise():
    seen: list[str] = []

    def listen(text: str):
        seen.append(text)
        return "complete"

    dl.generate(letters(), "ab", dl.Rejection(listen, tries=1), max_new_tokens=1)
    dl.generate(letters(), "ab", dl.Check(listen) | dl.Greedy(), max_new_tokens=1)
    assert all(text.startswith("ab") for text in seen)
    seen.clear()
    dl.generate(letters(), "ab", dl.Rejection(listen, tries=1, prompt=False), max_new_tokens=1)
    dl.generate(letters(), "ab", dl.Check(listen, prompt=False) | dl.Greedy(), max_new_tokens=1)
    assert all(len(text) <= 1 for text in seen)
