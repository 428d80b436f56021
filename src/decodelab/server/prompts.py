"""Prompts of requests as token ids."""

from __future__ import annotations

from dataclasses import dataclass

from decodelab.core.errors import RequestError
from decodelab.core.protocols import LanguageModel, Vocab
from decodelab.core.values import Prompt, Tokens
from decodelab.engine.job import encode_prompt


@dataclass(frozen=True)
class Reading:
    """How the prompts of a request are read.

    Attributes:
        special: whether a text is given the special tokens that the tokenizer puts before it.
        last: how many of a prompt's last tokens are kept; None for all.
    """

    special: bool = True
    last: int | None = None

    @property
    def usual(self) -> bool:
        """Whether prompts are read as `generate` reads them."""
        return self.special and self.last is None

    def read(self, model: LanguageModel, prompt: Prompt) -> tuple[str, Tokens]:
        """A prompt's text and token ids.

        Raises:
            RequestError: as `encode_prompt`, and where no token is left.
        """
        text, tokens = encode_prompt(model, prompt)
        if not self.special and isinstance(prompt, str):
            tokens = tokens[len(_prefix(model.vocab)) :]
            if not tokens:
                raise RequestError("prompt has no tokens without special tokens; give at least one")
        if self.last is not None and self.last < len(tokens):
            tokens = tokens[-self.last :]
            text = model.vocab.decode(tokens)
        return text, tokens


def _prefix(vocab: Vocab) -> Tokens:
    """What a vocabulary puts before every text: it is all of an empty one, and other texts begin with it as well."""
    alone = vocab.encode("")
    return alone if vocab.encode("a")[: len(alone)] == alone else ()
