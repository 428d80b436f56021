"""Selection by a judge: a language model scores, compares or chooses."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch

from decodelab.core.errors import InvalidParameter, UnsupportedStrategy
from decodelab.core.notices import JudgeAside
from decodelab.core.protocols import LanguageModel, Question, Ranker
from decodelab.core.stage import brief, check_choice
from decodelab.core.thoughts import without_thoughts
from decodelab.core.values import Candidate
from decodelab.select._asking import options_asked
from decodelab.select._ordering import in_order
from decodelab.select._prepared import PreparedSelection

SELF = "self"
"""Stands for the model that is decoded."""
_YES, _NO = "yes", "no"
_LETTERS = ("A", "B")


@dataclass(frozen=True)
class Rerank(PreparedSelection):
    """Rank the candidates by what a language model thinks of them: the model itself, or another one.

    `how=score` asks of each text whether it is right; the score is p(yes) / (p(yes) + p(no)). `how=compare` lets texts
    meet in a knockout: first against second, third against fourth and so on, the winners again; each pair is asked
    about in both orders, and the one with the higher mean probability goes on, of equal ones the earlier; the score is
    the number of rounds won. `how=choose` shows all candidates and asks for the most consistent one (universal
    self-consistency); the score is its number's share of the probability. Equal texts are judged once, but all are
    shown to choose from. Thoughts are left out.

    Answers are read from log-probabilities, so that none can be unreadable. A judge that would more probably answer
    something else than the options is counted and reported as a notice; where it gives no option any probability, the
    question counts as undecided (1/2, or equal shares). What the judge computes is part of the generation's cost, a
    token of another model counting as one of the model's own. Candidates can try to persuade the judge.

    Raises:
        InvalidParameter: if `judge` is neither a model nor the name of one, or `how` is unknown.
        ModelError: when the job is submitted, if the judge cannot be loaded.
        PromptTooLong: while ranking, if the judge's context does not hold a question.
        UnsupportedStrategy: while ranking, where there is no model at hand.

    >>> str(Rerank(judge="pocket-small", how="compare"))
    'rerank(judge=pocket-small, how=compare)'
    """

    judge: Annotated[str | LanguageModel, "self (the model decoded), or another model or its name"] = SELF
    how: Annotated[Literal["score", "compare", "choose"], "score (each), compare (pairs) or choose (among all)"] = (
        "score"
    )

    name: ClassVar[str] = "rerank"
    names_models: ClassVar[tuple[str, ...]] = ("judge",)
    uses_randomness: ClassVar[bool] = False
    source: ClassVar[str] = (
        "Kadavath et al. 2022, section 3 (score); Zheng et al. 2023, Judging LLM-as-a-judge, section 3.4 (compare, in "
        "both orders); Chen et al. 2023, Universal self-consistency (choose)"
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        given = self.judge if isinstance(self.judge, str) else getattr(self.judge, "name", None)
        named = isinstance(given, str) and bool(given.strip())
        if not named:
            raise InvalidParameter(
                f"rerank: judge must be self, a model or the name of one, got {brief(self.judge)}; write judge=self"
            )
        check_choice(self, "how", ("score", "compare", "choose"), fix="score asks about each candidate alone")

    def judge_model(self) -> str | LanguageModel | None:
        """The judge, if it is another model."""
        return None if self.judge == SELF else self.judge

    def prepare(self, candidates: Sequence[Candidate], question: Question) -> Ranker:
        """Ranks as the judge does, which is asked for each ranking but of a score."""
        if question.model is None:
            raise UnsupportedStrategy(f"{self}: there is no model to ask here; use it where texts are generated")
        texts = [without_thoughts(c.text).strip() for c in candidates]
        judge = _Judge(question.model, question.prompt)
        if self.how == "score":
            different = list(dict.fromkeys(texts))
            scores = dict(zip(different, judge.scores(different), strict=True)) if different else {}
            judge.report(self)
            return lambda places: in_order([(i, scores[texts[i]]) for i in places])

        def ranker(places: Sequence[int]) -> list[tuple[int, float]]:
            if self.how == "choose":
                values = judge.shares([texts[i] for i in places])
            else:
                won = judge.rounds_won(list(dict.fromkeys(texts[i] for i in places)))
                values = [won[texts[i]] for i in places]
            judge.report(self)
            return in_order(list(zip(places, values, strict=True)))

        return ranker


class _Judge:
    """A model that is asked about texts, and how often it would rather have answered something else.

    Args:
        model: that is asked.
        prompt: what the texts answer.
    """

    def __init__(self, model: LanguageModel, prompt: str) -> None:
        self._model = model
        self._about = f"Question:\n{prompt.strip()}\n"
        self._masses: list[float] = []

    def scores(self, texts: Sequence[str]) -> list[float]:
        """How probably each text is called right."""
        asks = "Is the proposed answer right? Answer yes or no."
        questions = [f"{self._about}\nProposed answer:\n{text}\n\n{asks}" for text in texts]
        return [shares[0] for shares in self._asked(questions, "", (_YES, _NO))]

    def rounds_won(self, texts: Sequence[str]) -> dict[str, float]:
        """How many rounds of a knockout each text wins; one without an opponent goes on."""
        won = dict.fromkeys(texts, 0.0)
        left = list(texts)
        while len(left) > 1:
            pairs = [(left[i], left[i + 1]) for i in range(0, len(left) - 1, 2)]
            last = left[2 * len(pairs) :]
            orders = [pair for one, other in pairs for pair in ((one, other), (other, one))]
            shares = self._asked([self._pair(*pair) for pair in orders], "", _LETTERS)
            left = [
                one if forward[0] + backward[1] >= forward[1] + backward[0] else other
                for (one, other), forward, backward in zip(pairs, shares[::2], shares[1::2], strict=True)
            ] + last
            for text in left:
                won[text] += 1
        return won

    def _pair(self, first: str, second: str) -> str:
        return (
            f"{self._about}\nAnswer A:\n{first}\n\nAnswer B:\n{second}\n\n"
            "Which answer is better? Answer A or B, with the letter only."
        )

    def shares(self, texts: Sequence[str]) -> list[float]:
        """The probability with which each text is chosen among all."""
        if len(texts) < 2:
            return [1.0] * len(texts)
        # Numbers of one length: no one begins with another.
        width = len(str(len(texts)))
        numbers = [f"{n:0{width}d}" for n in range(1, len(texts) + 1)]
        shown = "\n\n".join(f"Response {number}:\n{text}" for number, text in zip(numbers, texts, strict=True))
        question = (
            f"{self._about}\nResponses to it:\n\n{shown}\n\nEvaluate these responses. Select the most consistent "
            'response based on majority consensus. Answer "The most consistent response is Response X", with one of '
            f"the numbers {numbers[0]} to {numbers[-1]}."
        )
        return self._asked([question], "The most consistent response is Response", numbers)[0]

    def _asked(self, questions: Sequence[str], lead: str, options: Sequence[str]) -> list[list[float]]:
        """The share of each option in the probability of all options, for each question."""
        found = options_asked(self._model, questions, lead, options)
        whole = found.logsumexp(1, keepdim=True)
        self._masses += whole.exp()[:, 0].tolist()
        return torch.where(whole > -torch.inf, (found - whole).exp(), 1 / len(options)).tolist()

    def report(self, stage: Rerank) -> None:
        """Say how often the judge would more probably have answered something else, if at all, and begin anew."""
        aside = sum(mass < 0.5 for mass in self._masses)
        if aside:
            mean = sum(self._masses) / len(self._masses)
            said = (
                f"{stage}: to {aside} of {len(self._masses)} questions about a prompt's candidates the judge would "
                f"rather answer something else than what it may choose from, which has {mean:.2g} of the probability "
                "on average; take a judge that follows instructions"
            )
            warnings.warn(JudgeAside(said, str(stage)), stacklevel=3)
        self._masses.clear()
