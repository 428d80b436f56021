"""inspect_ai through its provider for servers of OpenAI's API (`make clients`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import decodelab as dl
from decodelab.core.protocols import LanguageModel

inspect_ai: Any = pytest.importorskip("inspect_ai", reason="needs inspect-ai: make clients")
QUESTIONS = ("What is 27 + 35?", "What is 12 + 30?", "What is 5 + 9?")


def test_an_evaluation_sees_what_generate_gives(
    address: str, nano: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inspect_ai.dataset import Sample  # pyright: ignore[reportMissingImports]
    from inspect_ai.scorer import includes  # pyright: ignore[reportMissingImports]
    from inspect_ai.solver import generate  # pyright: ignore[reportMissingImports]

    monkeypatch.setenv("DECODELAB_API_KEY", "none")
    monkeypatch.setenv("DECODELAB_BASE_URL", f"{address}/v1")
    made = dl.generate(nano, [dl.Chat.of(question) for question in QUESTIONS], "greedy", max_new_tokens=40)
    task = inspect_ai.Task(
        dataset=[Sample(input=q, target=one.best.text[-4:]) for q, one in zip(QUESTIONS, made, strict=True)],
        solver=generate(),
        scorer=includes(),
    )
    (log,) = inspect_ai.eval(
        task, model="openai-api/decodelab/nano", temperature=0, max_tokens=40, log_dir=str(tmp_path), display="none"
    )
    assert log.status == "success", log.error
    assert [sample.output.completion for sample in log.samples] == [one.best.text for one in made]
    assert log.results.scores[0].metrics["accuracy"].value == 1.0
