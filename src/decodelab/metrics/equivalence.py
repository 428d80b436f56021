"""Whether two answers mean the same, by entailment in both directions."""

from __future__ import annotations

from dataclasses import dataclass

from decodelab.core.errors import InvalidData
from decodelab.metrics.classifier import Classifier


@dataclass(frozen=True)
class Entailment:
    """Two answers are equivalent when each entails the other, given the question: a judge for `meanings`.

    Attributes:
        judge: a classifier trained on natural language inference, with a label that contains "entail".
        question: stands before both answers, so that short answers can be compared.

    Raises:
        InvalidData: if no label (or more than one) contains "entail", but for "not entail...".

    Source: Kuhn et al. 2023, section 3 (bidirectional entailment).
    """

    judge: Classifier
    question: str = ""

    def __post_init__(self) -> None:
        """Find the label."""
        self._label()

    def _label(self) -> int:
        names = [n.lower() for n in self.judge.labels]
        found = [i for i, n in enumerate(names) if "entail" in n and not n.startswith(("not", "non"))]
        if len(found) != 1:
            raise InvalidData(
                f"{self.judge.name} has the labels {', '.join(self.judge.labels)}; one must contain entailment"
            )
        return found[0]

    def __call__(self, a: str, b: str) -> bool:
        """Whether entailment is the most probable label both ways."""
        x, y = (f"{self.question} {text}".strip() for text in (a, b))
        return bool((self.judge.probabilities([(x, y), (y, x)]).argmax(-1) == self._label()).all())
