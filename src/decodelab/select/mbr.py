"""Minimum Bayes risk."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from decodelab.core.capabilities import Need
from decodelab.core.errors import InvalidParameter
from decodelab.core.protocols import Aggregating, AnyUtility, Question, Ranker
from decodelab.core.stage import brief, check_choice, check_number, plain
from decodelab.core.values import Candidate, Tokens
from decodelab.select._ordering import in_order
from decodelab.select._prepared import PreparedSelection
from decodelab.select._pruning import pruned
from decodelab.select.ratings import with_logprobs
from decodelab.select.readers import Answer, check_answer, read_answers
from decodelab.select.utility.catalogue import check_utility, compared, find_utility


@dataclass(frozen=True)
class MBR(PreparedSelection):
    """Rank the candidates by their expected utility, with the candidates as references (minimum Bayes risk).

    The expected utility of a text y is the sum over the candidates r of w(r) u(y, r), itself included. Each sample
    weighs the same (`weight=count`), so that a text counts as often as it was drawn; or each different text weighs its
    probability under the model, divided by their sum (`weight=probability`), where the token sequences of one text add
    up. A text without an answer (none but thoughts, say) has utility 0, keeps its weight, and comes last. Ties go to
    the earlier sample.

    `aggregate=true` compares with the mean n-gram counts of the references instead of each of them (chrf and bleu):
    linear in the number of candidates, and another number, whose winner is mostly the same. `prune` compares with 8,
    16, 32 ... references and drops a candidate once it is the best, or as good, in fewer than 1 - prune of 500
    bootstrap resamples; the best so far stays. It pays where a single comparison is slow, as of a function that asks a
    model. What was dropped comes last, in the order of its estimates, with no higher a score than what stayed.

    `utility=exact` with an answer reader is `vote`.

    Raises:
        InvalidParameter: if a parameter is out of range, or `aggregate` is set for a utility that has no mean.
        UtilityFailed: while ranking, for a function that raises or gives no finite number.

    >>> str(MBR(utility="bleu", weight="probability"))
    'mbr(utility=bleu, weight=probability)'
    """

    utility: Annotated[
        AnyUtility, "chrf, bleu, rouge_l, edit, exact, or a function (hypothesis, reference) -> number"
    ] = "chrf"
    weight: Annotated[
        Literal["count", "probability"], "count (each sample) or probability (each different text, by the model)"
    ] = "count"
    aggregate: Annotated[bool, "compare with the mean n-gram counts of all references (chrf and bleu)"] = False
    prune: Annotated[float, "confidence at which candidates are dropped early, in [0, 1); 0 keeps all"] = 0.0
    answer: Answer = "text"

    name: ClassVar[str] = "mbr"
    needs: ClassVar[Need] = "text"
    uses_randomness: ClassVar[bool] = True
    source: ClassVar[str] = (
        "Kumar and Byrne 2004; Eikema and Aziz 2020; Jinnai et al. 2024 (weight=probability); DeNero et al. 2009 and "
        "Vamvas and Sennrich 2024 (aggregate); Cheng and Vlachos 2023, algorithm 1 (prune)"
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_utility(self, "utility")
        check_answer(self)
        check_choice(self, "weight", ("count", "probability"), fix="count weighs each sample the same")
        check_choice(self, "aggregate", (False, True), fix="false compares each pair")
        check_number(self, "prune", low=0, high=1, high_open=True, fix="0.99 is what the paper takes")
        if self.aggregate and not isinstance(find_utility(self.utility), Aggregating):
            raise InvalidParameter(
                f"mbr: aggregate needs a utility of n-gram counts, got utility={brief(plain(self.utility))}; use chrf "
                "or bleu, or leave aggregate out"
            )
        if self.aggregate and self.prune:
            raise InvalidParameter("mbr: prune must be 0 with aggregate, which makes one comparison each; use one")
        if self.prune and self.weight != "count":
            raise InvalidParameter("mbr: prune resamples samples, so weight must be count, got probability; use one")

    def deterministic(self) -> bool:
        """Only pruning draws."""
        return self.prune == 0

    def reads_logprobs(self) -> bool:
        """Only probabilities as weights are made of them."""
        return self.weight != "count"

    def asks_model(self) -> bool:
        """It reads texts."""
        return False

    def prepare(self, candidates: Sequence[Candidate], question: Question) -> Ranker:
        """Ranks by expected utility, highest first; each text is read once."""
        answers = read_answers(self, self.answer, candidates, question)
        number = {text: n for n, text in enumerate(dict.fromkeys(a for a in answers if a is not None))}
        of = [-1 if answer is None else number[answer] for answer in answers]
        if self.prune:
            texts = compared(self.utility, list(number))
            return lambda places: pruned(texts, of, places, self.prune, question.keys)
        expected = self._expected(list(number))

        def ranker(places: Sequence[int]) -> list[tuple[int, float]]:
            weights = [0.0] * (len(number) + 1)
            for i, weight in zip(places, self._weights(candidates, of, places), strict=True):
                weights[of[i]] += weight  # of those without an answer at -1, which is the last
            values = expected(weights[:-1])
            return in_order([(i, values[of[i]] if of[i] >= 0 else None) for i in places])

        return ranker

    def _expected(self, texts: Sequence[str]) -> Callable[[Sequence[float]], list[float]]:
        """What gives the expected utility of each different text that has a weight, from the weights of all."""
        utility = find_utility(self.utility)
        if self.aggregate and isinstance(utility, Aggregating):
            counts = utility.read(texts)
            return lambda weights: counts.against_mean(range(len(texts)), np.array(weights)).tolist()
        pairs = compared(self.utility, texts).utilities(range(len(texts)), range(len(texts)))
        return lambda weights: (pairs * np.array(weights)).sum(1).tolist()

    def _weights(self, candidates: Sequence[Candidate], of: Sequence[int], places: Sequence[int]) -> list[float]:
        """The weights of candidates, which add up to 1."""
        if self.weight == "count":
            return [1 / len(places)] * len(places)
        found: dict[tuple[int, Tokens | str], int] = {}
        for i in places:
            found.setdefault((of[i], candidates[i].tokens or candidates[i].text), i)  # servers show no tokens
        first = set(found.values())
        # Only their ratios matter: the largest is 1, so that none underflows without need.
        most = max(with_logprobs(self, candidates[i]).logprob for i in first)
        if most == -math.inf:
            return [1 / len(places)] * len(places)
        raw = [math.exp(candidates[i].logprob - most) if i in first else 0.0 for i in places]
        total = math.fsum(raw)
        return [weight / total for weight in raw]
