"""Graded answers, split by prompt, and the batches that a step of training reads."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from decodelab.core.errors import InvalidData
from decodelab.models.token_frame import TokenFrame
from decodelab.models.transformers_vocab import TransformersVocab
from decodelab.pocket.item import digest

_WIDER = 4
"""A batch is drawn from this many times its groups, those of similar length: little of it is padding then."""


@dataclass(frozen=True)
class Graded:
    """A sampled answer and whether it is right."""

    prompt: str
    text: str
    right: bool


def is_held(prompt: str, share: float) -> bool:
    """Whether a prompt is held out, of a share of all; it depends on nothing but the prompt.

    >>> sum(is_held(f"What is {n} + 1?", 0.25) for n in range(400))
    105
    """
    return digest("held", prompt) % 10_000 < share * 10_000


@dataclass(frozen=True)
class Text:
    """A prompt with its answer.

    Attributes:
        tokens: of both.
        before: the number of those before the answer.
        right: 1 for a right answer, 0 for a wrong one.
        shared: the number of tokens that the other answer of a pair begins with, too; at least `before`.
    """

    tokens: tuple[int, ...]
    before: int
    right: int
    shared: int


@dataclass(frozen=True)
class Batch:
    """Padded texts.

    Attributes:
        tokens: int64 [texts, longest].
        answer: which belong to the answers, bool [texts, longest].
        differs: which of these stand where the two of a pair differ, or behind it.
        last: float32 [texts, longest], 1 at the last token of each text.
        right: int64 [texts].
    """

    tokens: Tensor
    answer: Tensor
    differs: Tensor
    last: Tensor
    right: Tensor


@dataclass(frozen=True)
class TrainingData:
    """Encoded answers, ready to be drawn from.

    Attributes:
        groups: for each prompt with both kinds of answers, the right and the wrong ones; where no prompt has both, one
            group of all.
        right: all right answers, for the language-model loss.
        too_long: how many answers the context does not hold, which were left out.
        digest: of all answers.
    """

    groups: Sequence[tuple[Sequence[Text], Sequence[Text]]]
    right: Sequence[Text]
    too_long: int
    digest: str

    @staticmethod
    def of(samples: Iterable[Graded], tokenizer: Any, vocab_size: int, context: int | None) -> TrainingData:
        """Encode answers as a reward model reads them: prompt and text as one text.

        Raises:
            InvalidData: if there are none, or only right or only wrong ones.
        """
        vocab, frame = TransformersVocab(tokenizer, vocab_size, (), None), TokenFrame.of(tokenizer)
        by_prompt: dict[str, tuple[list[Text], list[Text]]] = {}
        different = list(dict.fromkeys(samples))
        too_long = 0
        for sample in different:
            before, _ = frame.framed(vocab.encode_text(sample.prompt))
            tokens, _ = frame.framed(vocab.encode_text(sample.prompt + sample.text))
            if context is not None and len(tokens) > context:
                too_long += 1
            elif len(tokens) > len(before):
                both = by_prompt.setdefault(sample.prompt, ([], []))
                both[not sample.right].append(Text(tokens, len(before), int(sample.right), len(before)))
        right = [text for both in by_prompt.values() for text in both[0]]
        wrong = [text for both in by_prompt.values() for text in both[1]]
        if not right or not wrong:
            what = "no graded answers" if not right and not wrong else f"only {'right' if right else 'wrong'} answers"
            raise InvalidData(
                f"verifier: there are {what} to learn from ({len(different)} different ones, {too_long} too long); "
                "it takes right and wrong ones: sample more, hotter, or from another model"
            )
        groups = [both for both in by_prompt.values() if both[0] and both[1]] or [(right, wrong)]
        named = sorted((s.prompt, s.text, s.right) for s in different)
        return TrainingData(groups, right, too_long, f"{digest(*named):016x}")

    def pairs(self, seed: int, step: int, count: int) -> Batch:
        """What a step learns to tell apart: as many right as wrong answers, each pair to one prompt.

        What the two of a pair begin with is left out: until they differ, nothing tells them apart.
        """
        rng = random.Random(digest("verifier", seed, step))
        drawn = [rng.choice(self.groups) for _ in range(_WIDER * count)]
        both = [(rng.choice(right), rng.choice(wrong)) for right, wrong in drawn]
        return _batch([text for pair in _alike(both, count, rng) for text in _apart(*pair)])

    def texts(self, seed: int, step: int, count: int) -> Batch:
        """Right answers that a step learns to continue."""
        rng = random.Random(digest("verifier-texts", seed, step))
        drawn = [(rng.choice(self.right),) for _ in range(_WIDER * count)]
        return _batch([text for one in _alike(drawn, count, rng) for text in one])


def _apart(one: Text, other: Text) -> tuple[Text, Text]:
    """Two texts, told how much both begin with; their last tokens always count as different."""
    pairs = enumerate(zip(one.tokens, other.tokens, strict=False))
    shared = next((at for at, (a, b) in pairs if a != b), min(len(one.tokens), len(other.tokens)))
    first, second = (replace(t, shared=max(t.before, min(shared, len(t.tokens) - 1))) for t in (one, other))
    return first, second


def _alike(drawn: Sequence[Sequence[Text]], count: int, rng: random.Random) -> Sequence[Sequence[Text]]:
    """Some of what was drawn, next to each other in length."""
    ordered = sorted(drawn, key=lambda texts: max(len(text.tokens) for text in texts))
    first = rng.randrange(len(ordered) // count) * count
    return ordered[first : first + count]


def _batch(texts: Sequence[Text]) -> Batch:
    longest = max(len(text.tokens) for text in texts)
    places = torch.arange(longest)[None]
    lengths = torch.tensor([len(text.tokens) for text in texts])[:, None]
    before, shared = (
        torch.tensor(counts)[:, None] for counts in zip(*((t.before, t.shared) for t in texts), strict=True)
    )
    return Batch(
        torch.tensor([[*text.tokens, *[0] * (longest - len(text.tokens))] for text in texts]),
        (places >= before) & (places < lengths),
        (places >= shared) & (places < lengths),
        (places == lengths - 1).float(),
        torch.tensor([text.right for text in texts]),
    )
