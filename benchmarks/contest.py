"""decodelab and `transformers.generate` on the same job: what `engine.py` times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import decodelab as dl
from decodelab.core.values import Tokens
from decodelab.pocket import task

SWEEP = ("default", "greedy", "temperature=0.25", "temperature=1.5", "beam(width=3)", "beam(width=25)", "typical_p=0.9")
"""The seven strategies of the sweep."""

TASKS = ("stories", "sums", "choice", "instructions")
"""What the prompts of `sweep` and `ragged` ask of a model that was trained."""

Outcome = tuple[list[Tokens], int]
"""The tokens of all continuations, and the bytes of the largest cache."""


@dataclass(frozen=True)
class Case:
    """What is decoded.

    Attributes:
        name: greedy, beam, sample, sweep or ragged.
        width: beams or samples of each prompt.
        prompt: tokens of the prompt.
        prompts: how many.
        new: new tokens; of sweep and ragged, whose texts end by themselves, the most.
    """

    name: str
    width: int
    prompt: int
    prompts: int
    new: int

    @property
    def natural(self) -> bool:
        """Whether texts end by themselves."""
        return self.name in ("sweep", "ragged")

    @property
    def strategies(self) -> tuple[str, ...]:
        """What decodelab is asked for."""
        one = {
            "greedy": "greedy",
            "beam": f"beam(width={self.width})",
            "sample": f"top_p=0.9 | sample(n={self.width})",
            "ragged": f"sample(n={self.width})",
        }
        return SWEEP if self.name == "sweep" else (one[self.name],)


@dataclass(frozen=True)
class Result:
    """How the two compare on a case.

    Attributes:
        case: what was decoded.
        ours: median seconds of decodelab.
        theirs: the same of transformers.
        ratio: theirs over ours, for each new token.
        ratio_low: the lower quartile of the ratios of neighbouring rounds.
        ratio_high: the upper.
        our_tokens: new tokens of all continuations.
        their_tokens: the same; not equal where texts are drawn and end by themselves.
        our_bytes: the most bytes of cache one of our jobs held.
        their_bytes: the same of one of their batches.
        batches: prompts in each of their batches, for each strategy: the fastest of those tried.
        same: the share of continuations with equal tokens; None where the two draw different random numbers.
    """

    case: Case
    ours: float
    theirs: float
    ratio: float
    ratio_low: float
    ratio_high: float
    our_tokens: int
    their_tokens: int
    our_bytes: int
    their_bytes: int
    batches: list[int]
    same: float | None

    @staticmethod
    def of(data: dict[str, Any]) -> Result:
        """What `to_dict` made."""
        return Result(Case(**data["case"]), **{name: value for name, value in data.items() if name != "case"})

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data."""
        return asdict(self)


def random_llama(hidden: int = 288, layers: int = 6, vocab: int = 32_000) -> dl.TransformersModel:
    """A Llama with random weights and a tokenizer of numbered words.

    EOS has a longer vector than other tokens, so that now and then it is the most probable of all.
    """
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
        network.model.embed_tokens.weight[vocab - 1] *= 2.5
    return dl.TransformersModel(network, tokenizer, name=f"random Llama ({hidden}, {layers} layers, {vocab:,} tokens)")


def is_random(model: dl.TransformersModel) -> bool:
    """Whether it is a `random_llama`."""
    return model.name.startswith("random Llama")


def prompts_of(model: dl.TransformersModel, case: Case) -> list[Tokens]:
    """Prompts of arbitrary tokens; where texts end by themselves and the model has learnt something, real ones."""
    if case.natural and not is_random(model):
        items = [task(TASKS[i % len(TASKS)]).generate(i, "test") for i in range(case.prompts)]
        return [model.vocab.encode(item.prompt)[-case.prompt :] for item in items]
    size = model.vocab.size - 2
    shorter = case.prompt // 2 if case.natural else 1
    lengths = [case.prompt - 7 * i % shorter for i in range(case.prompts)]
    return [tuple((7919 * (i + 1) * (k + 1) + 13) % size for k in range(n)) for i, n in enumerate(lengths)]


def ends_of(model: dl.TransformersModel, case: Case) -> list[int]:
    """The tokens that end a text besides EOS: of random weights that draw, one token in 24."""
    return list(range(model.vocab.size // 24)) if case.name == "ragged" and is_random(model) else []


def ours(model: dl.TransformersModel, prompts: Sequence[Tokens], case: Case) -> Outcome:
    """Decode with decodelab, all strategies and prompts in one running batch."""
    engine = dl.Engine(model, max_rows=256)
    least = 0 if case.natural else case.new
    for prompt in prompts:
        for strategy in case.strategies:
            engine.submit(
                prompt, strategy, max_new_tokens=case.new, min_new_tokens=least, stop_token_ids=ends_of(model, case)
            )
    found = sorted(engine.run(), key=lambda done: done.index)
    done = [g for g in found if isinstance(g, dl.Generation)]
    assert len(done) == len(found), found
    return [c.tokens for g in done for c in g.candidates], max(g.cost.peak_cache_bytes for g in done)


_SAMPLE = {"do_sample": True, "num_beams": 1, "temperature": 1.0, "top_k": 0, "top_p": 1.0}


def setting_of(strategy: str, width: int) -> dict[str, Any]:
    """What a strategy is called by transformers."""
    if strategy == "default":
        return {}
    if strategy == "greedy":
        return {"do_sample": False, "num_beams": 1}
    if strategy.startswith("beam"):
        return {"do_sample": False, "num_beams": int(strategy.removeprefix("beam(width=").removesuffix(")"))}
    if "sample" in strategy:
        nucleus = 0.9 if strategy.startswith("top_p") else 1.0
        return _SAMPLE | {"top_p": nucleus, "num_return_sequences": width}
    name, value = strategy.split("=")
    return _SAMPLE | {name: float(value)}


def theirs(model: dl.TransformersModel, prompts: Sequence[Tokens], case: Case, strategy: str, batch: int) -> Outcome:
    """Decode with transformers, in batches of `batch` prompts."""
    ends = [*model.vocab.eos_ids, *ends_of(model, case)]
    tokens: list[Tokens] = []
    peak = 0
    for at in range(0, len(prompts), batch):
        part = prompts[at : at + batch]
        ids, mask = padded(part)
        with torch.inference_mode():
            out = model.model.generate(
                ids, attention_mask=mask, max_new_tokens=case.new, min_new_tokens=0 if case.natural else case.new,
                eos_token_id=ends, pad_token_id=ends[0], return_dict_in_generate=True,
                **setting_of(strategy, case.width),
            )  # fmt: skip
        layers = out.past_key_values.layers
        peak = max(peak, sum(layer.keys.nbytes + layer.values.nbytes for layer in layers))
        tokens += [until(row, set(ends)) for row in out.sequences[:, ids.shape[1] :].tolist()]
    return tokens, peak


def padded(prompts: Sequence[Tokens]) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts as one batch for transformers, padded on the left: their ids, and where they are."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts])
    return ids, torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])


def until(row: list[int], ends: set[int]) -> Tokens:
    """A continuation to its first end, that included."""
    first = next((i for i, token in enumerate(row) if token in ends), None)
    return tuple(row if first is None else row[: first + 1])


def measure(
    model: dl.TransformersModel,
    case: Case,
    rounds: int,
    batches: Sequence[int],
    clock: Callable[[], float],
    advance: Callable[[float, str], None],
) -> Result:
    """Time both on one case; the first turn of each, in which transformers' batch is chosen, does not count.

    Args:
        model: decodes for both.
        case: what.
        rounds: how often each is timed.
        batches: prompts transformers may take at once; for each strategy the fastest is used.
        clock: tells seconds.
        advance: told how many of `rounds + 1` rounds are done.
    """
    prompts = prompts_of(model, case)

    def timed(side: Callable[[], Outcome]) -> tuple[float, Outcome]:
        began = clock()
        outcome = side()
        return clock() - began, outcome

    label = f"{case.name} {case.width}, prompt {case.prompt}, prompts {case.prompts}"
    advance(0, f"{label}: transformers' batch")
    chosen: list[int] = []
    for strategy in case.strategies:
        sizes = sorted({min(batch, case.prompts) for batch in batches})
        tried = [(timed(lambda n=n, s=strategy: theirs(model, prompts, case, s, n))[0], n) for n in sizes]
        chosen.append(min(tried)[1])

    def all_of_theirs() -> Outcome:
        found = [theirs(model, prompts, case, s, n) for s, n in zip(case.strategies, chosen, strict=True)]
        return [t for tokens, _ in found for t in tokens], max(peak for _, peak in found)

    sides: dict[str, Callable[[], Outcome]] = {"ours": lambda: ours(model, prompts, case), "theirs": all_of_theirs}
    mine, other = sides["ours"](), sides["theirs"]()
    same = None
    if case.name in ("greedy", "beam"):
        same = statistics.fmean(a == b for a, b in zip(mine[0], other[0], strict=True))
    spent: dict[str, list[float]] = {"ours": [], "theirs": []}
    tokens: dict[str, int] = dict.fromkeys(spent, 0)
    for turn in range(rounds):
        advance(turn + 1, f"{label}: round {turn + 1}")
        for side in sides if turn % 2 else reversed(sides):
            seconds, (found, _) = timed(sides[side])
            spent[side].append(seconds)
            tokens[side] += sum(map(len, found))
    ours_each, theirs_each = (statistics.median(spent[side]) for side in ("ours", "theirs"))
    each = tokens["ours"] / tokens["theirs"]
    low, _, high = statistics.quantiles(
        (b / a * each for a, b in zip(spent["ours"], spent["theirs"], strict=True)), n=4
    )
    return Result(
        case, ours_each, theirs_each, theirs_each / ours_each * each, low, high, tokens["ours"] // rounds,
        tokens["theirs"] // rounds, mine[1], other[1], chosen, same,
    )  # fmt: skip


CLOCKS: dict[str, Callable[[], float]] = {"CPU": time.process_time, "wall": time.perf_counter}
"""Seconds of the process, and of the wall."""
