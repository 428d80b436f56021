"""Train a verifier on graded answers: the loop, its checkpoints, and the finished directory."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from decodelab.core.errors import InvalidData, InvalidParameter
from decodelab.models.loading import load_transformers
from decodelab.train import checkpoint, runs
from decodelab.train.pocket import WORK, Observer
from decodelab.train.verifier.data import Graded, TrainingData
from decodelab.train.verifier.network import Verifier, Weights

RECORD = "training.json"


@dataclass(frozen=True)
class VerifierRecipe:
    """All that decides the weights of a verifier, besides its answers, its seed and the number of threads.

    The rates warm up over `warm_up` steps and fall to zero in a straight line.

    Attributes:
        base: the language model that it begins as.
        layers: further blocks on top of it.
        steps: steps of training.
        pairs: pairs of a right and a wrong answer in a step.
        texts: right answers that a step learns to continue.
        language: weight of that language-model loss; 0 leaves it out.
        last: weight of the verdict at the last token, beside the mean over all.
        doubt: weight of telling how probable each token was.
        muon_rate, adam_rate: learning rates of matrices, and of embeddings, norms and the head.

    Raises:
        InvalidParameter: for a number out of its range.
    """

    base: str
    layers: int = 0
    steps: int = 600
    pairs: int = 24
    texts: int = 24
    language: float = 1.0
    last: float = 0.2
    doubt: float = 1.0
    muon_rate: float = 0.006
    adam_rate: float = 0.0015
    warm_up: int = 30
    weight_decay: float = 0.1
    clip: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        least = {"layers": 0, "steps": 1, "pairs": 1, "texts": 1, "language": 0, "muon_rate": 0, "adam_rate": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= low):
                raise InvalidParameter(f"verifier: {name} must be at least {low}, got {value}")

    def rate(self, step: int) -> float:
        """The factor, 0 to 1, on both learning rates at a step."""
        return min(1.0, (step + 1) / self.warm_up, 1 - step / self.steps)


def train_verifier(
    samples: Iterable[Graded],
    recipe: VerifierRecipe,
    out: Path,
    *,
    seed: int = 0,
    resume: bool = True,
    threads: int | None = None,
    observer: Observer | None = None,
    every: int = 50,
) -> Path:
    """Train a verifier on graded answers into a directory, for `reward(model=DIR)` and transformers.

    A killed run goes on from its last checkpoint (every `every` steps) and ends with the same weights, bit for bit on
    the same CPU with the same number of `threads`; `resume=False` starts afresh. `observer(step, loss)` is called after
    each step.

    Raises:
        InvalidData: for no answers, only right or only wrong ones, or a checkpoint of another run.
        ModelError: if the base cannot be loaded, or is no decoder-only model of transformers.
        InvalidParameter: for further blocks on a base that is not built as Llama is.
        OSError: if the directory cannot be written.
        FloatingPointError: if the loss is no longer finite.
    """
    work = out / WORK
    work.mkdir(parents=True, exist_ok=True)
    if not os.access(work, os.W_OK):
        raise PermissionError(f"out: cannot write to {out}; choose another directory")
    with runs.threads(threads):
        base = load_transformers(recipe.base, dtype="float32", device="cpu")
        data = TrainingData.of(samples, base.tokenizer, base.vocab_size, base.context_length)
        verifier = Verifier(base.model, recipe.layers, seed)
        optimisers = _optimisers(verifier, recipe)
        run = {"recipe": asdict(recipe), "seed": seed, "data": data.digest}
        start = 0
        found = checkpoint.find(work / "checkpoint") if resume else None
        if found:
            state = checkpoint.read_state(found)
            _same_run(state, run, found)
            checkpoint.load(found, verifier, optimisers)
            start = state["step"]
        curve = runs.train(
            work / "loss.jsonl",
            start,
            recipe.steps,
            lambda step: _step(verifier, optimisers, recipe, data, seed, step),
            lambda done: checkpoint.save(work / "checkpoint", verifier, optimisers, {**run, "step": done}),
            every=every,
            observer=observer,
        )
        verifier.export(out, base.tokenizer)
        _write_record(out, run, data, curve)
    return out


def _optimisers(verifier: Verifier, recipe: VerifierRecipe) -> dict[str, Optimizer]:
    named = list(verifier.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name and not name.startswith("head")]
    known = {id(p) for p in matrices}
    others = [p for _, p in named if id(p) not in known]
    return {
        "muon": Muon(matrices, lr=recipe.muon_rate, weight_decay=recipe.weight_decay),
        "adamw": AdamW(others, lr=recipe.adam_rate, betas=(0.9, 0.95), weight_decay=0.0),
    }


def _step(
    verifier: Verifier,
    optimisers: dict[str, Optimizer],
    recipe: VerifierRecipe,
    data: TrainingData,
    seed: int,
    step: int,
) -> float:
    for optimiser, rate in zip(optimisers.values(), (recipe.muon_rate, recipe.adam_rate), strict=True):
        for group in optimiser.param_groups:
            group["lr"] = rate * recipe.rate(step)
        optimiser.zero_grad(set_to_none=True)
    texts = data.texts(seed, step, recipe.texts) if recipe.language else None
    weights = Weights(recipe.last, recipe.language, recipe.doubt)
    loss = verifier.loss(data.pairs(seed, step, recipe.pairs), texts, weights)
    loss.backward()
    nn.utils.clip_grad_norm_(verifier.parameters(), recipe.clip)
    for optimiser in optimisers.values():
        optimiser.step()
    return float(loss.detach())


def _same_run(state: dict[str, Any], run: dict[str, Any], found: Path) -> None:
    mine, theirs = ({**each["recipe"], "seed": each["seed"], "answers": each["data"]} for each in (run, state))
    different = [key for key in mine if mine[key] != theirs.get(key)]
    if different:
        raise InvalidData(
            f"verifier: {found} is a checkpoint of another run ({', '.join(different)} differ); choose another "
            "directory, or start over with --fresh"
        )


def _write_record(out: Path, run: dict[str, Any], data: TrainingData, curve: Path) -> None:
    """Write the record of a finished run: recipe, seed, what was learnt from, time, and the loss."""
    lines = [json.loads(line) for line in curve.read_text().splitlines()]
    tenth = max(1, len(lines) // 10)
    losses = [
        [lines[min(at + tenth, len(lines)) - 1]["step"], round(sum(x["loss"] for x in part) / len(part), 4)]
        for at in range(0, len(lines), tenth)
        if (part := lines[at : at + tenth])
    ]
    record = {
        **run,
        "prompts": len(data.groups),
        "right": len(data.right),
        "too_long": data.too_long,
        "seconds": round(lines[-1]["seconds"]),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "loss": losses,
    }
    (out / RECORD).write_text(json.dumps(record, indent=1) + "\n")
