"""Self-evaluation: the model rates its own text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from decodelab.core.errors import InvalidParameter
from decodelab.core.protocols import PAD, LanguageModel
from decodelab.core.stage import Parametric, brief
from decodelab.core.values import Partial, Tokens


@dataclass(frozen=True)
class SelfEvaluation(Parametric):
    """The probability, in (0, 1), that the model calls its own continuation right.

    After prompt and continuation (its end-of-sequence token left out) comes the question; the value is
    p(yes) / (p(yes) + p(no)) of the two answers as whole token sequences. The answers' other forms ("Yes", "Y") are not
    added up, and the question follows the text as it is, without a turn of a chat template. Every call is one pass
    over prompt, text and question, in which nothing is shared between continuations.

    Source: Kadavath et al. 2022, Language models (mostly) know what they know, section 3; Xie et al. 2023,
    Self-evaluation guided beam search, section 3.

    Raises:
        InvalidParameter: for a parameter that is no text, or an empty one.

    >>> str(SelfEvaluation(yes=" ja", no=" nein"))
    'self_eval(yes=" ja", no=" nein")'
    """

    question: Annotated[str, "the question after the text"] = (
        "\nQuestion: Is this right so far? Answer yes or no.\nAnswer:"
    )
    yes: Annotated[str, "the answer that means right"] = " yes"
    no: Annotated[str, "the answer that means wrong"] = " no"

    name: ClassVar[str] = "self_eval"

    def __post_init__(self) -> None:
        """Check that all are texts."""
        for parameter in ("question", "yes", "no"):
            value = getattr(self, parameter)
            if not isinstance(value, str) or not value:
                raise InvalidParameter(f"self_eval: {parameter} must be a text, got {brief(value)}; write it in quotes")

    def score(self, model: LanguageModel, partials: Sequence[Partial]) -> list[float]:
        """One probability a continuation."""
        vocab = model.vocab
        asked: list[Tokens] = []
        for partial in partials:
            said = tuple(t for t in partial.tokens if t not in vocab.eos_ids)
            before = (*partial.prompt_tokens, *said)
            asked.append((*before, *vocab.encode_completion(before, self.question)))
        answers = [vocab.encode_completion(asked[0], answer) for answer in (self.yes, self.no)]
        logits, cache = model.prefill(asked)
        distributions = logits.cpu().double().log_softmax(-1)
        found = torch.stack([distributions[:, answer[0]] for answer in answers], dim=1)  # [continuations, 2]
        longest = max(map(len, answers))
        if longest > 1:
            rows = torch.arange(len(asked)).repeat_interleave(2)
            padded = torch.tensor([[*a, *[PAD] * (longest - len(a))] for a in answers]).repeat(len(asked), 1)
            rest, _ = model.decode(cache.select(rows), padded[:, :-1])
            following = padded[:, 1:]
            more = rest.cpu().double().log_softmax(-1).gather(-1, following.clamp(min=0)[..., None])[..., 0]
            found = found + more.masked_fill(following == PAD, 0).sum(1).view(-1, 2)
        return found.softmax(1)[:, 0].tolist()
