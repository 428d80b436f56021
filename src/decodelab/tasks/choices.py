"""Options scored by likelihood: which completion of a question a model finds most probable, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from decodelab.core.errors import PromptTooLong, RequestError
from decodelab.core.values import Prompt, Tokens
from decodelab.metrics.confidence import option_probabilities
from decodelab.metrics.likelihood import Score
from decodelab.tasks.task import Example

if TYPE_CHECKING:
    from decodelab.core.protocols import LanguageModel

LIKELIHOOD = "likelihood"
"""What a plan writes instead of a strategy to have the options of its tasks scored, with nothing generated."""

_AT_ONCE = 16
"""Questions between two reports of how far it is."""


@dataclass(frozen=True)
class Choice:
    """A question with options to be scored as its completions.

    Attributes:
        name: what it is called in its data.
        prompt: the question as the model is given it.
        options: the completions, what stands between question and option (a space, mostly) included.
        answer: the place of the right one.
    """

    name: str
    prompt: Prompt
    options: tuple[str, ...]
    answer: int


@runtime_checkable
class HasOptions(Protocol):
    """A task whose items have options to choose from."""

    def choice(self, example: Example) -> Choice:
        """An item as a question with options."""
        ...


@dataclass(frozen=True)
class Preference:
    """What a model makes of the options of a question.

    Attributes:
        scores: of each option, as completion of the question.
        cut: tokens that the question lost at its beginning, so that it fits the context.
    """

    scores: tuple[Score, ...]
    cut: int = 0

    @property
    def logprobs(self) -> tuple[float, ...]:
        """Log-probability of each option, in nats."""
        return tuple(score.logprob for score in self.scores)

    @property
    def best(self) -> int:
        """The place of the most probable option, the first of equals."""
        return max(range(len(self.scores)), key=self.logprobs.__getitem__)

    @property
    def confidence(self) -> float:
        """The probability of the best option, given that one of them is the answer."""
        return float(option_probabilities(self.logprobs).max())


def prefer(
    model: LanguageModel,
    choices: Sequence[Choice],
    *,
    cut: bool = False,
    report: Callable[[int], None] = lambda done: None,
) -> list[Preference]:
    """Score the options of each question as completions of its prompt.

    Args:
        model: whose opinion is asked.
        choices: the questions.
        cut: whether a question that exceeds the context loses its beginning (BOS too), as lm-evaluation-harness does
            it; otherwise it is refused.
        report: called with how many questions are done.

    Raises:
        PromptTooLong: for a question that does not fit, unless it may be cut.
        RequestError: for an option that has no tokens, or that the model rules out with all others.

    Source: option scoring as in Brown et al. 2020 and lm-evaluation-harness (`multiple_choice`, metric `acc`): the sum
    of the log-probabilities of an option's tokens, not divided by their number.

    >>> import decodelab as dl
    >>> coin = dl.TableModel(["H", "T"], {...: {"H": 0.25, "T": 0.75}}, bos="<s>")
    >>> (found,) = prefer(coin, [Choice("1", "", ("H", "T"), 0)])
    >>> found.best, round(found.confidence, 4)
    (1, 0.75)
    """
    from decodelab.engine.scoring import score_many

    found: list[Preference] = []
    for begin in range(0, len(choices), _AT_ONCE):
        part = [_encoded(model, choice, cut) for choice in choices[begin : begin + _AT_ONCE]]
        each = iter(score_many(model, [pair for pairs, _ in part for pair in pairs]))
        found += [Preference(tuple(next(each) for _ in pairs), lost) for pairs, lost in part]
        for choice, preference in zip(choices[begin:], found[begin:], strict=False):
            if max(preference.logprobs) == -math.inf:
                raise RequestError(f"question {choice.name}: {model.name} gives each option probability 0")
        report(len(found))
    return found


def forward_tokens(model: LanguageModel, choice: Choice) -> int:
    """How many token positions are computed for a question: its prompt once, and its options but for their last tokens.

    >>> import decodelab as dl
    >>> coin = dl.TableModel(["H", "T"], {...: {"H": 0.25, "T": 0.75}}, bos="<s>")
    >>> forward_tokens(coin, Choice("1", "H", ("H", "T T"), 0))  # <s> H, and the first T
    3
    """
    pairs, _ = _encoded(model, choice, cut=True)
    return max(len(given) for given, _ in pairs) + sum(len(target) - 1 for _, target in pairs)


def _encoded(model: LanguageModel, choice: Choice, cut: bool) -> tuple[list[tuple[Tokens, Tokens]], int]:
    """Question and option in tokens for each option, and how many tokens were cut off at most."""
    from decodelab.core.protocols import EncoderDecoder
    from decodelab.engine.job import encode_prompt

    _, given = encode_prompt(model, choice.prompt)
    before = model.begin if isinstance(model, EncoderDecoder) else given
    pairs: list[tuple[Tokens, Tokens]] = []
    lost = 0
    for option in choice.options:
        target = model.vocab.encode_completion(before, option)
        if not target:
            raise RequestError(f"question {choice.name}: option {option!r} has no tokens; give it text")
        over = 0
        if model.context_length is not None and not isinstance(model, EncoderDecoder):
            # The last token of an option is predicted, not fed.
            over = max(0, len(given) + len(target) - model.context_length - 1)
        if over and (not cut or over >= len(given)):
            raise PromptTooLong(
                f"question {choice.name} has {len(given) + len(target)} tokens with its options, {model.name} has "
                f"context length {model.context_length}; choose a model with a longer context or fewer shots"
            )
        pairs.append((given[over:], target))
        lost = max(lost, over)
    return pairs, lost
