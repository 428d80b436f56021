"""DeepConf online: which samples are given up, which vote, and when drawing ends."""

from typing import Any

import numpy as np
import pytest

import decodelab as dl
from decodelab.core.errors import InvalidParameter
from decodelab.core.values import Candidate
from decodelab.select.deepconf import DeepConf
from decodelab.select.ratings import groups
from decodelab.testing.stage import check_stage

LIMIT, WINDOW, N = 12, 3, 24
WORDS = ["sure", "unsure", "7", "8"]
TABLE = {
    (): {"sure": 0.5, "unsure": 0.5},
    "sure": {"sure": 0.8, "unsure": 0.02, "7": 0.15, "8": 0.03},
    "unsure": {"unsure": 0.4, "sure": 0.3, "7": 0.1, "8": 0.2},
    "7": {"</s>": 1.0},
    "8": {"</s>": 1.0},
}
MODEL = dl.TableModel(WORDS, TABLE, bos="<s>")


def generated(strategy: Any, seed: int = 0) -> dl.Generation:
    return dl.generate(MODEL, "", strategy, max_new_tokens=LIMIT, seed=seed)[0]


def samples() -> list[Candidate]:
    """What `sample` draws, with confidences."""
    found = generated(f"sample(n={N}) | best_of(by=confidence)")
    return sorted(found.candidates, key=lambda c: c.sample)


def lowest(candidate: Candidate) -> float:
    assert candidate.confidences is not None
    return min(groups(candidate.confidences.top, WINDOW))


def everything(**parameters: Any) -> DeepConf:
    """All n samples are drawn, however they vote."""
    return DeepConf(**{"n": N, "warmup": 8, "keep": 0.5, "consensus": None, "window": WINDOW, **parameters})


@pytest.mark.parametrize("piece", [1, 2, 5, 100])
@pytest.mark.parametrize("batch", [3, 16])
def test_the_samples_that_vote_are_those_of_sample_above_the_threshold_of_the_first(piece, batch):
    drawn = samples()
    threshold = np.quantile([lowest(c) for c in drawn[:8]], 0.5)
    wanted = [c.tokens for c in drawn if lowest(c) >= threshold]
    found = generated(everything(piece=piece, batch=batch)).candidates
    assert 8 < len(found) < N
    assert sorted(c.tokens for c in found) == sorted(wanted)


def test_a_sample_that_is_given_up_costs_less_than_a_whole_one_and_a_long_piece_more():
    short, long = (generated(everything(keep=0.1, piece=piece)).cost.decode_tokens for piece in (1, 100))
    assert short < long


def test_votes_weigh_as_much_as_their_lowest_confidence():
    found = generated(everything(keep=1.0)).candidates
    weights: dict[str, float] = {}
    for c in found:
        answer = c.text.split()[-1]
        weights[answer] = weights.get(answer, 0.0) + lowest(c)
    total = sum(weights.values())
    assert {"7", "8"} <= set(weights)
    for c in found:
        answer = c.text.split()[-1]
        assert c.score == pytest.approx(weights[answer] / total if answer in "78" else 0.0)
    assert [c.score for c in found] == sorted((c.score for c in found), reverse=True)


def test_drawing_ends_when_an_answer_has_its_share_of_the_votes():
    early, late = (generated(everything(consensus=share, batch=4)) for share in (0.2, 1.0))
    assert len(early.candidates) <= 8
    assert early.cost.decode_tokens < late.cost.decode_tokens


def test_a_selection_may_choose_among_those_that_vote():
    voted = generated(everything())
    again = generated(everything() | dl.Vote())
    assert {c.tokens for c in voted.candidates} == {c.tokens for c in again.candidates}
    assert again.best.text.split()[-1] in ("7", "8")


def test_fewer_votes_than_samples_are_no_fault_of_a_constraint():
    found = dl.generate(MODEL, "", 'regex="sure 7" | deepconf(n=4, warmup=2)', max_new_tokens=3)  # warns of nothing
    assert [c.text for c in found[0].candidates] == ["sure 7", "sure 7"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("deepconf(n=0)", "deepconf: n must be an integer, at least 1, got 0"),
        ("deepconf(n=8)", "deepconf: warmup must be an integer in [1, 8], got 16"),
        ("deepconf(keep=0)", "deepconf: keep must be in (0, 1], got 0"),
        ("deepconf(consensus=1.5)", "deepconf: consensus must be in (0, 1], got 1.5"),
        ("deepconf(answer=nubmer)", "deepconf: answer must be"),
        ("deepconf(piece=0)", "deepconf: piece must be an integer, at least 1, got 0"),
    ],
)
def test_what_means_nothing_is_refused(text, message):
    with pytest.raises(InvalidParameter) as error:
        dl.parse(text)
    assert str(error.value).startswith(message)


def test_it_is_a_stage_that_says_when_there_is_nothing_to_give_up():
    check_stage(DeepConf(consensus=None, answer="letter"))
    assert "drawn whole" in str(DeepConf(n=16).no_effect())
