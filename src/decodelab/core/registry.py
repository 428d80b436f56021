"""Registries: find things by name, built-in ones from a table, third parties' from entry points.

A registry maps a name to where the thing is, as `module:attribute`, so listing names imports nothing. A package
adds a thing with an entry point in the registry's group, for example

    [project.entry-points."decodelab.stages"]
    my_sampler = "my_package:MySampler"
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from decodelab.core.call import Call, made
from decodelab.core.errors import DecodelabError, InvalidParameter, StrategyError, did_you_mean
from decodelab.core.stage import Parametric, Stage, brief

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

T = TypeVar("T")


def entry_points(group: str) -> EntryPoints:
    """The entry points of a group; imported here, as most runs never ask for any."""
    from importlib.metadata import entry_points as installed

    return installed(group=group)


@dataclass(frozen=True)
class Entry:
    """A name in a registry.

    Attributes:
        name: the public name.
        path: where the thing is, as `module:attribute`.
        package: the distribution that adds it; None for ours.
    """

    name: str
    path: str
    package: str | None = None


@dataclass(frozen=True)
class Registry(Generic[T]):
    """All things of one kind by name.

    Attributes:
        kind: what they are, as errors say it.
        group: the entry points of third parties.
        ours: where each of ours is, in the order they are listed; they win over third parties' of the same name.
        unknown: the error for a name that is not there.
        broken: the error for a package that cannot be imported.
        listing: what lists all names, as an error for an unknown name says it.
    """

    kind: str
    group: str
    ours: Mapping[str, str]
    unknown: type[DecodelabError] = field(default=StrategyError)
    broken: type[DecodelabError] = field(default=StrategyError)
    listing: str | None = None

    def entries(self) -> dict[str, Entry]:
        """Every name with where its thing is: ours in the order of their table, then third parties' by name."""
        found = {name: Entry(name, path) for name, path in self.ours.items()}
        for e in sorted(entry_points(group=self.group), key=lambda e: e.name):
            found.setdefault(e.name, Entry(e.name, e.value, e.dist.name if e.dist else "an unknown package"))
        return found

    def __contains__(self, name: str) -> bool:
        """Whether there is something of this name."""
        # Entry points mean reading the metadata of every installed package: only for names that are not ours.
        return name in self.ours or name in self.entries()

    def entry(self, name: str) -> Entry:
        """Where the thing of this name is.

        Raises:
            DecodelabError: `unknown`, with the nearest name suggested.
        """
        if name in self.ours:  # spares reading the entry points, as above
            return Entry(name, self.ours[name])
        entries = self.entries()
        if name not in entries:
            listing = (
                f"; {self.listing} lists all {len(entries)}" if self.listing else f"; there are {', '.join(entries)}"
            )
            raise self.unknown(f"unknown {self.kind} {name[:60]!r}{did_you_mean(name, entries) or listing}")
        return entries[name]

    def load(self, name: str) -> T:
        """The thing of this name, imported.

        Raises:
            DecodelabError: `unknown`, with the nearest name suggested; `broken`, if its package cannot be imported.
        """
        return self._imported(self.entry(name))

    def load_all(self) -> dict[str, T]:
        """Everything by name, imported, in the order of `entries`.

        Raises:
            DecodelabError: `broken`, if a package cannot be imported.
        """
        return {name: self._imported(entry) for name, entry in self.entries().items()}

    def _imported(self, entry: Entry) -> T:
        module, attribute, *_ = entry.path.split(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:  # whatever their package raises when it is imported
            raise self.broken(self._cannot_load(entry, error)) from error

    def make(self, name: str) -> Any:
        """The thing of this name; of a class, an object made without arguments.

        Raises:
            DecodelabError: as `load`.
            InvalidParameter: of a class that needs parameters.
        """
        entry = self.entry(name)
        found: Any = self._imported(entry)
        if not isinstance(found, type):
            return found
        if issubclass(found, Parametric):
            return made(found, Call(name, {}))
        try:
            return found()
        except Exception as error:  # whatever their constructor raises
            raise self.broken(self._cannot_load(entry, error)) from error

    def called(self, call: Call) -> Any:
        """What a class of this registry makes of a call.

        Raises:
            DecodelabError: as `load`.
            UnknownParameter: for a parameter that it does not have, with the nearest name suggested.
            InvalidParameter: for a thing without parameters, a missing parameter, or whatever its class refuses.
        """
        found: Any = self.load(call.name)
        if isinstance(found, type) and issubclass(found, Parametric):
            return made(found, call)
        return self._without(call)

    def _without(self, call: Call) -> str:
        """The name of what takes no parameters, if it is given none."""
        if call.arguments:
            raise InvalidParameter(
                f"{call.name} takes no parameters, got {', '.join(map(brief, call.arguments))}; write just {call.name}"
            )
        return call.name

    def _cannot_load(self, entry: Entry, error: Exception) -> str:
        reason = " ".join(str(error).split())
        return f"{self.kind} {entry.name!r}: cannot load {entry.path} ({reason}); repair or remove its package"

    def check_parameter(
        self,
        stage: Stage,
        parameter: str,
        *,
        accepts: Callable[[Any], bool],
        accepted: str,
        fix: str,
        others: Sequence[str] = (),
    ) -> None:
        """Refuse a parameter of a stage that is neither a name in this registry, or a call of one, nor such a thing.

        A call is replaced by what it makes; what has no parameter but defaults is replaced by its name.

        Args:
            stage: whose parameter it is.
            parameter: its name.
            accepts: whether a value that is no text is such a thing.
            accepted: what those are, as errors say it.
            fix: what to write instead.
            others: names that are allowed besides, for the error.

        Raises:
            InvalidParameter: with the nearest name suggested, or else the fix; or for the parameters of a call.
        """
        value = getattr(stage, parameter)
        if (call := Call.of(value)) is not None:
            value = (
                self._without(call) if call.name in others else self.called(call) if call.name in self else call.name
            )
            object.__setattr__(stage, parameter, value)
        if isinstance(value, Parametric) and str(value) == value.name and value.name in self:
            object.__setattr__(stage, parameter, value.name)
            return
        if isinstance(value, str):
            if value in others:
                return
            if value in self.ours or value in (entries := self.entries()):
                self._check_bare(value)
                return
            names = [*others, *entries]
            hint = did_you_mean(value, names).removeprefix("; ")
            fix = hint or "a Python function can be given in Python only"
            allowed = f"one of {', '.join(names)}"
        elif accepts(value):
            return
        else:
            allowed = f"a {self.kind}'s name or {accepted}"
        raise InvalidParameter(f"{stage.name}: {parameter} must be {allowed}, got {brief(value)}; {fix}")

    def _check_bare(self, name: str) -> None:
        """Refuse a name without parameters of what needs some; a package that cannot be imported says so when asked."""
        try:
            found: Any = self.load(name)
        except DecodelabError:
            return
        if isinstance(found, type) and issubclass(found, Parametric):
            made(found, Call(name, {}))
