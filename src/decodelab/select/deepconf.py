"""DeepConf online: samples of which the model is unsure are given up while they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from decodelab.core.protocols import Draw, Drawn, Question, Reader, Rounds
from decodelab.core.stage import Kind, Stage, check_number
from decodelab.core.values import Candidate, Limits
from decodelab.select._tally import tally
from decodelab.select.ratings import Rating, Window, groups
from decodelab.select.readers import Answer, check_answer, read_answers


@dataclass(frozen=True)
class DeepConf(Stage):
    """Draw samples, giving up those whose confidence falls below that of the first ones, and vote with the others.

    The first `warmup` samples are drawn whole. The threshold is the (1 - `keep`) quantile of their lowest group
    confidence (`weighted_vote(by=lowest_group)`). Further samples are drawn side by side, `batch` at a time, in pieces
    of `piece` tokens; after each piece, those with a group below the threshold are given up. Drawing ends when an
    answer has the share `consensus` of the votes, or with all n. Each sample votes for its answer with its lowest group
    confidence; what was given up, and what of the first ones is below the threshold, costs and does not vote.

    Returned are the samples that vote, ranked as `weighted_vote` ranks them, so that a selection may follow that
    chooses among them in another way. Without `consensus`, they are exactly those of `sample(n)` whose lowest group is
    not below the threshold: samples are the same text for text, and longer pieces cost up to `piece` tokens more for a
    sample that is given up, but give up no other. What may differ from the vote of all n is what `consensus` leaves
    out: it bounds no error (`until(rule=error)` does, for votes without weights). Only samples longer than `window`
    are given up early.

    The paper calls `keep=0.1` DeepConf-low and `keep=0.9` DeepConf-high; its code draws all samples at once and knows
    no consensus (`consensus=none`). Texts without an answer weigh in the whole, where the paper leaves them out.

    Raises:
        InvalidParameter: if a parameter is out of range.
        UnsupportedStrategy: when it is run, where it is not known how sure the model was (servers).

    >>> str(DeepConf(n=64, keep=0.9))
    'deepconf(keep=0.9)'
    """

    n: Annotated[int, "samples at most, the first ones included"] = 64
    warmup: Annotated[int, "samples drawn whole, from which the threshold follows, at least 1"] = 16
    keep: Annotated[float, "share of the first samples that the threshold would keep, in (0, 1]"] = 0.1
    consensus: Annotated[float | None, "share of the votes that ends drawing, in (0, 1]; none draws all n"] = 0.95
    answer: Answer = "integer"
    window: Window = 2048
    piece: Annotated[int, "tokens drawn between two looks at the confidence, at least 1"] = 128
    batch: Annotated[int, "samples drawn between two looks at the vote, at least 1"] = 16

    name: ClassVar[str] = "deepconf"
    kind: ClassVar[Kind] = "search"
    searches_in_rounds: ClassVar[bool] = True
    source: ClassVar[str] = "Fu et al. 2025, Deep think with confidence, section 3.3 and algorithm 2"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "n", low=1, integer=True, fix="the paper takes 512")
        check_number(self, "warmup", low=1, high=self.n, integer=True, fix="the paper takes 16, and n at least as many")
        check_number(self, "keep", low=0, low_open=True, high=1, fix="the paper takes 0.1 or 0.9")
        if self.consensus is not None:
            check_number(self, "consensus", low=0, low_open=True, high=1, fix="the paper takes 0.95; none draws all n")
        check_answer(self)
        check_number(self, "window", low=1, integer=True, fix="2048 is what the paper takes")
        check_number(self, "piece", low=1, integer=True, fix="128 costs little and looks seldom")
        check_number(self, "batch", low=1, integer=True, fix="as many as run well side by side")

    def no_effect(self) -> str | None:
        """Without samples after the first ones there is none to give up."""
        return f"all {self.n} samples are drawn whole, as warmup says" if self.warmup == self.n else None

    def reads_confidences(self) -> bool:
        """It goes by them."""
        return True

    def asks_model(self) -> bool:
        """It reads texts and confidences."""
        return False

    def counts(self) -> str | Reader:
        """Its answers."""
        return self.answer

    @property
    def peak_rows(self) -> int:
        """The most samples drawn side by side."""
        return max(self.warmup, min(self.batch, self.n - self.warmup))

    def rounds(self, question: Question, limits: Limits) -> Rounds:
        """The first samples, then batches of further ones, piece by piece."""
        (first,) = yield [Draw(self.warmup, 0)]
        if not first:
            return []
        rated = [(drawn.candidate, self._lowest(drawn.candidate, question)) for drawn in first]
        threshold = float(np.quantile([lowest for _, lowest in rated], 1 - self.keep))
        voting = [(candidate, lowest) for candidate, lowest in rated if lowest >= threshold]
        for begin in range(self.warmup, self.n, self.batch):
            votes = self._ranked(voting, question)
            if self.consensus is not None and votes and votes[0][1] >= self.consensus:
                return votes
            batch = [_Sample(index) for index in range(begin, min(begin + self.batch, self.n))]
            while going := [sample for sample in batch if not sample.over]:
                pieces = yield [sample.next(self.piece) for sample in going]
                for sample, drawn in zip(going, pieces, strict=True):
                    sample.take(drawn, self.window, threshold)
            whole = [sample.text for sample in batch if sample.text is not None]
            rated = [(candidate, self._lowest(candidate, question)) for candidate in whole]
            voting += [(candidate, lowest) for candidate, lowest in rated if lowest >= threshold]
        return self._ranked(voting, question)

    def _lowest(self, candidate: Candidate, question: Question) -> float:
        """The lowest group confidence of a text."""
        return Rating(self, "lowest_group", self.window).of([candidate], question)[0]

    def _ranked(self, voting: Sequence[tuple[Candidate, float]], question: Question) -> list[tuple[Candidate, float]]:
        """The texts that vote with the share of the votes for their answer, most first."""
        answers = read_answers(self, self.answer, [candidate for candidate, _ in voting], question)
        ranked = tally(self, range(len(voting)), answers, [lowest for _, lowest in voting], quorum=0.0)
        return [(voting[place][0], share) for place, share in ranked]


@dataclass
class _Sample:
    """A sample that is drawn piece by piece.

    Attributes:
        index: its sample index.
        text: what is drawn of it; None before the first piece and once it is given up.
        over: whether nothing more is drawn of it.
    """

    index: int
    text: Candidate | None = None
    over: bool = False

    def next(self, piece: int) -> Draw:
        """The draw of its next piece."""
        return Draw(1, self.index, self.text, most=piece)

    def take(self, drawn: Sequence[Drawn], window: int, threshold: float) -> None:
        """Go on with what was drawn, or give up: where a constraint leaves no text, or a new group is too low."""
        known = len(self.text.tokens) if self.text else 0
        self.text, self.over = (drawn[0].candidate, drawn[0].finished) if drawn else (None, True)
        if self.text is None or self.text.confidences is None:
            return
        new = self.text.confidences.top[max(0, known + 1 - window) :]
        if len(new) >= window and min(groups(new, window)) < threshold:
            self.text, self.over = None, True
