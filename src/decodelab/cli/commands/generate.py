"""`decodelab generate`: text under one strategy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from decodelab.cli import options
from decodelab.cli.progress import progress
from decodelab.cli.prompts import read_prompts
from decodelab.cli.terminal import note, on_terminal, print_json, say
from decodelab.core.notices import notes
from decodelab.engine.progress import TokensDone
from decodelab.engine.threads import threads_for
from decodelab.io.atomic import check_writable, write_text
from decodelab.io.json import json_text
from decodelab.io.text import shown, visible

if TYPE_CHECKING:
    from decodelab.core.values import Candidate, Certificate, Generation


def command(
    prompts: options.Prompts = None,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME", help="A shipped model, a directory, or a hub id.")
    ] = "pocket-small",
    strategy: Annotated[
        str, typer.Option("--strategy", "-s", metavar="STRATEGY", help="How to decode (decodelab strategies).")
    ] = "default",
    max_new_tokens: options.MaxNewTokens = 128,
    min_new_tokens: options.MinNewTokens = 0,
    stop: options.Stop = None,
    stop_token_id: options.StopTokenId = None,
    seed: options.Seed = 0,
    file: options.PromptFile = None,
    escapes: options.Escapes = False,
    chat: options.AsChat = False,
    system: options.System = None,
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--no-stream",
            show_default=False,
            help="Print text as it comes; by default for one prompt and one row, on a terminal.",
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="First print the effective strategy, stage by stage, on stderr.")
    ] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the JSON document to a file too.")] = None,
    max_rows: options.MaxRows = 64,
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Continue prompts under a strategy.

    Text goes to stdout, the rest to stderr. Unseen characters in the text show as escapes; --json has it exact.

    \b
    Examples:
      decodelab generate "Once upon a time,"
      decodelab generate "What is 27 + 35?" -s greedy --explain
      decodelab generate "Once upon a time," -s "temperature=0.8 | top_p=0.9 | sample(n=4)" --seed 7
      decodelab generate --model ./my-model --strategy greedy --max-new-tokens 200 --json

    Next: decodelab compare puts strategies side by side, decodelab strategies lists what they are made of.
    """
    requests = options.as_requests(read_prompts(prompts or [], file, escapes=escapes), chat, system)
    limits = options.limits(max_new_tokens, min_new_tokens, stop, stop_token_id, escapes)
    if out is not None:
        check_writable(out)

    from decodelab.core.protocols import TreeSearch
    from decodelab.engine.generate import generate, was_interrupted
    from decodelab.engine.streaming import TextStream
    from decodelab.models.loading import load
    from decodelab.strategy.strategy import Strategy

    asked = Strategy.of(strategy)
    lm = load(model, dtype=dtype, device=device)
    plan = asked.resolve(lm)
    explanation = asked.explain(lm) if explain else None
    if explanation is not None and not as_json:
        say(shown(explanation))
    revises = plan.selection is not None or isinstance(plan.search, TreeSearch)
    one_row = len(requests) == 1 and plan.search.peak_rows == 1 and not revises
    if stream and not one_row:
        note("no streaming: it takes one prompt and a strategy of one row; the text comes when it is finished")
    streams = one_row and not as_json and (on_terminal() if stream is None else stream)
    work = len(requests) * max_new_tokens
    with notes() as said, threads_for(lm), progress(work, "generating", hidden=streams) as advance:
        observer = (
            TextStream(lm.vocab, lambda _g, _s, text: typer.echo(shown(text), nl=False), stop=limits["stop"])
            if streams
            else TokensDone(lambda done: advance(done, "generating"))
        )
        found = generate(lm, requests, plan, seed=seed, observers=[observer], max_rows=max_rows, **limits)
    if streams:
        typer.echo()
    said += [message for g in found if (message := _duplicates(g))]
    for message in said:
        note(message)
    interrupted = was_interrupted(found, len(requests))
    document = {
        "model": lm.name,
        "model_digest": lm.digest,
        "strategy": str(asked),
        "effective_strategy": str(plan),
        "explanation": explanation,
        "seed": seed,
        "limits": limits,
        "notes": said,
        "interrupted": interrupted,
        "generations": [g.to_dict() for g in found],
    }
    if out is not None:
        write_text(out, json_text(document) + "\n")
    if as_json:
        print_json(document)
    elif not streams:
        _print_texts(found)
    if found and not as_json:
        say(_summary(found))
    if interrupted:
        say(f"interrupted: {len(found)} of {len(requests)} prompts were begun")
        raise typer.Exit(130)


def _duplicates(generation: Generation) -> str | None:
    """What to say of candidates that are the same text in different tokens."""
    if not generation.duplicates:
        return None
    places = "; ".join(" and ".join(str(i + 1) for i in same) for same in generation.duplicates)
    return (
        f"{_prompt(generation)}: the same text in different tokens: candidates {places} "
        "(a beam with dedupe=text gives each text one place)"
    )


def _print_texts(found: Sequence[Generation]) -> None:
    """One text as it is; several each under a heading, as `head` does with files."""
    texts = [(g, i, c) for g in found for i, c in enumerate(g.candidates, 1)]
    if len(texts) == 1:
        typer.echo(shown(texts[0][2].text))
        return
    for at, (generation, rank, candidate) in enumerate(texts):
        gap = "\n" if at else ""
        typer.echo(f"{gap}==> {_heading(generation, rank, candidate)} <==\n{shown(candidate.text)}")


def _heading(generation: Generation, rank: int, candidate: Candidate) -> str:
    place = f", {rank} of {len(generation.candidates)}" if len(generation.candidates) > 1 else ""
    end = ", interrupted" if candidate.finish_reason == "interrupted" else ""
    return f"{_prompt(generation)}{place}{end}"


def _prompt(generation: Generation) -> str:
    text = visible(generation.prompt)
    return (text if len(text) <= 60 else text[:57] + "...") or "(empty)"


def _summary(found: Sequence[Generation]) -> str:
    """What a run cost, and of a single prompt how probable its best candidate is, in a line."""
    tokens = sum(len(c.tokens) for g in found for c in g.candidates)
    seconds = max(g.cost.seconds for g in found)
    forward = sum(g.cost.forward_tokens for g in found)
    cost = f"{tokens} tokens in {seconds:.1f} s ({tokens / max(seconds, 1e-9):.0f}/s), {forward} forward"
    drafted = sum(g.cost.drafted for g in found)
    if drafted:
        cost += f", {sum(g.cost.accepted for g in found)} of {drafted} drafted tokens accepted"
    if len(found) > 1:
        return f"{len(found)} prompts: {cost}"
    best = found[0].best
    return (
        f"{cost}; best: log-probability {best.logprob:.2f}, perplexity {best.perplexity:.2f}, "
        f"ended by {best.finish_reason}{_proof(found[0].certificate)}"
    )


def _proof(certificate: Certificate | None) -> str:
    """What the search knows of what it did not find, if it says."""
    if certificate is None:
        return ""
    if certificate.proved:
        return f"; proved: nothing scores better, {certificate.evaluated} prefixes looked at"
    return f"; not proved: something else may score up to {certificate.bound:.4g} (raise the budget)"
