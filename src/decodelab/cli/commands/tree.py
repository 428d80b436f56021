"""`decodelab tree`: the hypotheses of a search as a tree: kept, dropped, and never expanded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from decodelab.cli import options
from decodelab.cli.commands.trace import check_files
from decodelab.cli.progress import progress
from decodelab.cli.terminal import note, print_json, say, stop_interrupted
from decodelab.core.errors import InvalidParameter
from decodelab.core.notices import notes
from decodelab.engine.progress import TokensDone
from decodelab.engine.threads import threads_for
from decodelab.io.atomic import write_text
from decodelab.io.text import printable
from decodelab.report.console import console


def command(
    prompt: options.OnePromptOptions = options.OnePromptOptions(),
    model: options.Model = "pocket-small",
    strategy: options.Strategy = "beam(width=3, n=3)",
    ends: options.LimitOptions = options.LimitOptions(max_new_tokens=12),
    seed: options.Seed = 0,
    pruned: Annotated[
        int, typer.Option(metavar="N", help="Show this many of the most probable continuations dropped at each step.")
    ] = 2,
    nodes: Annotated[
        int, typer.Option(metavar="N", help="Show at most this many nodes, not counting those of the candidates.")
    ] = 2000,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the tree as an image.")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with the tree and its numbers.")
    ] = None,
    device: options.DeviceOptions = options.DeviceOptions(),
    as_json: options.AsJson = False,
) -> None:
    """Draw the hypotheses of a search as a tree.

    Every branch that was kept, dropped later or never expanded, with its log-probability under the processed
    distribution; the candidates returned; and the number of continuations ranked at each step.

    \b
    Examples:
      decodelab tree "Once upon a time," -s "beam(width=3, n=3)"
      decodelab tree "What is 27 + 35?" -s "beam(width=4)" --max-new-tokens 30 --html tree.html
      decodelab tree "Once upon a time," -s "sample(n=4)" --pruned 0 --svg tree.svg

    Next: decodelab trace shows each step of a text; decodelab strategies lists all searches.
    """
    if pruned < 0:
        raise InvalidParameter(f"--pruned must be at least 0, got {pruned}; 0 shows no dropped continuations")
    if nodes < 1:
        raise InvalidParameter(f"--nodes must be at least 1, got {nodes}; it is the largest number of nodes shown")
    request = prompt.request()
    written = {"svg": svg, "html": html}
    check_files(written)
    limits = ends.limits(prompt.escapes)

    from decodelab.analysis.search_tree import TreeRecorder
    from decodelab.engine.generate import generate, was_interrupted
    from decodelab.strategy.strategy import Strategy

    plan = Strategy.of(strategy)
    lm = device.load(model)
    recorder = TreeRecorder(lm.vocab, pruned, nodes)
    with notes() as said, threads_for(lm), progress(ends.max_new_tokens, f"searching {strategy}") as advance:
        watch = TokensDone(lambda tokens: advance(tokens, f"searching {strategy}"))
        found = generate(lm, [request], plan, seed=seed, observers=[watch, recorder], **limits)
    interrupted = was_interrupted(found, 1)
    for message in said:
        note(message)
    trees = [recorder.hypotheses(strategy, generation) for generation in found]
    for tree in trees:
        if svg is not None or html is not None:
            from decodelab.report.tree.svg import to_html, to_svg

            if svg is not None:
                write_text(svg, to_svg(tree))
            if html is not None:
                write_text(html, to_html(tree))
    if as_json:
        print_json(
            {
                "model": lm.name,
                "model_digest": lm.digest,
                "prompt": found[0].prompt if found else None,
                "prompt_tokens": found[0].prompt_tokens if found else None,
                "seed": seed,
                "limits": limits,
                "notes": said,
                "interrupted": interrupted,
                "files": {kind: None if file is None else str(file.resolve()) for kind, file in written.items()},
                "tree": trees[0].to_dict() if trees else None,
            }
        )
    else:
        from decodelab.report.tree.text import print_tree

        for tree in trees:
            print_tree(tree, console())
            for file in written.values():
                if file is not None:
                    say(f"wrote {printable(str(file))}")
    if interrupted:
        stop_interrupted("the output covers the steps that were finished")
