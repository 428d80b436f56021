"""`decodelab cost`: predict what strategies cost, without running them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from decodelab.cli import options
from decodelab.cli.terminal import note, print_json
from decodelab.core.notices import notes
from decodelab.io.text import printable
from decodelab.report.console import number_table, print_table

if TYPE_CHECKING:
    from rich.table import Table

    from decodelab.analysis.cost import Prediction

_ANEW = "  without a cache"


def command(
    strategy: options.Strategies = None,
    model: options.Model = "pocket-small",
    prompt_tokens: Annotated[int, typer.Option(metavar="N", help="Tokens per prompt.")] = 256,
    new_tokens: Annotated[int, typer.Option(metavar="N", help="Tokens per continuation.")] = 128,
    prompts: Annotated[int, typer.Option(metavar="N", help="Number of different prompts.")] = 1,
    acceptance: Annotated[
        float, typer.Option(metavar="P", help="Acceptance rate to assume for speculative decoding; 0 costs most.")
    ] = 0.0,
    max_rows: options.MaxRows = 64,
    device: options.DeviceOptions = options.DeviceOptions(),
    as_json: options.AsJson = False,
) -> None:
    """Predict what a strategy costs.

    Forward tokens, forward passes, floating-point operations and bytes of cache; and the same without a cache, which
    recomputes the whole sequence for every token. Nothing is run. For texts of exactly the given length, generate
    reports the same numbers; texts that end earlier cost less.

    \b
    Examples:
      decodelab cost -s greedy -s "sample(n=25)" -s "beam(width=25)"
      decodelab cost -s "beam(width=5)" -m pocket-nano --prompt-tokens 100 --new-tokens 20 --json
      decodelab cost -s "top_p=0.9 | sample(n=8)" --prompts 1000 --max-rows 256
      decodelab cost -s "greedy | speculative(draft=pocket-nano)" --acceptance 0.8

    Next: decodelab generate --json reports the cost of a run. docs/cost.md has the formulas.
    """
    from decodelab.analysis.cost import predict_cost
    from decodelab.strategy.strategy import Strategy

    plans = [Strategy.of(s) for s in dict.fromkeys(strategy or ["default"])]
    lm = device.load(model)
    with notes() as said:
        found = [
            predict_cost(
                lm,
                plan,
                prompt_tokens=prompt_tokens,
                new_tokens=new_tokens,
                prompts=prompts,
                max_rows=max_rows,
                acceptance=acceptance,
            )
            for plan in plans
        ]
    for message in dict.fromkeys([*said, *(m for prediction in found for m in prediction.notes)]):
        note(message)
    if as_json:
        print_json({"predictions": [prediction.to_dict() for prediction in found]})
        return
    many = f"{prompts:,} prompts of " if prompts > 1 else ""
    typer.echo(f"{printable(lm.name)}: {many}{prompt_tokens:,} prompt and {new_tokens:,} new tokens")
    print_table(_table(found))
    typer.echo(
        "forward: token positions computed, prompt + continuation. operations: floating-point operations of matrix\n"
        "products and attention. scores: logits the search ranks. Texts that end earlier cost less."
    )


def _table(found: Sequence[Prediction]) -> Table:
    from rich.text import Text

    drafts = any(prediction.cached.draft_tokens for prediction in found)
    numbers = ("passes", "forward", *["draft"] * drafts, "operations", "cache", "scores")
    table = number_table(("strategy",), numbers, overflow="fold", min_width=len(_ANEW))
    for prediction in found:
        for name, work in ((prediction.strategy, prediction.cached), (_ANEW, prediction.uncached)):
            table.add_row(
                Text(printable(name), "" if work is prediction.cached else "dim"),
                f"{work.forward_passes:,}",
                f"{work.prefill_tokens:,} + {work.decode_tokens:,}",
                *[f"{work.draft_tokens:,}"] * drafts,
                "-" if work.flops is None else _scaled(work.flops, ""),
                _scaled(work.cache_bytes, "B"),
                _scaled(prediction.scores, "") if work is prediction.cached else "",
            )
    return table


def _scaled(number: int, unit: str) -> str:
    """A number with three significant digits and a metric prefix.

    >>> _scaled(12_345_678, "B"), _scaled(0, "B"), _scaled(999, ""), _scaled(34_000, "")
    ('12.3 MB', '0 B', '999', '34.0 k')
    """
    scaled, prefixes = float(number), ["", "k", "M", "G", "T", "P", "E"]
    while scaled >= 999.5 and len(prefixes) > 1:
        scaled /= 1000
        prefixes.pop(0)
    digits = f"{number}" if prefixes[0] == "" else f"{scaled:#.3g}".rstrip(".")
    return f"{digits} {prefixes[0]}{unit}".strip()
