"""`decodelab demo`: the comparison a newcomer sees first, with answers marked right or wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from decodelab.cli import options
from decodelab.cli.commands.compare import HTML, MODELS, STRATEGIES, HtmlFile, NoHtml, run, show

if TYPE_CHECKING:
    from decodelab.bench.run.comparison import Question

ASKED = {"stories": ("story", 0), "sums": ("sum", 4), "paths": ("shortest path", 5), "choice": ("choice", 3)}
"""Task of the pocket language: what to call its question, and which one of the held-out split.

Chosen for what they ask (carries, a detour that pays off, facts given in the question), not for the results."""

INTRODUCTION = """\
Two small models, which ship with decodelab, answer four questions that neither has seen, under eight decoding
strategies. An answer is right if its number, paths or letter are right; a story, if it is complete and consistent."""


def command(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            show_default=" and ".join(MODELS),
            help="A model that knows the pocket language; may be repeated.",
        ),
    ] = None,
    max_new_tokens: options.MaxNewTokens = 160,
    seed: options.Seed = 0,
    html: HtmlFile = HTML,
    no_html: NoHtml = False,
    as_json: options.AsJson = False,
) -> None:
    """Two small models, eight strategies, four tasks.

    Asks for a story, a sum, a shortest path and a multiple-choice answer that the models did not see in training, and
    marks each answer as right or wrong, so that you see which strategies find a right one.

    \b
    Examples:
      decodelab demo
      decodelab demo --seed 1 --html demo.html

    \b
    Next:
      decodelab compare "What is 27 + 35?"        compare the same strategies on your own prompt
      decodelab strategies                        list all strategies
    """
    from decodelab.core.values import Limits

    chosen = None if no_html else html
    found = run(
        model or MODELS,
        STRATEGIES,
        questions(),
        limits=Limits(max_new_tokens),
        seed=seed,
        html=chosen,
    )
    if not as_json and model is None:
        typer.echo(f"{INTRODUCTION}\n")
    show(found, chosen, as_json)


def questions() -> list[Question]:
    """The four questions, from the test split of the pocket language, with what grades them."""
    from decodelab.bench.run.comparison import Question
    from decodelab.tasks.pocket import Pocket

    tasks = {name: Pocket(name) for name in ASKED}
    return [Question(tasks[name].generate(number), title, tasks[name]) for name, (title, number) in ASKED.items()]
