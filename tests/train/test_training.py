"""Training: batches follow from the step, a killed run ends with the same weights, bad input is refused."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from decodelab.pocket.language import Document, document
from decodelab.train.data import BALANCE, FACT, NO_LOSS, batches, encode
from decodelab.train.drills import drill
from decodelab.train.pocket import main, train_pocket
from decodelab.train.recipe import RECIPES, Recipe
from decodelab.train.tokenizer import train_tokenizer

TINY = Recipe(
    "tiny",
    hidden=16,
    layers=1,
    heads=2,
    key_value_heads=1,
    intermediate=32,
    steps=10,
    batch=768,
    warm_up=2,
)
KILLED = """
import os, signal, sys
from decodelab.train.pocket import train_pocket
from decodelab.train.recipe import Recipe

def stop(step, loss):
    if step == 7:
        os.kill(os.getpid(), signal.SIGKILL)

train_pocket(Recipe(**{recipe}), sys.argv[1], threads=1, every=3, observer=stop)
"""


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(documents=100)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that nothing disturbed."""
    return train_pocket(TINY, tmp_path_factory.mktemp("whole"), threads=1, every=3)


@pytest.fixture
def out(finished, tmp_path):
    """A directory for another run, which finds its tokenizer ready: to learn it again would take seconds."""
    shutil.copytree(finished / "training" / "tokenizer", tmp_path / "training" / "tokenizer")
    return tmp_path


def test_a_run_killed_in_the_middle_ends_with_the_same_weights(finished, out):
    code = KILLED.format(recipe=dataclasses.asdict(TINY))
    killed = subprocess.run([sys.executable, "-c", code, str(out)], env={"PYTHONPATH": ":".join(sys.path)})
    assert killed.returncode == -signal.SIGKILL
    assert not (out / "model.safetensors").exists()
    state = json.loads((out / "training" / "checkpoint" / "state.json").read_text())
    assert state["step"] == 6
    steps = []
    train_pocket(TINY, out, threads=1, every=3, observer=lambda step, loss: steps.append(step))
    assert steps == [7, 8, 9, 10]
    for file in (
        "model.safetensors",
        "training/checkpoint/model.safetensors",
        "training/checkpoint/muon.safetensors",
    ):
        assert (out / file).read_bytes() == (finished / file).read_bytes()
    losses = [
        [
            (line["step"], line["loss"])
            for line in map(json.loads, (run / "training/loss.jsonl").read_text().splitlines())
        ]
        for run in (out, finished)
    ]
    assert losses[0] == losses[1]
    assert [step for step, _ in losses[0]] == list(range(1, 11))


def test_a_finished_run_is_a_model_directory_for_transformers(finished):
    files = {file.name for file in finished.iterdir() if file.is_file()}
    assert files >= {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "README.md",
                     "tokenizer_config.json", "chat_template.jinja", "training.json"}  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(finished)
    assert model.dtype == torch.bfloat16
    kept = load_file(finished / "training" / "checkpoint" / "model.safetensors")
    assert torch.equal(model.model.embed_tokens.weight, kept["model.embed_tokens.weight"].bfloat16())
    assert model.generation_config.do_sample
    assert "| 10 |" in (finished / "README.md").read_text()


def test_running_again_changes_nothing(finished):
    before = (finished / "model.safetensors").read_bytes()
    steps = []
    train_pocket(TINY, finished, threads=1, every=3, observer=lambda step, loss: steps.append(step))
    assert steps == []
    assert (finished / "model.safetensors").read_bytes() == before


def test_a_run_killed_while_it_replaced_its_checkpoint_goes_on_from_the_old_one(finished, out):
    shutil.copytree(finished / "training" / "checkpoint", out / "training" / "checkpoint.old")
    (out / "training" / "checkpoint.new").mkdir()
    (out / "training" / "checkpoint.new" / "model.safetensors").write_bytes(b"half")
    shutil.copy(finished / "training" / "loss.jsonl", out / "training" / "loss.jsonl")
    steps = []
    longer = dataclasses.replace(TINY, steps=11)
    train_pocket(longer, out, threads=1, observer=lambda step, loss: steps.append(step))
    assert steps == [11]
    assert {file.name for file in (out / "training").iterdir()} == {"checkpoint", "loss.jsonl", "tokenizer"}


def test_starting_afresh_forgets_the_checkpoint_and_gives_the_same_weights(finished, out):
    shutil.copytree(finished / "training", out / "training", dirs_exist_ok=True)
    steps = []
    train_pocket(TINY, out, threads=1, resume=False, observer=lambda step, loss: steps.append(step))
    assert steps == list(range(1, 11))
    assert (out / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()


def test_a_checkpoint_of_another_run_is_refused(finished):
    with pytest.raises(ValueError, match=r"another run \(hidden differ\); choose another directory"):
        train_pocket(dataclasses.replace(TINY, hidden=32), finished, threads=1)
    with pytest.raises(ValueError, match=r"another run \(seed differ\)"):
        train_pocket(TINY, finished, threads=1, seed=1)
    with pytest.raises(ValueError, match="already at step 10, got 5"):
        train_pocket(TINY, finished, threads=1, steps=5)


def test_the_loss_falls_and_threads_and_the_global_generator_are_left_as_they_were(out):
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    losses = []
    recipe = dataclasses.replace(TINY, steps=40, warm_up=5, adam_rate=0.02)
    train_pocket(recipe, out, threads=1, observer=lambda step, loss: losses.append(loss))
    assert losses[0] == pytest.approx(6.93, abs=0.2)  # log 1024: nothing known
    assert losses[-1] < losses[0] - 1
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)


def test_batches_are_functions_of_seed_and_step(tokenizer):
    def tokens(seed, step):
        return [each.tokens.tolist() for each in batches(tokenizer, seed, step, 1024, 512)]

    assert tokens(0, 5) == tokens(0, 5)
    assert tokens(0, 5) != tokens(0, 6)
    assert tokens(0, 5) != tokens(1, 5)


@pytest.mark.parametrize("step", [0, 1, 500, 501])
def test_a_step_is_rows_of_three_widths_filled_with_whole_documents(tokenizer, step):
    groups = batches(tokenizer, 0, step, 3072, 512)
    assert [data.tokens.shape for data in groups] == [(14, 128), (3, 256), (1, 512)]
    for data in groups:
        for tokens in data.tokens.tolist():
            text = [token for token in tokens if token != tokenizer.pad_token_id]
            assert tokens[: len(text)] == text  # padding comes last
            assert text[0] == tokenizer.bos_token_id
            assert text[-1] == tokenizer.eos_token_id
            assert text.count(tokenizer.bos_token_id) == text.count(tokenizer.eos_token_id)
    padding = sum(int((data.tokens == tokenizer.pad_token_id).sum()) for data in groups)
    assert padding < 0.2 * 3072


def test_documents_see_themselves_only_except_in_every_fourth_long_row(tokenizer):
    for step in range(4):
        groups = batches(tokenizer, 0, step, 2048, 512)
        for data, joined in zip(groups, (False, False, step == 0), strict=True):
            starts = (data.tokens == tokenizer.bos_token_id).cumsum(-1)
            length = data.tokens.shape[1]
            causal = torch.ones(length, length, dtype=torch.bool).tril()
            same = starts[:, :, None] == starts[:, None, :]
            text = (data.tokens != tokenizer.pad_token_id)[:, :, None]
            wanted = causal if joined else same & causal
            seen = data.mask[:, 0] == 0
            assert torch.equal(seen & text, wanted & text)
            assert seen.any(-1).all()  # a row that sees nothing would give NaN


def test_labels_are_answers_and_never_the_start_of_a_document(tokenizer):
    text = ""
    for data in batches(tokenizer, 0, 0, 4096, 512):
        learned = data.labels != NO_LOSS
        assert torch.equal(data.labels[learned], data.tokens[learned])
        assert not (data.labels == tokenizer.bos_token_id).any()
        assert 0.2 < learned.float().mean() < 0.9
        text += tokenizer.decode(data.labels[learned])
    # What is asked of a sum is random and not learned; its working is, and stories are from the first word.
    assert "What is" not in text
    assert "The answer is" in text
    assert "Once upon a time" in text
    # No story goes on with a summary nobody asked for.
    assert "TL;DR" not in text


def test_a_document_counts_by_its_length_and_repeated_facts_more(tokenizer):
    story = Document(" Tom saw the sea. Tom", " saw the sea.", facts=("Tom", "sea"))
    encoded = encode(tokenizer, story)
    heavy = [
        token for token, weight in zip(encoded.prompt + encoded.answer, encoded.weights, strict=True) if weight == FACT
    ]
    assert tokenizer.decode(heavy).strip() == "sea"
    assert set(encoded.weights[len(encoded.prompt) :]) == {1.0, FACT}
    assert set(encoded.weights[: len(encoded.prompt)]) == {0.0}  # nothing of the prompt was to be learnt
    for data in batches(tokenizer, 0, 1, 2048, 512):
        weights = data.weights[data.labels != NO_LOSS]
        lightest = weights.min()
        # The longest document weighs least a label, and labels of a document differ by the weight of facts only.
        assert lightest >= 512**-BALANCE
        assert weights.max() <= FACT


def test_a_summary_teaches_its_story_too_but_not_the_request(tokenizer):
    each = next(d for d in (document("summaries", seed) for seed in range(50)) if not d.chat)
    encoded = encode(tokenizer, each)
    learnt = [token for token, weight in zip(encoded.prompt, encoded.weights, strict=False) if weight]
    assert tokenizer.decode(learnt) == each.prompt.removesuffix("\nTL;DR:")


def test_a_drill_says_the_same_three_times(tokenizer):
    drills = [drill(seed) for seed in range(100)]
    tellings = [(d.prompt.removeprefix("Facts: ") + d.answer).removesuffix(".").split(". ") for d in drills]
    assert all(len(told) == 3 for told in tellings)
    assert all(len({frozenset(line.split(", ")) for line in told}) == 1 for told in tellings)
    same_order = [len(set(told)) == 1 for told in tellings]
    assert 0.3 < sum(same_order) / 100 < 0.7


def test_the_first_telling_of_a_fact_is_free(tokenizer):
    told = encode(tokenizer, Document("", " Ann met Tom. Ann", facts=("Ann", "Tom")))
    assert [weight for weight in told.weights if weight == FACT] == [FACT]


def test_the_schedule_warms_up_stays_and_ends_at_zero():
    recipe = dataclasses.replace(RECIPES["nano"], steps=1000, warm_up=100, decay=0.2)
    assert recipe.rate(0) == 0.01
    assert recipe.rate(99) == recipe.rate(500) == recipe.rate(800) == 1.0
    assert recipe.rate(850) == 0.5
    assert recipe.rate(1000) == 0.0


def test_a_restart_follows_the_fall_and_ends_at_zero_too():
    once = dataclasses.replace(RECIPES["nano"], steps=1000)
    again = dataclasses.replace(once, steps=1400, restart=400, restart_rate=0.5)
    assert [again.rate(step) for step in range(1000)] == [once.rate(step) for step in range(1000)]
    assert [again.rate(step) for step in (1000, 1200, 1400)] == [0.5, 0.25, 0.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "huge", "--out", "OUT"], "size: got 'huge'; choose one of nano, small"),
        (["--size", "nano", "--out", "OUT", "--steps", "0"], "steps: must be at least 1, got 0"),
        (["--size", "nano", "--out", "OUT", "--steps", "-3"], "steps: must be at least 1, got -3"),
        (["--size", "nano", "--out", "FILE/model"], "FILE"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, tmp_path, capsys):
    (tmp_path / "FILE").write_text("")
    before = sorted(tmp_path.iterdir())
    where = [a.replace("OUT", str(tmp_path / "OUT")).replace("FILE", str(tmp_path / "FILE")) for a in arguments]
    assert main(where) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.replace("FILE", str(tmp_path / "FILE")) in last
    assert sorted(tmp_path.iterdir()) == before
