"""A stage: one algorithm with its parameters, and how stages are chained and checked.

Every algorithm of decodelab is a frozen dataclass that inherits `Stage`. The dataclass fields are
its parameters, their `Annotated[...]` text is their documentation, and `|` chains stages from left to right.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import reprlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_type_hints

from decodelab.core.capabilities import Capabilities
from decodelab.core.errors import InvalidParameter

if TYPE_CHECKING:
    from torch import Tensor

    from decodelab.core.key import Keys
    from decodelab.core.protocols import Vocab
    from decodelab.core.values import Tokens

Kind = Literal["source", "model", "processor", "stop", "search", "driver", "selection"]
"""What a stage is, in the order in which kinds stand in a strategy."""

_BARE = re.compile(r"[A-Za-z_]\w*(?:-\w+)*", re.ASCII)
_RESERVED = frozenset(["none", "null", "true", "false", "inf", "nan"])


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One parameter of a stage or a scorer, as documentation: name, default and a line of text."""

    name: str
    default: Any
    doc: str

    @property
    def required(self) -> bool:
        """Whether the parameter has no default."""
        return self.default is dataclasses.MISSING


class Written:
    """A value that prints itself in the strategy language, by `str`."""


class Parametric(Written):
    """What has a name in the strategy language, and perhaps parameters: the fields of a frozen dataclass.

    Stages inherit it, and so do the classes of scorers, checkers and the like whose objects are written as calls, such
    as `reward(model=pocket-verifier)`.
    """

    name: ClassVar[str]

    def __str__(self) -> str:
        """The name, and in brackets the parameters that differ from their defaults."""
        given = ", ".join(f"{p.name}={value_text(value)}" for _, p, value in _given(self))
        return f"{self.name}({given})" if given else self.name

    @classmethod
    def parameters(cls) -> tuple[Parameter, ...]:
        """The parameters with their defaults and documentation, in order."""
        return _parameters(cls)


class Stage(Parametric, Capabilities):
    """What all algorithms share: a public name, a kind, a source, and `|` to chain them.

    A subclass is a frozen dataclass, sets `name`, `kind` and `source` (paper and section), and declares what it is
    (`decodelab.core.capabilities`).

    >>> from decodelab import Temperature, TopP
    >>> str(Temperature(0.8) | TopP(0.9))
    'temperature=0.8 | top_p=0.9'
    """

    name: ClassVar[str]
    kind: ClassVar[Kind]
    source: ClassVar[str]

    def __or__(self, other: Stage | Pipeline) -> Pipeline:
        """Chain this stage with what follows it."""
        return Pipeline((self,)) | other

    def __str__(self) -> str:
        """The stage in the strategy language."""
        return stage_text(self)

    def no_effect(self) -> str | None:
        """Why these parameter values change nothing, or None when they do something."""
        return None


@functools.cache
def _parameters(cls: type[Parametric]) -> tuple[Parameter, ...]:
    """Read once for each class: printing a strategy asks for them, and a sweep prints thousands."""
    hints = get_type_hints(cls, include_extras=True)
    return tuple(
        Parameter(f.name, f.default, " ".join(getattr(hints[f.name], "__metadata__", ("",))[0].split()))
        for f in dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]  (subclasses are dataclasses)
    )


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """Stages in the order data flows through them; `decodelab.Strategy.of` gives them their roles."""

    stages: tuple[Stage, ...]

    def __or__(self, other: Stage | Pipeline) -> Pipeline:
        """Append a stage or another pipeline."""
        return Pipeline(self.stages + (other.stages if isinstance(other, Pipeline) else (other,)))

    def __iter__(self) -> Iterator[Stage]:
        """Iterate over the stages."""
        return iter(self.stages)

    def __str__(self) -> str:
        """The pipeline in the strategy language."""
        return " | ".join(map(str, self.stages))


def stage_text(stage: Stage) -> str:
    """Print a stage so that parsing it gives the same stage back.

    `name` when every parameter has its default, `name=value` for a processor or stop of which only the first
    parameter differs, else the call form.
    """
    given = _given(stage)
    if stage.kind in ("processor", "stop") and [i for i, _, _ in given] == [0]:
        return f"{stage.name}={value_text(given[0][2])}"
    return Parametric.__str__(stage)


def _given(made: Parametric) -> list[tuple[int, Parameter, Any]]:
    """The place, the parameter and the value of each that must be written: all that differ from their defaults."""
    every = ((i, p, getattr(made, p.name)) for i, p in enumerate(made.parameters()))
    return [(i, p, value) for i, p, value in every if p.required or value != p.default]


def value_text(value: Any) -> str:
    """Print a parameter value in the strategy language."""
    if isinstance(value, Written):
        return str(value)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return f"{value:.1f}"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return value if _BARE.fullmatch(value) and value not in _RESERVED else quoted(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{value_text(k)}: {value_text(v)}" for k, v in value.items()) + "}"
    if not isinstance(value, Iterable):
        return quoted(plain(value))
    return "[" + ", ".join(value_text(v) for v in value) + "]"


def plain(value: Any) -> Any:
    """A parameter value as JSON can hold it: what is written as a call by its name with all its parameters; another
    Python object by its name, in brackets, which no stage takes.

    >>> plain(len), plain([1, 2])
    ('<len>', [1, 2])
    """
    if isinstance(value, Parametric):
        return {value.name: {p.name: plain(getattr(value, p.name)) for p in value.parameters()}}
    if value is None or isinstance(value, bool | int | float | Iterable):
        return value
    return "<" + re.sub("[<>]", "", getattr(value, "__qualname__", type(value).__qualname__)) + ">"


def quoted(text: str) -> str:
    """Quote a string for the strategy language (JSON's rules)."""
    import json

    return json.dumps(text, ensure_ascii=False)


def check_number(
    stage: Parametric,
    parameter: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    low_open: bool = False,
    high_open: bool = False,
    integer: bool = False,
    fix: str,
) -> None:
    """Raise an error unless a parameter is a number in the given range, saying what, got, allowed and the fix.

    Numbers of the right value but another type (an int where a float is meant) are stored as the right
    type, so that `TopP(1)` and `TopP(1.0)` are equal and print alike.

    Raises:
        InvalidParameter: when the value is no number, NaN, infinite or out of range.
    """
    value = getattr(stage, parameter)
    largest = 2**63 - 1 if integer else sys.float_info.max
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    ok = (
        is_number
        and abs(value) <= largest
        and (not integer or value == int(value))
        and (value > low if low_open else value >= low)
        and (value < high if high_open else value <= high)
    )
    if not ok:
        if high == math.inf:
            upper = "" if low == -math.inf else f", {'greater than' if low_open else 'at least'} {low:g}"
            huge = " and below 2**63" if integer and is_number and value > largest else ""
            allowed = f"{'an integer' if integer else 'a finite number'}{upper}{huge}"
        else:
            span = f"{'(' if low_open else '['}{low:g}, {high:g}{')' if high_open else ']'}"
            allowed = f"{'an integer ' if integer else ''}in {span}"
        raise InvalidParameter(f"{stage.name}: {parameter} must be {allowed}, got {brief(value)}; {fix}")
    object.__setattr__(stage, parameter, int(value) if integer else float(value))


def check_choice(stage: Parametric, parameter: str, choices: tuple[Any, ...], *, fix: str) -> None:
    """Raise an error unless a parameter is one of `choices`.

    Raises:
        InvalidParameter: when it is not one of them (True and 1 differ).
    """
    value = getattr(stage, parameter)
    if not any(value is c or (type(value) is type(c) and value == c) for c in choices):
        allowed = ", ".join(value_text(c) for c in choices)
        raise InvalidParameter(f"{stage.name}: {parameter} must be one of {allowed}, got {brief(value)}; {fix}")


def brief(value: Any) -> str:
    """Show a value in an error on one printable line of at most 60 characters, whatever it is."""
    if value is None or isinstance(value, bool | float | str | Written):
        text = value_text(value)
    else:
        try:
            text = reprlib.repr(value)
        except ValueError:  # integers of thousands of digits have no decimal text
            text = f"a huge {type(value).__name__}"
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:61])
    return line if len(line) <= 60 else line[:57] + "..."


class StatelessProcessor(Stage):
    """A processor that depends only on the logits of the step.

    Unless it says otherwise it keeps the argmax, as truncations and temperatures do.
    """

    kind: ClassVar[Kind] = "processor"
    uses_randomness: ClassVar[bool] = False
    keeps_argmax: ClassVar[bool] = True
    tokens_suffice: ClassVar[bool] = True

    def init(self, prompts: Sequence[Tokens], vocab: Vocab, keys: Keys) -> None:
        """There is no state."""

    def update(self, state: None, logits: Tensor, tokens: Tensor) -> None:
        """There is no state."""


class TokenProcessor(Stage):
    """A processor whose state follows from the prompt and the chosen tokens, whatever the logits were.

    `update` ignores its logits, so the state after a text can be computed from the text alone, without the model.
    """

    kind: ClassVar[Kind] = "processor"
    uses_randomness: ClassVar[bool] = False
    tokens_suffice: ClassVar[bool] = True
