"""Batches of jobs that begin together: who shares one, who pays for a prompt, and which forward passes count for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from decodelab.core.values import Tokens
from decodelab.engine.batch import Batch
from decodelab.engine.faults import stage_failed
from decodelab.engine.job import Job
from decodelab.engine.runners.runner import Failed, failed

AnyBatch = TypeVar("AnyBatch", bound=Batch)


class Begun(NamedTuple, Generic[AnyBatch]):
    """Jobs made into batches.

    Attributes:
        batches: in order.
        rows: for each row of the batches, which of the prompts it begins with.
        failed: jobs that a stage refuses.
    """

    batches: list[AnyBatch]
    rows: list[int]
    failed: list[Failed]


def begin(
    jobs: Sequence[Job],
    prompts: Sequence[Tokens],
    computed: Sequence[int],
    make: Callable[[Sequence[Job], Sequence[int]], AnyBatch],
) -> Begun[AnyBatch]:
    """Make batches of jobs, each of one strategy and the same limits.

    Args:
        jobs: in order.
        prompts: their different prompts, each with the answer so far.
        computed: tokens computed for each prompt; they count for the first job that has it.
        make: a batch of jobs, given the prompt tokens that count for each.
    """
    groups: list[list[Job]] = []
    for job in jobs:
        for group in groups:
            if group[0].strategy == job.strategy and group[0].limits == job.limits and _end_alike(group[0], job):
                group.append(job)
                break
        else:
            groups.append([job])
    places = {prompt: i for i, prompt in enumerate(prompts)}
    unpaid = dict(zip(prompts, computed, strict=True))
    batches: list[AnyBatch] = []
    rows: list[int] = []
    refused: list[Failed] = []
    for group in groups:
        prefill = [unpaid.pop(job.prefilled, 0) for job in group]
        try:
            batches.append(make(group, prefill))
        except Exception as error:  # a stage that refuses the vocabulary, the prompt or the driver, or is broken
            refused += failed(group, stage_failed(str(group[0].strategy), error))
            continue
        for job in group:
            rows += [places[job.prefilled]] * job.strategy.search.start_rows
    return Begun(batches, rows, refused)


def _end_alike(one: Job, other: Job) -> bool:
    """Whether the rows of two jobs pause alike, and continue their own prompts both or neither."""
    if one.part is None or other.part is None:
        return one.part is other.part
    mine, theirs = one.part.draw, other.part.draw
    return (mine.chunk, mine.most, mine.prompt is None) == (theirs.chunk, theirs.most, theirs.prompt is None)


def count_pass(batches: Sequence[Batch], lengths: Sequence[int], nbytes: int, *, decoded: bool = True) -> None:
    """Count one forward pass over the rows of batches.

    Args:
        batches: in order.
        lengths: tokens held for each of their rows; `nbytes`, which all caches hold, is shared out by them.
        nbytes: bytes of memory.
        decoded: whether each row had a token computed; at the start it is the prompt's pass.
    """
    token_bytes = nbytes / max(sum(lengths), 1)
    first = 0
    for batch in batches:
        batch.count(lengths[first : first + len(batch)], token_bytes, decoded)
        first += len(batch)
