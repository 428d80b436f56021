"""What a strategy in a request may not do: load models that are not served, read files, run programs."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from decodelab.core.call import Call
from decodelab.core.errors import did_you_mean
from decodelab.core.stage import brief
from decodelab.server.errors import ApiError
from decodelab.strategy.catalogue import STAGES
from decodelab.strategy.grammar import NOTHING, StageSpec
from decodelab.strategy.strategy import Strategy, build_stage, stage_specs

_PATH = re.compile(r"[^\n]*\.[A-Za-z0-9]{1,8}\s*")
"""What a stage may take as the path of a file."""
_WORDS = frozenset({"self", "ngram"})
"""What stands for a model and is none."""


def trusted_strategy(written: str | Sequence[Any], models: Collection[str], longest: int) -> Strategy:
    """The strategy that a request writes.

    Args:
        written: text, or a list of stages.
        models: the names of the models that it may use: those served and those that ship.
        longest: characters of a parameter at most.

    Raises:
        ApiError: 400, for a stage that would load another model, read a file, or run a program.
        StrategyError: for what is no strategy.
    """
    stages: list[Any] = []
    for spec in stage_specs(written):
        assert isinstance(spec, StageSpec)  # JSON holds no stages
        _check(spec, models, longest)
        stages.append(build_stage(spec))
    return Strategy(tuple(stages))


def _check(spec: StageSpec, models: Collection[str], longest: int) -> None:
    stage = STAGES.load(spec.name)
    if stage.runs_programs:
        raise _refused(f"{spec.name} runs programs that a model wrote, which this server does not")
    values = dict(spec.arguments)
    if spec.first is not NOTHING and stage.parameters():
        values[stage.parameters()[0].name] = spec.first
    for name, value in values.items():
        if len(str(value)) > longest:
            raise _refused(f"{spec.name}: {name} must have at most {longest} characters, got {len(str(value))}")
        if name in stage.names_files and isinstance(value, str) and _PATH.fullmatch(value):
            raise _refused(f"{spec.name}: {name} must be written out, got {brief(value)}; this server reads no files")
        if name in stage.names_models:
            _check_models(f"{spec.name}: {name}", value, models)
        if (call := Call.of(value)) is not None and "model" in call.arguments:
            _check_models(f"{call.name}: model", call.arguments["model"], models)


def _check_models(what: str, value: Any, models: Collection[str]) -> None:
    for model in [value] if isinstance(value, str) else list(value or ()):
        if model not in models and model not in _WORDS:
            raise _refused(
                f"{what} must be one of the models served, or one that ships, got {brief(model)}"
                f"{did_you_mean(str(model), models)}"
            )


def _refused(message: str) -> ApiError:
    return ApiError(400, message, param="strategy", code="not_allowed")
