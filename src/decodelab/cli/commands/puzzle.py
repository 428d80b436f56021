"""`decodelab puzzle`: find prompts for which a beam holds the same text in different tokens."""

from __future__ import annotations

import dataclasses
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from decodelab.cli import options
from decodelab.cli.progress import progress
from decodelab.cli.prompts import read_prompts
from decodelab.cli.terminal import print_json, say
from decodelab.core.errors import InvalidParameter
from decodelab.engine.threads import threads_for
from decodelab.io.text import printable

if TYPE_CHECKING:
    from decodelab.analysis.spellings import Collision

_AT_ONCE = 8
"""Prompts searched in one batch."""


def command(
    prompts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROMPT", show_default=False, help="Prompts to try; by default the model generates them."
        ),
    ] = None,
    model: options.Model = "pocket-nano",
    width: Annotated[int, typer.Option("--width", metavar="N", help="Width of the beam.")] = 16,
    max_new_tokens: options.MaxNewTokens = 6,
    tries: Annotated[int, typer.Option(metavar="N", help="Give up after this many prompts.")] = 400,
    count: Annotated[int, typer.Option(metavar="N", help="Stop after this many prompts with a collision.")] = 1,
    opening: Annotated[str, typer.Option(metavar="TEXT", help="Start of the model's own texts; empty means BOS.")] = "",
    seed: options.Seed = 0,
    device: options.DeviceOptions = options.DeviceOptions(),
    as_json: options.AsJson = False,
) -> None:
    """Find prompts for which a beam holds one text twice.

    One text can be several token sequences: "village" is " village", or " vil" and "lage". A beam ranks token
    sequences, so two of its places can go to the same text. This command samples texts and looks for positions where
    one of the most probable tokens is a prefix of another; beam search from there shows whether both tokenizations are
    kept, and why. A model trained on one tokenization rarely keeps another: pocket-nano needs a wide beam and an
    unusual prompt.

    \b
    Examples:
      decodelab puzzle
      decodelab puzzle --model ./my-model --width 4 --count 3
      decodelab puzzle "Once upon a time, there" --width 16 --json

    Next: decodelab generate -s "beam(width=4, n=4, dedupe=text)" keeps each text once.
    """
    for name, value in (
        ("--width", width),
        ("--tries", tries),
        ("--count", count),
        ("--max-new-tokens", max_new_tokens),
    ):
        if value < 1:
            raise InvalidParameter(f"{name} must be at least 1, got {value}; leave it out for the default")

    from decodelab.analysis.spellings import find_collisions, likely_prompts

    lm = device.load(model)
    own = likely_prompts(lm, opening, width, 16, seed) if not prompts else iter(read_prompts(prompts, None))
    found: list[list[Collision]] = []
    tried = 0
    limit = tries if not prompts else len(prompts)
    with threads_for(lm), progress(limit, "searching") as advance:
        while tried < limit and len(found) < count:
            if not (batch := list(islice(own, min(_AT_ONCE, limit - tried)))):
                break
            for collisions in find_collisions(lm, batch, width, max_new_tokens):
                tried += 1
                if collisions:
                    found.append(collisions)
                if len(found) == count:
                    break
            advance(tried, "searching")
    if as_json:
        print_json(
            {
                "model": lm.name,
                "model_digest": lm.digest,
                "width": width,
                "max_new_tokens": max_new_tokens,
                "seed": seed,
                "tried": tried,
                "found": [[_plain(c) for c in collisions] for collisions in found],
            }
        )
    else:
        for collisions in found:
            _show(collisions, width)
    if not found:
        say(f"no collision after {tried} prompts; try a wider beam, another --seed or more --tries")
    elif not as_json:
        say(f"{len(found)} of {tried} prompts tried")


def _plain(collision: Collision) -> dict[str, Any]:
    data = dataclasses.asdict(collision)
    for row, spelling in zip(data["spellings"], collision.spellings, strict=True):
        row["logprob"] = spelling.logprob
    return data


def _show(collisions: list[Collision], width: int) -> None:
    """A prompt with the texts its beam holds twice, their tokenizations aligned."""
    typer.echo(f"After {_quoted(collisions[0].prompt[-60:])}, a beam of width {width} keeps")
    for collision in collisions:
        best = collision.spellings[0]
        cells = [_cells(s.words, s.logprobs) for s in collision.spellings]
        widest = max(len(c) for row in cells for c in row)
        typer.echo(f"\n  {_quoted(collision.text)} as")
        for spelling, row in zip(collision.spellings, cells, strict=True):
            typer.echo(f"    {spelling.logprob:8.2f} = " + "".join(c.ljust(widest + 2) for c in row).rstrip())
        other = collision.spellings[1]
        at = next(i for i, (a, b) in enumerate(zip(best.tokens, other.tokens, strict=False)) if a != b)
        typer.echo(
            f"    They differ from token {at + 1} on: the vocabulary has {_quoted(best.words[at])} and "
            f"{_quoted(other.words[at])}."
        )
    typer.echo()


def _cells(words: tuple[str, ...], logprobs: tuple[float, ...]) -> list[str]:
    return [f"{_quoted(word)} {logprob:.2f}" for word, logprob in zip(words, logprobs, strict=True)]


def _quoted(text: str) -> str:
    return f'"{printable(text)}"'
