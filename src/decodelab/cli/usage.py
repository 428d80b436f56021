"""Command lines that say something else than what was meant: options given twice, options of other programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand

from decodelab.core.errors import RequestError, did_you_mean
from decodelab.core.glossary import called_here

_SEVERAL = {"strategy": "decodelab compare runs several side by side", "model": "decodelab compare runs several"}
"""Where an option that takes one value may be given several times."""


class Command(TyperCommand):
    """A command that refuses an option of one value which is given twice: one of the two would be dropped."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse a command line.

        Raises:
            RequestError: naming the option that is given twice.
        """
        if not ctx.resilient_parsing:
            given = self.make_parser(ctx).parse_args(args=list(args))[2]
            times = Counter(id(p) for p in given if p.param_type_name == "option" and not p.multiple and not p.is_flag)
            for parameter in given:
                if times[id(parameter)] > 1:
                    instead = _SEVERAL.get(parameter.name, "leave one out")
                    raise RequestError(
                        f"{ctx.command_path}: {max(parameter.opts, key=len)} takes one value and is given "
                        f"{times[id(parameter)]} times; {instead}"
                    )
        return super().parse_args(ctx, args)


def meant_option(unknown: str, parameters: Sequence[Any]) -> str:
    """What an unknown option was meant to be: a stage of the strategy, another name, or a close one of the command."""
    options = [option for parameter in parameters for option in parameter.opts if option.startswith("--")]
    name = unknown.lstrip("-").replace("-", "_").lower()
    if "--strategy" in options and called_here(unknown, set(options)) is None:
        from decodelab.strategy.catalogue import STAGES

        stage = name if name in STAGES else called_here(name, set(STAGES.entries()))
        if stage is not None:
            written = stage if "(" in stage or "=" in stage or not _takes(STAGES.load(stage)) else f"{stage}=..."
            return f"; it is a stage of the strategy: --strategy {written!r}"
    return did_you_mean(unknown, options)


def _takes(stage: Any) -> bool:
    """Whether a stage has parameters."""
    return any(True for _ in stage.parameters())
