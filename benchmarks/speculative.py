"""Speculative decoding against plain decoding of the same model: seconds as acceptance grows, and of real drafts.

The curve: a Llama of 15 million random weights (hidden 288, 6 layers, vocabulary 32,000) decodes greedily, one prompt,
under a draft that knows what the model will say and tells it with a given probability, another token otherwise. That
draft costs next to nothing, so the curve is the gain of checking several tokens in one pass, less what the driver
itself costs; a draft that computes something gains less. The real cases: pocket-small on its own tasks, drafted by
pocket-nano and by prompt lookup.

The couplings: how often a token drawn from pocket-nano's processed distribution is the one drawn from
pocket-small's, computed along samples of pocket-small. `rejection` is 1 - TV, the most any coupling can reach and
what rejection sampling accepts; `gumbel` and `inverse CDF` are the draws of `sample`, which keep
the model's own tokens.

Every run gives the tokens of plain decoding (`same`). Rounds alternate between the two so that a busy machine slows
both; the gain is plain seconds over driven ones, of medians, with the quartiles of the ratios of neighbouring rounds.
`--cpu` counts CPU seconds of the process instead of the wall clock, for a machine that others use too.

    python benchmarks/speculative.py                          # the curve and the real cases
    python benchmarks/speculative.py --png speculative.png --json
    python benchmarks/speculative.py --case pocket --rounds 3
    python benchmarks/speculative.py --case coupling
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from contest import random_llama
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

import decodelab as dl
from decodelab.core.protocols import Cache, LanguageModel
from decodelab.core.values import Prompt, Tokens
from decodelab.models.table import TableCache
from decodelab.pocket import task

PROMPT = 32
"""Tokens of the curve's prompt."""

TASKS = ("stories", "sums", "choice", "instructions")
"""What the prompts of the real cases ask."""


class Oracle:
    """A draft that knows the whole text and at each position tells the next token, or, with some probability, another.

    Args:
        model: whose vocabulary it has.
        text: what the model will say, the prompt included.
        agreement: how often it tells the truth.
    """

    def __init__(self, model: LanguageModel, text: Tokens, agreement: float) -> None:
        self.name = f"an oracle that is right {agreement:.0%} of the time"
        self.digest = self.name
        self.vocab = model.vocab
        self.context_length = model.context_length
        self.generation_config: dict[str, object] = {}
        size = model.vocab.size
        honest = torch.rand(len(text), generator=torch.Generator().manual_seed(0)) < agreement
        self.next = [t if ok else (t + 1) % size for t, ok in zip(text, honest.tolist(), strict=True)]

    def cache_bytes(self, prompt: int, rows: int, new: int) -> int:
        """Eight bytes a token."""
        return 8 * rows * (prompt + new)

    def prefill(self, prompts: Sequence[Tokens]) -> tuple[Tensor, Cache]:
        """What follows the prompts."""
        cache = TableCache(prompts)
        return self._logits([[n] for n in cache.lengths])[:, 0], cache

    def decode(self, cache: Cache, tokens: Tensor) -> tuple[Tensor, Cache]:
        """What follows each position, whatever the tokens are."""
        assert isinstance(cache, TableCache)
        held = cache.lengths
        cache.rows = [row + tuple(new) for row, new in zip(cache.rows, tokens.tolist(), strict=True)]
        return self._logits([[n + i + 1 for i in range(tokens.shape[1])] for n in held]), cache

    def _logits(self, positions: Sequence[Sequence[int]]) -> Tensor:
        logits = torch.zeros(len(positions), len(positions[0]), self.vocab.size)
        for row, places in enumerate(positions):
            for i, place in enumerate(places):
                logits[row, i, self.next[min(place, len(self.next) - 1)]] = 30.0
        return logits


@dataclass(frozen=True)
class Result:
    """How a driven strategy compares with the plain one.

    Attributes:
        name: what was decoded, and by which draft.
        strategy: the plain strategy.
        k: tokens drafted for a pass.
        batch: rows at once.
        plain: median seconds of the strategy alone.
        driven: the same with the draft.
        gain: plain over driven.
        gain_low: the lower quartile of the gains of neighbouring rounds.
        gain_high: the upper.
        acceptance: the share of proposals the model accepted.
        tokens_a_pass: new tokens for each forward pass of the model, of one row.
        same: the share of continuations with equal tokens.
        agreement: how often the oracle is right at a position.
    """

    name: str
    strategy: str
    k: int
    batch: int
    plain: float
    driven: float
    gain: float
    gain_low: float
    gain_high: float
    acceptance: float
    tokens_a_pass: float
    same: float
    agreement: float | None = None


def measure(
    name: str,
    model: LanguageModel,
    draft: LanguageModel | str,
    prompts: Sequence[Prompt],
    strategy: str,
    k: int,
    batch: int,
    new: int,
    least: int,
    rounds: int,
    clock: Callable[[], float],
) -> Result:
    """Time a strategy alone and driven by a draft, for `least` to `new` tokens a continuation."""
    alone = dl.Strategy.of(strategy)
    sides = {"plain": alone, "driven": dl.Strategy((*alone.stages, dl.Speculative(draft, k=k)))}

    def run(side: str) -> list[dl.Generation]:
        return dl.generate(model, prompts, sides[side], max_new_tokens=new, min_new_tokens=least, max_rows=batch)

    plain, driven = run("plain"), run("driven")  # also warms both up
    seconds: dict[str, list[float]] = {"plain": [], "driven": []}
    for turn in range(rounds):
        for side in sides if turn % 2 else reversed(sides):
            began = clock()
            run(side)
            seconds[side].append(clock() - began)
    gains = [a / b for a, b in zip(seconds["plain"], seconds["driven"], strict=True)]
    low, _, high = statistics.quantiles(gains, n=4)
    slow, quick = (statistics.median(seconds[side]) for side in ("plain", "driven"))
    drafted = sum(g.cost.proposed for g in driven)
    tokens = [len(c.tokens) / g.cost.forward_passes for g in driven for c in g.candidates]
    pairs = zip(plain, driven, strict=True)
    same = [a.tokens == b.tokens for g, h in pairs for a, b in zip(g.candidates, h.candidates, strict=True)]
    return Result(
        name, strategy, k, batch, slow, quick, slow / quick, low, high,
        sum(g.cost.accepted for g in driven) / max(drafted, 1), statistics.fmean(tokens), statistics.fmean(same),
    )  # fmt: skip


def curve(
    ks: Sequence[int], agreements: Sequence[float], new: int, rounds: int, clock: Callable[[], float]
) -> list[Result]:
    """The gain of the 15 M target at each draft length and agreement."""
    model = random_llama()
    prompt = tuple((7919 * (i + 1)) % (model.vocab.size - 2) for i in range(PROMPT))
    text = prompt + dl.generate(model, [prompt], "greedy", max_new_tokens=new, min_new_tokens=new)[0].best.tokens
    found: list[Result] = []
    for k in ks:
        for agreement in agreements:
            oracle = Oracle(model, text, agreement)
            name = f"15 M Llama, {oracle.name}"
            result = measure(name, model, oracle, [prompt], "greedy", k, 1, new, new, rounds, clock)  # pyright: ignore[reportArgumentType]
            found.append(replace(result, agreement=agreement))
            _show(found[-1])
    return found


def pocket(new: int, rounds: int, clock: Callable[[], float]) -> list[Result]:
    """pocket-small on its own tasks, under both drafts."""
    model, nano = dl.load("pocket-small"), dl.load("pocket-nano")
    prompts = [task(TASKS[i % len(TASKS)]).generate(i, "test").prompt for i in range(8)]
    found: list[Result] = []
    for strategy in ("greedy", "temperature=0.8 | top_p=0.9 | sample"):
        for draft in (nano, "ngram"):
            for batch in (1, 8):
                name = f"pocket-small, {draft if isinstance(draft, str) else draft.name}"
                found.append(measure(name, model, draft, prompts, strategy, 4, batch, new, 0, rounds, clock))
                _show(found[-1])
    return found


@dataclass(frozen=True)
class Coupling:
    """How often model and draft agree on the next token under a chain, by how both are drawn."""

    chain: str
    positions: int
    rejection: float
    gumbel: float
    inverse_cdf: float


def couplings(new: int) -> list[Coupling]:
    """The agreement of pocket-nano with pocket-small at each position of samples of the latter."""
    model, draft = dl.load("pocket-small"), dl.load("pocket-nano")
    items = [task(TASKS[i % len(TASKS)]).generate(i, "test") for i in range(16)]
    found: list[Coupling] = []
    for chain in (
        "temperature=0.5",
        "temperature=0.8",
        "sample",
        "temperature=1.5",
        "temperature=0.8 | top_p=0.9",
    ):
        parts: list[Tensor] = []
        for g in dl.generate(model, [item.prompt for item in items], chain, max_new_tokens=new):
            one, other = (_laws(m, g, chain) for m in (model, draft))
            parts.append(torch.stack([_rejection(one, other), _gumbel(one, other), _inverse_cdf(one, other)], 1))
        means = torch.cat(parts).mean(0).tolist()
        found.append(Coupling(chain, sum(map(len, parts)), *means))
        print(
            f"{chain:32}{found[-1].positions:6d}   rejection {means[0]:.3f}   gumbel {means[1]:.3f}   "
            f"inverse CDF {means[2]:.3f}",
            file=sys.stderr,
            flush=True,
        )
    return found


def _laws(model: LanguageModel, generation: dl.Generation, chain: str) -> Tensor:
    """The processed distribution at each new token of a generation, float64 [tokens, vocab]."""
    first, cache = model.prefill([generation.prompt_tokens])
    rest, _ = model.decode(cache, torch.tensor([generation.best.tokens]))
    distributions = dl.distribution(torch.cat([first, rest[0, :-1]]), chain).double()
    return distributions / distributions.sum(-1, keepdim=True)


def _rejection(one: Tensor, other: Tensor) -> Tensor:
    """1 - TV."""
    return torch.minimum(one, other).sum(-1)


def _gumbel(one: Tensor, other: Tensor) -> Tensor:
    """The sum over i of 1 / sum_j max(p_j / p_i, q_j / q_i): the same noise makes token i the largest of both."""
    found = torch.zeros(len(one), dtype=torch.float64)
    for row, (p, q) in enumerate(zip(one, other, strict=True)):
        both = ((p > 1e-12) & (q > 1e-12)).nonzero()[:, 0]
        found[row] = (1 / torch.maximum(p / p[both, None], q / q[both, None]).sum(-1)).sum()
    return found


def _inverse_cdf(one: Tensor, other: Tensor) -> Tensor:
    """How much the intervals of equal tokens overlap."""
    ends, others = one.cumsum(-1), other.cumsum(-1)
    low, high = torch.maximum(ends - one, others - other), torch.minimum(ends, others)
    return (high - low).clamp(min=0).sum(-1)


def draw(results: Sequence[Result], title: str, file: Path) -> None:
    """Draw gain against how often the draft is right, a line for each draft length."""
    figure = Figure(figsize=(7, 4.5), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=10)
    for k in sorted({r.k for r in results}):
        line = sorted((r for r in results if r.k == k), key=lambda r: r.agreement or 0.0)
        at = [r.agreement or 0.0 for r in line]
        (drawn,) = axes.plot(at, [r.gain for r in line], marker="o", markersize=3, linewidth=1.3, label=f"k = {k}")
        axes.fill_between(
            at,
            [r.gain_low for r in line],
            [r.gain_high for r in line],
            color=drawn.get_color(),
            alpha=0.15,
            linewidth=0,
        )
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_xlabel("how often the draft is right at a position", fontsize=9)
    axes.set_ylabel("plain seconds / driven seconds", fontsize=9)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    FigureCanvasAgg(figure)
    figure.savefig(file, metadata={"Software": "decodelab"})


def _show(r: Result) -> None:
    print(
        f"{r.name:58}{r.strategy:36}{r.k:3d}{r.batch:6d}{r.plain:9.3f}s{r.driven:9.3f}s"
        f"{r.gain:7.2f} ({r.gain_low:.2f} to {r.gain_high:.2f}){r.acceptance:8.0%}{r.tokens_a_pass:7.2f}{r.same:7.0%}",
        file=sys.stderr,
        flush=True,
    )


def main() -> None:
    """Print a table on stderr, and JSON on stdout if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=["coupling", "curve", "pocket"], nargs="+", default=["curve", "pocket"])
    parser.add_argument("--k", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--agreement", type=float, nargs="+", default=[0.0, 0.25, 0.5, 0.75, 0.9, 1.0])
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu", action="store_true", help="CPU seconds of the process, not the wall clock")
    parser.add_argument("--png", type=Path, help="draw the curve here")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.rounds < 2:
        parser.error(f"--rounds must be at least 2, got {given.rounds}")
    if not all(0 <= a <= 1 for a in given.agreement):
        parser.error(f"--agreement must be in [0, 1], got {given.agreement}")
    torch.set_num_threads(given.threads)
    kind = "CPU" if given.cpu else "wall"
    clock = time.process_time if given.cpu else time.perf_counter
    agreeing = couplings(given.new_tokens) if "coupling" in given.case else []
    title = f"{given.new_tokens} new tokens, {given.threads} threads, {given.rounds} rounds, {kind} seconds"
    if {"curve", "pocket"} & set(given.case):
        print(
            f"{title}\n{'model and draft':58}{'strategy':36}  k  batch    plain    driven   gain (quartiles)"
            "     accepted tokens/pass same",
            file=sys.stderr,
        )
    results: list[Result] = []
    if "curve" in given.case:
        results += curve(given.k, given.agreement, given.new_tokens, given.rounds, clock)
        if given.png is not None:
            draw(results, f"Speculative decoding of a 15 M Llama, greedy, one row\n{title}", given.png)
    if "pocket" in given.case:
        results += pocket(given.new_tokens, given.rounds, clock)
    if given.json:
        data = {"threads": given.threads, "clock": kind, "results": [asdict(r) for r in results]}
        print(json.dumps(data | {"couplings": [asdict(c) for c in agreeing]}))


if __name__ == "__main__":
    main()
