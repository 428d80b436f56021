"""The model card of a pocket model, written from the record of its training and from its scores."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from decodelab.pocket.language import CHAT_SHARE, TASKS
from decodelab.train.data import BALANCE, FACT, FIRST_SHARE, FIRST_STEPS, MIXTURE
from decodelab.train.recipe import Recipe

RECORD = "training.json"
SCORES = "scores.json"
ROWS = 16  # of the loss table


def write_record(out: Path, recipe: Recipe, seed: int, curve: Path) -> None:
    """Write the record of a finished run to `out`: recipe, seed, tokens, time, a digest of the loss curve."""
    lines = [json.loads(line) for line in curve.read_text().splitlines()]
    losses = [line["loss"] for line in lines]
    ends = sorted({round(len(losses) * (row + 1) / ROWS) for row in range(ROWS)} - {0})
    # The mean since the row before: single batches are noisy.
    table = [
        [end, round(sum(losses[start:end]) / (end - start), 4)] for start, end in zip([0, *ends], ends, strict=False)
    ]
    record = {
        "recipe": asdict(recipe),
        "seed": seed,
        "tokens": recipe.steps * recipe.batch,
        "seconds": round(lines[-1]["seconds"]),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "loss": table,
    }
    (out / RECORD).write_text(json.dumps(record, indent=1) + "\n")


def write_scores(out: Path, scores: list[dict[str, Any]]) -> None:
    """Write the scores of the model in `out` beside it."""
    (out / SCORES).write_text(json.dumps(scores, indent=1) + "\n")


def write_card(out: Path) -> None:
    """Write `README.md`, the model card, from the training record (and the scores, if any) in `out`."""
    record = json.loads((out / RECORD).read_text())
    recipe = record["recipe"]
    name = f"pocket-{recipe['size']}"
    restart = recipe.get("restart", 0)
    first = f"the first {recipe['steps'] - restart:,}" if restart else "the"
    again = f", then {restart} steps from {recipe['restart_rate']} of the rates to zero" if restart else ""
    mixture = ", ".join(f"{name} {share:.0%}" for name, share in MIXTURE.items())
    text = f"""\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---

# {name}

A small Llama-architecture language model that ships with decodelab so that every decoding strategy can be
run for real, offline. It knows the pocket language only: {", ".join(TASKS)}. It is good for comparing
decoding strategies and for nothing else.

* **Model**: {recipe["layers"]} layers, width {recipe["hidden"]}, feed-forward {recipe["intermediate"]},
  {recipe["heads"]} heads ({recipe["key_value_heads"]} for keys and values), tied embeddings, context
  {recipe["length"]}, bfloat16 safetensors.
* **Tokenizer**: byte-level BPE of 1,024 tokens, every digit and every letter in brackets a token of its
  own; BOS is added; chat template with system, user, assistant and tool turns and compact tools.
* **Data**: generated on the fly by `decodelab.pocket` (train split; dev and test are disjoint from it), no text
  from anywhere else. Shares of documents: {mixture};
  {CHAT_SHARE:.0%} of them are in chat form (10 % of the stories). Of the first {FIRST_STEPS} steps'
  documents {FIRST_SHARE:.0%} are drills: words and facts said three times, so that looking up is learnt first.
  Documents do not see their neighbours, except in one row of
  {recipe["length"]} every fourth step.
* **Loss**: cross-entropy of answers and of whole stories. A document of n labels counts n ** {1 - BALANCE} in all; a
  word that repeats a fact of its document (who, what, which word was asked for) counts {FACT:.0f} times.
* **Training**: {record["tokens"] / 1e6:.1f} M tokens, {recipe["steps"]} steps of
  {recipe["batch"]:,} tokens, Muon (matrices, rate {recipe["muon_rate"]}) and AdamW
  (embeddings and norms, rate {recipe["adam_rate"]}), {recipe["warm_up"]} steps of warm-up, the last
  {recipe["decay"]:.0%} of {first} steps to zero by 1 - sqrt{again}, bfloat16 autocast, seed {record["seed"]},
  torch {record["torch"]}, {record["threads"]} CPU threads, {record["seconds"] / 60:.0f} minutes.

Reproduce it with

```
decodelab train pocket --size {recipe["size"]} --out DIR --threads {record["threads"]}
```

## Loss

Mean cross-entropy (nats a token) of the training batches since the row before; every batch is new data.

| step | loss |
|---:|---:|
"""
    text += "".join(f"| {step} | {loss:.4f} |\n" for step, loss in record["loss"])
    if (out / SCORES).exists():
        text += """
## Scores

Held-out (test split) items, decoded by decodelab from raw prompts in float32; stories sampled at temperature 0.8 and
judged by the story grammar, everything else greedy. `python -m decodelab.train.evaluate DIR --card` writes
this table.

| task | score | items |
|---|---:|---:|
"""
        for each in json.loads((out / SCORES).read_text()):
            text += f"| {each['task']} | {each['score']:.3f} | {each['items']} |\n"
    text += """
## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(DIR)
model = AutoModelForCausalLM.from_pretrained(DIR)
ids = tokenizer("What is 37 + 45?", return_tensors="pt")
print(tokenizer.decode(model.generate(**ids, do_sample=False, max_new_tokens=60)[0]))
```

Prompts end without white space: `What is 37 + 45?`, `Once upon a time,`, `...\\nAnswer:`, `...\\nTL;DR:`,
`# Return the sum of a and b.\\ndef f(a, b):`. Anything outside the language gets a story-like guess at best.
"""
    (out / "README.md").write_text(text)
