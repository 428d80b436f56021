"""Power sampling: texts from the model's distribution over whole sequences, raised to a power."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch

from decodelab.core.key import ROUNDS
from decodelab.core.protocols import Draw, Drawn, Question, Rounds
from decodelab.core.stage import Kind, Stage, check_number
from decodelab.core.values import Candidate, Confidences, Limits


@dataclass(frozen=True)
class Power(Stage):
    """Draw texts from the distribution p(text)^alpha / Z, p the model's own, by Metropolis-Hastings moves.

    A low temperature sharpens every token by itself; this sharpens whole texts: of two equally probable first tokens,
    the one that leads to a few probable texts gains over the one that leads to many improbable ones. A move picks a
    token of the text uniformly, draws the text anew from there on with the processed distribution q, and takes the new
    text y instead of the old one x with probability

        min(1, [p(y)^alpha q(x) length(x)] / [p(x)^alpha q(y) length(y)]),

    lengths in tokens. The target is p^alpha whatever q is, so a temperature before `power` only makes moves better or
    worse: `temperature=0.25 | power(alpha=4)` is what the paper runs. top_p, constraints and others that remove tokens
    restrict the target to the texts that they leave. A text cut off by max_new_tokens counts with the probability of
    its beginning.

    Texts grow by `block` tokens: each block extends what has not ended and makes `steps` moves, which redraw up to the
    end of the block. The moves of the last block decide the distribution: it is exact in the limit of many steps. The n
    chains are independent, ordered by index and not by density, and chain i is the same whatever n is. A candidate's
    `score` is alpha log p(text), in nats.

    Cost: blocks * steps moves a chain, each of half a text on average.

    Differs from the published code: there the lengths are left out, a longer old text is compared by its beginning, no
    proposal is longer than the old text, and texts that end stop moving with their block, so that texts of different
    lengths do not get the distribution p^alpha (benchmarks/power.py).

    Raises:
        InvalidParameter: if a parameter is out of range.
        UnsupportedStrategy: when it is run, after a processor that draws numbers of its own.

    >>> str(Power(alpha=4, steps=20))
    'power(steps=20)'
    """

    alpha: Annotated[float, "the power, above 0; below 1 flattens"] = 4.0
    steps: Annotated[int, "moves of each block, at least 1"] = 10
    block: Annotated[int, "tokens by which texts grow, at least 1"] = 192
    n: Annotated[int, "independent chains, each of which gives a text, at least 1"] = 1

    name: ClassVar[str] = "power"
    kind: ClassVar[Kind] = "search"
    searches_in_rounds: ClassVar[bool] = True
    weighs_draws: ClassVar[bool] = True
    if_empty: ClassVar[str] = "loosen the constraint, or take more chains"
    source: ClassVar[str] = (
        "Karan & Du 2025, Reasoning with sampling, algorithm 1; Metropolis et al. 1953; Hastings 1970"
    )

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "alpha", low=0, low_open=True, fix="the paper takes 4")
        check_number(self, "steps", low=1, integer=True, fix="the paper takes 10")
        check_number(self, "block", low=1, integer=True, fix="the paper takes 192")
        check_number(self, "n", low=1, integer=True, fix="use n=1 for one text")

    @property
    def peak_rows(self) -> int:
        """A row a chain."""
        return self.n

    def rounds(self, question: Question, limits: Limits) -> Rounds:
        """Extend and move all chains at once, block after block."""
        most = limits.max_new_tokens
        ends = [min(end, most) for end in range(self.block, most + self.block, self.block)]
        draws = len(ends) * (1 + self.steps)  # of a chain: its sample indices, one for each
        chains = [_Chain(i * draws) for i in range(self.n)]
        turn = 0
        for end in ends:
            growing = [chain for chain in chains if not chain.finished]
            if growing:
                drawn = yield [chain.draw(turn, chain.text, end) for chain in growing]
                for chain, found in zip(growing, drawn, strict=True):
                    chain.take(found)
                # A beginning that a constraint leaves without a continuation has no text to move from.
                chains = [chain for chain in chains if chain.text is not None]
            turn += 1
            for _ in range(self.steps):
                if not chains:
                    return []
                picks, coins = self._numbers(question, [chain.first + turn for chain in chains])
                cuts = [int(pick * chain.length) for pick, chain in zip(picks, chains, strict=True)]
                drawn = yield [
                    chain.draw(turn, chain.beginning(cut), end) for chain, cut in zip(chains, cuts, strict=True)
                ]
                for chain, found, cut, coin in zip(chains, drawn, cuts, coins, strict=True):
                    if found and self._accepts(chain, found[0].candidate, cut, coin):
                        chain.take(found)
                turn += 1
        texts = [chain.text for chain in chains if chain.text is not None]
        return [(text, self.alpha * text.logprob) for text in texts]

    def _accepts(self, chain: _Chain, new: Candidate, cut: int, coin: float) -> bool:
        """Whether a move is made; what both texts begin with cancels out."""
        assert chain.text is not None
        return math.log(coin) < self._log_weight(new, cut) - self._log_weight(chain.text, cut)

    def _log_weight(self, text: Candidate, cut: int) -> float:
        """The log of p^alpha / (q length), of what follows the cut: how much too seldom a move proposes the text."""
        target = self.alpha * math.fsum(text.token_logprobs[cut:])
        return target - math.fsum(text.processed_logprobs[cut:]) - math.log(len(text.tokens))

    @staticmethod
    def _numbers(question: Question, places: Sequence[int]) -> tuple[list[float], list[float]]:
        """Two numbers in (0, 1) for each draw of a chain."""
        own = question.keys[torch.zeros(len(places), dtype=torch.int64)]
        twice = 2 * torch.tensor(places, dtype=torch.int64)
        return own.uniform(twice, ROUNDS).tolist(), own.uniform(twice + 1, ROUNDS).tolist()


@dataclass
class _Chain:
    """A chain.

    Attributes:
        first: the sample index of its first draw.
        text: where it is; None before the first draw, and after one that gave nothing.
        finished: whether the text has ended.
    """

    first: int
    text: Candidate | None = None
    finished: bool = False

    @property
    def length(self) -> int:
        """Tokens of the text."""
        assert self.text is not None
        return len(self.text.tokens)

    def take(self, found: Sequence[Drawn]) -> None:
        """Go to the text that was drawn, if any was."""
        self.text = found[0].candidate if found else None
        self.finished = bool(found) and found[0].finished

    def draw(self, turn: int, after: Candidate | None, end: int) -> Draw:
        """The draw of this turn, up to so many tokens of the whole text."""
        return Draw(1, self.first + turn, after, most=end - (len(after.tokens) if after else 0))

    def beginning(self, length: int) -> Candidate | None:
        """The first tokens of the text, to go on from; None for none."""
        if length == 0:
            return None
        assert self.text is not None
        known = self.text.confidences
        return replace(
            self.text,
            tokens=self.text.tokens[:length],
            token_logprobs=self.text.token_logprobs[:length],
            processed_logprobs=self.text.processed_logprobs[:length],
            confidences=known
            and Confidences(known.entropy[:length], known.self_certainty[:length], known.top[:length]),
        )
