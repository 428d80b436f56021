"""`PretrainedReward`: a reward model from files: texts through its own tokenizer to what its head says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from decodelab.core.errors import (
    InvalidParameter,
    ModelFormatError,
    NoChatTemplate,
    PromptTooLong,
    did_you_mean,
    quoted,
)
from decodelab.core.protocols import Rated, RewardReading
from decodelab.core.stage import brief
from decodelab.core.values import Chat, Tokens
from decodelab.models.context import context_length
from decodelab.models.rater import Head
from decodelab.models.token_frame import TokenFrame
from decodelab.models.transformers_vocab import TransformersVocab

_POSITIVE = 1
"""Which of two labels means good where none is named."""


class PretrainedReward:
    """A network that rates texts, with its tokenizer and the names of its labels.

    Args:
        head: the network.
        tokenizer: a tokenizer of transformers, or a `JsonTokenizer`.
        config: its config.json.
        name: what to call it.

    Attributes:
        name: what to call it.
        context_length: the longest sequence it can hold, or None.
        labels: the names of its labels, in order.
    """

    def __init__(self, head: Head, tokenizer: Any, config: Mapping[str, Any], *, name: str) -> None:
        self.name = name
        self.context_length = context_length(config)
        self.labels = _label_names(config, head.labels)
        self._independent = config.get("problem_type") == "multi_label_classification"
        self._regression = config.get("problem_type") == "regression"
        self._rater = head.rater
        self._tokenizer = tokenizer
        self._vocab = TransformersVocab(tokenizer, head.vocab_size, (), None)
        self._frame = TokenFrame.of(tokenizer)

    def check(self, reading: RewardReading) -> None:
        """Refuse a label that it does not have, a choice among many that is left open, or a template that is not there.

        Raises:
            InvalidParameter: naming the labels.
            NoChatTemplate: for `input=chat` without a template.
        """
        names = ", ".join(self.labels)
        if reading.label is not None and reading.label not in self.labels:
            hint = did_you_mean(reading.label, self.labels) or "; name one of them"
            raise InvalidParameter(
                f"reward: {self.name} has the labels {names}, got label={brief(reading.label)}{hint}"
            )
        if reading.label is None and len(self.labels) > 2:
            raise InvalidParameter(
                f"reward: {self.name} has {len(self.labels)} labels ({names}); say which means good, with label=..."
            )
        if reading.input == "chat" and not self._tokenizer.chat_template:
            raise NoChatTemplate(f"reward: {self.name} has no chat template, got input=chat; leave it out")

    def rate(self, prompt: str, texts: Sequence[str], reading: RewardReading) -> Rated:
        """One number a text.

        Raises:
            PromptTooLong: if its context does not hold a text.
            UnknownToken: for a text that its tokenizer cannot encode.
        """
        if not texts:
            return Rated([], 0, 0)
        encoded = [self._encoded(prompt, text, reading) for text in texts]
        for (tokens, _), text in zip(encoded, texts, strict=True):
            if self.context_length is not None and len(tokens) > self.context_length:
                raise PromptTooLong(
                    f"reward: prompt and text {brief(text)} have {len(tokens)} tokens, {self.name} holds "
                    f"{self.context_length}; ask for fewer new tokens, or take another reward model"
                )
        segments = [segment for _, segment in encoded if segment is not None]
        found = self._rater([tokens for tokens, _ in encoded], segments if len(segments) == len(encoded) else None)
        return Rated(self._values(found.logits, reading).tolist(), found.tokens, found.passes)

    def _encoded(self, prompt: str, text: str, reading: RewardReading) -> tuple[Tokens, Tokens | None]:
        """The tokens of a text after its prompt, and the segment of each; names of special tokens are text."""
        if reading.input == "chat":
            turns = ({"role": "user", "content": prompt}, {"role": "assistant", "content": text})
            return self._vocab.encode_turns(Chat(turns)), None
        if reading.input == "pair":
            return self._frame.paired(self._vocab.encode_text(prompt), self._vocab.encode_text(text))
        return self._frame.framed(self._vocab.encode_text(prompt + text))

    def _values(self, logits: Tensor, reading: RewardReading) -> Tensor:
        """What is read from logits [texts, labels]."""
        if len(self.labels) == 1:
            return logits[:, 0]
        at = _POSITIVE if reading.label is None else self.labels.index(reading.label)
        own = logits[:, at]
        if self._regression:
            return own
        if not self._independent:
            others = [i for i in range(len(self.labels)) if i != at]
            own = own - logits[:, others].logsumexp(1)
        return own if reading.value == "log_odds" else torch.sigmoid(own)


def _label_names(config: Mapping[str, Any], count: int) -> tuple[str, ...]:
    """The names of labels as a config.json gives them, or else as transformers would call them."""
    given = config.get("id2label")
    if not isinstance(given, Mapping) or not given:
        return tuple(f"LABEL_{i}" for i in range(count))
    if {str(i) for i in range(count)} != {str(key) for key in given}:
        raise ModelFormatError(
            f"reward: config.json names the labels {quoted(', '.join(map(str, given.values())))}, and the head has "
            f"{count} outputs; get a complete copy"
        )
    return tuple(str(given.get(str(i), given.get(i))) for i in range(count))
