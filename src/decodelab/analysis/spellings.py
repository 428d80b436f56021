"""Hypotheses of one search with the same text in different tokens, and prompts that lead to them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from decodelab.analysis.replay import past_logits
from decodelab.core.events import Event, RunStarted, Step
from decodelab.core.protocols import LanguageModel
from decodelab.core.values import Prompt, Tokens
from decodelab.engine.generate import generate
from decodelab.search.beam import Beam

_PROMISING = 128
"""Places of a round that are looked at more closely."""


@dataclass(frozen=True)
class Spelling:
    """One token sequence of a text.

    Attributes:
        tokens: its ids, without an EOS at the end.
        words: each as readable text.
        logprobs: log p of each under the model, in nats.
    """

    tokens: Tokens
    words: tuple[str, ...]
    logprobs: tuple[float, ...]

    @property
    def logprob(self) -> float:
        """Log-probability of the sequence, in nats."""
        return sum(self.logprobs)


@dataclass(frozen=True)
class Collision:
    """A text that a search kept in several tokenizations.

    Attributes:
        prompt: the prompt as text.
        text: the text kept twice.
        spellings: the token sequences, most probable first.
    """

    prompt: str
    text: str
    spellings: tuple[Spelling, ...]


class _Kept:
    """An observer of every hypothesis that a search kept, by prompt."""

    def __init__(self) -> None:
        self.prompts: tuple[Tokens, ...] = ()
        self.hypotheses: dict[int, set[Tokens]] = defaultdict(set)

    def __call__(self, event: Event) -> None:
        """Take an event from the engine."""
        if isinstance(event, RunStarted):
            self.prompts = event.prompts
        elif isinstance(event, Step):
            prefixes = event.prefixes
            for parent, token in zip(event.parents.tolist(), event.tokens.tolist(), strict=True):
                self.hypotheses[int(event.generations[parent])].add((*prefixes[parent], token))


def find_collisions(
    model: LanguageModel, prompts: Sequence[Prompt], width: int, max_new_tokens: int
) -> list[list[Collision]]:
    """Search with `beam(width)` after each prompt, and find texts kept in more than one tokenization.

    Hypotheses of all steps count: one that spells a text in three tokens meets, a step later, one that needs four. A
    text with broken bytes in it is equal to no other.

    Returns:
        The collisions of each prompt, shortest text first.

    >>> from decodelab import TableModel
    >>> table = {(): {"ab": 0.6, "a": 0.4}, ("a",): {"b": 1.0}}
    >>> model = TableModel(["ab", "a", "b"], table, bos="<s>", separator="", missing="eos")
    >>> [[spelling.words for spelling in c.spellings] for c in find_collisions(model, [""], 2, 3)[0]]
    [[('ab',), ('a', 'b')]]
    """
    kept = _Kept()
    found = generate(model, prompts, Beam(width), max_new_tokens=max_new_tokens, observers=[kept])
    return [_collisions(model, g.prompt, g.prompt_tokens, kept.hypotheses[g.index]) for g in found]


def _collisions(model: LanguageModel, prompt: str, start: Tokens, hypotheses: set[Tokens]) -> list[Collision]:
    """The collisions among the hypotheses of a prompt."""
    by_text: dict[str, set[Tokens]] = defaultdict(set)
    for tokens in hypotheses:
        tokens = tokens[:-1] if tokens[-1] in model.vocab.eos_ids else tokens
        text = model.vocab.decode_completion(start, tokens)
        if text and "\ufffd" not in text:
            by_text[text].add(tokens)
    return [
        Collision(prompt, text, tuple(sorted((_spelling(model, start, t) for t in same), key=lambda s: -s.logprob)))
        for text, same in sorted(by_text.items(), key=lambda item: (len(item[0]), item[0]))
        if len(same) > 1
    ]


def _spelling(model: LanguageModel, start: Tokens, tokens: Tokens) -> Spelling:
    """A token sequence after a prompt, with what the model gives each token."""
    rows = past_logits(model, start, tokens)
    logprobs = tuple(float(row.double().log_softmax(0)[t]) for row, t in zip(rows, tokens, strict=True))
    return Spelling(tokens, tuple(map(model.vocab.token_text, tokens)), logprobs)


def likely_prompts(model: LanguageModel, opening: Prompt, width: int, texts: int, seed: int) -> Iterator[str]:
    """Prompts after which beams of this width may collide, most likely ones of each round first.

    The model writes texts, half of them at a temperature that makes it unsure of what comes next. Where one of its
    `width` most probable next tokens begins another, the text up to there is a prompt: the shorter token and what it
    lacks spell the longer. A prompt is as likely as the less probable of the two spellings. They end when three rounds
    bring nothing new.

    Args:
        opening: what the texts begin with.
        texts: how many are written in a round.
        seed: of the texts.
    """
    vocab = model.vocab
    words = [vocab.token_text(t) for t in range(vocab.size)]
    ids = {word: t for t, word in enumerate(words)}
    given: set[str] = set()
    turn = fruitless = 0
    while fruitless < 3:
        strategy = f"temperature={(1.25, 2.5)[turn % 2]} | sample(n={texts})"
        (written,) = generate(model, opening, strategy, max_new_tokens=48, seed=seed * 1_000_003 + turn)
        turn, fruitless = turn + 1, fruitless + 1
        forks = [
            fork
            for candidate in written.candidates
            for fork in _forks(model, written.prompt_tokens, candidate.tokens, words, ids, width)
        ]
        forks.sort(key=lambda fork: -min(fork.short_logprob, fork.long_logprob))
        del forks[_PROMISING:]
        if forks:
            after = model.prefill([(*fork.prefix, fork.short) for fork in forks])[0].double().log_softmax(1)
            rest = after[torch.arange(len(forks)), torch.tensor([fork.rest for fork in forks])].tolist()
            chances = [min(f.short_logprob + r, f.long_logprob) for f, r in zip(forks, rest, strict=True)]
            for _, fork in sorted(zip(chances, forks, strict=True), key=lambda pair: -pair[0]):
                prompt = vocab.decode(fork.prefix)
                if prompt not in given and "\ufffd" not in prompt:
                    given.add(prompt)
                    fruitless = 0
                    yield prompt


@dataclass(frozen=True)
class _Fork:
    """A place where a text can go on with a token, or with another that begins it and what that lacks."""

    prefix: Tokens
    short: int
    rest: int
    short_logprob: float
    long_logprob: float


def _forks(
    model: LanguageModel, start: Tokens, tokens: Tokens, words: list[str], ids: dict[str, int], width: int
) -> Iterator[_Fork]:
    """The forks of a text between the `width` most probable tokens of each place."""
    for i, row in enumerate(past_logits(model, start, tokens)):
        logprobs = row.double().log_softmax(0)
        best = logprobs.topk(min(width, len(logprobs)))
        likely = {t: lp for t, lp in zip(best.indices.tolist(), best.values.tolist(), strict=True) if lp > -math.inf}
        for short in likely:
            for long in likely:
                rest = words[long][len(words[short]) :]
                if words[short].strip() and rest in ids and words[long].startswith(words[short]):
                    yield _Fork((*start, *tokens[:i]), short, ids[rest], likely[short], likely[long])
