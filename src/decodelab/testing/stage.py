"""What every stage must be, whatever its kind."""

from __future__ import annotations

import dataclasses

from decodelab.core.capabilities import NEEDS
from decodelab.core.stage import Stage, plain
from decodelab.strategy.catalogue import STAGES
from decodelab.strategy.strategy import Strategy


def require(condition: bool, what: object, rule: str) -> None:
    """Fail a conformance check.

    Raises:
        AssertionError: naming the stage and the rule, when the condition does not hold.
    """
    if not condition:
        name = what.name if isinstance(what, Stage) else type(what).__name__
        raise AssertionError(f"{name}: {rule}")


def check_stage(stage: Stage) -> None:
    """Check that a stage is a documented value that the strategy language can print and read.

    Raises:
        AssertionError: naming the rule it breaks.

    >>> from decodelab import TopP
    >>> check_stage(TopP(0.9))
    """
    cls = type(stage)
    parameters = getattr(cls, "__dataclass_params__", None)
    require(parameters is not None and parameters.frozen, stage, "must be a frozen dataclass")
    for attribute in ("name", "kind", "source"):
        require(bool(getattr(cls, attribute, "")), stage, f"must set {attribute}")
    require(bool((cls.__doc__ or "").strip()), stage, "must have a docstring")
    for parameter in cls.parameters():
        require(bool(parameter.doc), stage, f"must document its parameter {parameter.name} with Annotated")
    same = dataclasses.replace(stage)  # pyright: ignore[reportArgumentType]  (stages are dataclasses)
    require(same == stage and hash(same) == hash(stage), stage, "must be equal to one with the same parameters")
    require(stage.needs in NEEDS, stage, f"needs must be one of {', '.join(NEEDS)}")
    require(
        stage.deterministic() or stage.uses_randomness, stage, "says it uses no randomness, but may depend on the seed"
    )
    why = stage.no_effect()
    require(why is None or bool(why), stage, "no_effect must give None or the reason")
    entry = STAGES.entries().get(stage.name)
    # A Python function has a name in text and JSON, but cannot be read back.
    values = [getattr(stage, p.name) for p in cls.parameters()]
    readable = all(plain(value) is value for value in values)
    if readable and entry is not None and entry.path == f"{cls.__module__}:{cls.__qualname__}":
        written = Strategy.of([stage])
        require(Strategy.of(str(written)) == written, stage, "must be read back as it prints")
        require(Strategy.of(written.to_json()) == written, stage, "must be read back from its JSON form")
