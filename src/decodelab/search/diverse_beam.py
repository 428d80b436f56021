"""Diverse beam search: groups of beams that keep away from one another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch

from decodelab.core.errors import InvalidParameter
from decodelab.core.protocols import Advance, Ranked, Rows
from decodelab.core.reasons import LENGTH
from decodelab.core.stage import Kind, Stage, check_choice, check_number
from decodelab.kernels.fused import log_normaliser
from decodelab.search._by_job import places
from decodelab.search._ranking import EarlyStopping, Normaliser
from decodelab.search.beam import Beam, BeamState

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class DiverseBeamState:
    """Live beams and finished hypotheses of every group of every job.

    Attributes:
        beams: one state a group, for its rows alone.
        groups: int64 [rows], the group of each row; None before the first step, when all begin at the same row.
        words: int64 [rows, length], what each row has generated; [rows, 0] where the diversity does not look back.
        debts: float64 [rows], the penalties that each row carries on; all zero where none are carried.
        ended: how many hypotheses have ended so far.
    """

    beams: tuple[BeamState, ...]
    groups: Tensor | None
    words: Tensor
    debts: Tensor
    ended: int


@dataclass(frozen=True)
class _Others:
    """What earlier groups chose in this step, one row a hypothesis.

    Attributes:
        jobs: int64 [n], the job of each, non-decreasing.
        words: int64 [n, length], its tokens, the one just chosen last (alone, where the diversity does not look back).
    """

    jobs: Tensor
    words: Tensor


@dataclass(frozen=True)
class DiverseBeam(Stage):
    """Keep `groups` beams of `width / groups` hypotheses, each penalised for similarity to those before.

    At each step, one group continues after the other. A group ranks its continuations by log-probability minus
    `penalty` times their similarity to what the groups before it have just chosen (equation 4). The log-probabilities
    it accumulates contain no penalty; all groups' finished hypotheses are ranked by them, normalised, and the n best
    are returned. The first group is `beam(width / groups)`. The similarity of a continuation with token v is

    * `hamming`: how many of the other groups' hypotheses chose v at this step;
    * `cumulative`: for each group before, exp(-m / decay), where m counts the positions at which the continuation and
      the group's hypotheses differ, over all of them; the penalty fades as they diverge;
    * `ngram`: how often the n-grams of the continuation occur in the other groups' hypotheses, at any position;
    * `embedding`: the sum of the cosines of v with each token that the other groups chose at this step, using the
      model's own input embeddings (the paper: word2vec).

    A token that ends a hypothesis counts as chosen only if the limit ends it, as in transformers 4. Groups do not see
    each other's finished hypotheses, so two may return the same one; `dedupe="text"` keeps the better one in the result
    too. The other parameters are those of `beam`, for each group.

    `accumulate="penalised"` is what the authors' code and transformers 4 do (`num_beam_groups`; version 5 has none): a
    penalty stays in a hypothesis's score, so groups diverge more often and return less probable hypotheses. With the
    default, a penalty applies to one step only, after which groups can converge again.

    Differs from transformers 4 in that finished hypotheses are always ranked by log-probabilities without penalties,
    and that fewer are returned if groups find fewer.

    Raises:
        InvalidParameter: if a parameter is out of its range, or groups does not divide width.
        UnsupportedStrategy: while decoding, for diversity="embedding" with a model that shows no embeddings.

    >>> import decodelab as dl
    >>> model = dl.TableModel(["a", "b", "c"], {(): {"a": 0.6, "b": 0.3, "c": 0.1}}, bos="<s>", missing="eos")
    >>> [c.text for c in dl.generate(model, "", "diverse_beam(width=2, groups=2, penalty=1.0, n=2)")[0].candidates]
    ['a', 'b']
    """

    width: Annotated[int, "hypotheses kept at every step in all groups together, a multiple of groups"]
    groups: Annotated[int, "number of groups, at least 1"]
    penalty: Annotated[float, "penalty for similarity, in nats, at least 0"] = 0.5
    diversity: Annotated[
        Literal["hamming", "cumulative", "ngram", "embedding"],
        "measure of similarity: hamming, cumulative, ngram or embedding",
    ] = "hamming"
    length_penalty: Annotated[float, "exponent of the normaliser; 0 means the plain sum"] = 1.0
    early_stopping: Annotated[EarlyStopping, "true, false or never: when a full pool ends a group"] = False
    n: Annotated[int, "hypotheses returned, at most width"] = 1
    normaliser: Annotated[Normaliser, "divisor of a finished score: length, gnmt ((5 + t) / 6), or none"] = "length"
    sampling: Annotated[bool, "whether to draw the continuations of a step instead of taking the best"] = False
    scores: Annotated[
        Literal["processed", "model"], "log-probabilities to sum: processed, or the model's own (model)"
    ] = "processed"
    dedupe: Annotated[Literal["text"] | None, "text keeps one hypothesis per text; none keeps all"] = None
    accumulate: Annotated[
        Literal["logprobs", "penalised"], "scores that a group carries on: logprobs, or penalised ones"
    ] = "logprobs"
    ngram: Annotated[int, "length of the n-grams of diversity=ngram, from 1 to 4"] = 2
    decay: Annotated[float, "number of differing tokens that divide the penalty of diversity=cumulative by e"] = 1.0

    name: ClassVar[str] = "diverse_beam"
    kind: ClassVar[Kind] = "search"
    source: ClassVar[str] = "Vijayakumar et al. 2018, algorithm 1 and section 5 (diversity functions)"
    start_rows: ClassVar[int] = 1
    drops_dead_ends: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_number(self, "width", low=1, integer=True, fix="use width=groups for one hypothesis per group")
        check_number(self, "groups", low=1, high=self.width, integer=True, fix="use 2 or more for diversity")
        if self.width % self.groups:
            less = self.width - self.width % self.groups
            raise InvalidParameter(
                f"diverse_beam: width must be a multiple of groups, got width={self.width} and groups={self.groups}; "
                f"use width={less} or {less + self.groups}"
            )
        check_number(self, "penalty", low=0, fix="0.2 to 0.8 is usual")
        kinds = ("hamming", "cumulative", "ngram", "embedding")
        check_choice(self, "diversity", kinds, fix="leave it out for hamming")
        check_choice(self, "accumulate", ("logprobs", "penalised"), fix="leave it out for logprobs")
        check_number(self, "n", low=1, high=self.width, integer=True, fix="widen the beam to return more")
        check_number(self, "ngram", low=1, high=4, integer=True, fix="2 counts pairs of adjacent tokens")
        check_number(self, "decay", low=0, low_open=True, fix="use 1.0")
        try:
            group = self._group
        except InvalidParameter as error:
            raise InvalidParameter(f"diverse_{error}") from None
        object.__setattr__(self, "length_penalty", group.length_penalty)

    def no_effect(self) -> str | None:
        """One group, or no penalty."""
        if self.groups == 1:
            return "a single group has no other group to differ from; use beam"
        if self.penalty == 0 and not self.sampling:
            return "without a penalty all groups find the same beams; use a penalty above 0"
        return None

    def deterministic(self) -> bool:
        """Only beam sampling draws."""
        return not self.sampling

    @property
    def peak_rows(self) -> int:
        """As many rows as hypotheses."""
        return self.width

    @cached_property
    def _group(self) -> Beam:
        """The beam search that a group is."""
        size = self.width // self.groups
        ranking = self.length_penalty, self.early_stopping, size, self.normaliser
        return Beam(size, *ranking, self.sampling, self.scores, self.dedupe)

    def init(self, jobs: int, samples: Tensor) -> DiverseBeamState:
        """One empty hypothesis a job, for all groups."""
        beam = self._group.init(jobs, samples)
        words, debts = samples.new_zeros(jobs, 0), torch.zeros_like(beam.scores)
        return DiverseBeamState((beam,) * self.groups, None, words, debts, 0)

    def step(self, logits: Tensor, state: DiverseBeamState, rows: Rows) -> tuple[Advance, DiverseBeamState]:
        """Extend the groups one after the other, each away from those before it."""
        beam = self._group
        looks_back = self.diversity in ("cumulative", "ngram")
        carries = self.accumulate == "penalised"
        beams, parts, words, debts, others = [], [], [], [], []
        ended = state.ended
        normaliser = log_normaliser(logits)
        everyone = torch.arange(len(rows.jobs), device=logits.device)
        for group, held in enumerate(state.beams):
            own = everyone if state.groups is None else everyone[state.groups == group]
            if not len(own):
                beams.append(held)
                continue
            its = logits[own] if len(own) < len(logits) else logits
            penalty = self._penalty(its.shape[-1], rows.jobs[own], state.words[own], others, rows)
            if carries and state.groups is not None:
                debt = state.debts[own][:, None]
                penalty = debt.expand(its.shape) if penalty is None else penalty + debt
            seats = group * beam.width + places(rows.jobs[own]) if self.sampling else None
            advance, after = beam.extend(
                its, replace(held, ended=ended), _only(rows, own), seats, penalty, normaliser[own]
            )
            ended = after.ended
            beams.append(after)
            debts.append(
                penalty[advance.parents, advance.tokens].double()
                if carries and penalty is not None
                else torch.zeros_like(after.scores)
            )
            advance = replace(advance, parents=own[advance.parents], ended_parents=own[advance.ended_parents])
            parts.append((group, advance))
            # What the limit cuts off has been chosen too.
            cut = advance.ended_reasons == LENGTH
            parents, tokens = advance.parents, advance.tokens
            if bool(cut.any()):
                parents = torch.cat([parents, advance.ended_parents[cut]])
                tokens = torch.cat([tokens, advance.ended_tokens[cut]])
            after_words = torch.cat([state.words[parents], tokens[:, None]], dim=1) if looks_back else tokens[:, None]
            words.append(after_words[: len(advance.parents)])
            owners = rows.jobs[parents]
            if len(parents) > len(advance.parents):
                order = owners.argsort(stable=True)
                owners, after_words = owners[order], after_words[order]
            others.append(_Others(owners, after_words))

        def joined(field: str) -> Tensor:
            return torch.cat([getattr(advance, field) for _, advance in parts])

        groups = torch.cat([torch.full_like(advance.parents, group) for group, advance in parts])
        order = rows.jobs[joined("parents")].argsort(stable=True)
        advance = Advance(
            joined("parents")[order],
            joined("tokens")[order],
            joined("ended_parents"),
            joined("ended_tokens"),
            joined("ended_reasons"),
        )
        kept = torch.cat(words)[order] if looks_back else state.words.new_zeros(len(order), 0)
        return advance, DiverseBeamState(tuple(beams), groups[order], kept, torch.cat(debts)[order], ended)

    def _penalty(self, vocab: int, jobs: Tensor, words: Tensor, others: list[_Others], rows: Rows) -> Tensor | None:
        """What each continuation of a group's rows costs, [rows, vocab]; None where nothing costs anything."""
        if not others or not self.penalty:
            return None
        if self.diversity == "cumulative":
            each = [_fading(vocab, jobs, words, other, self.decay) for other in others]
            found = torch.stack(each).sum(0)
        else:
            owners = torch.cat([other.jobs for other in others])
            theirs = torch.cat([other.words for other in others])
            if self.diversity == "ngram":
                found = _shared_ngrams(vocab, jobs, words, owners, theirs, self.ngram)
            elif self.diversity == "embedding":
                vectors = rows.unit_embeddings()
                sums = vectors.new_zeros(len(rows.max_new_tokens), vectors.shape[1])
                found = sums.index_add_(0, owners, vectors[theirs[:, -1]])[jobs] @ vectors.T
            else:
                found = _counts(vocab, jobs, owners, theirs[:, -1])
        return self.penalty * found

    def finished(self, state: DiverseBeamState, job: int) -> list[Ranked]:
        """The n best hypotheses of all groups of a job."""
        found = []
        for beam in state.beams:
            texts = beam.pool.texts[job].tolist()
            found += list(zip(beam.pool.ranked(job), texts, strict=False))
        found.sort(key=lambda item: -item[0].score)
        if self.dedupe:
            found = list({text: (ranked, text) for ranked, text in reversed(found)}.values())[::-1]
            found.sort(key=lambda item: -item[0].score)
        return [replace(ranked, sample=i) for i, (ranked, _) in enumerate(found)][: self.n]


def _only(rows: Rows, own: Tensor) -> Rows:
    """What a search knows of some rows."""
    if len(own) == len(rows.jobs):
        return rows
    return replace(
        rows,
        jobs=rows.jobs[own],
        positions=rows.positions[own],
        keys=rows.keys[own],
        ends=lambda parents, tokens: rows.ends(own[parents], tokens),
        partials=lambda parents, tokens: rows.partials(own[parents], tokens),
        judge=lambda scorer, parents, tokens: rows.judge(scorer, own[parents], tokens),
        model_logits=lambda: rows.model_logits()[own],
    )


def _counts(vocab: int, jobs: Tensor, owners: Tensor, tokens: Tensor) -> Tensor:
    """How often each token stands among those of the row's job, float32 [rows, vocab].

    >>> _counts(3, torch.tensor([0, 1]), torch.tensor([0, 0, 1]), torch.tensor([2, 2, 0])).tolist()
    [[0.0, 0.0, 2.0], [1.0, 0.0, 0.0]]
    """
    size = int(torch.maximum(jobs.max(), owners.max() if len(owners) else jobs.max())) + 1
    counts = torch.zeros(size, vocab, device=jobs.device)
    return counts.index_put_((owners, tokens), torch.ones((), device=jobs.device), accumulate=True)[jobs]


def _fading(vocab: int, jobs: Tensor, words: Tensor, other: _Others, decay: float) -> Tensor:
    """exp(-m / decay) for each continuation, m its differences from a group's hypotheses; 0 where it has none.

    >>> prefix, other = torch.tensor([[5]]), _Others(torch.tensor([0]), torch.tensor([[5, 1]]))
    >>> _fading(3, torch.tensor([0]), prefix, other, 1.0).log().tolist()
    [[-1.0, 0.0, -1.0]]
    """
    if not len(other.jobs):
        return words.new_zeros(len(words), vocab, dtype=torch.float32)
    pairs = jobs[:, None] == other.jobs
    differ = ((words[:, None, :] != other.words[None, :, :-1]).sum(-1) * pairs).sum(-1, keepdim=True)
    size = pairs.sum(-1, keepdim=True)
    same = _counts(vocab, jobs, other.jobs, other.words[:, -1])
    return torch.exp(-(differ + size - same) / decay) * (size > 0)


def _shared_ngrams(vocab: int, jobs: Tensor, words: Tensor, owners: Tensor, theirs: Tensor, n: int) -> Tensor:
    """How often the n-grams of each continuation stand in hypotheses of its job, float32 [rows, vocab].

    >>> jobs, words = torch.tensor([0]), torch.tensor([[7, 8]])
    >>> _shared_ngrams(10, jobs, words, torch.tensor([0, 0]), torch.tensor([[7, 8, 9], [8, 7, 8]]), 2)[0].tolist()
    [2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 3.0, 2.0, 3.0]
    """
    found = torch.zeros(len(words), vocab, device=words.device)
    if theirs.shape[1] < n or not len(owners):
        return found
    windows = theirs.unfold(1, n, 1)  # [hypotheses, places, n]
    mine = jobs[:, None] == owners
    if words.shape[1] >= n:
        # One number for each n-gram that occurs at all.
        own = words.unfold(1, n, 1)
        grams = torch.cat([windows.reshape(-1, n), own.reshape(-1, n)])
        numbers = grams.unique(dim=0, return_inverse=True)[1]
        there, here = numbers[: -own[..., 0].numel()].view(windows.shape[:2]), numbers[-own[..., 0].numel() :]
        kinds = int(numbers.max()) + 1
        ids = torch.arange(len(owners), device=words.device)[:, None].expand_as(there)
        table = torch.zeros(len(owners), kinds, device=words.device)
        table.index_put_((ids, there), torch.ones((), device=words.device), accumulate=True)
        found += ((mine.float() @ table).gather(1, here.view(len(words), -1)).sum(-1))[:, None]
    # n-grams that the continuation's last token completes.
    tails = words[:, words.shape[1] - (n - 1) :] if n > 1 else words[:, :0]
    completes = (windows[None, :, :, :-1] == tails[:, None, None, :]).all(-1) & mine[:, :, None]
    row, hypothesis, place = completes.nonzero().unbind(1)
    last = windows[hypothesis, place, -1]
    return found.index_put_((row, last), torch.ones((), device=words.device), accumulate=True)
