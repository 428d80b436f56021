"""Forbidden words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from decodelab.core.key import Keys
from decodelab.core.protocols import Vocab
from decodelab.core.stage import TokenProcessor, check_choice
from decodelab.core.values import Tokens
from decodelab.processors._words import Word, as_words, sequences
from decodelab.processors.sequence_bias import SequenceBias

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Ban(TokenProcessor):
    """Never generate these words: texts, token ids or lists of ids.

    A word of one token is removed. Of a word of several tokens, the last token is removed where the others directly
    precede it in prompt or generated text, as in transformers' `bad_words_ids`; vLLM's `bad_words` consider generated
    tokens only (`prompt=false`). A text is banned as the tokenizer writes it, with and without a space before it; its
    other tokenizations, and words that contain it, are not.

    Raises:
        InvalidParameter: if a word is empty, or no text, id of at least 0 or list of ids.
        VocabularyMismatch: if an id is outside the model's vocabulary.
        UnknownToken: if a text becomes no tokens, or cannot be written with the vocabulary.

    >>> import torch
    >>> from decodelab import TableModel
    >>> vocab = TableModel(list("abcd"), {}, eos=None).vocab
    >>> stage = Ban([3, [1, 2]])
    >>> stage.apply(torch.zeros(1, 4), stage.init([(0, 1)], vocab, None)).tolist()
    [[0.0, 0.0, -inf, -inf]]
    """

    words: Annotated[Sequence[Word] | Word, "texts, token ids or lists of ids; a single one needs no list"]
    prompt: Annotated[bool, "whether to match words that start in the prompt, too"] = True

    name: ClassVar[str] = "ban"
    source: ClassVar[str] = "transformers, NoBadWordsLogitsProcessor"

    def __post_init__(self) -> None:
        """Check the parameters."""
        object.__setattr__(self, "words", as_words(self, "words"))
        check_choice(self, "prompt", (True, False), fix="true also matches the start of a word in the prompt")

    def no_effect(self) -> str | None:
        """Nothing is banned."""
        return None if self.words else "no words are given"

    def init(self, prompts: Sequence[Tokens], vocab: Vocab, keys: Keys) -> SequenceBias:
        """The words under a vocabulary, after the prompts."""
        words = as_words(self, "words")
        found = {tokens for _, tokens in sequences(self, words, vocab, spaced=True)}
        texts = prompts if self.prompt else [()] * len(prompts)
        return SequenceBias.of(texts, [(tokens, -math.inf) for tokens in sorted(found)])

    def apply(self, logits: Tensor, state: SequenceBias) -> Tensor:
        """Remove tokens from float32 logits [rows, vocab]."""
        return state.added_to(logits)

    def update(self, state: SequenceBias, logits: Tensor, tokens: Tensor) -> SequenceBias:
        """Remember the chosen tokens."""
        return state.plus(tokens)
