"""Code: what selecting among samples by tests gains over greedy, on the pocket task `code`.

The prompt is a line of specification and the head of a function. Each item has six tests. The selections that run
programs are given the first two, as a user would who knows two examples; the text chosen is scored by the other four (1
if it passes all). The pocket models were not trained on prompts that show examples and fall apart on them (greedy of
pocket-nano falls from 0.82 to 0.01), so the examples are given to the stage, `tests(cases=[...])`, not to the model.

    python benchmarks/code_selection.py           200 items, 16 samples: minutes, most of them in the sandbox
    python benchmarks/code_selection.py --model pocket-small --json

Intervals are 95 %; the differences to greedy are paired by item.
"""

from __future__ import annotations

import argparse
import json
import statistics
import warnings
from dataclasses import replace
from typing import Any

import decodelab as dl
from decodelab.core.notices import NoTests
from decodelab.core.protocols import Question
from decodelab.core.values import Candidate, Generation
from decodelab.metrics.mean import mean
from decodelab.metrics.paired import paired_difference
from decodelab.pocket import code
from decodelab.pocket.item import Item

SHOWN = 2
"""Tests of an item that selections are given."""
LIMIT = 64


def score(item: Item, candidate: Candidate) -> float:
    """1 if the text passes the tests that no selection was given."""
    return code.grade(replace(item, meta={**item.meta, "tests": item.meta["tests"][SHOWN:]}), candidate.text)


def calls(item: Item) -> list[tuple[str, str]]:
    """The calls of the tests that selections are given, and what they give."""
    return [(f"f({', '.join(map(repr, args))})", repr(wanted)) for args, wanted in item.meta["tests"][:SHOWN]]


def chosen(item: Item, drawn: Generation) -> dict[str, float]:
    """The score of what each selection takes."""
    tests = dl.Tests(cases=[f"{call} == {wanted}" for call, wanted in calls(item)])
    outputs = dl.Tests(cases=[call for call, _ in calls(item)])
    question = Question.of(drawn.prompt, drawn.prompt_tokens)
    selections: dict[str, Any] = {
        "vote(answer=text)": dl.Vote(answer="text"),
        "best_of": dl.BestOf(),
        "tests, outputs only": outputs,
        "tests, two examples": tests,
    }
    scores = [score(item, c) for c in drawn.candidates]
    found = {name: score(item, stage.rank(drawn.candidates, question)[0][0]) for name, stage in selections.items()}
    return {"one sample": statistics.mean(scores), **found, "any": max(scores)}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pocket-nano", help="model that writes (default pocket-nano)")
    parser.add_argument("--items", type=int, default=200, help="items (default 200)")
    parser.add_argument("--samples", type=int, default=16, help="samples of each item (default 16)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args()
    warnings.simplefilter("ignore", NoTests)
    items = [code.generate(seed, "test") for seed in range(given.items)]
    prompts = [item.prompt for item in items]
    greedy = dl.generate(given.model, prompts, "greedy", max_new_tokens=LIMIT)
    drawn = dl.generate(given.model, prompts, f"temperature=0.8 | sample(n={given.samples})", max_new_tokens=LIMIT)
    scores: dict[str, list[float]] = {"greedy": [score(i, g.best) for i, g in zip(items, greedy, strict=True)]}
    for item, generation in zip(items, drawn, strict=True):
        for name, value in chosen(item, generation).items():
            scores.setdefault(name, []).append(value)
    if given.json:
        print(json.dumps({"model": given.model, "items": given.items, "samples": given.samples, **scores}, indent=2))
        return 0
    print(f"{given.model}, {given.items} items, {given.samples} samples at temperature 0.8")
    for name, values in scores.items():
        print(f"    {name:22} {mean(values)}   against greedy: {paired_difference(values, scores['greedy'])}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
