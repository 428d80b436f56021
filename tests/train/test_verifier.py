"""Training of verifiers: what is learnt from, that a killed run ends with the same weights, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from decodelab import load_transformers
from decodelab.core.errors import InvalidData, InvalidParameter
from decodelab.core.protocols import RewardReading
from decodelab.models.loading import load_reward
from decodelab.pocket import task
from decodelab.train.verifier.data import Graded, TrainingData, is_held
from decodelab.train.verifier.training import VerifierRecipe, train_verifier

ITEMS = [task("sums").generate(seed, "train") for seed in range(12)]
SAMPLES = [
    Graded(item.prompt, text, right)
    for item in ITEMS
    for text, right in ((item.reference, True), (item.reference[:-3] + "0 1.", False), ("\n1+1=3", False))
]
RECIPE = {"base": "pocket-nano", "layers": 1, "steps": 5, "pairs": 2, "texts": 2}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole")
    return train_verifier(SAMPLES, VerifierRecipe(**RECIPE), out, threads=1, every=2)


def data(samples: list[Graded], context: int | None = None) -> TrainingData:
    base = load_transformers("pocket-nano")
    return TrainingData.of(samples, base.tokenizer, base.vocab_size, context or base.context_length)


def test_an_interrupted_run_ends_with_the_same_weights(finished, tmp_path):
    def stop(step: int, loss: float) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_verifier(SAMPLES, VerifierRecipe(**RECIPE), tmp_path, threads=1, every=2, observer=stop)
    assert not (tmp_path / "model.safetensors").exists()
    steps: list[int] = []
    train_verifier(
        SAMPLES, VerifierRecipe(**RECIPE), tmp_path, threads=1, every=2, observer=lambda step, loss: steps.append(step)
    )
    assert steps == [3, 4, 5]
    assert (tmp_path / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()
    curves = [(folder / "training" / "loss.jsonl").read_text().splitlines() for folder in (finished, tmp_path)]
    assert [json.loads(line)["loss"] for line in curves[0]] == [json.loads(line)["loss"] for line in curves[1]]


def test_a_verifier_is_read_alike_by_reward_and_by_transformers(finished):
    item = ITEMS[0]
    network = AutoModelForSequenceClassification.from_pretrained(finished).float().eval()
    tokens = AutoTokenizer.from_pretrained(finished)(item.prompt + item.reference, return_tensors="pt")
    with torch.inference_mode():
        expected = network(**tokens).logits.softmax(-1)[0, 1].item()
    verifier = load_reward(str(finished))
    assert verifier.labels == ("wrong", "right")
    assert verifier.rate(item.prompt, [item.reference], RewardReading()).values == pytest.approx([expected], abs=1e-5)
    assert network.config.num_hidden_layers == 5


def test_further_blocks_change_nothing_at_first():
    from decodelab.train.verifier.network import Verifier

    base = load_transformers("pocket-nano", dtype="float32").model
    tokens = torch.tensor([[1, 50, 60, 70]])
    with torch.inference_mode():
        assert torch.allclose(Verifier(base, 2, 0).network(tokens).logits, base(tokens).logits, atol=1e-6)


def test_a_step_sees_pairs_to_one_prompt_from_where_they_differ():
    right, wrong = ITEMS[0].reference, ITEMS[0].reference[:-3] + "0 1."
    one = data([Graded(ITEMS[0].prompt, right, True), Graded(ITEMS[0].prompt, wrong, False)]).pairs(0, 0, 3)
    assert one.right.tolist() == [1, 0] * 3
    first, second = one.tokens[0].tolist(), one.tokens[1].tolist()
    differ = next(i for i, (a, b) in enumerate(zip(first, second, strict=True)) if a != b)
    assert one.differs[0].nonzero()[0].item() == one.differs[1].nonzero()[0].item() == differ
    same, other = (data(SAMPLES).pairs(0, step, 4) for step in (7, 8))
    assert torch.equal(same.tokens, data(SAMPLES[::-1]).pairs(0, 7, 4).tokens) or same.tokens.shape[0] == 8
    assert same.tokens.shape != other.tokens.shape or not torch.equal(same.tokens, other.tokens)


def test_held_out_prompts_depend_on_the_prompt_alone():
    held = [prompt for prompt in map(str, range(2000)) if is_held(prompt, 0.2)]
    assert 340 < len(held) < 460
    assert {prompt for prompt in held if is_held(prompt, 0.1)} < set(held)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], r"there are no graded answers to learn from \(0 different ones"),
        ([s for s in SAMPLES if s.right], "there are only right answers to learn from"),
        ([s for s in SAMPLES if not s.right], "there are only wrong answers to learn from"),
        ([Graded("a", " b" * 600, True), Graded("a", " c", False)], r"only wrong answers .* 1 too long"),
    ],
)
def test_answers_that_teach_nothing_are_refused(samples, message):
    with pytest.raises(InvalidData, match=message):
        data(samples)


def test_another_run_in_the_directory_is_refused(finished):
    for changed, what in (({"steps": 6}, "steps"), ({"language": 0.5}, "language")):
        with pytest.raises(InvalidData, match=rf"is a checkpoint of another run \({what} differ\)"):
            train_verifier(SAMPLES, VerifierRecipe(**{**RECIPE, **changed}), finished)
    with pytest.raises(InvalidData, match=r"\(answers differ\)"):
        train_verifier(SAMPLES[:-1], VerifierRecipe(**RECIPE), finished)


def test_numbers_out_of_range_are_refused():
    for changed in ({"steps": 0}, {"layers": -1}, {"muon_rate": float("nan")}):
        with pytest.raises(InvalidParameter, match="must be at least"):
            VerifierRecipe(**{**RECIPE, **changed})
