"""A bias on chosen tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

from decodelab.core.errors import InvalidParameter
from decodelab.core.key import Keys
from decodelab.core.protocols import Vocab
from decodelab.core.stage import TokenProcessor, brief
from decodelab.core.values import Tokens
from decodelab.processors._words import Word, as_word, sequences
from decodelab.processors.sequence_bias import SequenceBias

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LogitBias(TokenProcessor):
    """Add a bias to the logits of tokens, texts or sequences of tokens.

    A token is an id or its exact text (" cat" and "cat" are different texts). Of a text or sequence of several tokens,
    the last one is biased where the others directly precede it in prompt or generated text, as in transformers'
    `sequence_bias`. Biases on the same token add up. The parameter is a map or a list of pairs; JSON needs pairs,
    because its keys are texts, and "17" is a text, not token 17 (`Strategy.from_openai` reads OpenAI's maps).

    Raises:
        InvalidParameter: if a bias is not a finite number, or what it is for is no id, text or list of ids.
        VocabularyMismatch: if an id is outside the model's vocabulary.
        UnknownToken: if a text becomes no tokens, or cannot be written with the vocabulary.

    >>> print(LogitBias({2: -1.5, " cat": 2}))
    logit_bias=[[2, -1.5], [" cat", 2.0]]
    """

    bias: Annotated[
        Mapping[Any, float] | Sequence[tuple[Word, float]], "map of token ids, texts or lists of ids to biases"
    ]

    name: ClassVar[str] = "logit_bias"
    source: ClassVar[str] = "OpenAI API reference, chat completions, logit_bias; sequences: transformers"

    def __post_init__(self) -> None:
        """Check the parameters."""
        object.__setattr__(self, "bias", tuple(self._pair(item) for item in self._items()))

    def _items(self) -> Sequence[object]:
        """The biases as written, as a list."""
        if isinstance(self.bias, Mapping):
            return list(self.bias.items())
        if isinstance(self.bias, Sequence) and not isinstance(self.bias, str):
            return self.bias
        raise InvalidParameter(
            f"logit_bias: bias must be a map or a list of pairs, got {brief(self.bias)}; write logit_bias={{17: -2.0}}"
        )

    def _pair(self, item: object) -> tuple[int | str | Tokens, float]:
        """One word with its bias."""
        if not isinstance(item, Sequence) or isinstance(item, str) or len(item) != 2:
            raise InvalidParameter(
                f"logit_bias: bias must hold pairs of a word and a number, got {brief(item)}; write [[17, -2.0]]"
            )
        word, value = item
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not abs(value) <= 1e30:
            raise InvalidParameter(
                f"logit_bias: the bias of {brief(word)} must be a number within 1e30 of 0, got {brief(value)}; "
                "use ban to forbid a token"
            )
        return as_word(self, "bias", word), float(value)

    def no_effect(self) -> str | None:
        """Only biases of 0, or none."""
        return None if any(value for _, value in self._pairs) else "all biases are 0"

    @property
    def _pairs(self) -> tuple[tuple[int | str | Tokens, float], ...]:
        return cast(tuple[tuple[int | str | Tokens, float], ...], self.bias)

    def init(self, prompts: Sequence[Tokens], vocab: Vocab, keys: Keys) -> SequenceBias:
        """The biases under a vocabulary, after the prompts."""
        spelt = [
            (tokens, value) for word, value in self._pairs for _, tokens in sequences(self, [word], vocab, spaced=False)
        ]
        return SequenceBias.of(prompts, spelt)

    def apply(self, logits: Tensor, state: SequenceBias) -> Tensor:
        """Bias float32 logits [rows, vocab]."""
        return state.added_to(logits)

    def update(self, state: SequenceBias, logits: Tensor, tokens: Tensor) -> SequenceBias:
        """Remember the chosen tokens."""
        return state.plus(tokens)
