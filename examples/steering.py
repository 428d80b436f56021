"""Four ways to keep a word out of a text: a mask, rejection, SMC and AWRS, against the distribution they should have.

    python examples/steering.py

The model begins with A nine times in ten, and says `bad` often after A, seldom after B. Few of the texts that begin
with A come through, so among those of four words without `bad` only six in ten do. A mask removes `bad` wherever it
could come and renormalises; nothing tells it that A is dangerous. Rejection draws whole texts and keeps the right
ones: exact, at the price of the tries. SMC comes the closer to the exact distribution the more particles it
has, at the price of those; so does AWRS, whose particles never take a token that a checker rejects.
"""

import math
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence

import decodelab as dl
from decodelab.core.notices import FewerCandidates
from decodelab.core.protocols import Verdict

WORDS = 4
MODEL = dl.TableModel(
    ["A", "B", "bad"],
    {
        (): {"A": 0.9, "B": 0.1},
        "A": {"A": 0.2, "B": 0.1, "bad": 0.7},
        "B": {"A": 0.1, "B": 0.8, "bad": 0.1},
        "bad": {"bad": 1.0},
    },
    eos=None,
    bos="<s>",
)


def without_bad(text: str) -> Verdict:
    """A checker: no text with `bad` in it can become right."""
    return "invalid" if "bad" in text else "complete"


def penalty(prompt: str, texts: Sequence[str]) -> list[float]:
    """The same as a scorer: e^-50 is as good as never."""
    return [-50.0 if "bad" in text else 0.0 for text in texts]


def exact() -> dict[str, float]:
    """The model's distribution of texts given that they are right, by listing them."""
    found = {MODEL.vocab.decode(o.tokens): math.exp(o.logprob) for o in MODEL.enumerate("", WORDS)}
    right = {text: p for text, p in found.items() if "bad" not in text}
    return {text: p / math.fsum(right.values()) for text, p in right.items()}


def shares(strategy: dl.Strategy, runs: int) -> dict[str, float]:
    """The share of each text over this many runs, with candidates weighted where they have weights."""
    steered = isinstance(strategy.search, dl.SMC | dl.AWRS)
    engine = dl.Engine(MODEL, max_rows=4096)
    for seed in range(runs):
        engine.submit("", strategy, max_new_tokens=WORDS, seed=seed)
    counts: defaultdict[str, float] = defaultdict(float)
    with warnings.catch_warnings():
        # Not every try of rejection is accepted.
        warnings.simplefilter("ignore", FewerCandidates)
        for generation in engine.run():
            assert isinstance(generation, dl.Generation), generation
            for c in generation.candidates:
                counts[c.text] += math.exp(c.score) if steered else 1
    total = math.fsum(counts.values())
    return {text: count / total for text, count in counts.items()}


def distance(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    """Total variation: the largest difference between the probabilities of any set of texts."""
    return sum(abs(a.get(text, 0) - b.get(text, 0)) for text in a.keys() | b.keys()) / 2


def main() -> None:
    """Print how each way does."""
    distribution = exact()
    checked = dl.Check(without_bad, candidates=None, look=None)
    ways = {
        "the distribution meant": distribution,
        "check, 2,000 samples": shares(dl.Strategy.of(checked | dl.Sample(n=100)), 20),
        "rejection, 10,000 tries": shares(dl.Strategy.of(dl.Rejection(without_bad, n=400, tries=400)), 25),
        **{
            f"smc, {2048 // n} runs of {n}": shares(dl.Strategy.of(dl.SMC(n, penalty)), 2048 // n)
            for n in (1, 4, 16, 64, 256)
        },
        **{
            f"awrs, {2048 // n} runs of {n}": shares(dl.Strategy.of(dl.AWRS(without_bad, n)), 2048 // n)
            for n in (1, 16, 256)
        },
    }
    print(f"{'':24}{'begins with A':>15}{'A B B B':>10}{'B B B B':>10}{'says bad':>10}{'distance':>10}")
    for name, found in ways.items():
        begins = sum(p for text, p in found.items() if text.startswith("A"))
        bad = sum(p for text, p in found.items() if "bad" in text)
        few = [found.get(text, 0) for text in ("A B B B", "B B B B")]
        print(f"{name:24}{begins:15.3f}{few[0]:10.3f}{few[1]:10.3f}{bad:10.3f}{distance(found, distribution):10.3f}")


if __name__ == "__main__":
    main()
