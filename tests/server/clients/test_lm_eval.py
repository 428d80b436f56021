"""lm-evaluation-harness: the same items by its own model class and through this server (`make clients`)."""

from __future__ import annotations

import csv
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from decodelab.models.loading import list_models

lm_eval: Any = pytest.importorskip("lm_eval", reason="needs lm-eval: make clients")

TASK = """
task: medicine
dataset_path: csv
dataset_kwargs: {{data_files: {{test: "{file}"}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}} A. {{{{choice0}}}} B. {{{{choice1}}}} C. {{{{choice2}}}} D. {{{{choice3}}}} Answer:"
doc_to_choice: ["A", "B", "C", "D"]
doc_to_target: answer
metric_list: [{{metric: acc}}]
"""
PROMPTS = ("Once upon a time", "What is 27 + 35?", "The cat", "In a forest")


@pytest.fixture(scope="module")
def folder() -> str:
    """The files of the model."""
    return str(next(info.path for info in list_models() if info.name == "pocket-nano"))


@pytest.fixture(scope="module")
def theirs(folder: str) -> Any:
    """The harness's own model class."""
    return import_module("lm_eval.models.huggingface").HFLM(
        pretrained=folder, device="cpu", batch_size=1, dtype="float32"
    )


@pytest.fixture(scope="module")
def ours(address: str, folder: str) -> Any:
    """Its client, which begins texts as the model's tokenizer does."""
    api = import_module("lm_eval.models.openai_completions").LocalCompletionsAPI
    return api(
        base_url=f"{address}/v1/completions",
        model="nano",
        tokenizer=folder,
        add_bos_token=True,
        num_concurrent=4,
        max_length=512,
    )


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.mark.skipif("DECODELAB_DATA" not in os.environ, reason="needs DECODELAB_DATA")
@pytest.mark.usefixtures("offline")
def test_log_likelihoods_of_a_task_are_equal_item_by_item(theirs: Any, ours: Any, tmp_path: Path) -> None:
    source = Path(os.environ["DECODELAB_DATA"]) / "mmlu_med" / "college_medicine_test.csv"
    with source.open(encoding="utf-8", newline="") as lines:
        head, *rows = csv.reader(lines)
    with (file := tmp_path / "medicine.csv").open("w", encoding="utf-8", newline="") as lines:
        fits = [row for row in rows if sum(map(len, row)) < 400]  # what is cut off, the two cut off differently
        csv.writer(lines).writerows([head, *fits])
    (tmp_path / "medicine.yaml").write_text(TASK.format(file=file))
    tasks = import_module("lm_eval.tasks").TaskManager(include_path=str(tmp_path), include_defaults=False)
    found = [
        lm_eval.simple_evaluate(model=lm, tasks=["medicine"], task_manager=tasks, limit=25, bootstrap_iters=0)
        for lm in (theirs, ours)
    ]
    one, other = (result["samples"]["medicine"] for result in found)
    assert len(one) == 25
    for a, b in zip(one, other, strict=True):
        for (x, greedy_x), (y, greedy_y) in zip(a["filtered_resps"], b["filtered_resps"], strict=True):
            assert float(x) == pytest.approx(float(y), abs=1e-4)
            assert str(greedy_x) == str(greedy_y)
    assert found[0]["results"]["medicine"]["acc,none"] == found[1]["results"]["medicine"]["acc,none"]


def test_greedy_texts_are_equal(theirs: Any, ours: Any) -> None:
    instance = import_module("lm_eval.api.instance").Instance
    requests = [
        instance("generate_until", {}, (prompt, {"until": ["."], "max_gen_toks": 24, "temperature": 0}), 0)
        for prompt in PROMPTS
    ]
    assert theirs.generate_until(requests) == ours.generate_until(requests)
