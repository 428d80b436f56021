"""Command lines that say something else than what was meant: options given twice, options of other programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand

from decodelab.core.errors import RequestError, did_you_mean, quoted
from decodelab.core.glossary import called_here

_SEVERAL = {"strategy": "decodelab compare runs several side by side", "model": "decodelab compare takes several"}
"""Where an option that takes one value may be given several times."""


class Command(TyperCommand):
    """A command that refuses an option of one value which is given twice: one of the two would be dropped."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse a command line.

        Raises:
            RequestError: naming the option that is given twice.
        """
        if not ctx.resilient_parsing:
            parser: Any = self.make_parser(ctx)
            single = {p.name: p for p in self.params if p.param_type_name == "option" and not p.multiple}
            for option in (*parser._long_opt.values(), *parser._short_opt.values()):
                if option.action == "store" and option.dest in single:
                    option.action = "append"
            given, _, _ = parser.parse_args(args=list(args))
            for name, parameter in single.items():
                values = given.get(name)
                if isinstance(values, list) and len(values) > 1:
                    listed = " and ".join(quoted(value) for value in values[:3])
                    raise RequestError(
                        f"{ctx.command_path}: {max(parameter.opts, key=len)} takes one value, got {listed}; "
                        + _SEVERAL.get(name, "leave one out")
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
