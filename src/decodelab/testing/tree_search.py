"""What every tree search must do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from decodelab.core.key import Keys
from decodelab.core.protocols import AnyScorer, Growth, Tree, TreeSearch
from decodelab.core.reasons import CONTINUES, EOS, LENGTH
from decodelab.core.stage import Stage
from decodelab.core.values import Partial
from decodelab.scorers.judging import judged
from decodelab.testing.search import random_logits
from decodelab.testing.stage import check_stage, require

_MOST_PASSES = 20_000


def check_tree_search(search: TreeSearch) -> None:
    """Check that a search keeps the promises of `decodelab.core.protocols.tree_searches.TreeSearch`.

    It runs jobs of random distributions over seven tokens (some impossible, some tied), with none, one and two EOS ids.
    It must

    * never ask for more than `peak_rows` nodes at once, and come to an end; * go on only from nodes whose logits it
    saw and did not close, with possible tokens, and never ask twice for a child; * end exactly what `tree.ends` ends,
    and no child twice; * be pure: the same logits and state give the same growth, at once or later, and inputs are
    not changed; * take its randomness from `tree.keys` alone; * return at the end at most `n` different hypotheses,
    with finite scores, and with a certificate that is `proved` no bound above the last of them; * be a proper stage
    (`check_stage`), if it is one.

    Raises:
        AssertionError: naming the first promise that is broken.

    >>> from decodelab import Exact
    >>> check_tree_search(Exact(budget=50))
    """
    if isinstance(search, Stage):
        check_stage(search)
    for eos in ((6,), (), (5, 6)):
        for prompt, limit in ((0, 4), (1, 3), (2, 5), (3, 1)):
            drawn = torch.random.get_rng_state()
            _Run(search, prompt, limit, eos).all()
            require(
                torch.equal(torch.random.get_rng_state(), drawn),
                search,
                "must draw from tree.keys alone, not from torch's global generator",
            )


@dataclass
class _Run:
    """One job of a tree search, every decision checked."""

    search: TreeSearch
    prompt: int
    limit: int
    eos: tuple[int, ...]

    def __post_init__(self) -> None:
        self.paths: list[tuple[int, ...]] = [()]
        self.closed: set[int] = set()
        self.ended: list[tuple[int, ...]] = []
        self.tree = Tree(self.limit, Keys.of(0, [self.prompt], [0]), self.ends, self.judge, self.partials)

    def rule(self, condition: bool, text: str) -> None:
        """Fail with the rule that is broken."""
        require(condition, self.search, f"{text} ({len(self.eos)} EOS ids, {self.limit} tokens)")

    def ends(self, nodes: Tensor, tokens: Tensor) -> Tensor:
        """Why children end."""
        codes = torch.full_like(tokens, CONTINUES)
        last = torch.tensor([len(self.paths[node]) + 1 >= self.limit for node in nodes.tolist()], dtype=torch.bool)
        codes[last] = LENGTH
        codes[torch.isin(tokens, torch.tensor(self.eos, dtype=torch.int64))] = EOS
        return codes

    def partials(self, nodes: Tensor, tokens: Tensor) -> list[Partial]:
        """The texts of children; a token is its digit."""
        paths = [(*self.paths[node], token) for node, token in zip(nodes.tolist(), tokens.tolist(), strict=True)]
        return [Partial(str(self.prompt), (self.prompt,), path, "".join(map(str, path))) for path in paths]

    def judge(self, scorer: AnyScorer, nodes: Tensor, tokens: Tensor) -> Tensor:
        """What a scorer that needs no model gives children."""
        return torch.tensor(judged(scorer, self.partials(nodes, tokens)), dtype=torch.float64)

    def all(self) -> None:
        """From the prompt to the end."""
        state = self.search.init(self.limit)
        asked = [()]
        past: list[tuple[Tensor, Any, Growth]] = []
        for _ in range(_MOST_PASSES):
            logits = torch.stack([random_logits(self.prompt, path) for path in asked])
            given = logits.clone()
            growth, after = self.search.grow(logits, state, self.tree)
            self.rule(torch.equal(logits, given), "grow must not change the logits")
            past.append((given, state, growth))
            asked = self.check(growth)
            state = after
            if not asked:
                break
            self.paths += asked
        self.rule(not asked, f"must come to an end, {_MOST_PASSES} passes were not enough")
        for logits, old, growth in past[:: max(1, len(past) // 20)]:
            again = self.search.grow(logits, old, self.tree)[0]
            same = all(torch.equal(getattr(again, f), getattr(growth, f)) for f in Growth.__dataclass_fields__)
            self.rule(same, "grow must be pure: the same logits and state must give the same growth, also later")
        self.check_finished(state)

    def check(self, growth: Growth) -> list[tuple[int, ...]]:
        """The paths of the nodes asked for."""
        asked = self.children(growth.parents, growth.tokens)
        ended = self.children(growth.ended_parents, growth.ended_tokens)
        self.rule(len(asked) <= self.search.peak_rows, "must not ask for more than peak_rows nodes at once")
        self.rule(len({*asked, *self.paths}) == len(asked) + len(self.paths), "must not ask twice for a child")
        self.rule(len({*ended, *self.ended}) == len(ended) + len(self.ended), "must not end a child twice")
        self.rule(
            bool((self.ends(growth.parents, growth.tokens) == CONTINUES).all()), "what ends must not be asked for"
        )
        reasons = self.ends(growth.ended_parents, growth.ended_tokens)
        self.rule(bool((reasons != CONTINUES).all()), "what goes on must not be reported as ended")
        self.rule(torch.equal(reasons, growth.ended_reasons), "the reason of an end must be that of tree.ends")
        self.ended += ended
        self.closed |= set(growth.closed.tolist())
        self.rule(all(0 <= node < len(self.paths) for node in self.closed), "only nodes that were seen can be closed")
        return asked

    def children(self, parents: Tensor, tokens: Tensor) -> list[tuple[int, ...]]:
        """The paths of children, each checked."""
        self.rule(len(parents) == len(tokens), "parents and tokens must go in pairs")
        found = []
        for parent, token in zip(parents.tolist(), tokens.tolist(), strict=True):
            self.rule(0 <= parent < len(self.paths), "parents must be nodes that were seen")
            self.rule(parent not in self.closed, "a closed node must have no more children")
            distribution = random_logits(self.prompt, self.paths[parent])
            self.rule(
                0 <= token < len(distribution) and bool(distribution[token].isfinite()),
                "an impossible token must not be chosen",
            )
            found.append((*self.paths[parent], token))
        return found

    def check_finished(self, state: Any) -> None:
        """The result."""
        ranked: Sequence[Any] = self.search.finished(state)
        n = self.search.n
        self.rule(n is None or len(ranked) <= n, "finished must give at most n hypotheses")
        numbers = [r.hypothesis for r in ranked]
        self.rule(len(set(numbers)) == len(numbers), "finished must not give a hypothesis twice")
        self.rule(all(0 <= i < len(self.ended) for i in numbers), "finished must give hypotheses that ended")
        self.rule(len({r.sample for r in ranked}) == len(ranked), "sample indices must differ")
        self.rule(all(math.isfinite(r.score) for r in ranked), "scores must be finite")
        certificate = self.search.certificate(state)
        if certificate is not None and certificate.proved and ranked:
            worst = min(r.score for r in ranked)
            self.rule(certificate.bound <= worst, "what is proved has no bound above it")
