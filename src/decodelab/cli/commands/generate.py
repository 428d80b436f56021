"""`decodelab generate`: continue prompts with one strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from decodelab.cli import options
from decodelab.cli.progress import progress
from decodelab.cli.terminal import first_of, note, on_terminal, print_json, say, stop_interrupted
from decodelab.core.notices import notes
from decodelab.engine.progress import TokensDone
from decodelab.engine.threads import threads_for
from decodelab.io.atomic import check_writable, write_text
from decodelab.io.json import json_text
from decodelab.io.text import printable, printable_lines
from decodelab.report.number import fixed

if TYPE_CHECKING:
    from decodelab.backends.texts import TextModel
    from decodelab.core.protocols import LanguageModel
    from decodelab.core.values import Candidate, Certificate, Chat, Generation
    from decodelab.strategy.strategy import Strategy


def command(
    prompts: options.PromptOptions = options.PromptOptions(),
    model: options.Model = "pocket-small",
    strategy: options.Strategy = "default",
    ends: options.LimitOptions = options.LimitOptions(),
    seed: options.Seed = 0,
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--no-stream",
            show_default=False,
            help="Print text as it is generated; the default on a terminal for one prompt and one sequence.",
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print the effective strategy, stage by stage, on stderr first.")
    ] = False,
    literal: Annotated[
        bool, typer.Option("--literal", help="Read names of special tokens in prompts, such as </s>, as text.")
    ] = False,
    skip_too_long: options.SkipTooLong = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the JSON document to a file.")] = None,
    max_rows: options.MaxRows = 64,
    device: options.DeviceOptions = options.DeviceOptions(),
    as_json: options.AsJson = False,
) -> None:
    """Continue prompts with a strategy.

    Text goes to stdout, everything else to stderr. Control characters are shown as escapes; --json has the exact text.

    \b
    Examples:
      decodelab generate "Once upon a time,"
      decodelab generate "What is 27 + 35?" -s greedy --explain
      decodelab generate "Once upon a time," -s "temperature=0.8 | top_p=0.9 | sample(n=4)" --seed 7
      decodelab generate --model ./my-model --strategy greedy --max-new-tokens 200 --json
      decodelab generate "2 + 3 =" -m vllm:http://127.0.0.1:8000/v1#tiny -s top_k=5 --explain

    Next: decodelab compare shows strategies side by side; decodelab strategies lists all stages.
    """
    requests, fields = prompts.read()
    limits = ends.limits(prompts.escapes)
    if out is not None:
        check_writable(out)

    from decodelab.backends.catalogue import text_model
    from decodelab.engine.generate import was_interrupted
    from decodelab.strategy.strategy import Strategy

    asked = Strategy.of(strategy)
    remote = text_model(model)
    if remote is None:
        run = _here(device.load(model), requests, asked, limits, seed, stream, explain and not as_json, skip_too_long,
                    max_rows, literal, as_json)  # fmt: skip
    else:
        if stream:
            note("not streaming: texts of servers are printed when they are finished")
        run = _there(remote, requests, asked, limits, seed, explain and not as_json, skip_too_long)
    found, left_out, said = run.found, run.left_out, run.said
    interrupted = was_interrupted(found, len(requests) - len(left_out))
    said += first_of([message for g in found if (message := _duplicates(g))], "prompts with such candidates")
    said += first_of([f"{reason}; left out" for reason in left_out.values()], "prompts")
    if left_out:
        said.append(f"{len(left_out)} of {len(requests)} prompts were too long and left out")
    for message in said:
        note(message)
    document = {
        "model": run.model,
        "model_digest": run.digest,
        "strategy": str(asked),
        "effective_strategy": run.effective,
        "explanation": run.explanation if explain else None,
        "seed": seed,
        "limits": limits,
        "notes": said,
        "interrupted": interrupted,
        "left_out": [{"index": i, "why": reason} for i, reason in left_out.items()],
        "generations": [with_fields(g.to_dict(), fields[g.index]) for g in found],
    }
    if out is not None:
        write_text(out, json_text(document) + "\n")
    if as_json:
        print_json(document)
    elif not run.streamed:
        _print_texts(found)
    if found and not as_json:
        say(_summary(found))
    if interrupted:
        stop_interrupted(f"{len(found)} of {len(requests) - len(left_out)} prompts were started")


@dataclass(frozen=True)
class _Run:
    """What came of a command.

    Attributes:
        model, digest: its name, and what is known of it.
        effective, explanation: the strategy as it was used, and what it does.
        found: the generations; their indices are those of the prompts as they were given.
        left_out: the prompts that are too long, and why.
        said: notes.
        streamed: whether the texts have been printed.
    """

    model: str
    digest: str
    effective: str
    explanation: str
    found: list[Generation]
    left_out: dict[int, str]
    said: list[str]
    streamed: bool = False


def _here(
    lm: LanguageModel,
    requests: Sequence[str | Chat],
    asked: Strategy,
    limits: dict[str, Any],
    seed: int,
    stream: bool | None,
    explain: bool,
    skip_too_long: bool,
    max_rows: int,
    literal: bool,
    as_json: bool,
) -> _Run:
    """Generate with a local model, streaming where that is wanted and possible."""
    from decodelab.engine.generate import generate, too_long
    from decodelab.engine.streaming import TextStream

    plan = asked.resolve(lm)
    explanation = asked.explain(lm)
    if explain:
        say(printable_lines(explanation))
    left_out = too_long(lm, requests, plan, limits, literal) if skip_too_long else {}
    places = [i for i in range(len(requests)) if i not in left_out]
    kept = [requests[i] for i in places]
    revises = plan.selection is not None or plan.runner == "tree" or plan.in_rounds is not None
    one_row = len(kept) == 1 and plan.search.peak_rows == 1 and not revises
    if stream and not one_row:
        note("not streaming: that needs one prompt and a strategy of one sequence; the text is printed at the end")
    streams = one_row and not as_json and (on_terminal() if stream is None else stream)
    work = len(kept) * limits["max_new_tokens"]
    with notes() as said, threads_for(lm), progress(work, "generating", hidden=streams) as advance:
        observer = (
            TextStream(
                lm.vocab,
                lambda _g, _s, text: typer.echo(printable_lines(text), nl=False),
                stop=limits["stop"],
                stops=plan.stops,
            )
            if streams
            else TokensDone(lambda done: advance(done, "generating"))
        )
        found = generate(lm, kept, plan, seed=seed, observers=[observer], max_rows=max_rows, literal=literal, **limits)
    if streams:
        typer.echo()
    found = [replace(g, index=places[g.index]) for g in found]
    return _Run(lm.name, lm.digest, str(plan), explanation, found, left_out, said, streams)


def _there(
    remote: TextModel,
    requests: Sequence[str | Chat],
    asked: Strategy,
    limits: dict[str, Any],
    seed: int,
    explain: bool,
    skip_too_long: bool,
) -> _Run:
    """Generate with a server's model."""
    from decodelab.backends.generating import continued
    from decodelab.backends.texts import TextJob
    from decodelab.core.values import Limits

    ends = Limits(**limits)
    explanation = f"{asked.explain()}\n{remote.request(TextJob(0, requests[0], asked, ends, seed))}"
    if explain:
        say(printable_lines(explanation))
    left_out: dict[int, str] = {}
    work = len(requests) * ends.max_new_tokens
    with notes() as said, progress(work, "generating") as advance:
        observer = TokensDone(lambda done: advance(done, "generating"))
        found = continued(remote, requests, asked, ends, seed, [observer], left_out=left_out if skip_too_long else None)
    digest = found[0].model_digest if found else remote.digest
    effective = found[0].strategy if found else str(asked)
    return _Run(remote.name, digest, effective, explanation, found, left_out, said)


def with_fields(generation: dict[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """A generation with the fields of the row of its prompt; those named like one of its own are under `input`.

    >>> with_fields({"index": 0, "seed": 1}, {"id": "q7", "seed": "oak"})
    {'id': 'q7', 'seed': 1, 'index': 0, 'input': {'seed': 'oak'}}
    """
    clashing = {name: value for name, value in fields.items() if name in generation or name == "input"}
    return {**fields, **generation} | ({"input": clashing} if clashing else {})


def _duplicates(generation: Generation) -> str | None:
    """A note on candidates with the same text in different tokens."""
    if not generation.duplicates:
        return None
    places = "; ".join(" and ".join(str(i + 1) for i in same) for same in generation.duplicates)
    return (
        f"{_prompt(generation)}: candidates {places} have the same text in different tokens "
        "(beam(dedupe=text) keeps each text once)"
    )


def _print_texts(found: Sequence[Generation]) -> None:
    """Print one text as it is, and several under headings, as `head` does with files."""
    texts = [(g, i, c) for g in found for i, c in enumerate(g.candidates, 1)]
    if len(texts) == 1:
        typer.echo(printable_lines(texts[0][2].text))
        return
    for at, (generation, rank, candidate) in enumerate(texts):
        gap = "\n" if at else ""
        typer.echo(f"{gap}==> {_heading(generation, rank, candidate)} <==\n{printable_lines(candidate.text)}")


def _heading(generation: Generation, rank: int, candidate: Candidate) -> str:
    place = f", {rank} of {len(generation.candidates)}" if len(generation.candidates) > 1 else ""
    end = ", interrupted" if candidate.finish_reason == "interrupted" else ""
    return f"{_prompt(generation)}{place}{end}"


def _prompt(generation: Generation) -> str:
    text = printable(generation.prompt)
    return (text if len(text) <= 60 else text[:57] + "...") or "(empty)"


def _summary(found: Sequence[Generation]) -> str:
    """One line: the cost of a run and, for a single prompt, the probability of its best candidate."""
    tokens = sum(len(c.tokens) for g in found for c in g.candidates) or sum(g.cost.decode_tokens for g in found)
    seconds = max(g.cost.seconds for g in found)
    forward = sum(g.cost.forward_tokens for g in found)
    cost = f"{tokens} tokens in {seconds:.1f} s ({tokens / max(seconds, 1e-9):.0f}/s), {forward} forward tokens"
    proposed = sum(g.cost.proposed for g in found)
    if proposed:
        cost += f", {sum(g.cost.accepted for g in found)} of {proposed} proposed tokens accepted"
    if len(found) > 1:
        return f"{len(found)} prompts: {cost}"
    best = found[0].best
    if not best.token_logprobs:
        return f"{cost}; best: no log-probabilities known, ended by {best.finish_reason}"
    return (
        f"{cost}; best: log-probability {fixed(best.logprob, 2)}, perplexity {best.perplexity:.2f}, "
        f"ended by {best.finish_reason}{_proof(found[0].certificate)}"
    )


def _proof(certificate: Certificate | None) -> str:
    """What an exact search proves about better sequences, if anything."""
    if certificate is None:
        return ""
    if certificate.proved:
        return f"; proved optimal after evaluating {certificate.evaluated} prefixes"
    return f"; not proved optimal: another sequence may score up to {certificate.bound:.4g} (raise the budget)"
