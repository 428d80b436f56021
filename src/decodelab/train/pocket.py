"""Train a pocket model from scratch: tokenizer, data, weights, model card."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from decodelab.train import checkpoint, runs
from decodelab.train.card import write_card, write_record
from decodelab.train.data import NO_LOSS, Batch, batches
from decodelab.train.recipe import RECIPES, Recipe
from decodelab.train.tokenizer import BOS_ID, EOS_ID, PAD_ID, load_tokenizer, train_tokenizer

Observer = Callable[[int, float], None]
WORK = "training"  # the folder inside `out` that holds checkpoints and the loss curve


def train_pocket(
    size: str | Recipe,
    out: Path | str,
    *,
    steps: int | None = None,
    seed: int = 0,
    resume: bool = True,
    threads: int | None = None,
    observer: Observer | None = None,
    every: int = 100,
) -> Path:
    """Train `pocket-<size>` (or a recipe of yours) into the directory `out`, for `AutoModelForCausalLM`.

    A killed run goes on from its last checkpoint (every `every` steps) and ends with the same weights, bit
    for bit on the same CPU with the same number of `threads`; `resume=False` starts afresh. `steps`
    replaces the recipe's; resuming with fewer steps starts the final decay earlier. `observer(step, loss)`
    is called after each step. Returns `out`. Raises `ValueError` for an unknown size, fewer than 1 step or a
    checkpoint of another run, and `OSError` if `out` cannot be written, all before anything is trained, and
    `FloatingPointError` if the loss is no longer finite.
    """
    if isinstance(size, str) and size not in RECIPES:
        raise ValueError(f"size: got {size!r}; choose one of {', '.join(RECIPES)}")
    recipe = RECIPES[size] if isinstance(size, str) else size
    if steps is not None:
        if steps < 1:
            raise ValueError(f"steps: must be at least 1, got {steps}")
        recipe = replace(recipe, steps=steps)
    out = Path(out)
    work = out / WORK
    work.mkdir(parents=True, exist_ok=True)
    if not os.access(work, os.W_OK):
        raise PermissionError(f"out: cannot write to {out}; choose another directory")
    with runs.threads(threads):
        tokenizer = _tokenizer(work)
        model, optimisers = _build(recipe, seed)
        start = 0
        found = checkpoint.find(work / "checkpoint") if resume else None
        if found:
            state = checkpoint.read_state(found)
            _same_run(state, recipe, seed, found)
            checkpoint.load(found, model, optimisers)
            start = state["step"]
        saved = {"seed": seed, "recipe": asdict(recipe), "torch": torch.__version__}
        curve = runs.train(
            work / "loss.jsonl",
            start,
            recipe.steps,
            lambda step: _step(
                model, optimisers, recipe, batches(tokenizer, seed, step, recipe.batch, recipe.length), step
            ),
            lambda done: checkpoint.save(work / "checkpoint", model, optimisers, {"step": done, **saved}),
            every=every,
            observer=observer,
        )
        export(model, tokenizer, recipe, out)
        write_record(out, recipe, seed, curve)
        write_card(out)
    return out


def export(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, recipe: Recipe, out: Path) -> None:
    """Write weights (bfloat16 safetensors), configurations and tokenizer to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().to(torch.bfloat16).contiguous() for name, value in model.named_parameters()}
    partial = out / "model.safetensors.part"
    save_file(weights, partial, metadata={"format": "pt"})
    partial.chmod(0o644)
    partial.replace(out / "model.safetensors")
    config = recipe.config()
    config.architectures = ["LlamaForCausalLM"]
    config.dtype = torch.bfloat16
    config.save_pretrained(out)
    GenerationConfig(
        do_sample=True, temperature=0.7, top_p=0.9, pad_token_id=PAD_ID, bos_token_id=BOS_ID, eos_token_id=EOS_ID
    ).save_pretrained(out)
    tokenizer.save_pretrained(out)


def _tokenizer(work: Path) -> PreTrainedTokenizerBase:
    folder = work / "tokenizer"
    if not (folder / "tokenizer.json").exists():
        partial = work / "tokenizer.part"
        shutil.rmtree(partial, ignore_errors=True)
        train_tokenizer().save_pretrained(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    return load_tokenizer(folder)


def _build(recipe: Recipe, seed: int) -> tuple[LlamaForCausalLM, dict[str, Optimizer]]:
    config = recipe.config()
    config._attn_implementation = "eager"
    with torch.random.fork_rng(devices=[]):
        # transformers initialises from the global generator only; it is put back at once.
        torch.manual_seed(seed)  # noqa: TID251
        model = LlamaForCausalLM(config)
    model.train()
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return model, {
        "muon": Muon(matrices, lr=recipe.muon_rate, weight_decay=recipe.weight_decay),
        "adamw": AdamW(others, lr=recipe.adam_rate, betas=(0.9, 0.95), weight_decay=0.0),
    }


def _step(
    model: LlamaForCausalLM, optimisers: dict[str, Optimizer], recipe: Recipe, data: Sequence[Batch], step: int
) -> float:
    factor = recipe.rate(step)
    for optimiser, rate in zip(optimisers.values(), (recipe.muon_rate, recipe.adam_rate), strict=True):
        for group in optimiser.param_groups:
            group["lr"] = rate * factor
        optimiser.zero_grad(set_to_none=True)
    learned = sum(float((each.weights * (each.labels != NO_LOSS)).sum()) for each in data)
    total = 0.0
    for each in data:
        loss = loss_of(model, each) / learned
        loss.backward()
        total += float(loss.detach())
    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    for optimiser in optimisers.values():
        optimiser.step()
    return total


def loss_of(model: LlamaForCausalLM, data: Batch) -> Tensor:
    """Return the weighted sum of cross-entropies in nats over the labels, computed under bfloat16 autocast."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(input_ids=data.tokens, attention_mask=data.mask, use_cache=False).logits
    losses = nn.functional.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), data.labels[:, 1:].flatten(), ignore_index=NO_LOSS, reduction="none"
    )
    return (losses * data.weights[:, 1:].flatten()).sum()


def _same_run(state: dict, recipe: Recipe, seed: int, found: Path) -> None:
    mine = asdict(recipe) | {"seed": seed, "steps": None}
    theirs = state["recipe"] | {"seed": state["seed"], "steps": None}
    different = [key for key in mine if mine[key] != theirs.get(key)]
    if different:
        raise ValueError(
            f"{found} is a checkpoint of another run ({', '.join(different)} differ); "
            "choose another directory or start over with resume=False"
        )
    if state["step"] > recipe.steps:
        raise ValueError(f"steps: {found} is already at step {state['step']}, got {recipe.steps}")


@contextmanager
def progress(total: int, label: str) -> Iterator[Observer]:
    """Yield an observer that draws a progress bar with the loss on stderr."""
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.3f}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, loss=float("nan"))
        yield lambda step, loss: bar.update(task, completed=step, loss=loss)


def main(arguments: list[str] | None = None) -> int:
    """Run `python -m decodelab.train.pocket`; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m decodelab.train.pocket", description=main.__doc__)
    parser.add_argument("--size", required=True, help=f"one of {', '.join(RECIPES)}")
    parser.add_argument("--out", required=True, type=Path, help="directory for checkpoints and the finished model")
    parser.add_argument("--steps", type=int, help="replaces the recipe's number of steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--fresh", action="store_true", help="ignore checkpoints in the directory")
    given = parser.parse_args(arguments)
    total = given.steps or (RECIPES[given.size].steps if given.size in RECIPES else 0)
    try:
        with progress(total, f"pocket-{given.size}") as observer:
            train_pocket(
                given.size,
                given.out,
                steps=given.steps,
                seed=given.seed,
                resume=not given.fresh,
                threads=given.threads,
                observer=observer,
            )
    except (ValueError, OSError) as error:
        sys.stderr.write(f"train pocket: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
