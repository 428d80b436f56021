"""MMLU by option likelihood: decodelab against lm-evaluation-harness, item by item, on the same local questions.

The harness runs its own MMLU template (`tasks/mmlu/default`) with its own tokenisation, truncation and scoring on the
same loaded weights; only where the questions come from is changed. Compared are the chosen option of each of the 445
medicine questions, the accuracy, and the log-probability of every option.

    DECODELAB_DATA=DIR python benchmarks/mmlu_parity.py                 # after make peers
    DECODELAB_DATA=DIR python benchmarks/mmlu_parity.py --model pocket-nano --shots 0 --questions 40 --json

Exits with 1 if any choice differs.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import decodelab as dl
from decodelab.tasks.choices import prefer
from decodelab.tasks.mmlu import MMLU

SUBJECTS = ("college_medicine", "professional_medicine")
MODELS = ("stories260K", "pocket-nano", "pocket-small")


@dataclass(frozen=True)
class Result:
    """One model with this many shots: both accuracies, and where the two disagree."""

    model: str
    shots: int
    questions: int
    cut: int
    ours: float
    harness: float
    different_choices: int
    largest_difference: float


def task_files(data: Path, folder: Path) -> list[str]:
    """Write the questions as the harness's data set has them, and its MMLU template over these files."""
    import lm_eval  # pyright: ignore[reportMissingImports]

    template = Path(str(lm_eval.__file__)).parent / "tasks" / "mmlu" / "default" / "_default_template_yaml"
    names = []
    for subject in SUBJECTS:
        files = {}
        for split in ("test", "dev"):
            with (data / "mmlu_med" / f"{subject}_{split}.csv").open(encoding="utf-8", newline="") as file:
                rows = [
                    {
                        "question": row["question"],
                        "choices": [row[f"choice{i}"] for i in range(4)],
                        "answer": int(row["answer"]),
                    }
                    for row in csv.DictReader(file)
                ]
            files[split] = folder / f"{subject}_{split}.jsonl"
            files[split].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        names.append(f"local_{subject}")
        description = (
            f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"
        )
        config = {
            "include": str(template),
            "task": names[-1],
            "description": description,
            "dataset_path": "json",
            "dataset_kwargs": {
                "data_files": {split: str(path) for split, path in files.items()},
                "cache_dir": str(folder / "cache"),
            },
        }
        # JSON is YAML.
        (folder / f"{subject}.yaml").write_text(json.dumps(config), encoding="utf-8")
    return names


def harness(model: dl.TransformersModel, data: Path, shots: int, limit: int | None) -> list[tuple[float, ...]]:
    """The log-probability of each option of each question, by the harness."""
    from lm_eval import simple_evaluate  # pyright: ignore[reportMissingImports]
    from lm_eval.models.huggingface import HFLM  # pyright: ignore[reportMissingImports]
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

    lm = HFLM(
        pretrained=model.model,  # pyright: ignore[reportArgumentType]
        tokenizer=model.vocab.tokenizer,
        backend="causal",
        batch_size=16,
        max_length=model.context_length,
    )
    with tempfile.TemporaryDirectory() as folder:
        names = task_files(data, Path(folder))
        found: dict[str, Any] = simple_evaluate(
            model=lm,
            tasks=names,
            num_fewshot=shots,
            limit=limit,
            task_manager=TaskManager(include_path=folder, include_defaults=False),
            bootstrap_iters=0,
            log_samples=True,
            random_seed=0,
        )
    samples = [sample for name in names for sample in sorted(found["samples"][name], key=lambda s: s["doc_id"])]
    return [tuple(float(logprob) for logprob, _ in sample["filtered_resps"]) for sample in samples]


def measure(name: str, data: Path, shots: int, limit: int | None) -> Result:
    """Ask both."""
    model = dl.load_transformers(data / "models" / name if name in ("stories260K", "babyllama105") else name)
    task = MMLU(form="standard", shots=shots)
    choices = [
        task.choice(example)
        for subject in SUBJECTS
        for example in task.read(data / "mmlu_med" / f"{subject}_test.csv")[:limit]
    ]
    ours = prefer(model, choices, cut=True)
    theirs = harness(model, data, shots, limit)
    chosen = [max(range(len(logprobs)), key=logprobs.__getitem__) for logprobs in theirs]
    differences = [
        abs(a - b) for mine, its in zip(ours, theirs, strict=True) for a, b in zip(mine.logprobs, its, strict=True)
    ]
    return Result(
        name,
        shots,
        len(choices),
        sum(preference.cut > 0 for preference in ours),
        sum(p.best == c.answer for p, c in zip(ours, choices, strict=True)) / len(choices),
        sum(best == c.answer for best, c in zip(chosen, choices, strict=True)) / len(choices),
        sum(p.best != best for p, best in zip(ours, chosen, strict=True)),
        max(differences),
    )


def main() -> None:
    """Print a line a model and number of shots, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=list(MODELS))
    parser.add_argument("--shots", type=int, nargs="+", default=[0, 5])
    parser.add_argument("--questions", type=int, help="use this many of each subject")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    data = Path(os.environ.get("DECODELAB_DATA", ""))
    if not (data / "mmlu_med").is_dir():
        parser.error("set DECODELAB_DATA to the folder of real data")
    try:
        import lm_eval  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        parser.error("lm-evaluation-harness is not installed; run make peers")
    logging.disable(logging.WARNING)
    torch.set_num_threads(given.threads)
    results = []
    for name in given.model:
        for shots in given.shots:
            results.append(measure(name, data, shots, given.questions))
            found = results[-1]
            if not given.json:
                print(
                    f"{found.model}, {found.shots} shots, {found.questions} questions ({found.cut} cut): accuracy "
                    f"{found.ours:.4f}, harness {found.harness:.4f}; {found.different_choices} choices differ, "
                    f"log-probabilities by {found.largest_difference:.1e} at most",
                    flush=True,
                )
    if given.json:
        print(json.dumps([asdict(result) for result in results], indent=2))
    sys.exit(any(result.different_choices for result in results))


if __name__ == "__main__":
    main()
