"""What searches that know more than the model's probabilities gain over a beam of the same width.

    python examples/search_table.py --model pocket-nano --items 100

Three tables, all on held-out items of the pocket language: shortest paths under a beam guided by the cost of its paths,
functions under a beam whose hypotheses must stay valid Python, and how different the stories of a diverse beam are.
Nothing is random. Differences to the beam are paired by item, with 95 % intervals. Some minutes on one core.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import decodelab as dl
from decodelab.cli.progress import progress
from decodelab.core.events import Observer
from decodelab.core.protocols import LanguageModel
from decodelab.core.values import Generation
from decodelab.engine.progress import TokensDone
from decodelab.metrics import distinct_n, mean, paired_difference, self_bleu
from decodelab.pocket import Item, task
from decodelab.pocket.stories import opening

Measure = Callable[[Item, Generation], float]


@dataclass(frozen=True)
class Table:
    """One task under several strategies; the first is what the others are compared with."""

    task: str
    strategies: tuple[str, ...]
    measures: dict[str, Measure]
    max_new_tokens: int


def solved(item: Item, generation: Generation) -> float:
    """How right the best candidate is, 0 to 1."""
    return task(item.task).grade(item, generation.best.text)


def distinct_2(item: Item, generation: Generation) -> float:
    """Different word pairs among all of the candidates."""
    return distinct_n([c.text.split() for c in generation.candidates], 2)


def likeness(item: Item, generation: Generation) -> float:
    """Self-BLEU of the candidates, 0 to 100."""
    return self_bleu([c.text for c in generation.candidates])


def mean_logprob(item: Item, generation: Generation) -> float:
    """Log-probability a token under the model, mean over the candidates, in nats."""
    return sum(c.logprob / len(c.tokens) for c in generation.candidates) / len(generation.candidates)


TABLES = (
    Table(
        "paths",
        ("beam(width=4)", "value_beam(width=4, scorer=path_cost)", "greedy"),
        {"solved": solved},
        360,
    ),
    Table(
        "code",
        (
            "beam(width=4)",
            "check=python | beam(width=4)",
            "check(checker=linted_python, candidates=8) | beam(width=4, scores=model)",
            "greedy",
        ),
        {"solved": solved},
        120,
    ),
    Table(
        "stories",
        (
            "beam(width=8, n=8)",
            "diverse_beam(width=8, groups=4, n=8)",
            "diverse_beam(width=8, groups=8, penalty=2, n=8)",
        ),
        {"distinct-2": distinct_2, "self-BLEU": likeness, "log p per token": mean_logprob},
        60,
    ),
)


def rows_of(
    table: Table, model: LanguageModel, items: int, observer: Callable[[int], Observer]
) -> list[dict[str, object]]:
    """A row for each strategy: the mean of each measure, and its paired difference to the first strategy's."""
    asked = [task(table.task).generate(i, "test") for i in range(items)]
    if table.task == "stories":
        # Their prompts are all alike: the first sentence makes them differ.
        asked = [opening(item) for item in asked]
    first: dict[str, list[float]] = {}
    rows: list[dict[str, object]] = []
    for number, strategy in enumerate(table.strategies):
        found = dl.generate(
            model,
            [item.prompt for item in asked],
            strategy,
            max_new_tokens=table.max_new_tokens,
            observers=[observer(number)],
        )
        row: dict[str, object] = {"task": table.task, "strategy": strategy}
        for name, measure in table.measures.items():
            values = [measure(item, generation) for item, generation in zip(asked, found, strict=True)]
            base = first.setdefault(name, values)
            row[name] = mean(values).to_dict()
            row[f"{name}, difference"] = None if base is values else paired_difference(values, base).to_dict()
        rows.append(row)
    return rows


def shown(row: dict[str, object], measures: Sequence[str]) -> str:
    """A row of a Markdown table."""
    strategy = str(row["strategy"]).replace("|", r"\|")
    cells = [f"`{strategy}`"]
    for name in measures:
        value, difference = row[name], row[f"{name}, difference"]
        assert isinstance(value, dict)
        cells.append(f"{value['value']:.3f}")
        if isinstance(difference, dict):
            cells.append(f"{difference['value']:+.3f} ({difference['low']:+.3f} to {difference['high']:+.3f})")
        else:
            cells.append("")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="What guided, constrained and diverse beams gain over a beam.")
    parser.add_argument("--model", default="pocket-nano", help="a model that knows the pocket language")
    parser.add_argument("--items", type=int, default=100, help="held-out items of each task, at least 2")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    options = parser.parse_args()
    if options.items < 2:
        parser.error(f"--items must be at least 2, got {options.items}")

    model = dl.load(options.model)
    runs = [(table, options.items * table.max_new_tokens) for table in TABLES]
    found: list[list[dict[str, object]]] = []
    with progress(sum(size * len(table.strategies) for table, size in runs), "searching") as advance:
        done = 0
        for table, size in runs:

            def watch(number: int, table: Table = table, size: int = size, done: int = done) -> TokensDone:
                name = f"{table.task}: {table.strategies[number]}"
                return TokensDone(lambda tokens: advance(done + number * size + tokens, name))

            found.append(rows_of(table, model, options.items, watch))
            done += size * len(table.strategies)
    if options.json:
        print(
            json.dumps(
                {"model": options.model, "items": options.items, "rows": [row for rows in found for row in rows]},
                indent=2,
            )
        )
        return
    for table, rows in zip(TABLES, found, strict=True):
        heads = [f"{table.task}, {options.items} items", *(h for m in table.measures for h in (m, "difference (95 %)"))]
        print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
        for row in rows:
            print(shown(row, list(table.measures)))
        print()


if __name__ == "__main__":
    main()
