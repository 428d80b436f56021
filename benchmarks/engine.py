"""Many continuations of few prompts: seconds and cache bytes of decodelab against `transformers.generate`, in one run.

The model is a Llama of 15 million random weights (hidden 288, 6 layers, vocabulary 32,000) or one you name; both sides
decode the same prompts on the same loaded weights and threads, the same number of new tokens (EOS cannot end them,
except in `sweep`). Rounds alternate between the two so that a busy machine slows both; the ratio is that of the
medians, its spread the quartiles of the ratios of neighbouring rounds. Cache bytes are what each side's cache holds at
its largest (of `sweep`, ours is that of one prompt, theirs of a batch); copies that exist for a moment while rows are
reordered are counted for neither. `--cpu` counts CPU seconds of the process instead of the wall clock, for a machine
that others use too.

    python benchmarks/engine.py                                  # all cases
    python benchmarks/engine.py --case beam --prompt 1024        # beam 25 after 1,024 tokens
    python benchmarks/engine.py --model pocket-small --json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import decodelab as dl
from decodelab.core.values import Tokens

SWEEP = ["default", "greedy", "temperature=0.25", "temperature=1.5", "beam(width=3)", "beam(width=25)", "typical_p=0.9"]
"""The seven strategies of the sweep."""


@dataclass(frozen=True)
class Case:
    """What is decoded.

    Attributes:
        name: beam, sample, greedy or sweep.
        width: beams or samples of each prompt.
        prompt: tokens of the prompt.
        prompts: how many.
        new: new tokens.
    """

    name: str
    width: int
    prompt: int
    prompts: int
    new: int


@dataclass(frozen=True)
class Result:
    """Median seconds of both, how they compare, and the bytes of their caches.

    `same` is the share of continuations with equal tokens; None where the two draw different random numbers.
    """

    case: Case
    ours: float
    theirs: float
    ratio: float
    ratio_low: float
    ratio_high: float
    our_bytes: int
    their_bytes: int
    same: float | None


def random_llama(hidden: int = 288, layers: int = 6, vocab: int = 32_000) -> dl.TransformersModel:
    """A Llama with random weights and a tokenizer of numbered words."""
    words = {**{f"w{i}": i for i in range(vocab - 2)}, "<s>": vocab - 2, "</s>": vocab - 1}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="w0")), bos_token="<s>", eos_token="</s>"
    )
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=hidden, intermediate_size=hidden * 8 // 3, num_hidden_layers=layers,
        num_attention_heads=6, num_key_value_heads=6, max_position_embeddings=4096, bos_token_id=vocab - 2,
        eos_token_id=vocab - 1, pad_token_id=None, tie_word_embeddings=True,
    )  # fmt: skip
    network = LlamaForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.04)
    return dl.TransformersModel(network, tokenizer, name=f"random Llama ({hidden}, {layers} layers, {vocab:,} tokens)")


def prompts_of(model: dl.TransformersModel, case: Case) -> list[Tokens]:
    """Prompts of arbitrary tokens; those of the sweep differ in length."""
    size = model.vocab.size - 2
    shorter = case.prompt // 2 if case.name == "sweep" else 1
    lengths = [case.prompt - 7 * i % shorter for i in range(case.prompts)]
    return [tuple((7919 * (i + 1) * (k + 1) + 13) % size for k in range(n)) for i, n in enumerate(lengths)]


def strategies_of(case: Case) -> list[str]:
    """What decodelab is asked for."""
    if case.name == "sweep":
        return SWEEP
    one = {"beam": f"beam(width={case.width})", "sample": f"top_p=0.9 | sample(n={case.width})", "greedy": "greedy"}
    return [one[case.name]]


def ours(model: dl.TransformersModel, prompts: Sequence[Tokens], case: Case) -> tuple[list[Tokens], int]:
    """Decode with decodelab: the tokens, and the most bytes of cache that a job of them held."""
    least = 0 if case.name == "sweep" else case.new
    engine = dl.Engine(model, max_rows=256)
    for prompt in prompts:
        for strategy in strategies_of(case):
            engine.submit(prompt, strategy, max_new_tokens=case.new, min_new_tokens=least)
    found = sorted(engine.run(), key=lambda done: done.index)
    done = [g for g in found if isinstance(g, dl.Generation)]
    assert len(done) == len(found), found
    return [c.tokens for g in done for c in g.candidates], max(g.cost.peak_cache_bytes for g in done)


_THEIRS: dict[str, dict[str, Any]] = {
    "default": {"do_sample": False},
    "greedy": {"do_sample": False},
    "temperature=0.25": {"do_sample": True, "temperature": 0.25, "top_k": 0},
    "temperature=1.5": {"do_sample": True, "temperature": 1.5, "top_k": 0},
    "beam(width=3)": {"do_sample": False, "num_beams": 3},
    "beam(width=25)": {"do_sample": False, "num_beams": 25},
    "typical_p=0.9": {"do_sample": True, "typical_p": 0.9, "top_k": 0},
}


def theirs(model: dl.TransformersModel, prompts: Sequence[Tokens], case: Case, batch: int) -> tuple[list[Tokens], int]:
    """Decode with transformers in batches of `batch` prompts: tokens, and bytes of the largest cache."""
    eos = list(model.vocab.eos_ids)
    one: dict[str, dict[str, Any]] = {
        "beam": {"do_sample": False, "num_beams": case.width},
        "sample": {"do_sample": True, "top_p": 0.9, "top_k": 0, "num_return_sequences": case.width},
        "greedy": {"do_sample": False},
    }
    settings = [_THEIRS[s] for s in SWEEP] if case.name == "sweep" else [one[case.name]]
    least = 0 if case.name == "sweep" else case.new
    tokens: list[Tokens] = []
    peak = 0
    for setting in settings:
        for at in range(0, len(prompts), batch):
            part = prompts[at : at + batch]
            width = max(map(len, part))
            ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in part])
            mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in part])
            with torch.inference_mode():
                out = model.model.generate(
                    ids, attention_mask=mask, max_new_tokens=case.new, min_new_tokens=least, eos_token_id=eos,
                    pad_token_id=eos[0], return_dict_in_generate=True, **setting,
                )  # fmt: skip
            layers = out.past_key_values.layers
            peak = max(peak, sum(layer.keys.nbytes + layer.values.nbytes for layer in layers))
            tokens += [_until(row[width:], eos) for row in out.sequences.tolist()]
    return tokens, peak


def _until(row: list[int], eos: Sequence[int]) -> Tokens:
    ends = [i for i, token in enumerate(row) if token in eos]
    return tuple(row[: ends[0] + 1] if ends else row)


def measure(model: dl.TransformersModel, case: Case, rounds: int, batch: int, clock: Callable[[], float]) -> Result:
    """Time both on one case."""
    prompts = prompts_of(model, case)
    sides: dict[str, Callable[[], tuple[list[Tokens], int]]] = {
        "ours": lambda: ours(model, prompts, case),
        "theirs": lambda: theirs(model, prompts, case, batch),
    }
    (mine, our_bytes), (other, their_bytes) = sides["ours"](), sides["theirs"]()  # also warms both up
    same = None
    if case.name in ("beam", "greedy"):
        same = statistics.fmean(a == b for a, b in zip(mine, other, strict=True))
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for turn in range(rounds):
        for side in sides if turn % 2 else reversed(sides):
            began = clock()
            sides[side]()
            seconds[side].append(clock() - began)
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["theirs"], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    quick, slow = (statistics.median(seconds[name]) for name in ("ours", "theirs"))
    return Result(case, quick, slow, slow / quick, low, high, our_bytes, their_bytes, same)


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a shipped model, a directory or a hub id; the random Llama by default")
    parser.add_argument("--case", choices=["beam", "sample", "greedy", "sweep"], nargs="+")
    parser.add_argument("--prompt", type=int, nargs="+", default=[16, 256, 1024], help="prompt tokens of beam")
    parser.add_argument("--width", type=int, default=25, help="beams and samples")
    parser.add_argument("--prompts", type=int, default=32, help="prompts of the sweep")
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32, help="prompts transformers decodes at once in the sweep")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu", action="store_true", help="CPU seconds of the process, not the wall clock")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.rounds < 2:
        parser.error(f"--rounds must be at least 2, got {given.rounds}")
    torch.set_num_threads(given.threads)
    model = dl.load(given.model) if given.model else random_llama()
    if not isinstance(model, dl.TransformersModel):
        parser.error(f"--model must be a transformers model, got {given.model}")
    names = given.case or ["greedy", "beam", "sample", "sweep"]
    cases: list[Case] = []
    for name in names:
        if name == "beam":
            cases += [Case(name, given.width, prompt, 1, given.new_tokens) for prompt in given.prompt]
        elif name == "sample":
            cases.append(Case(name, given.width, 256, 1, given.new_tokens))
        elif name == "greedy":
            cases.append(Case(name, 1, 16, 1, given.new_tokens))
        else:
            cases.append(Case(name, 1, 64, given.prompts, given.new_tokens))
    kind = "CPU" if given.cpu else "wall"
    title = (
        f"{model.name}, {given.new_tokens} new tokens, {given.threads} threads, {given.rounds} rounds, {kind} seconds"
    )
    head = "case    width  prompt  prompts   decodelab  transformers  ratio (quartiles)      cache MB ours/theirs  same"
    print(f"{title}\n{head}", file=sys.stderr if given.json else sys.stdout)
    clock = time.process_time if given.cpu else time.perf_counter
    results: list[Result] = []
    for case in cases:
        if model.context is not None and case.prompt + case.new > model.context:
            sys.stderr.write(f"{case.name} at {case.prompt} tokens does not fit the context of {model.context}\n")
            continue
        results.append(measure(model, case, given.rounds, given.batch, clock))
        print(_row(results[-1]), file=sys.stderr if given.json else sys.stdout, flush=True)
    if given.json:
        print(json.dumps({"model": model.name, "threads": given.threads, "results": [asdict(r) for r in results]}))


def _row(r: Result) -> str:
    c = r.case
    same = "" if r.same is None else f"{r.same:.0%}"
    return (
        f"{c.name:8}{c.width:5d}{c.prompt:8d}{c.prompts:9d}{r.ours:11.3f}s{r.theirs:13.3f}s"
        f"{r.ratio:8.2f} ({r.ratio_low:.2f} to {r.ratio_high:.2f}){r.our_bytes / 1e6:13.1f} / {r.their_bytes / 1e6:.1f}"
        f"{same:>10}"
    )


if __name__ == "__main__":
    main()
