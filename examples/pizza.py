"""What a decoding strategy does to five words: exact distributions, and draws that agree with them.

    python examples/pizza.py

Needs no model and no network. For each strategy the first line is the distribution, computed; the second is how often
each word came in 10,000 draws, with the standard error of that frequency, sqrt(p (1 - p) / n).
"""

import math

import torch

import decodelab as dl
from decodelab.core.key import Keys
from decodelab.search.sample import inverse_cdf

WORDS = ("pizza", "burger", "pasta", "salad", "sushi")
LOGITS = (2.0, 1.5, 0.5, 0.2, -0.1)
STRATEGIES = (
    "sample",
    "temperature=0.5",
    "temperature=2",
    "greedy",
    "top_k=2",
    "top_p=0.8",
    "min_p=0.15",
    "typical_p=0.2",
    "temperature=2 | top_p=0.8",
    "top_p=0.8 | temperature=2",
)
DRAWS = 10_000


def frequencies(distribution: torch.Tensor, draws: int, *, seed: int = 0, prompt: tuple[int, ...] = ()) -> list[float]:
    """How often each token occurs in this many draws, made as `sample(n=draws)` makes them: one key a sample."""
    keys = Keys.of(seed, prompt, samples=range(draws))
    uniform = keys.uniform(torch.zeros(draws, dtype=torch.int64))
    tokens = inverse_cdf(distribution.log().expand(draws, -1), uniform)
    return (torch.bincount(tokens, minlength=len(distribution)) / draws).tolist()


def main() -> None:
    """Print the table."""
    print(f"{'':26}" + "".join(f"{word:>13}" for word in WORDS))
    print(f"{'logits':26}" + "".join(f"{logit:>13.1f}" for logit in LOGITS))
    for strategy in STRATEGIES:
        distribution = dl.distribution(LOGITS, strategy)
        print(f"{strategy:26}" + "".join(f"{p:>13.4f}" for p in distribution.tolist()))
        cells = [
            f"{frequency:.3f} ±{math.sqrt(p * (1 - p) / DRAWS):.3f}" if p else "0"
            for p, frequency in zip(distribution.tolist(), frequencies(distribution, DRAWS), strict=True)
        ]
        print(f"{'  drawn':26}" + "".join(f"{cell:>13}" for cell in cells))


if __name__ == "__main__":
    main()
