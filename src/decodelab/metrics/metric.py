"""What a metric is, so that `measure` and `calibrate` report it: its meaning in a line, and how it is computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from decodelab.core.errors import InvalidData
from decodelab.core.words import words
from decodelab.metrics.bootstrap import Statistic
from decodelab.metrics.bounded import bounded_mean
from decodelab.metrics.checks import Floats
from decodelab.metrics.closeness import Mauve, mauve
from decodelab.metrics.estimate import Estimate
from decodelab.metrics.mean import mean, positive_mean
from decodelab.metrics.overlap import Rouge, rouge
from decodelab.metrics.proportion import proportion


@dataclass(frozen=True)
class Sample:
    """A text to measure.

    Attributes:
        text: the text itself.
        prompt: what it continues or answers; samples of one prompt belong together.
        references: right answers, where there are any.
    """

    text: str
    prompt: str | None = None
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judges:
    """What needs a model, a grammar or human texts; each is left out where it is None.

    Attributes:
        embed: embeddings of texts, [texts, dimensions].
        acceptable: the probability that each text is acceptable, [texts].
        accepts: whether a grammar accepts a text.
        human: human texts to be close to; needs `embed`.
    """

    embed: Callable[[Sequence[str]], Floats] | None = None
    acceptable: Callable[[Sequence[str]], Floats] | None = None
    accepts: Callable[[str], bool] | None = None
    human: Sequence[str] | None = None


@dataclass(frozen=True)
class TextSet:
    """A set of texts, and the estimates that metrics make of numbers about them.

    Attributes:
        samples: the texts.
        judges: models and grammars.
        level: of the intervals.
        seed: of k-means (MAUVE) and of the texts drawn for self-BLEU.
        self_bleu_texts: texts compared by self-BLEU, at most.
    """

    samples: Sequence[Sample]
    judges: Judges = Judges()
    level: float = 0.95
    seed: int = 0
    self_bleu_texts: int = 200

    @cached_property
    def texts(self) -> list[str]:
        """The texts alone."""
        return [s.text for s in self.samples]

    @cached_property
    def words(self) -> list[list[str]]:
        """The words of each text."""
        return [words(t) for t in self.texts]

    @cached_property
    def prompts(self) -> list[str | None] | None:
        """The prompt of each text; None unless all are known."""
        known = all(s.prompt is not None for s in self.samples)
        return [s.prompt for s in self.samples] if known else None

    @cached_property
    def references(self) -> list[list[str]] | None:
        """The references of each text; None where no text has any.

        Raises:
            InvalidData: if some texts have references and others do not.
        """
        given = sum(bool(s.references) for s in self.samples)
        if given == 0:
            return None
        if given < len(self.samples):
            raise InvalidData(
                f"references are there for {given} of {len(self.samples)} texts; give them for all, or for none"
            )
        return [list(s.references) for s in self.samples]

    @cached_property
    def rouge(self) -> list[Rouge] | None:
        """The ROUGE scores of each text; None without references."""
        if self.references is None:
            return None
        return [rouge(text, refs) for text, refs in zip(self.texts, self.references, strict=True)]

    @cached_property
    def vectors(self) -> Floats | None:
        """Embeddings of the texts that are not empty; None without an embedder."""
        kept = [text for text in self.texts if text.strip()]
        return self.judges.embed(kept) if self.judges.embed is not None and kept else None

    @cached_property
    def mauve(self) -> Mauve | None:
        """Closeness to the human texts; None without them."""
        embed, human = self.judges.embed, self.judges.human
        if embed is None or human is None or self.vectors is None:
            return None
        return mauve(embed([text for text in human if text.strip()]), self.vectors, seed=self.seed)

    def mean(self, values: ArrayLike) -> Estimate:
        """The mean of one number a text, clustered by prompt; texts whose number is NaN are left out."""
        return self._mean(mean, values)

    def positive_mean(self, values: ArrayLike) -> Estimate:
        """As `mean`, of numbers that are at least 0, such as lengths: so is the interval."""
        return self._mean(positive_mean, values)

    def unit_mean(self, values: ArrayLike) -> Estimate:
        """As `mean`, of numbers in [0, 1], such as shares: so is the interval."""
        return self._mean(bounded_mean, values)

    def _mean(self, estimated: Callable[..., Estimate], values: ArrayLike) -> Estimate:
        numbers = np.asarray(values, dtype=np.float64)
        rows = np.flatnonzero(~np.isnan(numbers))
        if not len(rows):
            return self.whole(math.nan)
        clusters = None if self.prompts is None else [self.prompts[i] for i in rows]
        return estimated(numbers[rows], clusters, level=self.level)

    def share(self, values: Sequence[bool]) -> Estimate:
        """The share of texts of which something is true, clustered by prompt."""
        return proportion(np.array(values, dtype=np.float64), self.prompts, level=self.level)

    def whole(self, value: float) -> Estimate:
        """A number of the whole set, which has no interval."""
        clusters = len(set(self.prompts)) if self.prompts is not None else len(self.samples)
        return Estimate(float(value), math.nan, math.nan, math.nan, len(self.samples), clusters, self.level)


@dataclass(frozen=True)
class TextMetric:
    """A number about a set of texts, which `decodelab measure` reports.

    Attributes:
        meaning: what it is, in at most 40 characters.
        measure: the estimate, or None where it does not apply (no references, no judge).

    >>> shouts = TextMetric("share of texts in capitals", lambda texts: texts.share([t.isupper() for t in texts.texts]))
    >>> shouts.measure(TextSet([Sample("NO"), Sample("yes")])).value
    0.5
    """

    meaning: str
    measure: Callable[[TextSet], Estimate | None]

    of: ClassVar[Literal["texts"]] = "texts"


@dataclass(frozen=True)
class ConfidenceMetric:
    """A number about confidences and outcomes, which `decodelab calibrate` reports with a BCa bootstrap's interval.

    Attributes:
        meaning: what it is, in at most 60 characters.
        statistic: of the confidences in [0, 1] and the outcomes 0 or 1, float64 [n] each.
    """

    meaning: str
    statistic: Statistic

    of: ClassVar[Literal["confidences"]] = "confidences"
