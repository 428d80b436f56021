"""Adaptive-p: llama.cpp's rule, and that the average of the chosen probabilities reaches the target."""

import math

import pytest
import torch

import decodelab as dl
from decodelab.core.key import Keys

VOCAB = dl.TableModel(list("abcdef"), {}, eos=None).vocab


def started(stage: dl.AdaptiveP, rows: int = 1):
    return stage.init([(0,)] * rows, VOCAB, Keys.of(0, [0], range(rows)))


def expected_logits(distribution: list[float], aim: float) -> list[float]:
    """The transformation, as the author writes it down, in plain Python."""
    distances = [abs(p - aim) / 0.3 for p in distribution]
    return [5 - 10 * d * d / (1 + d) for d in distances]


@pytest.mark.parametrize("target", [0.0, 0.3, 0.75, 1.0])
def test_the_first_step_aims_at_the_target_itself(target):
    distribution = [0.55, 0.25, 0.15, 0.05]
    got = dl.AdaptiveP(target).apply(torch.tensor([distribution]).log(), started(dl.AdaptiveP(target)))
    assert got[0].tolist() == pytest.approx(expected_logits(distribution, target), abs=1e-5)


def test_each_choice_moves_the_aim_to_the_other_side_of_the_target():
    stage, logits = dl.AdaptiveP(0.4, decay=0.5), torch.tensor([[0.7, 0.2, 0.1]]).log()
    state = started(stage)
    weighted, weight = 0.4 / 0.5, 1 / 0.5
    for token, p in ((0, 0.7), (2, 0.1), (0, 0.7)):
        state = stage.update(state, logits, torch.tensor([token]))
        weighted, weight = p + 0.5 * weighted, 1 + 0.5 * weight
        aim = min(max(2 * 0.4 - weighted / weight, 0), 1)
        assert float(stage.observe(logits, state)["aim"][0]) == pytest.approx(aim, abs=1e-7)
        got = stage.apply(logits, state)[0].tolist()
        assert got == pytest.approx(expected_logits([0.7, 0.2, 0.1], aim), abs=1e-5)


def test_without_memory_only_the_last_choice_counts():
    stage, logits = dl.AdaptiveP(0.5, decay=0.0), torch.tensor([[0.8, 0.2]]).log()
    state = stage.update(started(stage), logits, torch.tensor([1]))
    assert float(stage.observe(logits, state)["average"][0]) == pytest.approx(0.2)
    assert float(stage.observe(logits, state)["aim"][0]) == pytest.approx(0.8)


def test_the_aim_stays_a_probability():
    stage, logits = dl.AdaptiveP(0.9, decay=0.0), torch.tensor([[0.999, 0.001]]).log()
    low = stage.update(started(stage), logits, torch.tensor([1]))
    assert stage.observe(logits, low)["aim"].tolist() == [1.0]
    stage = dl.AdaptiveP(0.1, decay=0.0)
    high = stage.update(started(stage), logits, torch.tensor([0]))
    assert stage.observe(logits, high)["aim"].tolist() == [0.0]


def test_what_was_removed_stays_removed():
    logits = torch.tensor([[0.0, -math.inf, 1.0]])
    stage = dl.AdaptiveP(0.3)
    assert stage.apply(logits, started(stage)).isinf().tolist() == [[False, True, False]]


def test_the_average_probability_of_the_chosen_tokens_moves_to_the_target():
    row = {"a": 0.45, "b": 0.25, "c": 0.15, "d": 0.1, "e": 0.04, "f": 0.01}
    model = dl.TableModel(list("abcdef"), {...: row}, bos="<s>", eos=None)

    def average(strategy: str) -> float:
        (g,) = dl.generate(model, "", f"{strategy}sample(n=20)", max_new_tokens=60)
        return sum(list(row.values())[t] for c in g.candidates for t in c.tokens) / 1200

    assert average("") == pytest.approx(sum(p * p for p in row.values()), abs=0.02)  # 0.2977
    # The feedback is proportional: it comes near the target, not to it.
    for target in (0.2, 0.4):
        assert average(f"adaptive_p={target} | ") == pytest.approx(target, abs=0.03)
