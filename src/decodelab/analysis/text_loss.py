"""`split_loss`: the training and validation loss of a model on one text."""

from __future__ import annotations

import math
from dataclasses import dataclass

from decodelab.core.errors import InvalidParameter, RequestError
from decodelab.core.protocols import LanguageModel
from decodelab.core.values import Tokens
from decodelab.engine.prompt_notes import PromptNotes
from decodelab.engine.scoring import Report, score_each
from decodelab.metrics.likelihood import perplexity
from decodelab.models.loading import load


@dataclass(frozen=True)
class TextLoss:
    """The loss of a model on a part of a text.

    Attributes:
        characters: code points of the part.
        tokens: tokens of the part, a BOS that the tokenizer begins with included.
        scored: how many of them were predicted.
        loss: their mean negative log-probability, in nats per token.
        perplexity: exp(loss).
    """

    characters: int
    tokens: int
    scored: int
    loss: float
    perplexity: float


@dataclass(frozen=True)
class SplitLoss:
    """The loss on the first part of a text and on the rest, and how it was cut."""

    train: TextLoss
    validation: TextLoss
    ratio: float
    context_length: int


def split_loss(
    model: LanguageModel | str,
    text: str,
    *,
    ratio: float = 0.9,
    context_length: int | None = None,
    max_rows: int = 64,
    report: Report | None = None,
) -> SplitLoss:
    """The cross-entropy loss on the first `ratio` of a text's characters (train) and on the rest (validation).

    Each part is tokenised by itself and cut into chunks of `context_length` tokens that follow on each other; from each
    chunk the model predicts its tokens one further on. A last chunk that is not full is left out.

    Args:
        model: a model, or the name of one for `load`.
        text: any text long enough for a chunk in each part.
        ratio: the share of characters that is for training, in (0, 1).
        context_length: tokens fed to the model at once; None is all its context.
        max_rows: chunks computed at once, at most.
        report: called with (done, total) after each step.

    Raises:
        InvalidParameter: if ratio or context_length is out of range.
        RequestError: if a part is too short for a chunk.

    Source: Raschka, "Build a Large Language Model (From Scratch)", 2024, section 5.1.3. There the loss is the mean over
    batches of the mean over a batch, which is the same as long as all batches are full.

    >>> import decodelab as dl
    >>> coin = dl.TableModel(["H", "T"], {...: {"H": 0.25, "T": 0.75}})
    >>> found = split_loss(coin, "H T T T T H T T T T", ratio=0.5, context_length=2)
    >>> found.train.scored, round(found.train.perplexity, 3), found.validation.scored
    (4, 1.333, 4)
    """
    lm = load(model) if isinstance(model, str) else model
    length = _checked_length(lm, context_length)
    if not 0 < ratio < 1:
        raise InvalidParameter(f"ratio must be in (0, 1), got {ratio}; 0.9 keeps a tenth for validation")
    cut = int(ratio * len(text))
    parts = {"train": text[:cut], "validation": text[cut:]}
    tokens = {name: lm.vocab.encode(part) for name, part in parts.items()}
    notes = PromptNotes(lm)
    for name, part in parts.items():
        notes.see(f"the {name} part", part, tokens[name])
    notes.tell()
    chunks = [(name, chunk) for name, ids in tokens.items() for chunk in _chunks(name, ids, length)]
    logprobs: dict[str, list[float]] = {name: [] for name in parts}
    pairs = [(chunk[:1], chunk[1:]) for _, chunk in chunks]
    for i, score in score_each(lm, pairs, max_rows=max_rows, report=report):
        logprobs[chunks[i][0]] += score.token_logprobs

    def loss(name: str) -> TextLoss:
        values = logprobs[name]
        mean = -math.fsum(values) / len(values)
        return TextLoss(len(parts[name]), len(tokens[name]), len(values), mean, perplexity(values))

    return SplitLoss(loss("train"), loss("validation"), ratio, length)


def _checked_length(model: LanguageModel, length: int | None) -> int:
    length = model.context_length if length is None else length
    if length is None:
        raise InvalidParameter(f"context_length: {model.name} has an unbounded context; set the tokens per chunk")
    if length < 1 or (model.context_length is not None and length > model.context_length):
        raise InvalidParameter(
            f"context_length must be in [1, {model.context_length or 'any'}], the context of {model.name}, got {length}"
        )
    return length


def _chunks(name: str, tokens: Tokens, length: int) -> list[Tokens]:
    """Stretches of `length` tokens with the one after them."""
    chunks = [tokens[i : i + length + 1] for i in range(0, len(tokens) - length, length)]
    if not chunks:
        raise RequestError(
            f"the {name} part of the text has {len(tokens)} tokens, but a chunk needs {length + 1}; "
            "give a longer text, a shorter context length or another ratio"
        )
    return chunks
