"""Diverse beam search right, and with each of three mistakes that one meets: what every mistake does to the output.

python examples/broken_diverse_beam.py
"""

import math
from typing import NamedTuple

import torch

import decodelab as dl

MODEL = dl.TableModel(
    ["the", "a", "one", "my", "cat", "dog", "fish", "bird", "ran", "sat", "hid", "ate"],
    {
        (): {"the": 0.4, "a": 0.3, "one": 0.2, "my": 0.1},
        "the": {"cat": 0.4, "dog": 0.35, "fish": 0.15, "bird": 0.1},
        "a": {"cat": 0.38, "dog": 0.32, "fish": 0.2, "bird": 0.1},
        "one": {"cat": 0.1, "dog": 0.2, "fish": 0.3, "bird": 0.4},
        "my": {"cat": 0.35, "dog": 0.45, "fish": 0.1, "bird": 0.1},
        ...: {"ran": 0.4, "sat": 0.3, "hid": 0.2, "ate": 0.1},
    },
    bos="<s>",
)
WIDTH, GROUPS, PENALTY, WEAK, LENGTH = 4, 2, 1.0, 0.2, 3


class Beam(NamedTuple):
    """A hypothesis and its score."""

    score: float
    tokens: tuple[int, ...]


def search(
    penalty: float, *, product: bool = False, unpenalised: bool = False, untruncated: bool = False
) -> list[list[Beam]]:
    """The groups that diverse beam search ends with, right or with mistakes.

    Args:
        penalty: what each repetition of a token costs.
        product: scores are products of probabilities, from which the penalty is subtracted.
        unpenalised: the best continuations are chosen first, and only their order is penalised.
        untruncated: every beam keeps its own best continuations, and the group all of them.
    """
    size = WIDTH // GROUPS
    groups = [[Beam(1.0 if product else 0.0, ())] for _ in range(GROUPS)]
    for _ in range(LENGTH):
        chosen: list[int] = []
        for g, beams in enumerate(groups):
            found: list[tuple[float, Beam]] = []
            for beam in beams:
                own = []
                for token, p in enumerate(MODEL.probs(beam.tokens)):
                    if p > 0:
                        score = beam.score * p if product else beam.score + math.log(p)
                        extended = Beam(score, (*beam.tokens, token))
                        own.append((score - penalty * chosen.count(token), extended))
                own.sort(key=lambda c: -(c[1].score if unpenalised else c[0]))
                found += own[:size] if untruncated else own
            found.sort(key=lambda c: -(c[1].score if unpenalised else c[0]))
            kept = found if untruncated else found[:size]
            kept.sort(key=lambda c: -c[0])
            groups[g] = [beam for _, beam in kept]
            chosen += [beam.tokens[-1] for beam in groups[g]]
    return groups


def underflow(probability: float) -> tuple[int, float]:
    """After how many tokens of this probability a float32 product is 0, and what the log-probability is then."""
    product, length = torch.tensor(1.0), 0
    while product > 0:
        product, length = product * probability, length + 1
    return length, length * math.log(probability)


def main() -> None:
    """Print the hypotheses of each group, and when products vanish."""
    cases = {
        f"as it should be, penalty {PENALTY}": search(PENALTY),
        "top-k before the penalty": search(PENALTY, unpenalised=True),
        "groups never truncated": search(PENALTY, untruncated=True),
        f"as it should be, penalty {WEAK}": search(WEAK),
        "products of probabilities": search(WEAK, product=True),
    }
    for name, groups in cases.items():
        print(f"{name}:")
        for g, beams in enumerate(groups, 1):
            texts = ", ".join(MODEL.vocab.decode(beam.tokens) for beam in beams)
            print(f"  group {g}, {len(beams)} hypotheses: {texts}")
    length, logprob = underflow(0.3)
    print(f"a float32 product of 0.3 is 0 after {length} tokens, where the log-probability is {logprob:.1f}")
    strategy = dl.DiverseBeam(WIDTH, GROUPS, PENALTY, n=WIDTH)
    (ours,) = dl.generate(MODEL, "", strategy, max_new_tokens=LENGTH)
    print(f"{strategy}: " + ", ".join(c.text for c in ours.candidates))


if __name__ == "__main__":
    main()
