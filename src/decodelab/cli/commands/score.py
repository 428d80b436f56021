"""`decodelab score`: the probability of given text under a model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from decodelab.cli import options
from decodelab.cli.progress import progress
from decodelab.cli.prompts import read_prompts
from decodelab.cli.terminal import print_json, stop_interrupted
from decodelab.core.errors import RequestError
from decodelab.engine.threads import threads_for
from decodelab.io.tabular import read_jsonl
from decodelab.io.text import printable, read_text
from decodelab.report.console import excerpt, number_table, print_table
from decodelab.report.number import fixed

if TYPE_CHECKING:
    from rich.table import Table

    from decodelab.analysis.text_loss import SplitLoss
    from decodelab.backends.texts import TextModel
    from decodelab.core.protocols import LanguageModel
    from decodelab.metrics.likelihood import Score

_TOKENS_SHOWN = 200
"""A single text of at most this many tokens is shown token by token."""


def command(
    prompt: Annotated[str | None, typer.Argument(metavar="PROMPT", show_default=False, help="The given text.")] = None,
    completion: Annotated[
        str | None, typer.Argument(metavar="COMPLETION", show_default=False, help="The text to score.")
    ] = None,
    model: options.Model = "pocket-small",
    strategy: Annotated[
        str | None,
        typer.Option(
            "--strategy",
            "-s",
            metavar="STAGES",
            show_default=False,
            help="Model stages to apply first: contrast, dola, guidance or mix.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", "-f", metavar="FILE", help='JSONL of {"prompt": ..., "completion": ...}; - reads stdin.'
        ),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option("--text", metavar="FILE", help='A text to score from its start, or JSONL of {"text": ...}.'),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(metavar="N", help="Score texts longer than the context length in windows this many tokens apart."),
    ] = None,
    top: Annotated[
        int, typer.Option(metavar="N", help="Show this many of the most probable tokens at each position.")
    ] = 0,
    split: Annotated[
        float | None,
        typer.Option(
            metavar="RATIO",
            help="With --text: loss on the first RATIO of the text (train) and on the rest (validation).",
        ),
    ] = None,
    context_length: Annotated[
        int | None,
        typer.Option(metavar="N", help="With --split: tokens per chunk; by default the model's context length."),
    ] = None,
    max_rows: options.MaxRows = 64,
    escapes: options.Escapes = False,
    device: options.DeviceOptions = options.DeviceOptions(),
    as_json: options.AsJson = False,
) -> None:
    """Compute how probable a text is under a model.

    Prints the log-probability of each token of a completion, given the prompt and the tokens before it, and its rank
    among all tokens; their sum and mean; perplexity; bits per byte. Logarithms are natural except in bits. The text is
    prompt + completion, so a completion usually starts with a space.

    \b
    Examples:
      decodelab score "Once upon a time, there was a little" " girl" --top 3
      decodelab score "What is 2 + 3?" "\\n2+3=5, so 2+3=5." --escapes
      decodelab score "What is 2 + 3?" " 5." -s "mix(models=[pocket-nano])"
      decodelab score --file pairs.jsonl --json
      decodelab score --text novel.txt --stride 256
      decodelab score --text novel.txt --split 0.9 --context-length 256

    Next: decodelab perplexity-study shows how one token can dominate a mean perplexity.
    """
    if split is not None or context_length is not None:
        if text is None or split is None or stride is not None or top:
            raise RequestError("score: --split takes --text and --context-length only; see decodelab score --help")
        _split(_model(model, strategy, device), read_text(text), split, context_length, max_rows, as_json)
        return
    pairs = _pairs(prompt, completion, file, text, escapes)

    from decodelab.backends.catalogue import text_model
    from decodelab.engine.scoring import score_each

    remote = text_model(model)
    if remote is not None:
        if text is not None or stride is not None or strategy is not None:
            raise RequestError("score: a server scores prompts with completions, without --text, --stride, --strategy")
        _there(remote, pairs, top, as_json)
        return
    lm = _model(model, strategy, device)
    found: dict[int, Score] = {}
    with threads_for(lm), progress(1, "scoring") as advance:
        each = score_each(
            lm,
            pairs,
            max_rows=max_rows,
            stride=stride,
            alternatives=top,
            report=lambda done, total: advance(done / total, "scoring"),
        )
        interrupted = False
        try:
            for index, score in each:
                found[index] = score
        except KeyboardInterrupt:
            interrupted = True
    scores = [found[i] for i in sorted(found)]
    if as_json:
        print_json(
            {
                **_named(lm),
                "stride": stride,
                "interrupted": interrupted,
                "scores": [{"index": i, **found[i].to_dict()} for i in sorted(found)],
            }
        )
    else:
        _show(scores, len(pairs) == 1, text is None)
    if interrupted:
        stop_interrupted(f"{len(scores)} of {len(pairs)} texts were scored")


def _there(remote: TextModel, pairs: Sequence[tuple[str, str]], top: int, as_json: bool) -> None:
    """Have a server's model score pairs, and show them."""
    from decodelab.backends.generating import scored

    with progress(1, "scoring"):
        scores = scored(remote, pairs, top)
    if as_json:
        rows = [{"index": i, **score.to_dict()} for i, score in enumerate(scores)]
        print_json({"model": remote.name, "model_digest": remote.digest, "scores": rows})
    else:
        _show(scores, len(pairs) == 1, True)


def _show(scores: Sequence[Score], alone: bool, tokens: bool) -> None:
    """Print the tokens of one score, or a row for each of several."""
    if alone and scores:
        if tokens or len(scores[0].token_logprobs) <= _TOKENS_SHOWN:
            print_table(_token_table(scores[0]))
        typer.echo(_sums(scores[0]))
    elif scores:
        print_table(_pair_table(scores))
        typer.echo(_overall(scores))


def _named(lm: LanguageModel) -> dict[str, Any]:
    return {"model": lm.name, "model_digest": lm.digest}


def _model(name: str, strategy: str | None, device: options.DeviceOptions) -> LanguageModel:
    """The model of that name, with a strategy's model stages applied."""
    from decodelab.engine.composing import compose
    from decodelab.strategy.strategy import Strategy

    plan = None if strategy is None else Strategy.of(strategy)
    lm = device.load(name)
    return lm if plan is None else compose(lm, plan)


def _split(
    lm: LanguageModel, words: str, ratio: float, context_length: int | None, max_rows: int, as_json: bool
) -> None:
    """Print the training and validation loss on a text."""
    from decodelab.analysis.text_loss import split_loss

    with threads_for(lm), progress(1, "scoring") as advance:
        found = split_loss(
            lm,
            words,
            ratio=ratio,
            context_length=context_length,
            max_rows=max_rows,
            report=lambda done, total: advance(done / total, "scoring"),
        )
    if as_json:
        print_json({**_named(lm), **dataclasses.asdict(found)})
    else:
        print_table(_split_table(found))
        typer.echo(f"  loss in nats per token, over chunks of {found.context_length} tokens")


def _pairs(
    prompt: str | None, completion: str | None, file: Path | None, text: Path | None, escapes: bool
) -> Sequence[tuple[str, str]]:
    if (prompt is not None) + (file is not None) + (text is not None) > 1:
        raise RequestError("score: give a prompt and a completion, or --file, or --text, not more than one of them")
    if text is not None:
        words = read_text(text)
        texts = [row["text"] for row in read_jsonl(text, words, ("text",))] if text.suffix == ".jsonl" else [words]
        if not any(texts):
            raise RequestError(f"score: {str(text)!r} has no text to score; give at least one token")
        return [("", t) for t in texts]
    if file is not None:
        rows = read_jsonl(file, read_text(file), ("prompt", "completion"))
        if not rows:
            raise RequestError(f"score: {str(file)!r} has no pairs; write one JSON object per line")
        return [(row["prompt"], row["completion"]) for row in rows]
    if prompt is None or completion is None:
        raise RequestError("score: needs a prompt and a completion, --file or --text; see decodelab score --help")
    first, second = read_prompts([prompt, completion], None, escapes=escapes)
    return [(first, second)]


def _token_table(score: Score) -> Table:
    from rich.text import Text

    top = len(score.alternatives[0]) if score.alternatives else 0
    table = number_table(("token",), ("id", "log p", "p", "rank"), no_wrap=True)
    if top:
        table.add_column("most probable")
    for i, (text, logprob) in enumerate(zip(score.token_texts, score.token_logprobs, strict=True)):
        best = [f"{_quoted(a.text)} {math.exp(a.logprob):.3g}" for a in score.alternatives[i]] if top else []
        token, rank = (str(values[i]) if values else "-" for values in (score.tokens, score.ranks))
        numbers = [token, fixed(logprob, 4), f"{math.exp(logprob):.4g}", rank]
        table.add_row(Text(_quoted(text)), *numbers, *([Text("  ".join(best))] if top else []))
    return table


def _quoted(text: str) -> str:
    """A token as text with visible spaces and line breaks."""
    return printable(repr(text)[1:-1])


def _sums(score: Score) -> str:
    from decodelab.metrics.likelihood import token_perplexities

    spread = score.token_perplexity
    lines = [
        f"  {len(score.token_logprobs)} tokens: sum {fixed(score.logprob, 4)}, mean {fixed(score.mean_logprob, 4)}, "
        f"perplexity {score.perplexity:.4f}",
        f"  perplexity per token: mean {spread.mean:.4g}, median {spread.median:.4g}, "
        f"standard deviation {spread.std:.4g}",
        f"  {score.bits_per_byte:.4f} bits per byte, {score.bits_per_character:.4f} bits per character",
    ]
    if spread.driver is not None:
        token = _quoted(score.token_texts[spread.driver])
        highest = max(token_perplexities(score.token_logprobs))
        lines.insert(2, f"  token {spread.driver + 1}, '{token}', dominates the mean with {highest:.4g}")
    return "\n".join(lines)


def _pair_table(scores: Sequence[Score]) -> Table:
    table = number_table(("prompt", "completion"), ("tokens", "sum", "mean", "perplexity", "bits/byte"), min_width=8)
    for score in scores:
        table.add_row(
            excerpt(score.prompt),
            excerpt(score.completion),
            str(len(score.token_logprobs)),
            fixed(score.logprob, 3),
            fixed(score.mean_logprob, 3),
            f"{score.perplexity:.3f}",
            f"{score.bits_per_byte:.3f}",
        )
    return table


def _overall(scores: Sequence[Score]) -> str:
    """One perplexity over all tokens, not a mean of perplexities, which one text could dominate."""
    from decodelab.metrics.likelihood import perplexity

    logprobs = [p for score in scores for p in score.token_logprobs]
    return (
        f"  {len(scores)} texts, {len(logprobs)} tokens: sum {fixed(math.fsum(logprobs), 4)}, "
        f"mean {fixed(math.fsum(logprobs) / len(logprobs), 4)}, perplexity {perplexity(logprobs):.4f}"
    )


def _split_table(found: SplitLoss) -> Table:
    table = number_table(("part",), ("characters", "tokens", "predicted", "loss", "perplexity"), no_wrap=True)
    for name, part in (("train", found.train), ("validation", found.validation)):
        counts = (str(n) for n in (part.characters, part.tokens, part.scored))
        table.add_row(name, *counts, f"{part.loss:.4f}", f"{part.perplexity:.4f}")
    return table
