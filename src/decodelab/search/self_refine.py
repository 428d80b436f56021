"""Answers that their own model reviews and improves."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from decodelab.core.capabilities import Need
from decodelab.core.errors import InvalidParameter
from decodelab.core.protocols import Draw, Drawn, Question, Rounds
from decodelab.core.stage import Kind, Stage, brief, check_choice, check_number
from decodelab.core.values import Candidate, Limits, Prompt


@dataclass
class _Chain:
    """One draft after the other.

    Attributes:
        index: the sample index it is drawn under.
        drafts: its drafts so far, at least one.
        said: what the model has said: a draft, its review, the next draft, and so on.
        over: whether it is revised no more.
    """

    index: int
    drafts: list[Candidate]
    said: list[str] = field(default_factory=list)
    over: bool = False


@dataclass(frozen=True)
class SelfRefine(Stage):
    """Draft an answer, have the model review it, have it write an improved one, and so on.

    The conversation grows: question, draft, request for a review, review, request for an improved answer, draft, ... A
    chat goes on in turns of the model's template; after a text prompt the requests stand between empty lines. It ends
    after `revisions` improved answers, or as soon as a review holds the phrase `done`, in upper or lower case.

    Several `answers` are revised independently; their first drafts are the samples that `sample(n=answers)` draws. The
    last draft of each comes first, then, with `drafts`, those before: the score is 0 for a last draft, -1 for the one
    before, and so on. The log-probabilities of a draft are those after the conversation that it was drawn from. The
    other stages and the limits (temperature, constraints, stop strings, number of tokens) hold for reviews, too.

    A model that does not see its mistakes does not mend them (Huang et al. 2024, Large language models cannot
    self-correct reasoning yet): compare it with a vote among as many samples. Differs from Madaan et al. in that the
    requests are instructions, without examples.

    Raises:
        InvalidParameter: if a parameter is out of its range, or a request or phrase is no text.
        PromptTooLong: when it is run, if the model's context does not hold the conversation.

    >>> str(SelfRefine(revisions=2, answers=3))
    'self_refine(revisions=2, answers=3)'
    """

    revisions: Annotated[int, "improved answers at most, at least 1"] = 3
    answers: Annotated[int, "answers drafted and revised independently, at least 1"] = 1
    review: Annotated[str, "the request for a review"] = (
        "Review your answer: name each mistake and how to mend it. If nothing needs to change, write only: NO CHANGES"
    )
    improve: Annotated[str, "the request for an improved answer"] = "Write the improved answer, and nothing else."
    done: Annotated[str | None, "phrase of a review that ends revising; none always writes all revisions"] = (
        "NO CHANGES"
    )
    drafts: Annotated[bool, "whether the drafts before the last are candidates, too"] = True

    name: ClassVar[str] = "self_refine"
    kind: ClassVar[Kind] = "search"
    needs: ClassVar[Need] = "text"
    searches_in_rounds: ClassVar[bool] = True
    if_empty: ClassVar[str] = "loosen the constraint"
    source: ClassVar[str] = "Madaan et al. 2023, Self-refine: iterative refinement with self-feedback, algorithm 1"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "revisions", low=1, integer=True, fix="use sample for an answer without revision")
        check_number(self, "answers", low=1, integer=True, fix="use answers=1 for one")
        for name in ("review", "improve", "done"):
            value = getattr(self, name)
            if not (isinstance(value, str) and value.strip()) and not (name == "done" and value is None):
                raise InvalidParameter(f"self_refine: {name} must be a text that is not empty, got {brief(value)}")
        check_choice(self, "drafts", (True, False), fix="false leaves the last draft of each answer")

    @property
    def n(self) -> int:
        """The most candidates it returns."""
        return self.answers * (1 + self.revisions if self.drafts else 1)

    @property
    def peak_rows(self) -> int:
        """The drafts, or reviews, written at once."""
        return self.answers

    def rounds(self, question: Question, limits: Limits) -> Rounds:
        """Draft, then review and improve, until all reviews are content or there are drafts enough."""
        (drawn,) = yield [Draw(self.answers, 0)]
        chains = [_Chain(one.candidate.sample, [one.candidate], [one.candidate.text]) for one in drawn]
        for _ in range(self.revisions):
            reviews = yield from self._said(chains, self.review, question)
            for chain, review in reviews:
                chain.over = self.done is not None and self.done.lower() in review.text.lower()
            for chain, draft in (yield from self._said(chains, self.improve, question)):
                chain.drafts.append(draft)
            if all(chain.over for chain in chains):
                break
        last = [(chain.drafts[-1], 0.0) for chain in chains]
        if not self.drafts:
            return last
        earlier = [(d, float(-back)) for chain in chains for back, d in enumerate(chain.drafts[-2::-1], 1)]
        return last + sorted(earlier, key=lambda pair: -pair[1])

    def _said(
        self, chains: Sequence[_Chain], request: str, question: Question
    ) -> Generator[Sequence[Draw], Sequence[Sequence[Drawn]], list[tuple[_Chain, Candidate]]]:
        """What the model says to a request in each conversation that goes on; one that gets no reply is over."""
        going = [chain for chain in chains if not chain.over]
        if not going:
            return []
        drawn = yield [Draw(1, chain.index, prompt=self._prompt(question, chain.said, request)) for chain in going]
        said: list[tuple[_Chain, Candidate]] = []
        for chain, found in zip(going, drawn, strict=True):
            if not found:
                chain.over = True
                continue
            chain.said.append(found[0].candidate.text)
            said.append((chain, found[0].candidate))
        return said

    def _prompt(self, question: Question, said: Sequence[str], request: str) -> Prompt:
        """The conversation up to a request; those before it were for a review and an improved answer by turns."""
        asked = [(self.review, self.improve)[i % 2] for i in range(len(said) - 1)] + [request]
        if question.chat is not None:
            turns = [
                turn
                for text, user in zip(said, asked, strict=True)
                for turn in ({"role": "assistant", "content": text}, {"role": "user", "content": user})
            ]
            messages = (*question.chat.messages, *turns)
            return replace(
                question.chat,
                messages=messages,
                tool_choice=None,
                add_generation_prompt=True,
                continue_final_message=False,
            )
        text = "".join(f"{text.rstrip()}\n\n{user}\n\n" for text, user in zip(said, asked, strict=True))
        if question.model is None:
            return question.prompt + text
        return (*question.tokens, *question.model.vocab.encode_completion(question.tokens, text))
