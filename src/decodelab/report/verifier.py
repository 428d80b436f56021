"""How well a verifier tells answers apart and chooses among them: as a table, as JSON, and on its card."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from decodelab.bench.verifying import Choice
from decodelab.io.atomic import write_text
from decodelab.io.text import printable
from decodelab.metrics.estimate import Estimate
from decodelab.report.console import console, print_table
from decodelab.train.verifier.training import RECORD

SCORES = "scores.json"


def choices_data(choices: Sequence[Choice]) -> list[dict[str, Any]]:
    """The figures, JSON-ready: what is not a number is null."""
    return json.loads(json.dumps([_finite(asdict(choice)) for choice in choices]))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(own) for key, own in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_choices(choices: Sequence[Choice]) -> None:
    """A table of each task and model on stdout."""
    for choice in choices:
        table = Table("answers chosen", "score", "verifier's best minus it", title=printable(_title(choice)))
        for name, score, difference in _rows(choice):
            table.add_row(printable(name), score, difference)
        print_table(table)
        console().print(printable(_told_apart(choice)))


def write_card(out: Path, choices: Sequence[Choice], answers: str) -> None:
    """Write the figures and the model card, `README.md`, beside a verifier; `answers` is the plan it learnt from."""
    write_text(out / SCORES, json.dumps(choices_data(choices), indent=1) + "\n")
    record = json.loads((out / RECORD).read_text(encoding="utf-8"))
    recipe = record["recipe"]
    further = f" with {recipe['layers']} further blocks" if recipe["layers"] else ""
    beside = (
        f", beside a language-model loss on right ones (weight {recipe['language']:g})" if recipe["language"] else ""
    )
    beside += f" and the probability of each token as a target (weight {recipe['doubt']:g})" if recipe["doubt"] else ""
    lines = [
        "---",
        "license: apache-2.0",
        "library_name: transformers",
        "pipeline_tag: text-classification",
        "---",
        "",
        f"# {out.resolve().name}",
        "",
        "A verifier: it tells how probably an answer is right, after any of its tokens. Trained by decodelab.",
        "",
        f"* **Model**: {recipe['base']}{further}, a head for the labels wrong and right, bfloat16 safetensors.",
        f"* **Data**: sampled answers graded by their task, {record['right']:,} right ones, {record['prompts']:,} "
        "prompts with both kinds. The prompts of the tables below were held out.",
        f"* **Training**: {recipe['steps']} steps of {recipe['pairs']} pairs of a right and a wrong answer to one "
        f"prompt, a verdict after each token{beside}; seed {record['seed']}, torch {record['torch']}, "
        f"{record['threads']} CPU threads, {record['seconds'] / 60:.0f} minutes.",
        "* **Limits**: it knows the answers it was trained on: those of other models, tasks or temperatures may "
        "mislead it, and a text can be written to please it. Right and wrong answers were equally many in training, so "
        "its probabilities order answers; how well they are calibrated is in the tables.",
        "",
        "```",
        'decodelab generate PROMPT -s "sample(n=16) | best_of(by=reward(model=DIR))"',
        "```",
        "",
        "Reproduce it with",
        "",
        "```",
        f"decodelab train verifier {answers} --base {recipe['base']} --layers {recipe['layers']} \\",
        f"    --steps {recipe['steps']} --pairs {recipe['pairs']} --language {recipe['language']:g} "
        f"--rate {recipe['muon_rate']:g} --seed {record['seed']} --threads {record['threads']} --out DIR",
        "```",
    ]
    for choice in choices:
        lines += [
            "",
            f"## {_title(choice)}",
            "",
            "| answers chosen | score | verifier's best minus it |",
            "|---|---|---|",
        ]
        lines += [f"| {name} | {score} | {difference} |" for name, score, difference in _rows(choice)]
        lines += ["", _told_apart(choice)]
    lines += ["", "## Loss", "", "| step | mean since the row before |", "|---:|---:|"]
    lines += [f"| {step} | {loss:.4f} |" for step, loss in record["loss"]]
    write_text(out / "README.md", "\n".join(lines) + "\n")


def _title(choice: Choice) -> str:
    return f"{choice.task}, {choice.model}: {choice.prompts} prompts held out, {choice.samples} samples each"


def _rows(choice: Choice) -> list[tuple[str, str, str]]:
    return [(name, str(score), _signed(choice.differences.get(name))) for name, score in choice.scores.items()]


def _signed(difference: Estimate | None) -> str:
    """A difference with its sign and interval; nothing for none."""
    if difference is None:
        return ""
    return f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"


def _told_apart(choice: Choice) -> str:
    known = f"{choice.right:.1%} of the samples are right; on the right side of 1/2: {choice.accuracy:.1%}; "
    ordered = f"a right sample is rated above a wrong one with probability {choice.auc:.3f}"
    within = f", among those of one prompt {choice.within:.3f}" if math.isfinite(choice.within) else ""
    calibrated = f"expected calibration error {choice.ece:.3f}."
    return known + (f"{ordered}{within}; " if math.isfinite(choice.auc) else "") + calibrated
