"""Sweeps as commands name them: a plan with its journal, or a journal with its plans."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from decodelab.core.errors import RequestError
from decodelab.io.text import expanded

if TYPE_CHECKING:
    from decodelab.bench.plan import Plan
    from decodelab.bench.store.journal import Journal

PlanOrJournal = Annotated[
    Path, typer.Argument(metavar="PLAN", show_default=False, help="The sweep as YAML, or a journal.")
]
JournalFile = Annotated[
    Path | None,
    typer.Option("--journal", "-j", metavar="FILE", show_default="beside the plan", help="Where answers are stored."),
]
PlanNumber = Annotated[
    int | None,
    typer.Option("--plan", metavar="N", show_default="the latest", help="Which plan of the journal, counted from 1."),
]


def journal_of(plan: Path, journal: Path | None) -> Path:
    """The journal of a plan: the named one, or the one beside the plan."""
    return plan.with_suffix(".journal.sqlite") if journal is None else journal


@contextmanager
def opened(file: Path, journal: Path | None, number: int | None) -> Iterator[tuple[Plan, Journal]]:
    """The plan and the journal of a sweep, for reading.

    Args:
        file: a plan, or a journal.
        journal: where the answers of a plan are; None: beside it.
        number: which plan of a journal; None: the latest.

    Raises:
        RequestError: for options that do not fit the file, or a plan that the journal does not have.
        JournalError: if the journal cannot be read.
    """
    from decodelab.bench.plan import Plan
    from decodelab.bench.store.journal import Journal

    if is_journal(file):
        if journal is not None:
            raise RequestError(f"--journal: {str(file)!r} is itself a journal; give a plan, or leave --journal out")
        read, place = None, file
    else:
        if number is not None:
            raise RequestError(
                "--plan chooses among the plans of a journal, got a plan; give a journal, or leave --plan out"
            )
        read, place = Plan.parse(file), journal_of(file, journal)
    with Journal(place, writing=False) as kept:
        yield _stored(kept, number) if read is None else read, kept


def is_journal(file: Path) -> bool:
    """Whether a file is a database rather than a plan."""
    try:
        with expanded(file).open("rb") as stream:
            return stream.read(16) == b"SQLite format 3\x00"
    except OSError:
        return False


def _stored(journal: Journal, number: int | None) -> Plan:
    """A plan stored in a journal: the latest, or the one with a number."""
    from decodelab.bench.plan import Plan
    from decodelab.bench.store import views

    plans = views.plans(journal)
    if not plans:
        raise RequestError(f"journal {journal.path}: it has no plan; run decodelab bench first")
    if number is not None and not 1 <= number <= len(plans):
        plural = "plan" if len(plans) == 1 else "plans"
        raise RequestError(f"--plan: the journal has {len(plans)} {plural}, got {number}; choose 1 to {len(plans)}")
    return Plan.model_validate_json(plans[-1 if number is None else number - 1][1])
