"""Calls: values with parameters of their own, such as the scorer in `best_of(by=reward(model=pocket-verifier))`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from decodelab.core.errors import InvalidParameter, UnknownParameter, did_you_mean
from decodelab.core.stage import Parametric, Written, value_text

T = TypeVar("T", bound=Parametric)


@dataclass(frozen=True)
class Call(Written):
    """A name with parameters, as written: in JSON `{name: {parameter: value}}`.

    Attributes:
        name: of what is made.
        arguments: its parameters by name.

    >>> str(Call("reward", {"model": "pocket-verifier"}))
    'reward(model=pocket-verifier)'
    """

    name: str
    arguments: Mapping[str, Any]

    def __str__(self) -> str:
        """As it is written."""
        return f"{self.name}({', '.join(f'{name}={value_text(value)}' for name, value in self.arguments.items())})"

    @staticmethod
    def of(value: Any) -> Call | None:
        """The call that a value is, or is the JSON form of; None for any other value."""
        if isinstance(value, Call):
            return value
        if isinstance(value, Mapping) and len(value) == 1:
            name, arguments = next(iter(value.items()))
            if isinstance(name, str) and isinstance(arguments, Mapping):
                return Call(name, {str(key): given for key, given in arguments.items()})
        return None


def made(cls: type[T], call: Call) -> T:
    """What a class makes of a call.

    Raises:
        UnknownParameter: with the nearest name suggested.
        InvalidParameter: naming the parameters that are missing, or from the class itself.
    """
    known = {p.name: p for p in cls.parameters()}
    for name in call.arguments:
        if name not in known:
            allowed = f"allowed: {', '.join(known)}" if known else "it takes none"
            raise UnknownParameter(f"{call.name} has no parameter {name[:60]!r}{did_you_mean(name, known)} ({allowed})")
    missing = [p.name for p in known.values() if p.required and p.name not in call.arguments]
    if missing:
        first = missing[0]
        raise InvalidParameter(
            f"{call.name} needs {' and '.join(missing)} ({known[first].doc}); write {call.name}({first}=...)"
        )
    return cls(**call.arguments)
