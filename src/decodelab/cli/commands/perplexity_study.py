"""`decodelab perplexity-study`: the different perplexities of greedy continuations."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from decodelab.cli import options
from decodelab.cli.lengths import new_tokens
from decodelab.cli.progress import progress
from decodelab.cli.terminal import print_json, stop_interrupted
from decodelab.engine.progress import Advance, TokensDone
from decodelab.engine.threads import threads_for
from decodelab.io.text import printable
from decodelab.report.console import excerpt, number_table, print_table

if TYPE_CHECKING:
    from rich.table import Table

    from decodelab.core.protocols import LanguageModel, Vocab
    from decodelab.core.values import Chat, Generation
    from decodelab.metrics.likelihood import TokenPerplexity


def command(
    prompts: options.PromptOptions = options.PromptOptions(),
    model: options.Models = None,
    max_new_tokens: options.MaxNewTokens = 64,
    total_length: options.TotalLength = None,
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
      decodelab perplexity-study --file prompts.txt -m pocket-nano -m pocket-small --total-length 100

    Next: decodelab score shows these numbers for your own text, token by token.
    """
    requests = prompts.requests()
    names = list(dict.fromkeys(model or ["pocket-small"]))
    documents: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    missing = None
    for name in names:
        lm = device.load(name)
        with threads_for(lm), progress(len(requests) * max_new_tokens, f"{name}: continuing") as advance:
            found, interrupted = _continued(lm, requests, max_new_tokens, total_length, max_rows, advance)
        overall = _numbers([p for g in found for p in g.best.token_logprobs])
        documents.append(
            {
                "model": lm.name,
                "model_digest": lm.digest,
                "max_new_tokens": max_new_tokens,
                "total_length": total_length,
                "interrupted": interrupted,
                "continuations": [_continuation(g, lm.vocab) for g in found],
                "overall": overall,
            }
        )
        if found and not as_json:
            if len(names) > 1:
                typer.echo(f"\n{printable(lm.name)}")
            _print(found, overall, lm.vocab)
            rows.append((lm.name, *_summary(overall)))
        if interrupted:
            missing = f"{lm.name}: {len(found)} of {len(requests)} prompts were started"
            break
    if as_json:
        print_json(documents[0] if len(names) == 1 else {"runs": documents})
    elif len(rows) > 1:
        table = number_table(("model",), ("tokens", "perplexity", "mean per token", "median per token"))
        for row in rows:
            table.add_row(excerpt(row[0]), *row[1:])
        print_table(table)
    if missing is not None:
        stop_interrupted(missing)


def _continued(
    model: LanguageModel,
    requests: Sequence[str | Chat],
    max_new_tokens: int,
    total_length: int | None,
    max_rows: int,
    advance: Advance,
) -> tuple[list[Generation], bool]:
    """The greedy continuations of all prompts, and whether Ctrl-C ended that early.

    Raises:
        InvalidParameter: for a prompt that has the total length already.
    """
    from decodelab.engine.generate import generate, was_interrupted

    groups: dict[int, list[int]] = {}
    for i, length in enumerate(new_tokens(model, requests, max_new_tokens, total_length)):
        groups.setdefault(length, []).append(i)
    found: dict[int, Generation] = {}
    before = 0
    for length, places in groups.items():
        observer = TokensDone(lambda done, before=before: advance(before + done, "continuing"))
        made = generate(
            model,
            [requests[i] for i in places],
            "greedy",
            max_new_tokens=length,
            observers=[observer],
            max_rows=max_rows,
        )
        found |= {places[g.index]: dataclasses.replace(g, index=places[g.index]) for g in made}
        before += length * len(places)
        if was_interrupted(made, len(places)):
            return [found[i] for i in sorted(found)], True
    return [found[i] for i in sorted(found)], False


def _print(found: Sequence[Generation], overall: dict[str, Any], vocab: Vocab) -> None:
    """A table of the continuations, and the numbers over all of them."""
    from decodelab.metrics.likelihood import TokenPerplexity

    print_table(_table(found, vocab))
    tokens, perplexity, mean, median = _summary(overall)
    typer.echo(f"  all {tokens} tokens: perplexity {perplexity}, per token: mean {mean}, median {median}")
    if any(TokenPerplexity.of(g.best.token_logprobs).driver is not None for g in found):
        typer.echo("  * without this token, the mean would be at most half as large")


def _summary(overall: dict[str, Any]) -> tuple[str, str, str, str]:
    spread = overall["token_perplexity"]
    return (
        str(overall["tokens"]),
        f"{overall['perplexity']:.4g}",
        f"{spread['mean']:.4g}",
        f"{spread['median']:.4g}",
    )


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
