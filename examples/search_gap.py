"""How far greedy search and beams of the pocket models end below the most probable sequence.

    python examples/search_gap.py --items 20 --budget 2000

Held-out items of three tasks: sums and multiple choice, whose answers are short and nearly certain, and stories after
their first sentence, which can go on in many ways: their next 12 tokens, and up to 32. The optimum is searched for by
A*; what the budget leaves open is shown as a bound. Nothing is random. Some minutes on one core.
"""

import argparse
import json

import decodelab as dl
from decodelab.analysis.gap import Gap, measure_gap
from decodelab.cli.progress import progress
from decodelab.engine.threads import threads_for
from decodelab.pocket import task

TASKS = (("sums", 64), ("choice", 32), ("stories", 12), ("stories", 32))
"""Tasks, and how many new tokens each has room for."""

MODELS = ("pocket-nano", "pocket-small")
WIDTHS = (1, 3, 10, 25)


def prompts(name: str, items: int) -> list[str]:
    """The first held-out prompts of a task that differ; of a story with its first sentence."""
    found: list[str] = []
    number = 0
    while len(found) < items:
        item = task(name).generate(number, "test")
        first = item.reference.partition(".")[0] + "." if name == "stories" else ""
        if item.prompt + first not in found:
            found.append(item.prompt + first)
        number += 1
    return found


def rows(gap: Gap, name: str) -> list[str]:
    """Lines of the table, one for each search."""
    return [
        f"| {gap.model} | {name}, {gap.max_new_tokens} | {'greedy' if s.width == 1 else f'beam {s.width}'} "
        f"| {s.below}/{s.prompts} | {max(s.mean_gap, 0.0):.3f} | {max(s.mean_gap_bound, 0.0):.3f} "
        f"| {max(s.worst_gap, 0.0):.3f} "
        f"| {s.shorter} | {s.empty} | {s.forward_tokens:.0f} |"
        for s in gap.summaries()
    ]


def main() -> None:
    """Measure every task of every model and print one table."""
    parser = argparse.ArgumentParser(description="How far the pocket models' searches end below the optimum.")
    parser.add_argument("--items", type=int, default=20, help="prompts of each task")
    parser.add_argument("--budget", type=int, default=2000, help="prefixes looked at for a prompt")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON document")
    options = parser.parse_args()
    if options.items < 1 or options.budget < 1:
        parser.error("--items and --budget must be at least 1")
    found: list[tuple[str, Gap]] = []
    with progress(len(MODELS) * len(TASKS), "searching") as advance:
        for name in MODELS:
            model = dl.load(name)
            with threads_for(model):
                for what, room in TASKS:
                    first = len(found)
                    gap = measure_gap(
                        model,
                        prompts(what, options.items),
                        widths=WIDTHS,
                        budget=options.budget,
                        limits={"max_new_tokens": room},
                        report=lambda done, first=first: advance(first + done, "searching"),
                    )
                    found.append((what, gap))
    if options.json:
        print(json.dumps([{"task": what, **gap.to_dict()} for what, gap in found], indent=2))
        return
    print("| model | task | search | below | mean gap | bound | worst | shorter | empty | forward |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for what, gap in found:
        print("\n".join(rows(gap, what)))
    print()
    for what, gap in found:
        seen = sum(case.evaluated for case in gap.cases) / len(gap.cases)
        print(
            f"{gap.model}, {what}, at most {gap.max_new_tokens} tokens: optimum proved for {gap.proved} of "
            f"{len(gap.cases)}, {seen:.0f} prefixes a prompt"
        )


if __name__ == "__main__":
    main()
