"""What models made of models, and contrastive search, do to a model's answers and stories.

    python examples/compositions_table.py --model pocket-small --items 50

One row a strategy, all greedy but the last: the share of held-out items of the pocket language that it solves, and of
stories how many different word pairs they have and how probable the model by itself finds them. Differences to greedy
are paired by item, with 95 % intervals. Nothing is random. Some minutes on one core.
"""

import argparse
import json
from collections.abc import Callable

import decodelab as dl
from decodelab.cli.progress import progress
from decodelab.core.protocols import LanguageModel
from decodelab.engine.progress import TokensDone
from decodelab.metrics import distinct_n, mean, paired_difference
from decodelab.pocket import Item, task

TASKS = {"sums": 90, "choice": 40, "instructions": 40, "stories": 130}
"""Tasks of the pocket language, and the tokens an answer may have."""

STRATEGIES = (
    "greedy",
    "contrast(amateur=pocket-nano, beta=0.5) | greedy",
    "contrast(amateur=pocket-nano, beta=none) | greedy",
    "dola(layers=high) | greedy",
    "dola(layers=high) | repetition_penalty=1.2 | greedy",
    "guidance(scale=1.25) | greedy",
    "guidance(scale=1.5) | greedy",
    "mix(models=[pocket-nano]) | greedy",
    "mix(models=[pocket-nano], space=logits) | greedy",
    "contrastive_search(k=4, alpha=0.2)",
    "contrastive_search(k=4, alpha=0.6)",
)


def measured(
    model: LanguageModel, strategy: str, items: dict[str, list[Item]], report: Callable[[int], None]
) -> dict[str, list[float]]:
    """The value of every item under every measure; `report` is told how many tokens are done."""
    found: dict[str, list[float]] = {}
    before = 0
    for name, asked in items.items():
        prompts = [item.prompt for item in asked]
        watch = TokensDone(lambda done, before=before: report(before + done))
        made = dl.generate(model, prompts, strategy, max_new_tokens=TASKS[name], observers=[watch])
        before += len(asked) * TASKS[name]
        pairs = list(zip(asked, made, strict=True))
        found[f"{name} solved"] = [task(name).grade(item, generation.best.text) for item, generation in pairs]
        if name == "stories":
            found["distinct-2"] = [distinct_n([generation.best.text.split()], 2) for generation in made]
            scores = dl.score_many(model, [(g.prompt_tokens, g.best.tokens) for g in made])
            found["log p per token"] = [score.mean_logprob for score in scores]
    return found


def shown(strategy: str, row: dict[str, dict[str, dict[str, float]]]) -> str:
    """A row of a Markdown table."""
    name = strategy.replace("|", r"\|")
    cells = [f"`{name}`"]
    for cell in row.values():
        text = f"{cell['mean']['value']:.2f}"
        if "difference" in cell and not cell["difference"]["low"] <= 0 <= cell["difference"]["high"]:
            text += f" ({cell['difference']['value']:+.2f})"
        cells.append(text)
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What models made of models do to answers and stories.")
    parser.add_argument("--model", default="pocket-small", help="a model that knows the pocket language")
    parser.add_argument("--items", type=int, default=50, help="held-out items of each task, at least 2")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    options = parser.parse_args()
    if options.items < 2:
        parser.error(f"--items must be at least 2, got {options.items}")

    model = dl.load(options.model)
    items = {name: [task(name).generate(i, "test") for i in range(options.items)] for name in TASKS}
    # Stories of one prompt are all alike: the first sentence goes into it.
    for i, item in enumerate(items["stories"]):
        first = item.reference.partition(".")[0] + "."
        items["stories"][i] = Item(item.task, item.prompt + first, item.reference.removeprefix(first), item.meta)
    rows: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    base: dict[str, list[float]] = {}
    size = options.items * sum(TASKS.values())
    with progress(size * len(STRATEGIES), "decoding") as advance:
        for number, strategy in enumerate(STRATEGIES):
            found = measured(model, strategy, items, lambda done, n=number, s=strategy: advance(n * size + done, s))
            base = base or found
            rows[strategy] = {
                name: {"mean": mean(values).to_dict()}
                | ({"difference": paired_difference(values, base[name]).to_dict()} if base is not found else {})
                for name, values in found.items()
            }
    if options.json:
        print(json.dumps({"model": model.name, "items": options.items, "rows": rows}))
        return
    print(f"{model.name}, {options.items} items of each task; in brackets what differs from greedy beyond chance:\n")
    print(f"| strategy | {' | '.join(base)} |")
    print(f"|---|{'---|' * len(base)}")
    for strategy, row in rows.items():
        print(shown(strategy, row))


if __name__ == "__main__":
    main()
