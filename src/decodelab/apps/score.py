"""`decodelab score`: how probable a model finds given text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from decodelab.apps import options
from decodelab.apps.files import read_jsonl, read_prompts, read_text
from decodelab.apps.progress import progress
from decodelab.apps.terminal import console, print_json, say, visible
from decodelab.apps.threads import threads_for
from decodelab.core.errors import RequestError

if TYPE_CHECKING:
    from rich.table import Table

    from decodelab.metrics.likelihood import Score

_AT_ONCE = 64


def command(
    prompt: Annotated[str | None, typer.Argument(metavar="PROMPT", show_default=False, help="What is given.")] = None,
    completion: Annotated[
        str | None, typer.Argument(metavar="COMPLETION", show_default=False, help="What is scored.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME", help="A shipped model, a directory, or a hub id.")
    ] = "pocket-small",
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="FILE", help='JSONL of {"prompt": ..., "completion": ...}; - is stdin.'),
    ] = None,
    escapes: options.Escapes = False,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Tell how probable a model finds a text.

    The log-probability of each token of a completion, given the prompt and what went before; their sum and mean; the
    perplexity. All logarithms are natural. A completion mostly begins with a space: the text is prompt + completion.

    \b
    Examples:
      decodelab score "Once upon a time, there was a little" " girl"
      decodelab score "What is 2 + 3?" "\\n2+3=5, so 2+3=5." --escapes
      decodelab score --file pairs.jsonl --json

    Next: decodelab compare shows these numbers for what each strategy writes.
    """
    pairs = _pairs(prompt, completion, file, escapes)

    from decodelab.engine.scoring import score_many
    from decodelab.models.loading import load

    lm = load(model, dtype=dtype, device=device)
    scores: list[Score] = []
    interrupted = False
    with threads_for(lm), progress(len(pairs), "scoring") as advance:
        try:
            for begin in range(0, len(pairs), _AT_ONCE):
                scores += score_many(lm, pairs[begin : begin + _AT_ONCE])
                advance(len(scores), "scoring")
        except KeyboardInterrupt:
            interrupted = True
    if as_json:
        print_json(
            {
                "model": lm.name,
                "model_digest": lm.digest,
                "interrupted": interrupted,
                "scores": [s.to_dict() for s in scores],
            }
        )
    elif len(pairs) == 1 and scores:
        console().print(_token_table(scores[0]))
        typer.echo(_sums(scores[0]))
    else:
        console().print(_pair_table(scores))
    if interrupted:
        say(f"interrupted: {len(scores)} of {len(pairs)} pairs were scored")
        raise typer.Exit(130)


def _pairs(prompt: str | None, completion: str | None, file: Path | None, escapes: bool) -> Sequence[tuple[str, str]]:
    if file is not None:
        if prompt is not None:
            raise RequestError(f"score: give a prompt and a completion or --file, not both, got {file} too")
        rows = read_jsonl(file, read_text(file), ("prompt", "completion"))
        if not rows:
            raise RequestError(f"score: {str(file)!r} has no pairs; write one JSON object a line")
        return [(row["prompt"], row["completion"]) for row in rows]
    if prompt is None or completion is None:
        raise RequestError("score: needs a prompt and a completion, or --file; see decodelab score --help")
    first, second = read_prompts([prompt, completion], None, escapes=escapes)
    return [(first, second)]


def _token_table(score: Score) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE)
    table.add_column("token")
    table.add_column("id", justify="right")
    table.add_column("log p", justify="right")
    table.add_column("p", justify="right")
    for token, text, logprob in zip(score.tokens, score.token_texts, score.token_logprobs, strict=True):
        table.add_row(Text(visible(repr(text)[1:-1])), str(token), f"{logprob:.4f}", f"{math.exp(logprob):.4g}")
    return table


def _sums(score: Score) -> str:
    return (
        f"  {len(score.tokens)} tokens: sum {score.logprob:.4f}, mean {score.mean_logprob:.4f}, "
        f"perplexity {score.perplexity:.4f}"
    )


def _pair_table(scores: Sequence[Score]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE)
    for heading in ("prompt", "completion"):
        table.add_column(heading, overflow="ellipsis", no_wrap=True)
    for heading in ("tokens", "sum", "mean", "perplexity"):
        table.add_column(heading, justify="right", no_wrap=True)
    for score in scores:
        table.add_row(
            Text(visible(score.prompt)),
            Text(visible(score.completion)),
            str(len(score.tokens)),
            f"{score.logprob:.3f}",
            f"{score.mean_logprob:.3f}",
            f"{score.perplexity:.3f}",
        )
    return table
