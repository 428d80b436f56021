"""`decodelab measure`: statistics of texts: diversity, repetition, overlap with references."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from decodelab.cli import options
from decodelab.cli.progress import progress
from decodelab.cli.terminal import note, print_json
from decodelab.core.errors import RequestError
from decodelab.io.tabular import read_objects
from decodelab.io.text import printable, read_text
from decodelab.report.console import print_table
from decodelab.report.number import fixed

if TYPE_CHECKING:
    from decodelab.metrics.estimate import Estimate
    from decodelab.metrics.metric import Judges, Sample

EXAMPLE = '{"text": "..."}'
_COLUMNS = 3
ALL = ""
"""The name of the single group without --by."""


def command(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSONL of texts, or the output of generate --json; - reads stdin.")
    ],
    field: Annotated[str, typer.Option(metavar="NAME", help="Field with the text.")] = "text",
    by: Annotated[
        str | None,
        typer.Option(metavar="NAME", show_default=False, help="Measure groups by this field (strategy, model, ...)."),
    ] = None,
    grammar: Annotated[
        str | None, typer.Option(metavar="NAME", show_default=False, help="Measure acceptance by a grammar: stories.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", show_default=False, help="Measure fluency with a classifier: a directory or hub id."
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(metavar="NAME", show_default=False, help="The judge's label that means acceptable."),
    ] = None,
    embedder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", show_default=False, help="Measure distances with an encoder: a directory or hub id."
        ),
    ] = None,
    human: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="JSONL of human texts for MAUVE (with --embedder)."),
    ] = None,
    self_bleu_texts: Annotated[
        int, typer.Option(metavar="N", help="Compute self-BLEU on at most this many texts.")
    ] = 200,
    level: options.Level = 0.95,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Measure the diversity, repetition and overlap of texts.

    A line of FILE has the text, and may have its prompt, which groups samples, and a reference or references, for
    overlap. Means over texts have intervals clustered by prompt. Diversity depends on the amount of text: compare equal
    numbers of texts of similar length.

    \b
    Examples:
      decodelab measure samples.jsonl --by strategy
      decodelab measure answers.jsonl --field answer --json
      decodelab measure stories.jsonl --grammar stories --embedder ./encoder --human written.jsonl

    Next: docs/metrics.md defines each number and says what it is often mistaken for.
    """
    from decodelab.metrics.text_report import text_report

    if grammar not in (None, "stories"):
        raise RequestError(f"--grammar must be stories, got {grammar!r}")
    if human is not None and embedder is None:
        raise RequestError("--human needs --embedder: closeness is measured between embeddings")
    if label is not None and judge is None:
        raise RequestError("--label is a label of the judge; add --judge")
    groups = _groups(file, field, by)
    judges = _judges(grammar, judge, label, embedder, _texts(human, field) if human is not None else None)
    found: dict[str, dict[str, Estimate]] = {}
    with progress(len(groups), "measuring") as advance:
        for name, samples in groups.items():
            found[name] = text_report(samples, judges, level=level, seed=seed, self_bleu_texts=self_bleu_texts)
            advance(len(found), f"measuring {printable(name)}")
    drawn = [name for name, samples in groups.items() if len(samples) > self_bleu_texts]
    if as_json:
        print_json(
            {
                "source": str(file),
                "by": by,
                "level": level,
                "self_bleu_texts": self_bleu_texts,
                "groups": {n: {q: e.to_dict() for q, e in report.items()} for n, report in found.items()},
            }
        )
        return
    _show(found, by)
    if drawn:
        note(f"self-BLEU compares {self_bleu_texts} texts drawn at random; raise --self-bleu-texts for more")


def _groups(file: Path, field: str, by: str | None) -> dict[str, list[Sample]]:
    text = read_text(file)
    rows = _generated(text) or read_objects(file, text, EXAMPLE)
    groups: dict[str, list[Sample]] = {}
    for where, row in rows:
        group = ALL if by is None else row.get(by)
        if not isinstance(group, str | int | float):
            raise RequestError(f"{where}: needs the field {by!r} (--by) as text or number")
        groups.setdefault(str(group), []).append(_sample(where, row, field))
    if not groups:
        raise RequestError(f"measure: {str(file)!r} has no texts; write {EXAMPLE}, one per line")
    return groups


def _generated(text: str) -> list[tuple[str, dict[str, Any]]] | None:
    """The texts in the output of `decodelab generate --json`, or None for other files."""
    if '"generations"' not in text:
        return None
    try:
        return [
            (f"generation {i}", {name: g[name] for name in ("prompt", "strategy", "model")} | {"text": c["text"]})
            for i, g in enumerate(json.loads(text)["generations"])
            for c in g["candidates"]
        ]
    except (ValueError, RecursionError, TypeError, KeyError):
        return None


def _sample(where: str, row: dict[str, Any], field: str) -> Sample:
    from decodelab.metrics.metric import Sample

    text = row.get(field)
    if not isinstance(text, str):
        raise RequestError(f"{where}: needs the field {field!r} (--field) as text; write {EXAMPLE}")
    prompt = row.get("prompt")
    if prompt is not None and not isinstance(prompt, str):
        raise RequestError(f"{where}: prompt must be text")
    references = row.get("references", row.get("reference", []))
    references = [references] if isinstance(references, str) else references
    if not isinstance(references, list) or not all(isinstance(r, str) for r in references):
        raise RequestError(f"{where}: references must be a list of texts")
    for part in (text, prompt or "", *references):
        if any("\ud800" <= ch <= "\udfff" for ch in part):
            raise RequestError(f"{where}: has a lone surrogate (half a character); fix the file")
    return Sample(text, prompt, tuple(references))


def _texts(file: Path, field: str) -> list[str]:
    found = [s.text for samples in _groups(file, field, None).values() for s in samples]
    if sum(bool(t.strip()) for t in found) < 2:
        raise RequestError(f"measure: {str(file)!r} needs at least 2 non-empty human texts")
    return found


def _judges(
    grammar: str | None, judge: str | None, label: str | None, embedder: str | None, human: list[str] | None
) -> Judges:
    from decodelab.metrics.metric import Judges

    accepts = acceptable = embed = None
    if grammar is not None:
        from decodelab.pocket.stories import accepts
    if judge is not None:
        from decodelab.metrics.classifier import Classifier
        from decodelab.metrics.fluency import acceptability

        classifier = Classifier(judge)
        # Check the label before any work.
        acceptability(classifier, [], label=label)
        acceptable = lambda texts: acceptability(classifier, texts, label=label)  # noqa: E731
    if embedder is not None:
        from decodelab.metrics.embedding import Embedder

        embed = Embedder(embedder)
    return Judges(embed=embed, acceptable=acceptable, accepts=accepts, human=human)


def _show(found: dict[str, dict[str, Estimate]], by: str | None) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from decodelab.metrics.catalogue import text_metrics

    if by is not None:
        names = list(found)
        for begin in range(0, len(names), _COLUMNS):
            shown = names[begin : begin + _COLUMNS]
            table = Table(box=box.SIMPLE)
            table.add_column(printable(by))
            for name in shown:
                table.add_column(Text(printable(name)), justify="right")
            for quantity in dict.fromkeys(q for name in shown for q in found[name]):
                cells = [_cell(found[name].get(quantity)) for name in shown]
                table.add_row(quantity, *cells)
            print_table(table)
        return
    table = Table(box=box.SIMPLE)
    table.add_column("quantity")
    table.add_column("value", justify="right")
    table.add_column("interval", justify="right")
    table.add_column("meaning")
    metrics = text_metrics()
    for quantity, estimate in found[ALL].items():
        table.add_row(quantity, *_cells(estimate), metrics[quantity].meaning)
    print_table(table)


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    value, interval = _cells(estimate)
    return value if interval == "-" else f"{value} ({interval.replace(' to ', ', ')})"


def _cells(estimate: Estimate) -> tuple[str, str]:
    value = estimate.value
    if math.isnan(value):
        return "-", "-"
    shown = f"{value:.0f}" if value == round(value) and abs(value) >= 2 else fixed(value)
    interval = "-" if math.isnan(estimate.low) else f"{fixed(estimate.low)} to {fixed(estimate.high)}"
    return shown, interval
