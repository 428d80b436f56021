"""Log-likelihoods: decodelab against transformers one at a time and lm-evaluation-harness's own loop, in one run.

All three score the same tokens on the same loaded weights with the same threads, rounds in turn:

  options   the MMLU medicine questions, each with the text of its four options as completions of one prompt
  letters   the same with the options' letters as completions
  verdict   The Verdict in windows of the whole context that do not overlap

Prompts that exceed the context lose their beginning, the same for all options and all three. The harness runs at
several batch sizes and is compared at its fastest. The ratio is that of the median times; log-likelihoods must be
the same.

    DECODELAB_DATA=DIR python benchmarks/scoring.py                     # stories260K, pocket-small, a random 15 M Llama
    DECODELAB_DATA=DIR python benchmarks/scoring.py --model pocket-small --questions 40 --json
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

import decodelab as dl
from decodelab.core.values import Tokens
from decodelab.engine.scoring import windows

Request = tuple[Tokens, Tokens]
"""What is given and what is scored."""

RANDOM_VOCAB = 32_000


@dataclass(frozen=True)
class Result:
    """One task: seconds of each side, and how they compare."""

    task: str
    requests: int
    tokens: int
    ours: float
    plain: float
    harness: float | None
    harness_batch: int | None
    over_plain: float
    over_harness: float | None
    largest_difference: float


def random_llama(data: Path) -> tuple[dl.TransformersModel, Callable[[str], Tokens]]:
    """A Llama of 15 million random weights, and GPT-2's tokens folded into its vocabulary."""
    config = LlamaConfig(
        hidden_size=288,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        vocab_size=RANDOM_VOCAB,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
    )
    network = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    folder = data / "tokenizers" / "gpt2"
    bpe = ByteLevelBPETokenizer(str(folder / "encoder.json"), str(folder / "vocab.bpe"))
    model = dl.TransformersModel(
        network, PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer), name="random 15 M Llama"
    )
    return model, lambda text: tuple(i % RANDOM_VOCAB for i in bpe.encode(text).ids)


def questions(data: Path, limit: int | None) -> list[tuple[str, list[str]]]:
    """Prompts of the MMLU medicine test sets, each with its options."""
    found = []
    for subject in ("college_medicine", "professional_medicine"):
        with (data / "mmlu_med" / f"{subject}_test.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                options = [row[f"choice{i}"] for i in range(4)]
                listed = "".join(f"{letter}. {option}\n" for letter, option in zip("ABCD", options, strict=True))
                head = f"The following is a multiple choice question about {subject.replace('_', ' ')}."
                found.append((f"{head}\n\nQuestion: {row['question']}\n Options:\n{listed}Answer:", options))
    return found if limit is None else found[:: max(1, len(found) // limit)][:limit]


def option_requests(
    encode: Callable[[str], Tokens], context: int, asked: Sequence[tuple[str, list[str]]], letters: bool
) -> list[Request]:
    """A request for each option; the prompt's tokens are one object for all four."""
    requests: list[Request] = []
    for prompt, options in asked:
        given = encode(prompt)
        words = [f" {letter}" for letter in "ABCD"] if letters else [f" {option}" for option in options]
        completions = []
        for word in words:
            whole = encode(prompt + word)
            completions.append(whole[len(given) :] if whole[: len(given)] == given else encode(word))
        given = given[-(context + 1 - max(map(len, completions))) :]
        requests += [(given, completion) for completion in completions]
    return requests


def text_requests(tokens: Tokens, context: int) -> list[Request]:
    """The windows of a text that begins with its first token."""
    cut = windows(1, len(tokens), context, context)
    return [(tokens[w.start : w.first], tokens[w.first : w.end]) for w in cut]


def ours(model: dl.TransformersModel, requests: Sequence[Request]) -> list[float]:
    """Score with decodelab."""
    return [score.logprob for score in dl.score_many(model, requests)]


def plain(model: dl.TransformersModel, requests: Sequence[Request]) -> list[float]:
    """Score with one transformers pass a request."""
    found = []
    with torch.inference_mode():
        for given, target in requests:
            logits = model.model(input_ids=torch.tensor([(given + target)[:-1]]), use_cache=False).logits[0]
            logprobs = logits[len(given) - 1 :].log_softmax(-1)
            found.append(float(logprobs.gather(-1, torch.tensor(target)[:, None]).double().sum()))
    return found


def harness(model: dl.TransformersModel, batch: int) -> Callable[[Sequence[Request]], list[float]]:
    """Make a function that scores with lm-evaluation-harness's loop over tokenised requests."""
    from lm_eval.models.huggingface import HFLM  # pyright: ignore[reportMissingImports]

    lm = HFLM(
        pretrained=model.model,
        tokenizer=model.vocab.tokenizer,
        backend="causal",
        batch_size=batch,
        max_length=model.context_length,
    )

    def score(requests: Sequence[Request]) -> list[float]:
        asked = [((str(i), ""), list(given), list(target)) for i, (given, target) in enumerate(requests)]
        return [logprob for logprob, _ in lm._loglikelihood_tokens(asked, disable_tqdm=True)]

    return score


def measure(
    model: dl.TransformersModel,
    task: str,
    requests: Sequence[Request],
    rounds: int,
    batches: Sequence[int],
    clock: Callable[[], float],
) -> Result:
    """Time all sides on one task."""
    sides: dict[str, Callable[[Sequence[Request]], list[float]]] = {
        "ours": partial(ours, model),
        "plain": partial(plain, model),
        **{f"harness {n}": harness(model, n) for n in batches},
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    values: dict[str, list[float]] = {}
    for turn in range(rounds):
        for name in sides if turn % 2 == 0 else reversed(sides):
            began = clock()
            values[name] = sides[name](requests)
            seconds[name].append(clock() - began)
            sys.stderr.write(f"{model.name}, {task}, round {turn + 1}: {name} {seconds[name][-1]:.2f} s\n")
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    difference = max(abs(a - b) for other in values.values() for a, b in zip(values["ours"], other, strict=True))
    fastest = min(batches, key=lambda n: medians[f"harness {n}"], default=None)
    theirs = None if fastest is None else medians[f"harness {fastest}"]
    return Result(
        task,
        len(requests),
        sum(len(target) for _, target in requests),
        medians["ours"],
        medians["plain"],
        theirs,
        fastest,
        medians["plain"] / medians["ours"],
        None if theirs is None else theirs / medians["ours"],
        difference,
    )


def has_harness() -> bool:
    """Whether lm-evaluation-harness is installed."""
    try:
        import lm_eval.models.huggingface  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    return True


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["stories260K", "pocket-small", "random"])
    parser.add_argument("--task", nargs="+", choices=("options", "letters", "verdict"))
    parser.add_argument("--questions", type=int, help="use this many of the 445, evenly spread")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--harness-batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--cpu", action="store_true", help="count CPU time: for one thread on a machine with other work"
    )
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    data = Path(os.environ.get("DECODELAB_DATA", ""))
    if not (data / "mmlu_med").is_dir():
        parser.error("set DECODELAB_DATA to the folder of real data")
    logging.disable(logging.WARNING)
    torch.set_num_threads(given.threads)
    clock = time.process_time if given.cpu else time.perf_counter
    there = has_harness()
    if not there:
        sys.stderr.write(
            "lm-evaluation-harness is not installed (pip install lm_eval): compared with transformers alone\n"
        )
    asked = questions(data, given.questions)
    verdict = (data / "text" / "the-verdict.txt").read_text(encoding="utf-8")
    documents = []
    for name in given.model:
        if name == "random":
            model, encode = random_llama(data)
        else:
            model = dl.load_transformers(data / "models" / name if name == "stories260K" else name)
            encode = model.vocab.encode
        if model.context_length is None:
            parser.error(f"--model must be a model with a bounded context, got {name}")
        tasks = {
            "options": option_requests(encode, model.context_length, asked, letters=False),
            "letters": option_requests(encode, model.context_length, asked, letters=True),
            "verdict": text_requests(encode(verdict), model.context_length),
        }
        results = [
            measure(model, task, requests, given.rounds, given.harness_batch if there else [], clock)
            for task, requests in tasks.items()
            if given.task is None or task in given.task
        ]
        documents.append({"model": name, "results": [asdict(r) for r in results]})
        if not given.json:
            kind = "CPU" if given.cpu else "wall"
            print(f"{name}, {given.threads} threads, {given.rounds} rounds, medians of {kind} time")
            print(
                "task      requests   tokens  decodelab      plain   harness (batch)"
                "  over plain  over harness  differ by"
            )
            for r in results:
                theirs = "-" if r.harness is None else f"{r.harness:.2f} s ({r.harness_batch})"
                over = "-" if r.over_harness is None else f"{r.over_harness:.2f}"
                print(
                    f"{r.task:10}{r.requests:8d}{r.tokens:9d}{r.ours:9.2f} s{r.plain:9.2f} s{theirs:>18}"
                    f"{r.over_plain:12.2f}{over:>14}{r.largest_difference:11.1e}"
                )
    if given.json:
        print(json.dumps({"threads": given.threads, "cpu": given.cpu, "rounds": given.rounds, "models": documents}))


if __name__ == "__main__":
    main()
