"""Small plans over the smallest model, and journals of answers that no model gave."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decodelab.bench.plan import Plan
from decodelab.bench.records import Answer, ItemView, Score, WorkItem
from decodelab.bench.stats.comparison import Results, compare
from decodelab.bench.store.journal import Journal
from decodelab.tasks.response import Lack

Table = Callable[[Plan, Journal], object]


@pytest.fixture
def small() -> Callable[..., Plan]:
    """A plan of two strategies on three sums, with whatever is to be different."""

    def make(**changes: Any) -> Plan:
        given: dict[str, Any] = {
            "models": ["pocket-nano"],
            "strategies": {"greedy": "greedy", "hot": "temperature=1.5"},
            "tasks": [{"name": "pocket-sums", "items": 3, "max_new_tokens": 40}],
        }
        return Plan.model_validate(given | changes)

    return make


@pytest.fixture
def table() -> Table:
    """Everything the tables of a sweep show but how long it took."""

    def table(plan: Plan, journal: Journal) -> object:
        results = compare(plan, journal)
        rows = [replace(row, seconds=0.0) for row in results.cells]
        # What is computed from log-probabilities depends on the company in their last bits.
        return repr(rows), results.winners, results.agreement, [round(c.ece.value, 6) for c in results.calibration]

    return table


@pytest.fixture
def plan_file(tmp_path: Path) -> Callable[[str], Path]:
    """A plan as a file."""

    def write(text: str) -> Path:
        file = tmp_path / "plan.yaml"
        file.write_text(text)
        return file

    return write


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., Results]:
    """What tables say of given scores."""

    def told(
        scores: Any,
        *,
        task: str = "pocket-sums",
        prompts: Sequence[str] | None = None,
        margin: float = 0.05,
        read: Callable[[int, int, int], Any] = lambda strategy, item, sample: "an answer",
        lacks: Callable[[int, int, int], Lack] = lambda strategy, item, sample: "unreadable",
        changes: Callable[[int, int, int], dict[str, Any]] = lambda strategy, item, sample: {},
        answered_only: bool = False,
    ) -> Results:
        """Tables of scores [repetitions, strategies, items, samples], each repetition under a model's name of its own.

        NaN is an answer that is not there. `read` is what the task read from an answer, by strategy, item and sample,
        None for nothing, and `lacks` why; `changes` is what is to be different in its record.
        """
        scores = np.asarray(scores, dtype=float)
        repetitions, strategies, items, samples = scores.shape
        models = [f"repetition {i}" for i in range(repetitions)]
        names = [f"s{i}" for i in range(strategies)]
        given = {"models": models, "strategies": dict.fromkeys(names, "greedy"), "tasks": [{"name": task}]}
        given |= {"margin": margin}
        plan = Plan.model_validate(given)
        shown = [ItemView(str(i), prompts[i] if prompts else str(i), None, f"{i}") for i in range(items)]
        empty = Answer(
            "", "m", "d", "greedy", "", 0, "0", "[]", "", (7,), (-0.5,), (-0.5,), "eos", 5, 5, 3, 3, 100, 0.5
        )
        with Journal(tmp_path / "journal", writing=True) as journal:
            journal.begin(plan.model_dump_json(), plan.digest, {task: shown})
            for model, of_model in zip(models, scores, strict=True):
                asked, records, scored = [], [], []
                for strategy, item in np.ndindex(strategies, items):
                    keys = tuple(f"{model} {strategy} {item} {sample}" for sample in range(samples))
                    asked.append(WorkItem(model, task, str(item), names[strategy], keys=keys))
                    for sample, (key, score) in enumerate(zip(keys, of_model[strategy, item].tolist(), strict=True)):
                        if not math.isnan(score):
                            records.append(replace(empty, key=key, sample=sample, **changes(strategy, item, sample)))
                            answer = read(strategy, item, sample)
                            why = lacks(strategy, item, sample) if answer is None else None
                            scored.append(Score(key, f"{item}", task, str(item), score, answer, why))
                journal.ask(plan.digest, model, asked)
                journal.add(records, scored)
            return compare(plan, journal, answered_only=answered_only)

    return told
