"""Spaces of strategies: the strategy language with ranges and choices in place of values."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, log10, prod
from pathlib import Path
from typing import Any, Protocol, Union, get_args, get_origin, get_type_hints

from decodelab.core.call import Call
from decodelab.core.errors import RequestError, StrategyError, StrategySyntaxError
from decodelab.core.stage import Stage, brief, value_text
from decodelab.io.text import file_name, read_text
from decodelab.io.yaml import parse_yaml
from decodelab.strategy.catalogue import STAGES
from decodelab.strategy.grammar import NOTHING, Choices, Range, StageSpec, parse_stages, parse_value
from decodelab.strategy.strategy import Strategy, build_stage

STEPS = 100
"""A range is divided into at least this many steps, so that values are short and repeat."""
ALTERNATIVE = "alternative"
"""What the choice among alternatives is called."""
_DIGITS = 3
"""Significant digits of a value from a range of logarithms."""
_CORNERS = 256
"""So many combinations of ends and choices are tried before anything runs."""


class Chooser(Protocol):
    """Who chooses the values; optuna's trials are such."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number of a range."""
        ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """An integer of a range."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[int]) -> int:
        """The index of one choice."""
        ...


@dataclass(frozen=True)
class Free:
    """A parameter that is free.

    Attributes:
        stage: in which stage of an alternative.
        path: what it is called: the stage's parameter (None for the value after `=`), and those of calls in it.
        domain: from what it is chosen.
        integer: whether only integers of a range are.
    """

    stage: int
    path: tuple[str | None, ...]
    domain: Range | Choices
    integer: bool

    def ends(self) -> tuple[Any, ...]:
        """The values at which a stage is most likely to refuse: the ends of a range, or every choice."""
        return (self.domain.low, self.domain.high) if isinstance(self.domain, Range) else self.domain.values

    @property
    def count(self) -> int | None:
        """How many values there are, if they can be counted."""
        if isinstance(self.domain, Choices):
            return len(self.domain.values)
        return int(self.domain.high) - int(self.domain.low) + 1 if self.integer else None

    def all(self) -> Sequence[Any]:
        """All of them."""
        if isinstance(self.domain, Choices):
            return self.domain.values
        return range(int(self.domain.low), int(self.domain.high) + 1)

    def choose(self, name: str, chooser: Chooser) -> Any:
        """A value."""
        domain = self.domain
        if isinstance(domain, Choices):
            return domain.values[chooser.suggest_categorical(name, range(len(domain.values)))]
        if self.integer:
            return chooser.suggest_int(name, int(domain.low), int(domain.high), log=domain.log)
        return _rounded(chooser.suggest_float(name, float(domain.low), float(domain.high), log=domain.log), domain)


@dataclass(frozen=True)
class Alternative:
    """Strategies of one form: its stages as written, and what is free in them."""

    text: str
    specs: tuple[StageSpec, ...]
    free: tuple[Free, ...]

    def strategy(self, values: Sequence[Any]) -> Strategy:
        """The strategy with these values in place of what is free.

        Raises:
            StrategyError: if a stage refuses its value.
        """
        specs = list(self.specs)
        for free, value in zip(self.free, values, strict=True):
            spec, (parameter, *inner) = specs[free.stage], free.path
            if parameter is None:
                specs[free.stage] = StageSpec(spec.name, _with(spec.first, inner, value), spec.arguments)
            else:
                changed = _with(spec.arguments[parameter], inner, value)
                specs[free.stage] = StageSpec(spec.name, spec.first, {**spec.arguments, parameter: changed})
        return Strategy(tuple(map(build_stage, specs)))

    def names(self) -> list[str]:
        """The names of the free parameters, by stage and parameter; numbered where a stage occurs twice."""
        found = []
        for free in self.free:
            spec = self.specs[free.stage]
            before = sum(other.name == spec.name for other in self.specs[: free.stage])
            stage = f"{spec.name} #{before + 1}" if before else spec.name
            found.append(".".join([stage, *(part for part in free.path if part is not None)]))
        return found


@dataclass(frozen=True)
class Space:
    """Alternatives of strategies with free values.

    `temperature=0.2..1.5 | top_p=0.5..1` is every strategy of that form, `beam(width=1..8, length_penalty={0, 0.6, 1})`
    takes integers where the parameter is one, and `top_k=1..1000 log` spreads its values over their logarithms.
    Values of a range are rounded to a hundredth of it or finer, so that what is found is short to write.

    >>> space = Space.of(["greedy", "temperature=0.2..1.5 | top_k=1..100 log"])
    >>> space.alternatives[1].names(), space.size
    (['temperature', 'top_k'], None)
    """

    alternatives: tuple[Alternative, ...]

    @staticmethod
    def of(written: Sequence[Any]) -> Space:
        """Read alternatives, each as text or as the list of stages that YAML gives.

        All ends and choices are tried on the stages themselves.

        Raises:
            RequestError: for no alternative, or one that is there twice.
            StrategyError: naming what cannot be, in which alternative.
        """
        if not written:
            raise RequestError("space: there is nothing in it; write for example 'temperature=0.2..1.5'")
        alternatives = [_alternative(item) for item in written]
        texts = [alternative.text for alternative in alternatives]
        twice = [text for text in texts if texts.count(text) > 1]
        if twice:
            raise RequestError(f"space: {brief(twice[0])} is there twice; leave one out")
        return Space(tuple(alternatives))

    @staticmethod
    def read(file: Path) -> Space:
        """Read alternatives from YAML: a list, each text or a list of stages (`- temperature: 0.2..1.5`).

        Raises:
            RequestError: for a file that cannot be read or is none.
            StrategyError: naming what cannot be.
        """
        data = parse_yaml(read_text(file), file_name(file))
        if not isinstance(data, list):
            raise RequestError(f"{file_name(file)} is no space; write a list of strategies, such as - top_p=0.5..1")
        return Space.of(data)

    @property
    def size(self) -> int | None:
        """How many strategies there are at most; None if a range is not of integers."""
        counts = [[free.count for free in alternative.free] for alternative in self.alternatives]
        known = [[n for n in each if n is not None] for each in counts]
        return sum(map(prod, known)) if known == counts else None

    def everything(self, most: int) -> list[str] | None:
        """All strategies, in order, if there are at most that many; otherwise None."""
        if self.size is None or self.size > most:
            return None
        return [
            str(alternative.strategy(values))
            for alternative in self.alternatives
            for values in product(*(free.all() for free in alternative.free))
        ]

    def choose(self, chooser: Chooser, prefix: str = "") -> Strategy:
        """A strategy of the space; the chooser is asked by name, alternatives by number, each name after the prefix.

        Raises:
            StrategyError: if a stage refuses values that it takes one by one.
        """
        many = len(self.alternatives) > 1
        number = chooser.suggest_categorical(f"{prefix}{ALTERNATIVE}", range(len(self.alternatives))) if many else 0
        alternative = self.alternatives[number]
        names = self.names(number, prefix)
        return alternative.strategy([f.choose(n, chooser) for f, n in zip(alternative.free, names, strict=True)])

    def names(self, number: int, prefix: str = "") -> list[str]:
        """What the chooser is asked for an alternative."""
        mark = f"{number + 1}: " if len(self.alternatives) > 1 else ""
        return [f"{prefix}{mark}{name}" for name in self.alternatives[number].names()]

    def __str__(self) -> str:
        """The alternatives, as they were written."""
        return ", ".join(alternative.text for alternative in self.alternatives)


def _alternative(item: Any) -> Alternative:
    """Read an alternative and try its ends on its stages."""
    try:
        specs = tuple(parse_stages(item, space=True) if isinstance(item, str) else _listed(item))
        alternative = Alternative(" | ".join(map(_text, specs)), specs, tuple(_all_free(specs)))
        for values in _corners(alternative.free):
            alternative.strategy(values)
    except StrategyError as error:
        raise type(error)(f"space {brief(item)}: {error}") from None
    return alternative


def _text(spec: StageSpec) -> str:
    """A stage as it is written."""
    if spec.first is not NOTHING:
        return f"{spec.name}={value_text(spec.first)}"
    inner = ", ".join(f"{name}={value_text(value)}" for name, value in spec.arguments.items())
    return f"{spec.name}({inner})" if inner else spec.name


def _corners(free: Sequence[Free]) -> Iterator[Sequence[Any]]:
    """All combinations of ends, or, of many, those in which one differs from the first."""
    ends = [f.ends() for f in free]
    if prod(map(len, ends)) <= _CORNERS:
        yield from product(*ends)
        return
    first = [values[0] for values in ends]
    for place, values in enumerate(ends):
        for value in values:
            yield [*first[:place], value, *first[place + 1 :]]


def _with(given: Any, path: Sequence[str | None], value: Any) -> Any:
    """What was given with a value in place of what stands at a path of parameters of calls."""
    if not path:
        return value
    assert isinstance(given, Call)
    name, *inner = path
    changed = {key: _with(own, inner, value) if key == name else own for key, own in given.arguments.items()}
    return Call(given.name, changed)


def _all_free(specs: Sequence[StageSpec]) -> Iterator[Free]:
    for number, spec in enumerate(specs):
        cls = STAGES.load(spec.name)
        given: list[tuple[str | None, Any]] = [(None, spec.first), *spec.arguments.items()]
        for parameter, value in given:
            for path, domain in _domains((parameter,), value):
                yield Free(number, path, domain, isinstance(domain, Range) and _is_integer(cls, path, domain))


def _domains(path: tuple[str | None, ...], value: Any) -> Iterator[tuple[tuple[str | None, ...], Range | Choices]]:
    """What is free in a value, and where: itself, or parameters of a call."""
    if isinstance(value, Call):
        for name, own in value.arguments.items():
            yield from _domains((*path, name), own)
    elif isinstance(value, Choices):
        if len(value.values) != len({repr(v) for v in value.values}):
            raise StrategySyntaxError(f"choices {value}: one is there twice; leave it out")
        yield path, value
    elif isinstance(value, Range):
        yield path, value


def _is_integer(cls: type[Stage], path: Sequence[str | None], given: Range) -> bool:
    """Whether a range is one of integers: its ends are, and the stage's parameter takes no others; of a call only the
    ends say it."""
    ends = all(isinstance(end, int) for end in (given.low, given.high))
    if len(path) > 1:
        return ends
    hints = get_type_hints(cls)
    names = [p.name for p in cls.parameters()]
    hint = hints.get(path[0] or (names[0] if names else ""))
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return ends and int in kinds and float not in kinds


def _rounded(value: float, domain: Range) -> float:
    """A value with few digits, inside the range."""
    if domain.log:
        short = float(f"{value:.{_DIGITS}g}")
    else:
        short = round(value, ceil(-log10((domain.high - domain.low) / STEPS)))
    return min(max(short, float(domain.low)), float(domain.high))


def _listed(item: Any) -> Iterator[StageSpec]:
    """The stages of a list as YAML gives it; ranges and choices are text in it."""
    if not isinstance(item, Sequence) or not item:
        raise StrategySyntaxError(
            f"an alternative is text or a list of stages, got {brief(item)}; write 'top_p=0.5..1'"
        )
    for stage in item:
        if isinstance(stage, str):
            yield from parse_stages(stage, space=True)
        elif isinstance(stage, Mapping) and len(stage) == 1 and isinstance(next(iter(stage)), str):
            name, given = next(iter(stage.items()))
            if isinstance(given, Mapping):
                yield StageSpec(name, NOTHING, {str(k): _value(v) for k, v in given.items()})
            else:
                yield StageSpec(name, NOTHING if given is None else _value(given), {})
        else:
            raise StrategySyntaxError(
                f"a stage in a list is text or a name with its parameters, got {brief(stage)}; write {{top_p: 0.5..1}}"
            )


def _value(given: Any) -> Any:
    """A value of a list: text may be a range or choices."""
    if isinstance(given, str):
        try:
            found = parse_value(given, space=True)
        except StrategySyntaxError:
            return given
        if isinstance(found, Range | Choices):
            return found
    return given
