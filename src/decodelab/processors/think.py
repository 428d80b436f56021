"""Thinking budgets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.errors import InvalidParameter
from decodelab.core.key import Keys
from decodelab.core.protocols import Vocab
from decodelab.core.stage import Kind, Stage, brief, check_number
from decodelab.core.values import Tokens
from decodelab.processors._thoughts import Marks, Place, places
from decodelab.processors._words import Word, as_word

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Thoughts:
    """Where each row stands among its marks, and the marks, for all rows."""

    rows: tuple[Place, ...]
    marks: Marks

    def __getitem__(self, rows: Tensor) -> Thoughts:
        """The state of the given rows."""
        return dataclasses.replace(self, rows=tuple(self.rows[row] for row in rows.tolist()))

    def join(self, other: Thoughts) -> Thoughts:
        """The rows of this state followed by those of another."""
        return dataclasses.replace(self, rows=self.rows + other.rows)


@dataclass(frozen=True)
class Think(Stage):
    """Bound how many tokens a model thinks: end its thought at the budget, go on with it below the minimum.

    Counted are the tokens between the marks of all thoughts of a text, without the marks. Where the budget is spent,
    the tokens of the end mark are forced one after the other; an end mark that the model has begun itself is completed.
    As long as the minimum is not reached, the continuation's tokens take the place of the end mark, and of an end of
    the text: their probability goes to the continuation's first token (`greedy` takes it where that is then the most
    probable). For a continuation of one token this is the law of a model whose end marks are replaced once they are
    written; of several, the rest follow where an end was at least as probable as the first token itself. An end mark of
    several tokens is replaced at its first, and at its last where other tokens have begun it.

    A prompt that ends with the start mark has opened a thought, which counts from the first new token. Marks that are
    not given are the model's own: the first of the known ones (`decodelab.core.thoughts.MARKS`) that are a token each,
    or else `<think>` and `</think>`. A text that opens no thought is left as it is.

    The stage must stand before those that remove tokens: what they have removed, or the model itself gives no
    probability, is not restored. s1 forces
    the end in the same way and replaces an end a given number of times, where this has a minimum of tokens.

    Raises:
        InvalidParameter: if a number is out of range, the budget is below the minimum, or a mark is no text.
        UnknownToken: when it is run, if the vocabulary cannot write the end mark or the continuation.

    >>> from decodelab import TableModel, generate
    >>> table = {"<think>": {"hm": 1}, "hm": {"hm": 0.9, "</think>": 0.1}, "</think>": {"7": 1}, "7": {"</s>": 1}}
    >>> model = TableModel(["<think>", "hm", "</think>", "7"], table, bos="<s>")
    >>> generate(model, "<think>", "think=3 | greedy")[0].best.text.strip()
    'hm hm hm </think> 7'
    """

    budget: Annotated[int | None, "most tokens of thoughts, at least 0; none for no limit"] = None
    minimum: Annotated[int, "fewest tokens of a thought that was opened"] = 0
    end: Annotated[str | None, "mark that ends a thought; none means the model's own"] = None
    start: Annotated[str | None, "mark that begins one; none means the model's own"] = None
    continuation: Annotated[Word, "text, token id or ids in place of an end that comes too early"] = "Wait"

    name: ClassVar[str] = "think"
    kind: ClassVar[Kind] = "processor"
    uses_randomness: ClassVar[bool] = False
    source: ClassVar[str] = "Muennighoff et al. 2025, s1: Simple test-time scaling, section 3.1 (budget forcing)"

    def __post_init__(self) -> None:
        """Check the parameters."""
        if self.budget is not None:
            check_number(self, "budget", low=0, integer=True, fix="none thinks as long as the model likes")
        check_number(self, "minimum", low=0, integer=True, fix="0 lets the model end its thoughts itself")
        if self.budget is not None and self.budget < self.minimum:
            raise InvalidParameter(
                f"think: budget must be at least the minimum of {self.minimum} tokens, got {self.budget}; "
                "give a larger budget or a smaller minimum"
            )
        for mark in ("end", "start"):
            value = getattr(self, mark)
            if value is not None and not (isinstance(value, str) and value.strip() == value != ""):
                raise InvalidParameter(
                    f"think: {mark} must be a text without space around it, got {brief(value)}; write {mark}="
                    f'"{"</think>" if mark == "end" else "<think>"}"'
                )
        object.__setattr__(self, "continuation", as_word(self, "continuation", self.continuation))

    def no_effect(self) -> str | None:
        """Neither a budget nor a minimum."""
        return (
            "without a budget and a minimum thoughts are as they are"
            if self.budget is None and not self.minimum
            else None
        )

    def init(self, prompts: Sequence[Tokens], vocab: Vocab, keys: Keys) -> Thoughts:
        """Find the marks, and which prompts have opened a thought."""
        marks = Marks(self, self.start, self.end, self.continuation if self.minimum else None, vocab)
        if self.minimum and marks.continuation[0] in marks.first_of_end:
            raise InvalidParameter(
                f"think: continuation must not begin as the end of a thought does, got {brief(self.continuation)}; "
                'take another, such as "Wait"'
            )
        return Thoughts(places(prompts, marks, self.budget), marks)

    def apply(self, logits: Tensor, state: Thoughts) -> Tensor:
        """Force or replace tokens of float32 logits [rows, vocab] in the rows where that is due."""
        forced = [row for row, place in enumerate(state.rows) if place.forced]
        early = [row for row, place in enumerate(state.rows) if self._early(place, state.marks)]
        if not forced and not early:
            return logits
        found = logits.clone()
        if forced:
            rows, tokens = torch.tensor(forced), torch.tensor([state.rows[row].forced[0] for row in forced])
            only = torch.full_like(logits[rows], -torch.inf)
            given = logits[rows, tokens]
            only[torch.arange(len(rows)), tokens] = torch.where(given == -torch.inf, -torch.inf, 0.0)
            found[rows] = only
        for row in early:
            ends, first = state.marks.ends(state.rows[row].tail), state.marks.continuation[0]
            given = logits[row, first]
            whole = torch.logaddexp(given.double(), logits[row, ends].double().logsumexp(0)).float()
            found[row, ends] = -torch.inf
            found[row, first] = given if given == -torch.inf else whole
        return found

    def update(self, state: Thoughts, logits: Tensor, tokens: Tensor) -> Thoughts:
        """The places after the chosen tokens [rows]."""
        marks = state.marks
        after: list[Place] = []
        for row, (place, token) in enumerate(zip(state.rows, tokens.tolist(), strict=True)):
            replaced = False
            if len(marks.continuation) > 1 and token == marks.continuation[0] and self._early(place, marks):
                ends = logits[row, marks.ends(place.tail)].double()
                replaced = bool(ends.logsumexp(0) >= logits[row, token])
            after.append(place.after(token, marks, self.budget, replaced))
        return Thoughts(tuple(after), marks)

    def observe(self, logits: Tensor, state: Thoughts) -> dict[str, Tensor]:
        """The tokens of thoughts so far of each row, float64 [rows]."""
        return {"thought_tokens": torch.tensor([place.spent for place in state.rows], dtype=torch.float64)}

    def _early(self, place: Place, marks: Marks) -> bool:
        """Whether a thought must not end here; a mark that is begun will not count."""
        if not place.thinking or place.forced or place.spent >= self.minimum + marks.reach:
            return False
        return place.spent < self.minimum or place.spent - marks.begun(place.tail) < self.minimum
