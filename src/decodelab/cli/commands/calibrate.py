"""`decodelab calibrate`: measure the calibration of confidences, and recalibrate them."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from decodelab.cli import options
from decodelab.cli.progress import progress
from decodelab.cli.terminal import note, print_json
from decodelab.core.errors import RequestError
from decodelab.io.atomic import check_writable, write_bytes
from decodelab.io.text import printable
from decodelab.report.console import console, print_table
from decodelab.report.number import fixed, p_equals

if TYPE_CHECKING:
    from decodelab.metrics.calibration_report import CalibrationReport
    from decodelab.metrics.estimate import Estimate
    from decodelab.metrics.recalibration import Labelled, Recalibration
    from decodelab.tasks.confidences import Answers, LongForm

ENOUGH = 40
"""With at least this many independent items, a temperature is fitted by default."""

MEANINGS = {
    "accuracy": "share of right answers",
    "mean_confidence": "equals accuracy if calibrated",
    "overconfidence": "mean confidence - accuracy",
    "ece": "mean gap per bin; gaps within a bin cancel",
    "max_ce": "largest gap of any bin",
    "ece_equal_mass": "ECE with bins of equally many items",
    "adaptive_ce": "over all options, with bins of equal mass",
}


def command(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", show_default=False, help="JSONL of answers; - reads stdin."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="NAME", show_default=False, help="Ask this model instead of reading a file."
        ),
    ] = None,
    task: Annotated[
        str,
        typer.Option(metavar="TASK", help="Questions for --model: pocket-choice, or JSONL of questions with options."),
    ] = "pocket-choice",
    count: Annotated[
        int | None, typer.Option("-n", metavar="N", show_default=False, help="Ask this many questions (pocket: 200).")
    ] = None,
    bins: Annotated[int, typer.Option(metavar="N", help="Number of bins of the diagram and of ECE.")] = 10,
    equal: Annotated[str, typer.Option(metavar="WHAT", help="Make bins of equal width or mass.")] = "width",
    size: Annotated[
        int | None, typer.Option(metavar="N", show_default=False, help="Use bins of N items each instead.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD", show_default=False, help="Field that groups dependent answers, such as the prompt."
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default=f"temperature with at least {ENOUGH} items",
            help="Recalibrate: temperature, vector, platt, isotonic or none.",
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(metavar="T", show_default=False, help="Apply this temperature to all items; fit nothing."),
    ] = None,
    validation: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of items to fit on; the rest is for testing.")
    ] = 0.5,
    level: options.Level = 0.95,
    resamples: Annotated[int, typer.Option(metavar="N", help="Bootstrap resamples.")] = 1000,
    seed: options.Seed = 0,
    diagram: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="Reliability diagram: .png, .svg, .pdf or .html."),
    ] = None,
    device: options.DeviceOptions = options.DeviceOptions(),
    as_json: options.AsJson = False,
) -> None:
    """Measure how well confidences are calibrated.

    Prints calibration errors with intervals and the ECE expected under perfect calibration, then fits a temperature (or
    another map) on one part of the items and tests it on the rest. A line of FILE has one of: confidence and correct;
    statement (a text that states its confidence) and correct; logprob, tokens and correct; samples and answer; logprobs
    of options and answer; criteria of a long answer, each with verdict, confidence and weight.

    \b
    Examples:
      decodelab calibrate answers.jsonl
      decodelab calibrate answers.jsonl --cluster prompt --diagram reliability.png
      decodelab calibrate --model pocket-small --task pocket-choice -n 100
      decodelab calibrate answers.jsonl --size 3 --method none --json
      decodelab calibrate others.jsonl --temperature 1.7

    Next: docs/metrics.md defines each number and says what it is often mistaken for.
    """
    from decodelab.tasks.confidences import LongForm

    if diagram is not None:
        from decodelab.report.calibration import check_suffix

        check_suffix(diagram)
        check_writable(diagram)
    known = ("temperature", "vector", "platt", "isotonic", "none")
    if method is not None and method not in known:
        raise RequestError(f"--method must be one of {', '.join(known)}, got {method!r}")
    if temperature is not None:
        if method not in (None, "temperature"):
            raise RequestError(f"--temperature is given and not fitted, got --method {method}; leave one out")
        from decodelab.metrics.recalibration import given_temperature

        given_temperature(temperature)
    answers, source = _answers(file, model, task, count, cluster, device)
    if isinstance(answers, LongForm):
        _long_form(answers, source, bins, resamples, seed, diagram, as_json)
        return
    if answers.left_out:
        note(f"{answers.left_out} answers state no confidence and are ignored")
    if method is None and temperature is None:
        enough = len(set(answers.items.clusters)) >= ENOUGH
        method = "temperature" if enough else "none"
        if not enough:
            note(f"no recalibration: fewer than {ENOUGH} independent items; --method temperature fits one anyway")
    how: dict[str, Any] = {
        "bins": bins,
        "equal": equal,
        "size": size,
        "level": level,
        "resamples": resamples,
        "seed": seed,
    }
    _run(answers, source, method or "temperature", temperature, validation, how, diagram, as_json)


def _answers(
    file: Path | None,
    model: str | None,
    task: str,
    count: int | None,
    cluster: str | None,
    device: options.DeviceOptions,
) -> tuple[Answers | LongForm, str]:
    from decodelab.tasks.confidences import ask, read_answers, read_choices

    if (file is None) == (model is None):
        raise RequestError("calibrate: needs either FILE or --model; see decodelab calibrate --help")
    if file is not None:
        return read_answers(file, cluster), str(file)
    assert model is not None
    choices = read_choices(task, count)

    from decodelab.engine.threads import threads_for

    lm = device.load(model)
    with threads_for(lm), progress(len(choices), "asking") as advance:
        found = ask(lm, choices, lambda done: advance(done, "asking"))
    return found, f"{lm.name} on {task}"


def _run(
    answers: Answers,
    source: str,
    method: str,
    temperature: float | None,
    validation: float,
    how: dict[str, Any],
    diagram: Path | None,
    as_json: bool,
) -> None:
    from decodelab.metrics.calibration_report import calibration_report
    from decodelab.metrics.catalogue import confidence_metrics
    from decodelab.tasks.confidences import confidence_of

    items = answers.items
    fit = test = None
    if temperature is not None:
        from decodelab.metrics.recalibration import given_temperature

        fit, test = given_temperature(temperature), items
    elif method != "none":
        from decodelab.metrics.recalibration import METHODS, at_limit

        fitted_on, test = items.split(validation, seed=how["seed"])
        fit = METHODS[method](fitted_on)
        if (limit := at_limit(fit)) is not None:
            note(
                f"the temperature {limit:.3g} is at the limit of its search (0.01 to 100): the {len(fitted_on)} items "
                "it is fitted on determine none; use more items, or --method isotonic"
            )
    steps = len(confidence_metrics())
    done = 0
    with progress(steps * (1 if test is None else 3), "measuring") as advance:

        def tell(name: str) -> None:
            nonlocal done
            done += 1
            advance(done, f"measuring {name}")

        def measured(items: Labelled) -> CalibrationReport:
            clusters = items.clusters if answers.clustered else None
            return calibration_report(*confidence_of(items), clusters, **how, advance=tell)

        whole = measured(items)
        parts = None if fit is None or test is None else (measured(test), measured(fit.apply(test)))
    document: dict[str, Any] = {
        "source": source,
        "confidence": answers.kind,
        "items": len(items),
        "clusters": len(set(items.clusters)),
        "left_out": answers.left_out,
        "level": how["level"],
        **whole.to_dict(),
    }
    if items.scores.ndim == 2:
        document["estimates"]["adaptive_ce"] = _adaptive(items, how).to_dict()
    if fit is not None and test is not None and parts is not None:
        document["recalibration"] = _recalibration(fit, test, parts, answers.clustered, how["level"])
    rows = _rows(document, whole)
    title = f"{source}: {len(items)} answers"
    if diagram is not None:
        from decodelab.metrics.reliability import reliability_diagram
        from decodelab.report.calibration import diagram_bytes

        first, after = (whole, None) if parts is None else (parts[0], parts[1])
        figure = reliability_diagram(
            first.bins,
            first.low,
            first.high,
            title=printable(title if after is None else f"{source}: {len(test or ())} answers of the test split"),
            after=None if after is None else (after.bins, after.low, after.high),
        )
        write_bytes(diagram, diagram_bytes(figure, diagram.suffix, rows, printable(title)))
        document["diagram"] = str(diagram.resolve())
    if as_json:
        print_json(document)
        return
    _show(rows, document, whole, printable(title))
    if diagram is not None:
        typer.echo(f"The reliability diagram is in {printable(str(diagram))}.")


def _adaptive(items: Labelled, how: dict[str, Any]) -> Estimate:
    from decodelab.metrics.calibration import adaptive_ce
    from decodelab.metrics.confidence import option_probabilities
    from decodelab.metrics.estimate import Estimate

    value = adaptive_ce(option_probabilities(items.scores), items.labels, how["bins"])
    # No interval: a bootstrap of this sum of absolute values would be biased (metrics/ece_interval.py).
    return Estimate(value, math.nan, math.nan, math.nan, len(items), len(set(items.clusters)), how["level"])


def _recalibration(
    fit: Recalibration,
    test: Labelled,
    parts: tuple[CalibrationReport, CalibrationReport],
    clustered: bool,
    level: float,
) -> dict[str, Any]:
    from decodelab.metrics.paired import paired_difference
    from decodelab.tasks.confidences import confidence_of

    p, y = confidence_of(test)
    q, z = confidence_of(fit.apply(test))
    clusters = test.clusters if clustered else None
    return {
        "method": fit.method,
        "parameters": fit.parameters,
        "validation_items": len(fit.fitted_on),
        "test_items": len(test),
        "before": parts[0].to_dict(),
        "after": parts[1].to_dict(),
        "brier_change": paired_difference((q - z) ** 2, (p - y) ** 2, clusters, level=level).to_dict(),
    }


def _rows(document: dict[str, Any], whole: CalibrationReport) -> list[tuple[str, ...]]:
    from decodelab.metrics.catalogue import confidence_metrics

    rows: list[tuple[str, ...]] = [("quantity", "value", f"{document['level']:.0%} interval", "meaning")]
    meanings = MEANINGS | {name: metric.meaning for name, metric in confidence_metrics().items()}
    for name, e in document["estimates"].items():
        interval = "-" if e["low"] is None or math.isnan(e["low"]) else f"{e['low']:.3f} to {e['high']:.3f}"
        rows.append((name, _three(e["value"]), interval, meanings[name]))
    chance = f"expected if calibrated; {p_equals(whole.expected.p_value)} for the observed ECE"
    at = 1 + next(i for i, row in enumerate(rows) if row[0] == "ece")
    rows.insert(at, ("ece if calibrated", f"{whole.expected.mean:.3f}", "-", chance))
    return rows


def _three(value: float) -> str:
    # Round 0.5375 to 0.538 whatever its last bit.
    return "-" if math.isnan(value) else f"{value + math.copysign(1e-12, value):.3f}"


def _show(rows: list[tuple[str, ...]], document: dict[str, Any], whole: CalibrationReport, title: str) -> None:
    from rich import box
    from rich.table import Table

    out = console()
    clusters = document["clusters"]
    grouped = f" in {clusters} clusters" if clusters < document["items"] else ""
    out.print(f"{title}{grouped}, confidence {document['confidence']}", soft_wrap=True)
    table = Table(box=box.SIMPLE)
    for heading, justify in zip(rows[0], ("left", "right", "right", "left"), strict=True):
        table.add_column(heading, justify=justify)  # pyright: ignore[reportArgumentType]
    for row in rows[1:]:
        table.add_row(*row)
    print_table(table)
    diagram = Table(box=box.SIMPLE)
    for heading in ("confidence", "items", "mean", "accuracy", "interval"):
        diagram.add_column(heading, justify="right")
    b = whole.bins
    for i in range(len(b.count)):
        diagram.add_row(
            f"{b.low[i]:.2f} to {b.high[i]:.2f}",
            str(b.count[i]),
            f"{b.confidence[i]:.3f}",
            f"{b.accuracy[i]:.3f}",
            f"{whole.low[i]:.3f} to {whole.high[i]:.3f}",
        )
    print_table(diagram)
    if "recalibration" in document:
        _show_recalibration(document["recalibration"])


def _show_recalibration(found: dict[str, Any]) -> None:
    before, after = found["before"]["estimates"], found["after"]["estimates"]
    parameters = ", ".join(
        f"{name} {value:.3f}" for name, value in found["parameters"].items() if isinstance(value, float)
    )
    named = f" ({parameters})" if parameters else ""
    fitted = f"fitted on {found['validation_items']} items{named}, tested on {found['test_items']} others"
    typer.echo(f"  {found['method']} " + (fitted if found["validation_items"] else f"given{named}, on all items") + ":")
    for name in ("ece", "macro_ce", "brier", "nll", "accuracy"):
        typer.echo(f"    {name:10} {_three(before[name]['value'])} -> {_three(after[name]['value'])}")
    change = found["brier_change"]
    if math.isnan(change["low"]):
        return
    verdict = "better" if change["high"] < 0 else "worse" if change["low"] > 0 else "not significantly different"
    typer.echo(
        f"    Brier changed by {fixed(change['value'], 4)} "
        f"[{fixed(change['low'], 4)}, {fixed(change['high'], 4)}]: {verdict}"
    )


def _long_form(
    given: LongForm, source: str, bins: int, resamples: int, seed: int, diagram: Path | None, as_json: bool
) -> None:
    from decodelab.metrics.long_form import long_form_calibration

    if diagram is not None:
        raise RequestError("calibrate: long answers have no reliability diagram; leave out --diagram")
    found = long_form_calibration(given.answers, bins=bins, resamples=resamples, seed=seed)
    if as_json:
        print_json({"source": source, "value": found.macro_ce.value} | asdict(found))
        return
    typer.echo(f"{printable(source)}: {found.answers} long answers, {found.criteria} criteria, {found.met:.1%} met")
    typer.echo(f"  weighted MacroCE  {found.interval}")
    typer.echo(f"    criteria met      {_three(found.macro_ce.right)}  mean of 1 - confidence")
    typer.echo(f"    criteria not met  {_three(found.macro_ce.wrong)}  mean confidence")
    typer.echo(f"  weighted ECE      {_three(found.ece)}  gaps within a bin cancel")
