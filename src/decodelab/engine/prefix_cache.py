"""`PrefixCache`: common prefixes of prompts are computed once and kept for later prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch

from decodelab.core.protocols import Cache, LanguageModel, PrefixCaching, Segment
from decodelab.core.values import Tokens
from decodelab.models.memory import give_back_free_memory, resident_bytes

if TYPE_CHECKING:
    from torch import Tensor

LEAST = 16
"""Tokens a common prefix must have to be worth keeping: every prompt begins with BOS."""

SAVED = 32
"""Tokens that computing a common prefix separately must save; below that, one more forward pass costs more."""


MOST_BYTES = 256 * 2**20
"""Bytes of prompts kept at most, where there is no tighter bound."""

NODE_BYTES, TOKEN_BYTES = 6_000, 40
"""Bytes of a node and the tensors of its segment beside their numbers, as measured, and of a token id in a tuple."""

MOST_FREE = 24 * 2**20
"""Bytes that forward passes may leave free in the process's memory before they are given back to the system.

Prompts kept are small pieces among the large buffers of passes, and hold the heap at its largest: what passes left free
was measured at 60 to 190 MB, as much with prompts kept as with none.
"""


class Prefilled(NamedTuple):
    """Prompts after their prefill.

    Attributes:
        prompts: in the order of the rows.
        logits: after the last token of each, [rows, vocab].
        cache: of these rows.
        computed: how many tokens were computed for each; the others were in the prefix cache.
    """

    prompts: list[Tokens]
    logits: Tensor
    cache: Cache
    computed: list[int]


@dataclass(eq=False)
class _Node:
    """Tokens that follow those of the nodes above, and their stored segment."""

    tokens: Tokens
    segment: Segment | None
    parent: _Node | None
    used: int
    children: dict[Tokens, _Node] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return NODE_BYTES + TOKEN_BYTES * len(self.tokens) + (0 if self.segment is None else self.segment.nbytes)

    def key(self, tokens: Tokens) -> Tokens:
        """The key of a child that begins with these tokens; at the root, `LEAST` tokens long."""
        return tokens[: 1 if self.parent is not None else LEAST]


class PrefixCache:
    """Computes prompts, each only from where it differs from those computed before or together with it.

    A radix tree over token ids: a node holds a stored segment of tokens, and a path from the root spells a common
    prefix of the prompts below. When it exceeds its bytes, the least recently used leaves are evicted. For a model
    without `PrefixCaching`, every prompt is computed whole and nothing is kept.

    Source: Zheng et al., "SGLang: Efficient Execution of Structured Language Model Programs" (2024), section 3
    (RadixAttention). Differs in that prompts computed together share their prefixes too, and that rows copy theirs into
    their own cache, so that eviction never waits for them.

    Args:
        model: the language model.
        most_bytes: how much it may keep; None: `MOST_BYTES`.
    """

    def __init__(self, model: LanguageModel, most_bytes: int | None = None) -> None:
        self.model = model
        self.most_bytes = MOST_BYTES if most_bytes is None else most_bytes
        self.nbytes = 0
        self._beside = self._memory_beside()
        self._clock = 0
        self._root = _Node((), None, None, 0)

    def prefill(self, prompts: Sequence[Tokens], room: int | None = None) -> Prefilled:
        """Compute distinct prompts, their common prefixes once, and keep them.

        Args:
            prompts: token ids, all distinct.
            room: bytes available for common prefixes while the prompts are computed; None: no bound.
        """
        if not isinstance(self.model, PrefixCaching):
            logits, cache = self.model.prefill(prompts)
            return Prefilled(list(prompts), logits, cache, [len(prompt) for prompt in prompts])
        paid = dict.fromkeys(prompts, 0)
        for shared in _shared(sorted(prompts)):
            new = [tokens for tokens in shared if len(tokens) - self.known(tokens) >= LEAST]
            taken = sum(self.model.cache_bytes(len(tokens), 1, 0) for tokens in new)
            if room is not None:
                room -= taken
            if new and (room is None or room >= 0):
                found = self._compute(self.model, new, self._keep)
                for tokens, computed in zip(found.prompts, found.computed, strict=True):
                    paid[next(p for p in prompts if p[: len(tokens)] == tokens)] += computed
        found = self._compute(self.model, prompts, self.keep)
        self._tidy()
        return found._replace(computed=[n + paid[p] for p, n in zip(found.prompts, found.computed, strict=True)])

    def known(self, tokens: Tokens) -> int:
        """How many tokens at the start of a prompt need not be computed; its last one always is."""
        return sum(count for _, count in self._path(tokens[:-1]))

    def keep(self, tokens: Tokens, cache: Cache, row: int, least: int = LEAST) -> None:
        """Store a row that holds exactly these tokens, if there is room and at least so many of them are new.

        The first `LEAST` tokens of a prompt are never split.
        """
        self._keep(tokens, cache, row, least)
        self._shrink()

    def _keep(self, tokens: Tokens, cache: Cache, row: int, least: int = LEAST) -> None:
        """Store a row without looking at the room."""
        if not isinstance(self.model, PrefixCaching):
            return
        path = self._path(tokens)
        known = sum(count for _, count in path)
        if len(tokens) - known < (least if path else LEAST):
            return
        segment = self.model.store_prefix(cache, row, known, len(tokens))
        parent = self._root
        if path:
            parent, count = path[-1]
            if count < len(parent.tokens):
                self._split(parent, count)
        self._clock += 1
        node = _Node(tokens[known:], segment, parent, self._clock)
        parent.children[parent.key(node.tokens)] = node
        self.nbytes += node.nbytes

    def limit(self, nbytes: int) -> None:
        """Keep at most this many bytes from now on, evicting the least recently used entries."""
        self.most_bytes = nbytes
        self._shrink()

    def clear(self) -> None:
        """Evict everything."""
        self._root.children.clear()
        self.nbytes = 0

    def _tidy(self) -> None:
        """Give the system back what forward passes left free, where that is much."""
        if self._memory_beside() > self._beside + MOST_FREE:
            give_back_free_memory()
            self._beside = self._memory_beside()
        self._beside = min(self._beside, self._memory_beside())

    def _memory_beside(self) -> int:
        """Bytes of memory that the process has beside the prompts kept; 0 where it is not known."""
        resident = resident_bytes()
        return 0 if resident is None else resident - self.nbytes

    def _shrink(self) -> None:
        """Evict the least recently used leaves until the rest fits."""
        while self.nbytes > self.most_bytes:
            node = min((n for n in self._nodes() if not n.children), key=lambda n: n.used)
            assert node.parent is not None
            del node.parent.children[node.parent.key(node.tokens)]
            self.nbytes -= node.nbytes

    def _compute(
        self, model: PrefixCaching, prompts: Sequence[Tokens], keep: Callable[[Tokens, Cache, int], None]
    ) -> Prefilled:
        """Compute the unknown rest of each prompt, and keep them."""
        parts = [self._part(model, group) for group in self._alike(prompts)]
        for part in parts:
            for row, tokens in enumerate(part.prompts):
                keep(tokens, part.cache, row)
        whole = parts[0]
        for part in parts[1:]:
            whole = Prefilled(
                whole.prompts + part.prompts,
                torch.cat([whole.logits, part.logits]),
                whole.cache.join(part.cache),
                whole.computed + part.computed,
            )
        return whole

    def _part(self, model: PrefixCaching, prompts: list[Tokens]) -> Prefilled:
        """Compute prompts in one pass; where their prefixes are known, the same number of tokens of each."""
        if not self.known(prompts[0]):
            logits, cache = self.model.prefill(prompts)
            return Prefilled(prompts, logits, cache, [len(prompt) for prompt in prompts])
        count = max(len(prompt) - self.known(prompt) for prompt in prompts)
        self._clock += 1
        segments: list[list[Segment]] = []
        for prompt in prompts:
            segments.append([])
            left = len(prompt) - count
            for node, held in self._path(prompt[:-1]):
                node.used = self._clock
                if left > 0 and node.segment is not None:
                    segments[-1].append(node.segment)
                left -= held
        tokens = torch.tensor([prompt[-count:] for prompt in prompts])
        logits, cache = model.load_prefix(segments, [len(prompt) - count for prompt in prompts], tokens)
        return Prefilled(prompts, logits, cache, [count] * len(prompts))

    def _alike(self, prompts: Sequence[Tokens]) -> Iterator[list[Tokens]]:
        """Groups to compute in one pass each: unknown prompts, and prompts with about as many tokens to compute."""
        rest = {prompt: len(prompt) - self.known(prompt) for prompt in prompts}
        new = [prompt for prompt in prompts if rest[prompt] == len(prompt)]
        if new:
            yield new
        group: list[Tokens] = []
        for prompt in sorted((p for p in prompts if rest[p] < len(p)), key=lambda p: rest[p]):
            # All of a group compute as many tokens as its last one; something must be known before those.
            most = rest[prompt]
            if group and (most > 2 * rest[group[0]] + LEAST or min(len(p) for p in group) <= most):
                yield group
                group = []
            group.append(prompt)
        if group:
            yield group

    def _path(self, tokens: Tokens) -> list[tuple[_Node, int]]:
        """The nodes that spell a prefix of these tokens, and how many tokens of each."""
        path: list[tuple[_Node, int]] = []
        node, at = self._root, 0
        while at < len(tokens) and (child := node.children.get(node.key(tokens[at:]))) is not None:
            node = child
            count = _common(node.tokens, tokens[at : at + len(node.tokens)])
            path.append((node, count))
            at += count
            if count < len(node.tokens):
                break
        return path

    def _split(self, node: _Node, at: int) -> None:
        """Move the tokens of a node from `at` on into a child."""
        assert node.segment is not None
        head, tail = node.segment.split(at)
        below = _Node(node.tokens[at:], tail, node, node.used, node.children)
        for child in below.children.values():
            child.parent = below
        self.nbytes -= node.nbytes
        node.tokens, node.segment, node.children = node.tokens[:at], head, {node.key(below.tokens): below}
        self.nbytes += node.nbytes + below.nbytes

    def _nodes(self) -> Iterator[_Node]:
        """All nodes but the root."""
        stack = list(self._root.children.values())
        while stack:
            node = stack.pop()
            yield node
            stack += node.children.values()


def _common(one: Tokens, other: Tokens) -> int:
    """The length of the common prefix."""
    if one == other:
        return len(one)
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _shared(prompts: list[Tokens]) -> Iterator[list[Tokens]]:
    """Common prefixes of these sorted prompts that are worth computing once, short ones first."""
    ranges = [(prompts, 0)]
    while ranges:
        shared: list[Tokens] = []
        below: list[tuple[list[Tokens], int]] = []
        for group, known in ranges:
            if len(group) < 2:
                continue
            # The prompts are sorted: a prefix of the first and the last is a prefix of all.
            depth = _common(group[0], group[-1])
            if depth - known >= LEAST and (depth - known) * (len(group) - 1) >= SAVED:
                shared.append(group[0][:depth])
                known = depth
            ends = [i for i in range(1, len(group)) if group[i][depth : depth + 1] != group[i - 1][depth : depth + 1]]
            below += [(group[a:b], known) for a, b in zip([0, *ends], [*ends, len(group)], strict=True)]
        if shared:
            yield shared
        ranges = below
