"""No repeated n-grams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch

from decodelab.core.key import Keys
from decodelab.core.protocols import Vocab
from decodelab.core.stage import TokenProcessor, check_choice, check_number
from decodelab.core.values import Tokens
from decodelab.processors._suffix_matches import SuffixMatches

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class NoRepeatNGram(TokenProcessor):
    """Remove every token that would complete an n-gram that has occurred.

    N-grams of prompt and generated tokens count, as in transformers; with `prompt=false` only those that are generated
    whole. A size of 1 forbids every token that has occurred, and can leave none.

    Raises:
        InvalidParameter: if the size is not an integer of at least 1.

    >>> stage = NoRepeatNGram(2)
    >>> stage.apply(torch.zeros(1, 4), stage.init([(1, 2, 3, 1)], None, None)).tolist()
    [[0.0, 0.0, -inf, 0.0]]
    """

    size: Annotated[int, "the n of the n-grams, at least 1"]
    prompt: Annotated[bool, "whether to count the prompt's n-grams, too"] = True

    name: ClassVar[str] = "no_repeat_ngram"
    source: ClassVar[str] = "Paulus, Xiong & Socher 2018, section 2.5"

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "size", low=1, integer=True, fix="leave no_repeat_ngram out to allow repetition, try 3")
        check_choice(self, "prompt", (True, False), fix="true counts the prompt's n-grams too")

    def init(self, prompts: Sequence[Tokens], vocab: Vocab, keys: Keys) -> SuffixMatches:
        """The places in the prompts, if they are to count."""
        return SuffixMatches.of(prompts if self.prompt else [()] * len(prompts), None)

    def apply(self, logits: Tensor, state: SuffixMatches) -> Tensor:
        """Remove tokens from float32 logits [rows, vocab]."""
        if self.size == 1:
            rows, places = (state.tokens >= 0).nonzero(as_tuple=True)
            tokens = state.tokens[rows, places]
        else:
            rows, tokens, _ = state.followers(self.size - 1, torch.full((len(logits),), self.size))
        known = tokens < logits.shape[-1]
        return logits.index_put((rows[known], tokens[known]), torch.tensor(-torch.inf))

    def update(self, state: SuffixMatches, logits: Tensor, tokens: Tensor) -> SuffixMatches:
        """Add the chosen tokens."""
        return state.plus(tokens)
