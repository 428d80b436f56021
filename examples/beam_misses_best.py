"""A beam of two misses the best sequence of three: every step, the gap, and what it costs.

    python examples/beam_misses_best.py

The model is a tree of two words, written down in beam_misses_best.yaml, so the best sequence is known: all eight can be
listed. Its second word, B A with probability 0.24, is third when two places are given away. The same tree from the
command line:

    decodelab tree -m examples/beam_misses_best.yaml -s "beam(width=2, n=2)" --max-new-tokens 3
"""

import math
from pathlib import Path

import decodelab as dl
from decodelab.core.events import Event, Step

LENGTH = 3
WORDS = 2


class Beams:
    """An observer that notes the hypotheses each step kept or ended, and how many continuations it looked at."""

    def __init__(self, model: dl.TableModel) -> None:
        self.model = model
        self.steps: list[list[tuple[str, float]]] = []
        self.scored = 0

    def __call__(self, event: Event) -> None:
        """Take an event from the engine."""
        if isinstance(event, Step):
            self.scored += int(event.processed.isfinite().sum())
            kept = []
            for parent, token in zip(event.parents.tolist(), event.tokens.tolist(), strict=True):
                tokens = (*event.prefixes[parent], token)
                kept.append((self.model.vocab.decode(tokens), self.probability(tokens)))
            self.steps.append(kept)

    def probability(self, tokens: tuple[int, ...]) -> float:
        """The probability of the text so far, from the table."""
        bos = (self.model.vocab.bos_id or 0,)
        return math.prod(self.model.probs((*bos, *tokens[:i]))[token] for i, token in enumerate(tokens))


def main() -> None:
    """Print what each width finds, step by step."""
    model = dl.TableModel.from_yaml(Path(__file__).with_suffix(".yaml"))
    ranked = sorted(model.enumerate("", LENGTH), key=lambda outcome: -outcome.logprob)
    print("All sequences, best first:")
    for outcome in ranked:
        print(f"  {model.vocab.decode(outcome.tokens)}  {math.exp(outcome.logprob):.4f}")
    best = ranked[0]

    for width in (1, 2, 3):
        beams = Beams(model)
        (found,) = dl.generate(model, "", f"beam(width={width})", max_new_tokens=LENGTH, observers=[beams])
        print(f"\nbeam(width={width})")
        for number, kept in enumerate(beams.steps, 1):
            print(f"  step {number}: " + ", ".join(f"{text} {p:.4f}" for text, p in kept))
        gap = best.logprob - found.best.logprob
        print(f"  finds {found.best.text} with {math.exp(found.best.logprob):.4f}, {gap:.4f} nats below the best")
        bound = LENGTH * width * WORDS
        print(f"  looked at {beams.scored} continuations; T k M = {LENGTH} x {width} x {WORDS} = {bound} bounds them")

    (proved,) = dl.generate(model, "", "exact", max_new_tokens=LENGTH)
    print(f"\nexact finds {proved.best.text} with {math.exp(proved.best.logprob):.4f}")


if __name__ == "__main__":
    main()
