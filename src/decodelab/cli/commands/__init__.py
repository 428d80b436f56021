"""The commands, one file each.

`COMMANDS` maps each name to a function with annotated parameters, or to a Typer application with commands of its own.
A third party adds one with an entry point in the group `decodelab.commands`.
"""

from __future__ import annotations

from typing import Any

from decodelab.core.errors import RequestError
from decodelab.core.registry import Registry

COMMANDS: Registry[Any] = Registry(
    "command",
    "decodelab.commands",
    {
        "demo": "decodelab.cli.commands.demo:command",
        "generate": "decodelab.cli.commands.generate:command",
        "serve": "decodelab.cli.commands.serve:command",
        "compare": "decodelab.cli.commands.compare:command",
        "trace": "decodelab.cli.commands.trace:command",
        "tree": "decodelab.cli.commands.tree:command",
        "score": "decodelab.cli.commands.score:command",
        "gap": "decodelab.cli.commands.gap:command",
        "cost": "decodelab.cli.commands.cost:command",
        "perplexity-study": "decodelab.cli.commands.perplexity_study:command",
        "puzzle": "decodelab.cli.commands.puzzle:command",
        "calibrate": "decodelab.cli.commands.calibrate:command",
        "measure": "decodelab.cli.commands.measure:command",
        "strategies": "decodelab.cli.commands.strategies:command",
        "models": "decodelab.cli.commands.models:command",
        "export": "decodelab.cli.commands.export:command",
        "bench": "decodelab.cli.commands.bench:command",
        "tune": "decodelab.cli.commands.tune:command",
        "report": "decodelab.cli.commands.report:command",
        "scaling": "decodelab.cli.commands.scaling:command",
        "journal": "decodelab.cli.commands.journal:command",
        "tasks": "decodelab.cli.commands.tasks:app",
        "train": "decodelab.cli.commands.train:app",
    },
    unknown=RequestError,
    broken=RequestError,
    listing="`decodelab --help`",
)
