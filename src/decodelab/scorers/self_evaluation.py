"""Self-evaluation: the model rates its own text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from decodelab.core.protocols import PAD, LanguageModel
from decodelab.core.values import Partial, Tokens


@dataclass(frozen=True)
class SelfEvaluation:
    """The probability, in (0, 1), that the model calls its own continuation right.

    After prompt and continuation (its end-of-sequence token left out) comes the question; the value is
    p(yes) / (p(yes) + p(no)) of the two answers as whole token sequences. The answers' other forms ("Yes", "Y") are not
    added up, and the question follows the text as it is, without a turn of a chat template. Every call is one pass
    over prompt, text and question, in which nothing is shared between continuations.

    Source: Kadavath et al. 2022, Language models (mostly) know what they know, section 3; Xie et al. 2023,
    Self-evaluation guided beam search, section 3.

    Attributes:
        question: the question after the text.
        yes: the answer that means right.
        no: the answer that means wrong.
    """

    question: str = "\nQuestion: Is this right so far? Answer yes or no.\nAnswer:"
    yes: str = " yes"
    no: str = " no"

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
