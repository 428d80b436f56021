"""`decodelab perplexity-study`: the different perplexities of greedy continuations."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from decodelab.cli import options
from decodelab.cli.progress import progress
from decodelab.cli.terminal import print_json, stop_interrupted
from decodelab.engine.progress import TokensDone
from decodelab.engine.threads import threads_for
from decodelab.io.text import printable
from decodelab.report.console import excerpt, number_table, print_table

if TYPE_CHECKING:
    from rich.table import Table

    from decodelab.core.protocols import Vocab
    from decodelab.core.values import Generation
    from decodelab.metrics.likelihood import TokenPerplexity


def command(
    prompts: options.PromptOptions = options.PromptOptions(),
    model: options.Model = "pocket-small",
    max_new_tokens: options.MaxNewTokens = 64,
    max_rows: options.MaxRows = 64,
    device: options.DeviceOptions = options.DeviceOptions(),
    as_json: options.AsJson = False,
) -> None:
    """Show how one token can dominate a mean perplexity.

    Each prompt is continued greedily for up to 64 tokens or to EOS, which counts as a token. Sequence perplexity is
    exp(-mean log p), a geometric mean of 1 / p; the arithmetic mean of 1 / p can be dominated by one improbable token.
    A token is marked if the mean without it is at most half the mean with it.

    \b
    Examples:
      decodelab perplexity-study "Once upon a time," "What is 27 + 35?" "The cat"
      decodelab perplexity-study --file prompts.txt --model ./my-model --json

    Next: decodelab score shows these numbers for your own text, token by token.
    """
    requests = prompts.requests()

    from decodelab.engine.generate import generate, was_interrupted

    lm = device.load(model)
    with threads_for(lm), progress(len(requests) * max_new_tokens, "continuing") as advance:
        observer = TokensDone(lambda done: advance(done, "continuing"))
        found = generate(lm, requests, "greedy", max_new_tokens=max_new_tokens, observers=[observer], max_rows=max_rows)
    interrupted = was_interrupted(found, len(requests))
    overall = _numbers([p for g in found for p in g.best.token_logprobs])
    if as_json:
        print_json(
            {
                "model": lm.name,
                "model_digest": lm.digest,
                "max_new_tokens": max_new_tokens,
                "interrupted": interrupted,
                "continuations": [_continuation(g, lm.vocab) for g in found],
                "overall": overall,
            }
        )
    elif found:
        from decodelab.metrics.likelihood import TokenPerplexity

        print_table(_table(found, lm.vocab))
        typer.echo(
            f"  all {overall['tokens']} tokens: perplexity {overall['perplexity']:.4g}, per token: "
            f"mean {overall['token_perplexity']['mean']:.4g}, median {overall['token_perplexity']['median']:.4g}"
        )
        if any(TokenPerplexity.of(g.best.token_logprobs).driver is not None for g in found):
            typer.echo("  * without this token, the mean would be at most half as large")
    if interrupted:
        stop_interrupted(f"{len(found)} of {len(requests)} prompts were started")


def _numbers(logprobs: Sequence[float]) -> dict[str, Any]:
    """The perplexities of a set of tokens."""
    from decodelab.metrics.likelihood import TokenPerplexity, perplexity

    return {
        "tokens": len(logprobs),
        "perplexity": perplexity(logprobs),
        "token_perplexity": dataclasses.asdict(TokenPerplexity.of(logprobs)),
    }


def _continuation(generation: Generation, vocab: Vocab) -> dict[str, Any]:
    """One continuation with its numbers, JSON-ready."""
    from decodelab.metrics.likelihood import token_perplexities

    best = generation.best
    return {
        "index": generation.index,
        "prompt": generation.prompt,
        "continuation": best.text,
        "finish_reason": best.finish_reason,
        "token_ids": best.tokens,
        "token_texts": [vocab.token_text(t) for t in best.tokens],
        "token_logprobs": best.token_logprobs,
        "token_perplexities": token_perplexities(best.token_logprobs),
        **_numbers(best.token_logprobs),
    }


def _table(found: Sequence[Generation], vocab: Vocab) -> Table:
    from rich.text import Text

    from decodelab.metrics.likelihood import TokenPerplexity, perplexity

    table = number_table(("prompt", "continuation"), ("tokens", "perplexity", "mean", "median"), min_width=12)
    table.add_column("highest token", no_wrap=True)
    for generation in found:
        logprobs = generation.best.token_logprobs
        spread = TokenPerplexity.of(logprobs)
        table.add_row(
            excerpt(generation.prompt),
            excerpt(generation.best.text),
            str(len(logprobs)),
            f"{perplexity(logprobs):.4g}",
            f"{spread.mean:.4g}",
            f"{spread.median:.4g}",
            Text(_highest(generation, spread, vocab)),
        )
    return table


def _highest(generation: Generation, spread: TokenPerplexity, vocab: Vocab) -> str:
    """The token of highest perplexity, with an asterisk if it dominates the mean."""
    if spread.highest is None:
        return ""
    from decodelab.metrics.likelihood import token_perplexities

    best = generation.best
    text = printable(repr(vocab.token_text(best.tokens[spread.highest]))[1:-1])
    value = token_perplexities(best.token_logprobs)[spread.highest]
    return f"{spread.highest + 1} '{text}' {value:.4g}{' *' if spread.driver is not None else ''}"
