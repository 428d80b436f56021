"""`decodelab strategies`: list the stages of strategies."""

from __future__ import annotations

import inspect
import re
import shutil
import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from decodelab.cli import options
from decodelab.cli.terminal import print_json
from decodelab.core.capabilities import NEEDS
from decodelab.core.errors import RequestError, did_you_mean

if TYPE_CHECKING:
    from decodelab.core.capabilities import Need
    from decodelab.core.stage import Parameter, Stage

_KINDS = {
    "source": "Sources stand for other stages; may come first",
    "model": "Model stages combine or change models; any number, before the processors",
    "processor": "Processors change the logits of the next token; any number, in the order written",
    "stop": "Stops say where texts end, besides end tokens and --stop; any number, after the processors",
    "search": "Searches choose tokens; at most one, sample by default",
    "driver": "Drivers sample the same distribution with fewer forward passes; at most one, after the search",
    "selection": "Selections rank the finished candidates; at most one, at the end",
}


def command(
    name: Annotated[str | None, typer.Argument(metavar="NAME", show_default=False, help="One stage, in full.")] = None,
    needs: Annotated[
        str | None,
        typer.Option(
            "--needs",
            metavar="NEED",
            show_default="all",
            help="Only those that need this and no more: text (any server does), logits or hidden-states.",
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """List the stages that strategies are made of.

    Each stage with what it does, its parameters, their defaults, and its source.

    \b
    Examples:
      decodelab strategies
      decodelab strategies typical_p
      decodelab strategies --needs text
      decodelab strategies --json

    Write a stage as name, name=value (its first parameter) or name(key=value, ...), and chain stages with |:

    \b
      decodelab generate "Once upon a time," -s "temperature=0.7 | min_p=0.1 | sample(n=3)" --explain

    Next: decodelab compare shows their effect on a text.
    """
    from decodelab.strategy.catalogue import STAGES, stages

    if name is not None:
        stage = STAGES.load(name)
        if as_json:
            print_json(_as_data(stage) | {"doc": inspect.getdoc(stage)})
        else:
            _print_in_full(stage)
        return
    every = [stage for stage in stages() if needs is None or stage.needs == _need(needs)]
    if as_json:
        print_json([_as_data(stage) for stage in every])
        return
    for kind, role in _KINDS.items():
        of_kind = [stage for stage in every if stage.kind == kind]
        if of_kind:
            typer.secho(role, underline=True)
        for stage in of_kind:
            _print_in_short(stage)


def _need(text: str) -> Need:
    """A need as the command line writes it."""
    named: dict[str, Need] = {need.replace(" ", "-"): need for need in NEEDS}
    if text not in named:
        hint = did_you_mean(text, named) or f"; it is one of {', '.join(named)}"
        raise RequestError(f"--needs: unknown need {text[:60]!r}{hint}")
    return named[text]


def _as_data(stage: type[Stage]) -> dict[str, Any]:
    from decodelab.strategy.strategy import summary

    return {
        "name": stage.name,
        "kind": stage.kind,
        "needs": stage.needs,
        "summary": summary(stage),
        "parameters": [
            {"name": p.name, "required": p.required, "default": None if p.required else p.default, "doc": p.doc}
            for p in stage.parameters()
        ],
        "source": stage.source,
    }


def _print_in_short(stage: type[Stage]) -> None:
    from decodelab.strategy.strategy import summary

    typer.secho(f"  {signature(stage)}", bold=True)
    _print_wrapped([summary(stage), *_parameters(stage)], "      ")
    typer.secho(f"      source: {stage.source}", dim=True)
    typer.echo()


def _print_in_full(stage: type[Stage]) -> None:
    typer.echo(f"{typer.style(signature(stage), bold=True)}  ({stage.kind})\n")
    for block in re.split(r"\n\s*\n", inspect.getdoc(stage) or ""):
        # Prose is wrapped to the terminal's width; examples and indented lines are kept.
        if block.startswith((">>>", " ")) or "\n " in block:
            typer.echo(textwrap.indent(block, "  "))
        else:
            _print_wrapped([block], "  ")
        typer.echo()
    _print_wrapped(_parameters(stage), "  ")
    typer.secho(f"  needs: {stage.needs}", dim=True)
    typer.secho(f"  source: {stage.source}", dim=True)


def _print_wrapped(paragraphs: list[str], indent: str) -> None:
    width = min(100, shutil.get_terminal_size().columns)
    for paragraph in paragraphs:
        text = " ".join(paragraph.split())
        typer.echo(textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False))


def signature(stage: type[Stage]) -> str:
    """A stage as written in a strategy, with its parameters and their defaults.

    >>> from decodelab import Sample, TopP
    >>> signature(TopP), signature(Sample)
    ('top_p=P', 'sample(n=1, draw=inverse_cdf)')
    """
    parameters = stage.parameters()
    if not parameters:
        return stage.name
    if len(parameters) == 1 and parameters[0].required:
        return f"{stage.name}={parameters[0].name.upper()}"
    return f"{stage.name}({', '.join(map(_written, parameters))})"


def _written(parameter: Parameter) -> str:
    from decodelab.core.stage import value_text

    return f"{parameter.name}={parameter.name.upper() if parameter.required else value_text(parameter.default)}"


def _parameters(stage: type[Stage]) -> list[str]:
    return [f"{p.name}: {p.doc}" for p in stage.parameters()]
