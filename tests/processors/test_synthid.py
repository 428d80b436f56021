"""SynthID-Text: transformers' distribution step by step, the tournament's law, and what the detector finds."""

import math
from itertools import product
from typing import Any

import pytest
import torch
from transformers.generation.logits_process import SynthIDTextWatermarkLogitsProcessor

import decodelab as dl
from decodelab.core.errors import InvalidParameter, UnknownToken

SIZE = 50
KEYS = [654, 400, 836, 123, 340, 443, 597, 160, 57]
WORDS = [f"w{i}" for i in range(SIZE)]
MODEL = dl.TableModel(WORDS, {...: dict.fromkeys(WORDS, 1 / SIZE)}, eos=None)


def theirs(mark: dl.SynthID) -> Any:
    return SynthIDTextWatermarkLogitsProcessor(
        ngram_len=mark.ngram_len,
        keys=list(mark.keys),
        sampling_table_size=mark.sampling_table_size,
        sampling_table_seed=mark.sampling_table_seed,
        context_history_size=mark.context_history_size,
        device=torch.device("cpu"),
    )


def written(strategy: str, seed: int = 0, tokens: int = 100) -> tuple[int, ...]:
    return dl.generate(MODEL, "w0", strategy, max_new_tokens=tokens, seed=seed)[0].best.tokens


@pytest.mark.parametrize(
    "mark",
    [
        dl.SynthID(KEYS),
        dl.SynthID([*KEYS, -5, 2**62], ngram_len=2),  # contexts repeat
        dl.SynthID(KEYS[:1], ngram_len=2, context_history_size=2, sampling_table_size=1000, sampling_table_seed=7),
        dl.SynthID(KEYS[:3], ngram_len=3, context_history_size=0),
    ],
    ids=str,
)
def test_step_by_step_the_distribution_is_that_of_transformers(mark):
    generator = torch.Generator().manual_seed(0)
    oracle, state = theirs(mark), mark.init([(1, 2), (3,), (4,)], MODEL.vocab, None)  # pyright: ignore[reportArgumentType]
    text = torch.tensor([[1, 2], [0, 3], [0, 4]])
    unmarked = 0
    for _ in range(20):
        logits = 2 * torch.randn(3, SIZE, generator=generator)
        logits[0, :30] = -torch.inf  # a truncation stands before it
        want = oracle(text, logits.clone()).softmax(-1)
        got = mark.apply(logits, state)
        torch.testing.assert_close(got.softmax(-1), want, rtol=2e-4, atol=1e-7)
        unmarked += int((got == logits).all(-1).sum())
        tokens = torch.randint(4, (3,), generator=generator)
        text, state = torch.cat([text, tokens[:, None]], dim=1), mark.update(state, logits, tokens)
    assert (unmarked > 0) == (mark.ngram_len == 2)


def test_it_is_the_distribution_of_the_winner_of_a_tournament(applied):
    # The paper's algorithm, by enumeration: 2^2 draws from p, pairs in two layers, a tie is decided by a coin toss.
    probs = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    mark = dl.SynthID([11, 29])
    context = mark.init([()], MODEL.vocab, None).hashes()  # pyright: ignore[reportArgumentType]
    hashes = (context + torch.arange(4)) * 6364136223846793005 + 1
    entrants = {field: float(probs[list(field)].prod()) for field in product(range(4), repeat=4)}
    for key in mark.keys:
        g = mark.coins(hashes, key).tolist()
        after: dict[tuple[int, ...], float] = {}
        for field, weight in entrants.items():
            rounds: list[tuple[tuple[int, ...], float]] = [((), weight)]
            for a, b in zip(field[::2], field[1::2], strict=True):
                winners = [(a, 0.5), (b, 0.5)] if g[a] == g[b] else [(a if g[a] else b, 1.0)]
                rounds = [((*won, w), share * p) for won, share in rounds for w, p in winners]
            for won, share in rounds:
                after[won] = after.get(won, 0.0) + share
        entrants = after
    expected = [entrants.get((token,), 0.0) for token in range(4)]
    assert applied(mark, probs.log()).softmax(-1).tolist() == pytest.approx(expected, abs=1e-6)
    assert expected != pytest.approx(probs.tolist(), abs=1e-3)


def test_averaged_over_keys_the_distribution_is_unchanged(applied):
    probs = torch.tensor([0.5, 0.3, 0.15, 0.05])
    got = [applied(dl.SynthID([3 * k, 3 * k + 1]), probs.log()).softmax(-1) for k in range(500)]
    assert torch.stack(got).mean(0).tolist() == pytest.approx(probs.tolist(), abs=0.035)


def test_a_text_with_the_watermark_is_found_by_its_keys_and_by_no_others():
    mark = dl.SynthID(KEYS)
    text = written(str(mark))
    score = dl.synthid_z(text, mark)
    assert score.scored == 96
    assert score.mean > 0.6
    assert score.z > 5
    assert score.p_value < 1e-6
    for other in (dl.SynthID([k + 1000 for k in KEYS]), dl.SynthID(KEYS, ngram_len=4)):
        assert abs(dl.synthid_z(text, other).z) < 4


def test_the_coins_and_what_is_masked_are_those_of_transformers():
    mark = dl.SynthID(KEYS, ngram_len=3, context_history_size=4)
    text = [1, 2, 3, 1, 2, 4, 5, 6, 7, 8, 1, 2, 9]  # 1 2 comes again after 2 contexts, and again after 6
    ids = torch.tensor([text])
    coins = theirs(mark).compute_g_values(ids)[0].double()
    kept = theirs(mark).compute_context_repetition_mask(ids)[0]
    weights = torch.linspace(10, 1, len(KEYS), dtype=torch.float64)
    score = dl.synthid_z(text, mark)
    assert score.scored == int(kept.sum()) == len(text) - 2 - 1
    assert score.mean == pytest.approx(float(coins[kept].mean()))
    assert score.weighted_mean == pytest.approx(float((coins[kept] @ weights).mean() / weights.sum()))


def test_a_text_without_it_has_z_of_mean_0_and_deviation_1():
    mark = dl.SynthID(KEYS)
    (out,) = dl.generate(MODEL, "w0", "sample(n=50)", max_new_tokens=30, seed=3)
    z = torch.tensor([dl.synthid_z(c.tokens, mark).z for c in out.candidates])
    # Standard errors 0.14 and 0.1; four of them.
    assert abs(float(z.mean())) < 0.57
    assert abs(float(z.std()) - 1) < 0.4


def test_a_text_that_repeats_itself_is_scored_once():
    mark = dl.SynthID(KEYS, ngram_len=3, context_history_size=1)  # too short a history to notice
    assert dl.synthid_z([1, 2, 3] * 10, mark).scored == 3


def test_a_text_too_short_to_score_says_so():
    for text in ([], [1, 2, 3, 4]):
        score = dl.synthid_z(text, dl.SynthID(KEYS))
        assert score.scored == 0
        assert math.isnan(score.z)
        assert math.isnan(score.p_value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("synthid=[]", "synthid: keys must be one or more integers below 2**63, all different"),
        ("synthid=7", "synthid: keys must be one or more integers"),
        ("synthid=[1.5]", "synthid: keys must be one or more integers"),
        ("synthid=secret", "synthid: keys must be one or more integers"),
        ("synthid=[1, 65537]", "synthid: keys must be one or more integers below 2**63, all different modulo"),
        ("synthid(keys=[1], ngram_len=1)", "synthid: ngram_len must be an integer, at least 2, got 1; use 5"),
        ("synthid(keys=[1], context_history_size=-1)", "synthid: context_history_size must be an integer, at least 0"),
        ("synthid(keys=[1], sampling_table_size=1)", "synthid: sampling_table_size must be an integer in [2, "),
    ],
)
def test_an_invalid_watermark_is_refused(text, message):
    with pytest.raises(InvalidParameter) as error:
        dl.parse(text)
    assert str(error.value).startswith(message)


def test_what_is_no_text_is_refused():
    with pytest.raises(UnknownToken, match=r"^synthid: token ids must be at least 0, got -1; "):
        dl.synthid_z([1, -1, 3], dl.SynthID(KEYS))
