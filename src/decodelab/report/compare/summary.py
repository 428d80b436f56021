"""A comparison on the terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from decodelab.io.text import printable, printable_lines
from decodelab.report.console import print_table
from decodelab.report.number import fixed

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from decodelab.bench.run.comparison import Comparison, Measured, Result

_LINES = 3
_NUMBERS = ("log p", 9), ("ppl", 8), ("dist-2", 7), ("tokens", 7), ("passes", 7), ("forward", 8)
LEGEND = (
    "log p: log-probability under the model (nats). ppl: perplexity. dist-2: share of distinct token pairs. "
    "passes: forward passes it took part in. forward: token positions computed if it ran alone."
)


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print every text with its numbers, question by question, then a table over all questions."""
    from rich.rule import Rule
    from rich.text import Text

    console.print(Text(LEGEND, "dim"))
    for number, (question, results) in enumerate(zip(comparison.questions, comparison.results, strict=True), 1):
        console.print()
        title = f"prompt {number} of {len(comparison.questions)}{': ' if question.title else ''}{question.title}"
        console.print(Rule(Text(title, "bold"), align="left", style="dim"))
        console.print(Text(textwrap.indent(printable_lines(question.text) or "(empty: begins with BOS)", "  ")))
        for model in comparison.models:
            _print_model(model, [r for r in results if r.model == model], console)
    if len(comparison.questions) > 1:
        console.print()
        print_table(_overview(comparison), console)
    console.print()
    for line in together(comparison):
        console.print(Text(line, "dim"))


def _print_model(model: str, results: Sequence[Result], console: Console) -> None:
    from rich.text import Text

    # The first column gets what the numbers leave, so that lines fit and columns stand below each other.
    first = max(20, min(40, console.width - sum(width for _, width in _NUMBERS) - 13))
    called = printable(model)
    console.print()
    if len(called) >= first:
        console.print(Text(called, "bold cyan", overflow="fold"))
        called = ""
    heading = Text(f"{called:<{first}}", "bold cyan")
    heading.append("".join(f"{name:>{width}}" for name, width in _NUMBERS) + "  end", "dim")
    console.print(heading, no_wrap=True, crop=False)
    for result in results:
        for rank, answer in enumerate(result.answers, 1):
            name = result.strategy if len(result.answers) == 1 else f"{result.strategy} {rank}/{len(result.answers)}"
            shown = f"  {printable(name)}"
            if len(shown) >= first:  # a name that is cut may look like another
                lines = textwrap.fill(shown.strip(), console.width, initial_indent="  ", subsequent_indent="    ")
                console.print(Text(lines, "bold"))
                shown = ""
            console.print(_numbers(shown, result, answer, first), no_wrap=True, crop=False)
            console.print(Text(_excerpt(answer.candidate.text, console.width - 4)))


def _numbers(shown: str, result: Result, answer: Measured, first: int) -> Text:
    from rich.text import Text

    candidate = answer.candidate
    values = (
        "-" if math.isnan(candidate.logprob) else fixed(candidate.logprob, 2),
        short(candidate.perplexity),
        short(answer.distinct_2),
        str(len(candidate.tokens) or len(candidate.token_logprobs)) if candidate.token_logprobs else "-",
        str(result.generation.cost.forward_passes),
        str(result.forward_tokens),
    )
    line = Text(f"{shown:<{first}}", "bold")
    line.append("".join(f"{v:>{width}}" for v, (_, width) in zip(values, _NUMBERS, strict=True)), "not bold")
    line.append(f"  {candidate.finish_reason}", "yellow" if candidate.finish_reason == "interrupted" else "not bold")
    if answer.grade is not None:
        line.append(f"  {verdict(answer.grade)}", "green" if answer.grade == 1 else "red")
    return line


def verdict(grade: float) -> str:
    """How right an answer is, in a word.

    >>> verdict(1.0), verdict(0.0), verdict(0.5)
    ('right', 'wrong', '50% right')
    """
    return "right" if grade == 1 else "wrong" if grade == 0 else f"{grade:.0%} right"


def short(number: float) -> str:
    """A perplexity or a share in a few characters.

    >>> short(12.182), short(float("nan"))
    ('12.18', '-')
    """
    return "-" if math.isnan(number) else fixed(number, 2) if number < 10_000 else f"{number:.1e}"


def _excerpt(text: str, width: int) -> str:
    """A text on a few lines, newlines as a sign; of a long one the beginning and the end, where answers stand."""
    line = " ⏎ ".join(part.strip() for part in printable(text.strip(), keep="\n").split("\n"))
    lines = textwrap.wrap(line, width) or ["(no text)"]
    if len(lines) > _LINES:
        end = line[-(width - 2) :]
        # The last words that fit on a line; all of one word that does not.
        lines = [*lines[: _LINES - 1], f"… {end.partition(' ')[2] or end}"]
    return textwrap.indent("\n".join(lines), "    ")


def _overview(comparison: Comparison) -> Table:
    """Model by strategy: means over the questions, and which answers are right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("over all prompts", overflow="fold", min_width=16)
    for heading in ("ppl", "dist-2", "passes", "forward"):
        table.add_column(heading, justify="right", no_wrap=True)
    graded = [(i, q) for i, q in enumerate(comparison.questions) if q.task is not None]
    for i, question in graded:
        title = printable(question.title) or f"prompt {i + 1}"
        table.add_column(Text(title), justify="right", min_width=min(10, max(map(len, title.split()))))
    for model in comparison.models:
        table.add_row(Text(printable(model), "bold cyan"))
        for strategy in comparison.strategies:
            mine = results_of(comparison, model, strategy)
            if not any(mine):
                continue
            row = [Text(f"  {printable(strategy)}"), *map(Text, means_over([r for rs in mine for r in rs]))]
            row += [_marks([a for r in mine[i] for a in r.answers]) for i, _ in graded]
            table.add_row(*row)
        table.add_section()
    return table


def results_of(comparison: Comparison, model: str, strategy: str) -> list[list[Result]]:
    """The results of one strategy of one model, for each question."""
    return [[r for r in results if (r.model, r.strategy) == (model, strategy)] for results in comparison.results]


def together(comparison: Comparison) -> list[str]:
    """How fast each model ran everything, in a line each."""
    return [
        f"{printable(s.model)}: {s.new_tokens:,} new tokens in {s.seconds:.1f} s, all strategies and prompts together: "
        f"{s.tokens_per_second:,.0f} tok/s"
        for s in comparison.speeds
    ]


def means_over(results: Sequence[Result]) -> tuple[str, str, str, str]:
    """Perplexity a token, distinct-2, forward passes and forward tokens over the answers of several questions."""
    from decodelab.metrics import perplexity

    answers = [a for r in results for a in r.answers]
    distinct = [a.distinct_2 for a in answers if not math.isnan(a.distinct_2)]
    return (
        # One perplexity over all tokens, not a mean of perplexities, which one wild answer would rule.
        short(perplexity(lp for a in answers for lp in a.candidate.token_logprobs)),
        short(math.fsum(distinct) / len(distinct) if distinct else math.nan),
        str(sum(r.generation.cost.forward_passes for r in results)),
        str(sum(r.forward_tokens for r in results)),
    )


def _marks(answers: Sequence[Measured]) -> Text:
    from rich.text import Text

    grades = [a.grade for a in answers if a.grade is not None]
    if len(grades) != 1:
        return Text(f"{sum(g == 1 for g in grades)}/{len(grades)}" if grades else "-")
    return Text(verdict(grades[0]), "green" if grades[0] == 1 else "red")
