"""`TreeJob`: one job of a tree search: its nodes, the distribution after each, and how its tree grows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch

from decodelab.core.errors import DecodelabError, EmptySupport
from decodelab.core.events import Observer, Step
from decodelab.core.key import Keys
from decodelab.core.protocols import AnyScorer, Growth, LanguageModel, Tree, TreeSearch
from decodelab.core.values import Candidate, Cost, Generation, Partial
from decodelab.engine.failures import check_shape, empty_support, forward_failed, non_finite
from decodelab.engine.faults import blamed, tell
from decodelab.engine.hypotheses import Ended, Path, as_candidates, ended, generation, selected, unfinished
from decodelab.engine.job import Job
from decodelab.engine.judging import judge, partial
from decodelab.engine.processing import Processed, process
from decodelab.engine.row_text import RowText
from decodelab.engine.runners.tree_cache import TreeCache
from decodelab.engine.stopping import StoppingCriteria
from decodelab.kernels.fused import log_normaliser

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class _Distribution:
    """The distribution after a node, kept while children of it may be chosen.

    Attributes:
        logits: float32 [1, vocab], as the model gave them.
        normaliser: float64 [1], their log normaliser.
        processed: float32 [1, vocab], after all processors.
        processed_normaliser: float64 [1], the log normaliser of those.
        work: what the processors did; None where nobody observes.
        given: for each processor what it updates its state with; None where it has no state, or does not look at it.
    """

    logits: Tensor
    normaliser: Tensor
    processed: Tensor
    processed_normaliser: Tensor
    work: Processed | None
    given: Sequence[Tensor | None]

    def logprobs(self, token: int) -> tuple[float, float]:
        """Log-probability of a token under the model and under the processed distribution."""
        model, distribution = self.logits[0, token].double(), self.processed[0, token].double()
        return float(model - self.normaliser[0]), float(distribution - self.processed_normaliser[0])


@dataclass(frozen=True)
class _Node:
    """A prefix: its depth, the log-probability of its last token, and the state of what follows.

    `distribution` is None of a node that is closed.
    """

    depth: int
    logprob: float
    processed_logprob: float
    text: RowText | None
    states: Sequence[Any]
    distribution: _Distribution | None


class TreeJob:
    """A job under a tree search, from the prompt to its generation.

    Args:
        model: the language model.
        job: the job; its search must be a `TreeSearch`.
        cache: of its nodes, empty.
        observers: told of every decision, one step for each node that children are chosen of.
    """

    def __init__(self, model: LanguageModel, job: Job, cache: TreeCache, observers: Sequence[Observer]) -> None:
        self.model = model
        self.job = job
        self.search = cast(TreeSearch, job.strategy.search)
        self.cache = cache
        self.observers = observers
        self.processors = job.strategy.processors
        self.tokens_suffice = [s.tokens_suffice for s in job.strategy.stages if s.kind == "processor"]
        self.keys = Keys.of(job.seed, job.tokens, [0])
        self.stops = StoppingCriteria.of(model.vocab, job.limits, [job.max_new_tokens], job.strategy.stops)
        self.tree = Tree(job.max_new_tokens, self.keys, self._ends, self._judge, self._partials)
        with blamed(self.search):
            self.state = self.search.init(job.max_new_tokens)
        self.nodes: list[_Node] = []
        self.ended: list[Ended] = []
        self.asked: tuple[list[int], list[int]] = ([], [])
        self.closing: set[int] = set()
        self.dead_end: DecodelabError | None = None
        self.judging_tokens = 0
        self.judging_passes = 0
        self.began = time.perf_counter()
        self.done = False

    def step(self) -> None:
        """Compute the nodes the search asked for last (at first the prompt) and let it decide."""
        raw = self._computed()
        if not self.nodes:
            states: list[Any] = []
            for processor in self.processors:
                with blamed(processor):
                    states.append(processor.init([self.job.before], self.model.vocab, self.keys))
            text = next(iter(self.stops.texts([self.job.before])), None)
            new = [_Node(0, 0.0, 0.0, text, states, None)]
        else:
            new = [self._child(parent, token) for parent, token in zip(*self.asked, strict=True)]
        logits = raw.float().cpu()
        nodes = [*self.nodes, *self._seen(new, logits)]
        known, self.nodes = self.nodes, nodes
        try:
            processed = torch.cat(
                [node.distribution.processed for node in nodes[len(known) :] if node.distribution is not None]
            )
            with blamed(self.search):
                growth, state = self.search.grow(processed, self.state, self.tree)
            self._observe(growth)
            over = self._ended(growth)
        except BaseException:
            # Ctrl-C, too, leaves the job as it was before the step; its new nodes had no children yet.
            self.nodes = known
            raise
        self.state = state
        self.ended += over
        self.asked = growth.parents.tolist(), growth.tokens.tolist()
        self.done = not self.asked[0]
        self._close(set(growth.closed.tolist()))

    def _computed(self) -> Tensor:
        """The model's logits after what was asked for last, [nodes, vocab]."""
        try:
            return self.cache.decode(*self.asked) if self.nodes else self.cache.prefill()
        except Exception as error:  # whatever a model raises: memory, a kernel, its own code
            raise forward_failed(self.model.name, error) from error

    def _child(self, parent: int, token: int) -> _Node:
        """A child of a node, before anything is known of what follows it."""
        above = self.nodes[parent]
        assert above.distribution is not None
        chosen = torch.tensor([token])
        states: list[Any] = []
        for processor, state, given in zip(self.processors, above.states, above.distribution.given, strict=True):
            seen = above.distribution.logits if given is None else given
            with blamed(processor):
                states.append(None if state is None else processor.update(state, seen, chosen))
        text = above.text.push(self.model.vocab, token) if above.text is not None else None
        return _Node(above.depth + 1, *above.distribution.logprobs(token), text, states, None)

    def _seen(self, nodes: Sequence[_Node], logits: Tensor) -> list[_Node]:
        """New nodes with the logits that follow each, [nodes, vocab], processed."""
        check_shape(self.model.name, logits, len(nodes), self.model.vocab.size)
        normalisers = log_normaliser(logits)
        bad = (~normalisers.isfinite()).nonzero()[:, 0].tolist()
        if bad:
            raise non_finite(self.model.name, logits[bad[0]], self._place(nodes[bad[0]]))
        masked = self.stops.masked(logits, torch.tensor([node.depth for node in nodes]))
        seen: list[_Node] = []
        for row, node in enumerate(nodes):
            work = process(self.processors, node.states, masked[row : row + 1])
            own = logits[row : row + 1].clone()
            processed = own if work.logits.data_ptr() == logits[row].data_ptr() else work.logits
            processed_normaliser = normalisers[row : row + 1] if processed is own else log_normaliser(processed)
            if not bool(processed_normaliser.isfinite()):
                self.dead_end = self.dead_end or empty_support(work, 0, self._place(node))
            given = [
                None if state is None or suffice else seen_by
                for suffice, state, seen_by in zip(self.tokens_suffice, node.states, work.given, strict=True)
            ]
            shown = work if self.observers else None
            distribution = _Distribution(
                own, normalisers[row : row + 1].clone(), processed, processed_normaliser, shown, given
            )
            seen.append(replace(node, distribution=distribution))
        return seen

    def _place(self, node: _Node) -> str:
        """Where a node stands, for errors."""
        return f"for {self.job.name} at new token {node.depth + 1}"

    def _ends(self, nodes: Tensor, tokens: Tensor) -> Tensor:
        """The reason each child (node, token) would end, int64 [n]."""
        return self.stops.reasons(*self._as_rows(nodes), tokens)

    def _as_rows(self, nodes: Tensor) -> tuple[Tensor, Tensor, list[RowText], Tensor]:
        """Nodes as the stopping criteria know rows: their jobs, positions and texts, and the row of each node."""
        parents, places = nodes.unique(return_inverse=True)
        known = [self.nodes[i] for i in parents.tolist()]
        positions = torch.tensor([node.depth for node in known], dtype=torch.int64)
        texts = [node.text for node in known if node.text is not None]
        return torch.zeros_like(parents), positions, texts, places

    def _partials(self, nodes: Tensor, tokens: Tensor) -> list[Partial]:
        """The text of each child (node, token), as it would be returned if that ends it."""
        cuts = self.stops.cuts(*self._as_rows(nodes), tokens)
        return [
            partial(self.model, self.job, (*self.cache.path(node), token), cut)
            for node, token, cut in zip(nodes.tolist(), tokens.tolist(), cuts, strict=True)
        ]

    def _judge(self, scorer: AnyScorer, nodes: Tensor, tokens: Tensor) -> Tensor:
        """What a scorer gives each child (node, token): float64 [n]."""
        answer = judge(self.model, self.job, scorer, self._partials(nodes, tokens))
        self.judging_tokens += answer.tokens
        self.judging_passes += answer.passes
        return torch.tensor(answer.values, dtype=torch.float64)

    def _ended(self, growth: Growth) -> list[Ended]:
        """The hypotheses that end with this decision."""
        found: list[Ended] = []
        columns = (growth.ended_parents, growth.ended_tokens, growth.ended_reasons)
        for parent, token, reason in zip(*(column.tolist() for column in columns), strict=True):
            node = self.nodes[parent]
            assert node.distribution is not None
            logprobs = node.distribution.logprobs(token)
            found.append(ended(self.stops, self._path(parent), node.text, token, logprobs, reason))
        return found

    def _path(self, node: int) -> Path:
        """What a node has generated."""
        above: list[_Node] = []
        at = node
        while at:
            above.append(self.nodes[at])
            at = self.cache.parents[at]
        above.reverse()
        return Path(self.cache.path(node), [n.logprob for n in above], [n.processed_logprob for n in above])

    def _observe(self, growth: Growth) -> None:
        """Tell the observers about a decision: each node that children are chosen of is a row of its own step."""
        if not self.observers:
            return
        parents = torch.cat([growth.parents, growth.ended_parents])
        tokens = torch.cat([growth.tokens, growth.ended_tokens])
        over = torch.arange(len(parents)) >= len(growth.parents)
        for number in dict.fromkeys(parents.tolist()):
            node = self.nodes[number]
            assert node.distribution is not None
            work, prefix = node.distribution.work, tuple(self.cache.path(number))
            assert work is not None
            own = parents == number
            event = Step(
                torch.tensor([self.job.index]),
                self.keys.sample,
                torch.tensor([node.depth]),
                node.distribution.logits,
                node.distribution.processed,
                lambda work=work: work.views,
                torch.zeros_like(parents[own]),
                tokens[own],
                over[own],
                lambda prefix=prefix: (prefix,),
            )
            tell(self.observers, event)

    def _close(self, closed: set[int]) -> None:
        """Forget what was kept for children of nodes that will have no more; those asked for wait a step."""
        wanted = set(self.asked[0])
        now = (self.closing | closed) - wanted
        for number in now:
            self.nodes[number] = replace(self.nodes[number], distribution=None, states=(), text=None)
        self.cache.close(sorted(now))
        self.closing = (self.closing | closed) & wanted

    def generation(self) -> Generation:
        """Its outcome: the hypotheses found, or where none has ended yet the longest prefix.

        Raises:
            EmptySupport: if it is done and dead ends are all it found.
        """
        with blamed(self.search):
            candidates = as_candidates(self.model, self.job, self.ended, self.search.finished(self.state))
            certificate = self.search.certificate(self.state)
        if self.done:
            if not candidates and self.dead_end is not None:
                raise self.dead_end
            stage = self.job.strategy.search_stage
            if not candidates and stage.constrains:
                raise EmptySupport(f"{self.job.name}: {stage} found no text; {stage.if_empty}")
            with blamed(self.job.strategy.selection or self.search):
                candidates, asked = selected(self.model, self.job, candidates)
            self.judging_tokens += asked.tokens
            self.judging_passes += asked.passes
        cost = Cost(
            prefill_tokens=self.cache.prefilled,
            decode_tokens=self.cache.decoded + self.judging_tokens,
            forward_passes=self.cache.passes + self.judging_passes,
            peak_cache_bytes=self.cache.peak_bytes,
            seconds=time.perf_counter() - self.began,
        )
        return generation(self.model, self.job, candidates or [self._longest()], cost, certificate)

    def _longest(self) -> Candidate:
        """The deepest node as a candidate: pruned where the search has ended, else interrupted."""
        deepest = max(range(len(self.nodes)), key=lambda i: self.nodes[i].depth, default=0)
        path = self._path(deepest) if self.nodes else Path([], [], [])
        candidate = unfinished(self.model, self.job, path, 0)
        return replace(candidate, finish_reason="pruned") if self.done else candidate
