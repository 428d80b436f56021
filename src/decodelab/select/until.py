"""Adaptive self-consistency: no more samples than settle the vote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from decodelab.core.capabilities import Need
from decodelab.core.errors import InvalidParameter
from decodelab.core.protocols import Question, Reader
from decodelab.core.stage import Kind, Stage, check_choice, check_number
from decodelab.core.values import Candidate
from decodelab.select.readers import Answer, check_answer, read_answers
from decodelab.select.settled import agree, beta_confidence, counted, dirichlet_confidence, surely_ahead

RULES = ("error", "beta", "dirichlet", "window")


@dataclass(frozen=True)
class Until(Stage):
    """Draw samples in windows until the vote is settled, at most as many as `sample(n=...)` says.

    The samples drawn are the first of those that `sample` would draw, text for text. After each window, unless all are
    drawn, a rule decides on the answers so far. The rules differ in what they promise about the vote of all n samples:

    * `error`: the answer is another one with probability at most `error`, whatever the distribution of answers, over
      all looks together (`decodelab.select.settled.surely_ahead`, with the proof). `error=0` stops when the leader can
      no longer be overtaken. It holds for samples that are exchangeable, as those of `sample` are, and for a `vote`
      with the same answers and without a quorum.
    * `beta`, `dirichlet` (Adaptive-Consistency): the leader is more probable than the second, or than each answer seen,
      with posterior probability `confidence` under a uniform prior. That is about the model's distribution, not the
      vote, and holds at each look for answers drawn from the prior: with several looks, or a near tie, the answer
      differs from the vote more often than 1 - `confidence`. The paper looks after every sample: `window=1`.
    * `window` (early-stopping self-consistency, ESC): all samples of the last window give the same answer. If each
      gives a wrong answer with probability p, a window agrees on it with probability p^window; there are n / window.

    `benchmarks/until.py` measures these shares. Samples without an answer count as drawn and vote for nothing.

    Raises:
        InvalidParameter: if a parameter is out of range, or belongs to another rule.
        UnsupportedStrategy: when it is run, after another search than `sample`, or before a vote on other answers.

    >>> import decodelab as dl
    >>> str(dl.Strategy.of("temperature=0.7 | sample(n=40) | until(error=0.05) | vote"))
    'temperature=0.7 | sample(n=40) | until(error=0.05) | vote'
    >>> (g,) = dl.generate("pocket-nano", "2 + 2 =", "temperature=0.1 | sample(n=40) | until | vote", max_new_tokens=4)
    >>> len(g.candidates) < 40
    True
    """

    rule: Annotated[
        Literal["error", "beta", "dirichlet", "window"], "when to stop: error, beta, dirichlet, or window (ESC)"
    ] = "error"
    answer: Answer = "integer"
    error: Annotated[float, "of rule=error: how probable another answer than that of all samples may be, in [0, 1)"] = (
        0.01
    )
    confidence: Annotated[float, "of beta and dirichlet: posterior probability that ends drawing, in (0, 1)"] = 0.95
    window: Annotated[int, "samples drawn between two looks, at least 1"] = 5

    name: ClassVar[str] = "until"
    kind: ClassVar[Kind] = "driver"
    needs: ClassVar[Need] = "text"
    uses_randomness: ClassVar[bool] = False
    draws_in_windows: ClassVar[bool] = True
    source: ClassVar[str] = (
        "Aggarwal et al. 2023, Let's sample step by step, equations 3 to 5; Li et al. 2024, Escape sky-high cost, "
        "section 3; the error rule is ours, after Waudby-Smith & Ramdas 2020, Confidence sequences for sampling "
        "without replacement, section 2"
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_choice(self, "rule", RULES, fix="error bounds how often the answer differs from the full vote's")
        check_answer(self)
        check_number(self, "error", low=0, high=1, high_open=True, fix="0 never differs from the full vote")
        check_number(self, "confidence", low=0, high=1, low_open=True, high_open=True, fix="the paper takes 0.95")
        least = 2 if self.rule == "window" else 1  # one sample agrees with itself
        check_number(self, "window", low=least, integer=True, fix="5 saves most of the samples and most of the looks")
        read = {"error": ("error",), "beta": ("confidence",), "dirichlet": ("confidence",), "window": ()}[self.rule]
        for parameter in self.parameters():
            given = getattr(self, parameter.name) != parameter.default
            if parameter.name in ("error", "confidence") and given and parameter.name not in read:
                raise InvalidParameter(
                    f"until: {parameter.name} has no effect under rule={self.rule}, got "
                    f"{getattr(self, parameter.name):g}; leave it out, or take another rule"
                )

    def counts(self) -> str | Reader:
        """Its answers."""
        return self.answer

    def reads_logprobs(self) -> bool:
        """It reads texts."""
        return False

    def asks_model(self) -> bool:
        """It reads texts."""
        return False

    def settled(self, candidates: Sequence[Candidate], drawn: int, total: int, question: Question) -> bool:
        """Whether the rule has no more samples drawn."""
        answers = read_answers(self, self.answer, candidates, question)
        if self.rule == "window":
            return len(answers) >= self.window and agree(answers[-self.window :])
        counts = counted(answers)
        if self.rule == "error":
            return surely_ahead(counts, drawn, total, self.error)
        confidence = beta_confidence if self.rule == "beta" else dirichlet_confidence
        return confidence(counts) >= self.confidence
