"""The watermark: the paper's distribution, that who has the key finds it, and that nobody else does."""

import math

import pytest
import torch

import decodelab as dl
from decodelab.core.errors import InvalidParameter, RequestError, UnknownToken

SIZE = 50
WORDS = [f"w{i}" for i in range(SIZE)]
MODEL = dl.TableModel(WORDS, {...: dict.fromkeys(WORDS, 1 / SIZE)}, eos=None)


def written(strategy: str, seed: int = 0, tokens: int = 200) -> tuple[int, ...]:
    (out,) = dl.generate(MODEL, "w0", strategy, max_new_tokens=tokens, seed=seed)
    return out.best.tokens


def test_green_tokens_gain_the_bias_and_red_ones_nothing(applied):
    mark = dl.Watermark(0.25, 2.0)
    got = applied(mark, torch.zeros(SIZE), prompt=[3])
    green = mark.green((3,), SIZE)
    assert len(green) == math.floor(0.25 * SIZE)
    assert got[green].tolist() == [2.0] * len(green)
    assert got.sum() == 2.0 * len(green)


def test_the_distribution_is_that_of_the_paper(applied):
    # Algorithm 2: p_k = exp(l_k + delta [k green]) / sum.
    logits = torch.linspace(-1, 1, SIZE)
    mark = dl.Watermark(0.5, 1.5)
    green = torch.zeros(SIZE).index_fill(0, mark.green((7,), SIZE), 1.0)
    weights = (logits + 1.5 * green).exp()
    torch.testing.assert_close(applied(mark, logits, prompt=[1, 7]).softmax(-1), weights / weights.sum())


def test_every_token_is_green_after_as_many_contexts_as_the_fraction_says():
    mark = dl.Watermark(0.3)
    counts = torch.zeros(SIZE)
    for before in range(1000):
        counts[mark.green((before,), SIZE)] += 1
    # 300 of 1,000, standard deviation 14.5; 5 of them would come by chance for one of the fifty once in 30,000 times.
    assert (counts - 300).abs().max() < 5 * 14.5


def test_key_and_context_decide_the_green_list_and_nothing_else():
    mark = dl.Watermark(0.5)
    lists = {
        frozenset(m.green(before, SIZE).tolist())
        for m in (mark, dl.Watermark(0.5, key=1), dl.Watermark(0.5, key=-1))
        for before in ((1,), (2,), (1, 2), (2, 1))
    }
    assert len(lists) == 12
    assert set(mark.green((1,), SIZE).tolist()) == set(dl.Watermark(0.5, bias=9.0).green((1,), SIZE).tolist())


def test_text_with_the_watermark_is_found_by_its_key_and_by_no_other():
    mark = dl.Watermark(0.25, 3.0, key=11)
    text = written(str(mark))
    score = dl.watermark_z(text, mark, SIZE, prompt_tokens=[0])
    assert score.z > 10
    assert score.p_value < 1e-20
    for other in (dl.Watermark(0.25, 3.0, key=12), dl.Watermark(0.25, 3.0, key=11, context=2)):
        assert abs(dl.watermark_z(text, other, SIZE).z) < 4


def test_text_without_it_has_z_of_mean_0_and_deviation_1():
    mark = dl.Watermark(0.25, key=5)
    (out,) = dl.generate(MODEL, "w0", "sample(n=60)", max_new_tokens=60, seed=3)
    z = torch.tensor([dl.watermark_z(c.tokens, mark, SIZE).z for c in out.candidates])
    # Standard errors 0.13 and 0.09; four of them.
    assert abs(float(z.mean())) < 0.52
    assert abs(float(z.std()) - 1) < 0.37


def test_the_score_is_the_papers_equation_3():
    mark = dl.Watermark(0.25)
    text = written("sample", tokens=40)
    score = dl.watermark_z(text, mark, SIZE, distinct=False)
    share = math.floor(0.25 * SIZE) / SIZE
    green = sum(text[i] in mark.green((text[i - 1],), SIZE).tolist() for i in range(1, len(text)))
    assert (score.scored, score.green) == (39, green)
    assert score.z == pytest.approx((green - share * 39) / math.sqrt(39 * share * (1 - share)))
    assert score.p_value == pytest.approx(0.5 * math.erfc(score.z / math.sqrt(2)))


def test_a_text_that_repeats_itself_is_scored_once():
    mark = dl.Watermark(0.25)
    once = dl.watermark_z([1, 2, 3], mark, SIZE)
    assert dl.watermark_z([1, 2, 3, 1, 2, 3, 1, 2, 3], mark, SIZE).scored == once.scored + 1  # and 3 before 1
    assert dl.watermark_z([1, 2, 3, 1, 2, 3, 1, 2, 3], mark, SIZE, distinct=False).scored == 8


def test_the_prompt_is_context_and_is_not_scored():
    mark = dl.Watermark(0.25, context=2)
    assert dl.watermark_z([1, 2, 3], mark, SIZE).scored == 1
    assert dl.watermark_z([1, 2, 3], mark, SIZE, prompt_tokens=[7, 8, 9]).scored == 3
    assert dl.watermark_z([1, 2, 3], mark, SIZE, prompt_tokens=[9]).scored == 2


def test_a_text_too_short_to_score_says_so():
    score = dl.watermark_z([1], dl.Watermark(), SIZE)
    assert (score.scored, score.green) == (0, 0)
    assert math.isnan(score.z)
    assert math.isnan(score.p_value)


def test_a_context_that_is_not_there_leaves_a_step_unmarked(applied):
    mark = dl.Watermark(0.25, context=3)
    assert not applied(mark, torch.zeros(SIZE), prompt=[1, 2]).any()
    assert applied(mark, torch.zeros(SIZE), prompt=[1, 2], generated=[3]).any()


def test_the_same_text_is_watermarked_alike_alone_and_in_a_batch(applied):
    mark = dl.Watermark(0.25)
    together = applied(mark, torch.zeros(3, SIZE), prompt=[[1], [2], [1]])
    for row, before in enumerate((1, 2, 1)):
        assert torch.equal(together[row], applied(mark, torch.zeros(SIZE), prompt=[before]))


@pytest.mark.parametrize("size", [1, 3, 4, 5, 151_936])
def test_any_size_of_vocabulary_has_its_share_of_green_tokens(size):
    green = dl.Watermark(0.5).green((1,), size)
    assert len(green.unique()) == size // 2
    assert not len(green) or (int(green.min()) >= 0 and int(green.max()) < size)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("watermark=0", "watermark: green_fraction must be in (0, 1), got 0"),
        ("watermark=1", "watermark: green_fraction must be in (0, 1), got 1"),
        ("watermark(bias=-1)", "watermark: bias must be in [0, 1e+30], got -1"),
        ("watermark(key=1.5)", "watermark: key must be an integer"),
        ("watermark(context=0)", "watermark: context must be an integer, at least 1, got 0"),
    ],
)
def test_an_invalid_watermark_is_refused(text, message):
    with pytest.raises(InvalidParameter) as error:
        dl.parse(text)
    assert str(error.value).startswith(message)


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(UnknownToken, match=r"^watermark: token id 50 is outside the vocabulary of 50"):
        dl.watermark_z([1, 50], dl.Watermark(), SIZE)
    with pytest.raises(RequestError, match=r"^watermark: green_fraction=0.25 of 3 tokens is less than one; raise it"):
        dl.watermark_z([1, 2], dl.Watermark(), 3)
    assert dl.parse("watermark(bias=0)").no_effects() == ["watermark(bias=0.0): a bias of 0 changes nothing"]
