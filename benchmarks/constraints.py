"""What constraints cost a step: masks of a JSON schema and a regular expression, and the Python checker.

    python benchmarks/constraints.py --threads 1 --rounds 5

A random Llama of 15 M parameters with GPT-2's first 32,000 tokens (DECODELAB_DATA) runs the same rows without and with
the constraint, in turns in one process; the figure is the CPU time of the mask beside that of all else in a step.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from decodelab import JSONSchema, Regex
from decodelab.core.key import Keys
from decodelab.models.transformers_model import TransformersModel
from decodelab.models.transformers_vocab import TransformersVocab

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "address": {"type": "object", "properties": {"street": {"type": "string"}, "number": {"type": "integer"}}},
    },
    "required": ["name", "age", "tags", "address"],
    "additionalProperties": False,
}
VOCAB = 32_000


def make_vocab() -> TransformersVocab:
    """GPT-2's first tokens as a vocabulary, with one of them as the end."""
    folder = Path(os.environ["DECODELAB_DATA"]) / "tokenizers" / "gpt2"
    pieces = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    kept = {piece: token for piece, token in pieces.items() if token < VOCAB - 1} | {"<|endoftext|>": VOCAB - 1}
    merges = [tuple(line.split()) for line in (folder / "vocab.bpe").read_text(encoding="utf-8").splitlines()[1:]]
    merges = [(a, b) for a, b in merges if a in kept and b in kept and a + b in kept]
    tokenizer = Tokenizer(models.BPE(vocab=kept, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
    return TransformersVocab(fast, VOCAB, (VOCAB - 1,), None)


def main() -> None:
    """Print a row for each constraint and number of rows."""
    parser = argparse.ArgumentParser(description="What constraints cost a step.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=288, intermediate_size=768, num_hidden_layers=6, num_attention_heads=6,
        num_key_value_heads=6, max_position_embeddings=1024,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    network = LlamaForCausalLM(config).eval()
    for weight in network.parameters():
        weight.data = torch.randn(weight.shape, generator=generator) * 0.02
    vocab = make_vocab()
    model = TransformersModel(network, vocab.tokenizer)
    prompt = vocab.encode("A person as JSON: ")
    found = []
    stages: list[Any] = [JSONSchema(SCHEMA), Regex("[A-Z][a-z]+( [A-Z][a-z]+)*, (19|20)[0-9]{2}")]
    for stage in stages:
        for rows in (1, 8):
            shares: list[float] = []
            times: list[tuple[float, float]] = []
            for _ in range(options.rounds):
                masks = others = 0.0
                begun = state = stage.init([prompt] * rows, vocab, Keys.of(0, prompt, range(rows)))
                began = time.process_time()
                logits, cache = model.prefill([prompt] * rows)
                draw = torch.Generator().manual_seed(1)
                for _ in range(options.steps):
                    before = time.process_time()
                    masked = stage.apply(logits.float(), state)
                    middle = time.process_time()
                    masks += middle - before
                    tokens = masked.softmax(-1).multinomial(1, generator=draw)[:, 0]
                    before = time.process_time()
                    state = stage.update(state, logits, tokens)
                    masks += time.process_time() - before
                    # A value that is complete is followed by another.
                    fresh = torch.where(tokens == VOCAB - 1, rows, torch.arange(rows))
                    state = state.join(begun[torch.tensor([0])])[fresh]
                    logits, cache = model.decode(cache, tokens[:, None])
                    logits = logits[:, 0]
                others = time.process_time() - began - masks
                shares.append(masks / others)
                times.append((1000 * masks / options.steps, 1000 * others / options.steps))
            found.append(
                {
                    "constraint": stage.name,
                    "rows": rows,
                    "share": statistics.median(shares),
                    "low": min(shares),
                    "high": max(shares),
                    "mask_ms": statistics.median(t[0] for t in times),
                    "step_ms": statistics.median(t[1] for t in times),
                }
            )
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print("| constraint | rows | mask, ms a step | the rest, ms | share |\n|---|---|---|---|---|")
    for f in found:
        print(
            f"| {f['constraint']} | {f['rows']} | {f['mask_ms']:.2f} | {f['step_ms']:.2f} "
            f"| {f['share']:.1%} ({f['low']:.1%} to {f['high']:.1%}) |"
        )


if __name__ == "__main__":
    main()
