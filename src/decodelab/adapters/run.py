"""`Run`: the states of processors for a generation that another system runs, found by the tokens of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from decodelab.core.errors import EmptySupport, NonFiniteLogits, UnsupportedStrategy, VocabularyMismatch
from decodelab.core.key import Keys
from decodelab.core.protocols import Processor, Vocab
from decodelab.core.values import Tokens
from decodelab.strategy.replay import NeedsLogits, begin, follow
from decodelab.strategy.strategy import Strategy


class Run:
    """The states of a strategy's processors for the rows of one generation that another system runs.

    At each step the rows are given as all their tokens. A row that continues one of the last step's by one token
    continues from its state; rows may be copied, dropped and reordered, as beams are. Rows that begin with known
    prompts but continue no row of the last step are replayed from their tokens. Any other rows are the prompts of a
    new generation.

    Args:
        strategy: processors with `sample` or `greedy`; greedy leaves only the most probable token.
        vocab: the vocabulary, for stages that look at words or special tokens.
        seed: of the random numbers that stages draw; rows of equal prompts have the sample indices 0, 1, ...

    Raises:
        UnsupportedStrategy: if the strategy is more than processors.
    """

    def __init__(self, strategy: Strategy, vocab: Vocab | None, seed: int) -> None:
        for stage in strategy.stages:
            plain = stage.kind == "processor" or stage.name == "greedy" or str(stage) == "sample"
            if not plain:
                raise UnsupportedStrategy(
                    f"{stage} cannot run inside another system's generation, which has its own search; "
                    "give processors only, with `default` resolved by strategy.resolve(model)"
                )
        self.processors = strategy.processors
        self.greedy = any(stage.name == "greedy" for stage in strategy.stages)
        self.vocab = vocab
        self.seed = seed
        self.prompts: list[Tokens] = []
        self.rows: list[Tokens] = []
        self.states: list[Any] = []
        self.given: list[Tensor] = []

    def process(self, rows: Sequence[Tokens], logits: Tensor) -> Tensor:
        """The logits, float32 [rows, vocab], after all processors, for rows that have these tokens.

        Raises:
            NonFiniteLogits: for NaN, +inf or only -inf.
            EmptySupport: naming the stage that left no token.
            VocabularyMismatch: if the logits have another size than the vocabulary.
            UnsupportedStrategy: if a stage that learns from logits would have to be replayed.
        """
        if self.vocab is not None and self.vocab.size != logits.shape[-1]:
            raise VocabularyMismatch(
                f"the vocabulary has {self.vocab.size} tokens, the logits {logits.shape[-1]}; "
                "give the vocabulary of this model"
            )
        if not bool(logits.logsumexp(-1).isfinite().all()):
            raise NonFiniteLogits("the model returned NaN, +inf or only -inf as logits; check its weights and dtype")
        self._bring_to(list(rows), logits.shape[-1])
        self.given = []
        for processor, state in zip(self.processors, self.states, strict=True):
            self.given.append(logits)
            logits = processor.apply(logits, state)
            if not bool(logits.logsumexp(-1).isfinite().all()):
                raise EmptySupport(f"{processor} left no token to choose from; relax it or reorder the stages")
        if self.greedy:
            best = logits.argmax(-1, keepdim=True)
            logits = torch.full_like(logits, -torch.inf).scatter_(-1, best, 0.0)
        return logits

    def _bring_to(self, rows: list[Tokens], size: int) -> None:
        """Bring the states to rows of these tokens."""
        if self.rows and rows == self.rows:
            return
        parents = self._parents(rows)
        if parents is not None:
            self._advance(torch.tensor(parents), torch.tensor([row[-1] for row in rows]))
        elif (prompts := self._known_prompts(rows)) is not None:
            self._replay(rows, prompts, size)
        else:
            self._begin(rows, size)
        self.rows = rows

    def _parents(self, rows: list[Tokens]) -> list[int] | None:
        """For each row the one of the last step that it continues by a token; None if one continues none."""
        place = {row: i for i, row in reversed(list(enumerate(self.rows)))}
        found: list[int] = []
        for i, row in enumerate(rows):
            before = row[:-1]
            # Rows of equal tokens differ in their random numbers, so a row continues its own place where it can.
            parent = i if i < len(self.rows) and self.rows[i] == before else place.get(before)
            if parent is None:
                return None
            found.append(parent)
        return found if self.rows else None

    def _known_prompts(self, rows: list[Tokens]) -> list[Tokens] | None:
        """The known prompts that the rows begin with, all followed by as many tokens; None if there are none."""
        known = sorted(set(self.prompts), key=len, reverse=True)
        found = [next((p for p in known if row[: len(p)] == p), None) for row in rows]
        prompts = [p for p in found if p is not None]
        if len(prompts) < len(rows) or len({len(r) - len(p) for r, p in zip(rows, prompts, strict=True)}) != 1:
            return None
        return prompts

    def _begin(self, prompts: list[Tokens], size: int) -> None:
        """A new generation."""
        counts: dict[Tokens, int] = {}
        keys = []
        for prompt in prompts:
            keys.append(Keys.of(self.seed, prompt, [counts.setdefault(prompt, 0)]))
            counts[prompt] += 1
        self.prompts = prompts
        self.states = begin(self.processors, prompts, self.vocab, size, Keys.join(keys), _needs_vocab)

    def _advance(self, parents: Tensor, tokens: Tensor) -> None:
        """Each row continues one of the last step's by one token."""
        self.states = [
            p.update(None if s is None else s[parents], g[parents], tokens)
            for p, s, g in zip(self.processors, self.states, self.given, strict=True)
        ]
        self.prompts = [self.prompts[parent] for parent in parents.tolist()]

    def _replay(self, rows: list[Tokens], prompts: list[Tokens], size: int) -> None:
        """The states of rows that continue none of the last step's, from their tokens."""
        self._begin(prompts, size)
        generated = [row[len(prompt) :] for row, prompt in zip(rows, prompts, strict=True)]
        try:
            self.states = follow(self.processors, self.states, torch.tensor(generated, dtype=torch.int64).T, size)
        except NeedsLogits as asked:
            raise UnsupportedStrategy(
                f"{asked} updates its state from every step's logits and has not seen those of earlier steps; "
                "generate token by token"
            ) from None


def _needs_vocab(processor: Processor) -> UnsupportedStrategy:
    return UnsupportedStrategy(f"{processor} needs the vocabulary; pass vocab=model.vocab")
