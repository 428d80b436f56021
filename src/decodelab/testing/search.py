"""What every search must do."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from decodelab.core.key import Keys
from decodelab.core.protocols import Advance, Ahead, AnyScorer, Ranked, Rows, Search
from decodelab.core.reasons import CONTINUES, EOS, LENGTH
from decodelab.core.stage import Stage
from decodelab.core.values import Partial
from decodelab.models.table import TableModel
from decodelab.scorers.judging import judged
from decodelab.testing.stage import check_stage, require

_SIZE = 7
_VOCAB = TableModel([str(i) for i in range(_SIZE)], {}, eos=None, separator="").vocab
_VECTORS = torch.nn.functional.normalize(torch.arange(2.0 * _SIZE).view(_SIZE, 2) - 6, dim=-1)


@dataclass(frozen=True)
class _Job:
    """A prompt (a number that picks a random distribution) with a seed and a limit."""

    prompt: int
    seed: int
    limit: int


@dataclass(frozen=True)
class _Hypothesis:
    """What one returned hypothesis is, whatever run it came from."""

    tokens: tuple[int, ...]
    reason: int
    score: float
    sample: int


_JOBS = [_Job(0, 0, 6), _Job(1, 0, 4), _Job(2, 7, 6), _Job(0, 3, 1), _Job(3, 0, 5)]


def check_search(search: Search) -> None:
    """Check that a search keeps the promises of `decodelab.core.protocols.Search`.

    It runs five jobs of random distributions over seven tokens (some impossible, some tied), with none, one and two EOS
    ids, together, alone and in another order. It must

    * begin with `start_rows` rows a job and never have more than `peak_rows`;
    * order what goes on by job, never choose an impossible token, and end exactly what `rows.ends` ends;
    * be pure: the same logits and state give the same step, at once or later, and inputs are not changed;
    * take its randomness from `rows.keys` alone, and none where it says so;
    * return for each job at least one and at most `n` different hypotheses, of that job, with finite scores;
    * treat each job as if it were alone;
    * be a proper stage (`check_stage`), if it is one.

    Raises:
        AssertionError: naming the first promise that is broken.

    >>> from decodelab import Beam
    >>> check_search(Beam(width=3))
    """
    if isinstance(search, Stage):
        check_stage(search)
    for eos in ((6,), (), (5, 6)):
        drawn = torch.random.get_rng_state()
        together = _run(search, _JOBS, eos)
        require(
            torch.equal(torch.random.get_rng_state(), drawn),
            search,
            "must draw from rows.keys alone, not from torch's global generator",
        )
        for job, found in zip(_JOBS, together, strict=True):
            require(_equal(_run(search, [job], eos)[0], found), search, "a job must not depend on those beside it")
        if isinstance(search, Stage) and search.deterministic():
            seeded = _run(search, [replace(job, seed=job.seed + 1) for job in _JOBS], eos)
            same = all(_equal(a, b) for a, b in zip(seeded, together, strict=True))
            require(same, search, "says it uses no randomness, but depends on the seed")
        backwards = _run(search, _JOBS[::-1], eos)[::-1]
        same = all(_equal(a, b) for a, b in zip(backwards, together, strict=True))
        require(same, search, "the order of jobs must not matter")


def _equal(a: Sequence[_Hypothesis], b: Sequence[_Hypothesis]) -> bool:
    return len(a) == len(b) and all(
        (x.tokens, x.reason, x.sample) == (y.tokens, y.reason, y.sample) and abs(x.score - y.score) <= 1e-9
        for x, y in zip(a, b, strict=True)
    )


@dataclass(frozen=True)
class _Partials:
    """Texts of candidate continuations, in which a token is its digit."""

    jobs: Sequence[_Job]
    row_jobs: Tensor
    prefixes: Sequence[tuple[int, ...]]

    def __call__(self, parents: Tensor, tokens: Tensor) -> list[Partial]:
        found = []
        for parent, token in zip(parents.tolist(), tokens.tolist(), strict=True):
            prompt, generated = self.jobs[int(self.row_jobs[parent])].prompt, (*self.prefixes[parent], token)
            found.append(Partial(str(prompt), (prompt,), generated, "".join(map(str, generated))))
        return found

    def judge(self, scorer: AnyScorer, parents: Tensor, tokens: Tensor) -> Tensor:
        """What a scorer that needs no model gives them, asked job by job."""
        found = torch.zeros(len(parents), dtype=torch.float64)
        owners = self.row_jobs[parents]
        for job in owners.unique().tolist():
            chosen = (owners == job).nonzero()[:, 0]
            found[chosen] = torch.tensor(judged(scorer, self(parents[chosen], tokens[chosen])), dtype=torch.float64)
        return found


def random_logits(prompt: int, prefix: tuple[int, ...]) -> Tensor:
    """Logits after a prefix, a function of prompt and prefix; one in four has ties, some tokens are impossible."""
    digest = hashlib.blake2b(repr((prompt, prefix)).encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") % 2**62)
    logits = 2 * torch.randn(_SIZE, generator=generator)
    if digest[0] % 4 == 0:
        logits = logits.round()
    impossible = torch.rand(_SIZE, generator=generator) < 0.2
    impossible[digest[1] % 5] = False
    return logits.masked_fill(impossible, -torch.inf)


def _ahead(jobs: Sequence[_Job], row_jobs: Tensor, prefixes: Sequence[tuple[int, ...]]) -> Ahead:
    """Hidden states that are a function of prompt and prefix."""

    def look(parents: Tensor, tokens: Tensor) -> Tensor:
        found = []
        for parent, token in zip(parents.tolist(), tokens.tolist(), strict=True):
            found.append(random_logits(jobs[int(row_jobs[parent])].prompt, (*prefixes[parent], token, 9)))
        return torch.stack(found).clamp(-5)

    prompts = [
        torch.stack([random_logits(job.prompt, (8, i)) for i in range(1 + job.prompt)]).clamp(-5) for job in jobs
    ]
    return Ahead(prompts, look)


def _run(search: Search, jobs: Sequence[_Job], eos: tuple[int, ...]) -> list[list[_Hypothesis]]:
    """What the search returns for each job, every step checked on the way."""

    def rule(condition: bool, text: str) -> None:
        require(condition, search, f"{text} ({len(jobs)} jobs, {len(eos)} EOS ids)")

    width, peak = search.start_rows, search.peak_rows
    rule(1 <= width <= peak, "start_rows must be at least 1 and at most peak_rows")
    row_jobs = torch.arange(len(jobs)).repeat_interleave(width)
    keys = Keys.join([Keys.of(job.seed, [job.prompt], range(width)) for job in jobs])
    limits = torch.tensor([job.limit for job in jobs])
    prefixes: list[tuple[int, ...]] = [()] * len(row_jobs)
    ended: list[tuple[int, tuple[int, ...], int]] = []
    past: list[tuple[Tensor, Any, Rows, Advance]] = []
    state = search.init(len(jobs), keys.sample)

    for position in range(max(job.limit for job in jobs)):
        logits = torch.stack(
            [random_logits(jobs[j].prompt, p) for j, p in zip(row_jobs.tolist(), prefixes, strict=True)]
        )

        def ends(parents: Tensor, tokens: Tensor, jobs: Tensor = row_jobs, position: int = position) -> Tensor:
            codes = torch.full_like(tokens, CONTINUES)
            codes[limits[jobs[parents]] <= position + 1] = LENGTH
            codes[torch.isin(tokens, torch.tensor(eos, dtype=torch.int64))] = EOS
            return codes

        rows = Rows(
            row_jobs,
            torch.full_like(row_jobs, position),
            keys,
            limits,
            len(eos),
            ends,
            partials := _Partials(jobs, row_jobs, prefixes),
            partials.judge,
            # The model's own distribution is the processed one tempered, and knows nothing impossible.
            lambda logits=logits: logits.clamp(min=-9.0) / 2,
            lambda: _VECTORS,
            _ahead(jobs, row_jobs, prefixes),
            _VOCAB,
        )
        given = logits.clone()
        advance, after = search.step(logits, state, rows)
        rule(torch.equal(logits, given), "step must not change the logits")
        past.append((given, state, rows, advance))
        _check_advance(rule, advance, given, rows)
        lost = set(row_jobs.tolist()) - set(row_jobs[advance.parents].tolist())

        order = zip(
            advance.ended_parents.tolist(), advance.ended_tokens.tolist(), advance.ended_reasons.tolist(), strict=True
        )
        ended += [(int(row_jobs[p]), (*prefixes[p], t), r) for p, t, r in order]
        prefixes = [(*prefixes[p], t) for p, t in zip(advance.parents.tolist(), advance.tokens.tolist(), strict=True)]
        row_jobs, keys, state = row_jobs[advance.parents], keys[advance.parents], after
        counts = torch.bincount(row_jobs, minlength=len(jobs))
        rule(bool((counts <= peak).all()), "a job must never have more than peak_rows rows")
        for job in lost:
            rule(any(j == job for j, _, _ in ended), "a job without rows must have a finished hypothesis")
        if not len(row_jobs):
            break

    for logits, old, rows, advance in past:
        again = search.step(logits, old, rows)[0]
        same = all(torch.equal(getattr(again, f), getattr(advance, f)) for f in Advance.__dataclass_fields__)
        rule(same, "step must be pure: the same logits and state must give the same step, also later")
    return [_finished(rule, search.finished(state, job), ended, job, search.n) for job in range(len(jobs))]


def _check_advance(rule: Any, advance: Advance, logits: Tensor, rows: Rows) -> None:
    for parents, tokens in ((advance.parents, advance.tokens), (advance.ended_parents, advance.ended_tokens)):
        rule(len(parents) == len(tokens), "parents and tokens must go in pairs")
        inside = bool(((parents >= 0) & (parents < len(logits))).all() and ((tokens >= 0) & (tokens < _SIZE)).all())
        rule(inside, "parents must be rows and tokens ids of the vocabulary")
        rule(bool(logits[parents, tokens].isfinite().all()), "an impossible token must not be chosen")
    jobs = rows.jobs[advance.parents]
    rule(torch.equal(jobs, jobs.sort().values), "what goes on must be ordered by job")
    rule(bool((rows.ends(advance.parents, advance.tokens) == CONTINUES).all()), "what ends must not go on")
    reasons = rows.ends(advance.ended_parents, advance.ended_tokens)
    rule(bool((reasons != CONTINUES).all()), "what goes on must not be reported as ended")
    rule(torch.equal(reasons, advance.ended_reasons), "the reason of an end must be that of rows.ends")


def _finished(
    rule: Any, ranked: list[Ranked], ended: Sequence[tuple[int, tuple[int, ...], int]], job: int, n: int
) -> list[_Hypothesis]:
    rule(len(ranked) > 0, "finished must give at least one hypothesis")
    rule(len(ranked) <= n, "finished must give at most n hypotheses")
    numbers = [r.hypothesis for r in ranked]
    rule(len(set(numbers)) == len(numbers), "finished must not give a hypothesis twice")
    rule(len({r.sample for r in ranked}) == len(ranked), "sample indices of a job must differ")
    rule(all(0 <= i < len(ended) and ended[i][0] == job for i in numbers), "finished must give hypotheses of its job")
    rule(all(torch.tensor(r.score).isfinite() for r in ranked), "scores must be finite")
    return [_Hypothesis(ended[r.hypothesis][1], ended[r.hypothesis][2], float(r.score), r.sample) for r in ranked]
