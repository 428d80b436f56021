"""Things of other packages and of ours that a parameter may name: from one table, or from entry points."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from decodelab.core.errors import InvalidParameter, StrategyError, did_you_mean
from decodelab.core.stage import Stage, brief


@dataclass(frozen=True)
class Named:
    """Everything of one kind that has a name.

    Attributes:
        what: the kind, as errors say it.
        group: the entry points of third parties.
        ours: where each of ours is, as `module:Name`; they win over third parties'.
        made_of: what Python may give instead of a name, as errors say it.
        is_one: whether a value is that.
    """

    what: str
    group: str
    ours: Mapping[str, str]
    made_of: str
    is_one: Callable[[Any], bool]

    @property
    def paths(self) -> Mapping[str, str]:
        """Every name with where it is, as `module:Name`."""
        return {e.name: e.value for e in entry_points(group=self.group)} | dict(self.ours)

    def _known(self, name: str) -> Mapping[str, str]:
        # Entry points mean reading the metadata of every installed package: only for names that are not ours.
        return self.ours if name in self.ours else self.paths

    def check(self, stage: Stage, parameter: str, fix: str) -> None:
        """Refuse a parameter that is neither the name of one nor one itself.

        Raises:
            InvalidParameter: with the nearest name suggested, or else the fix.
        """
        value = getattr(stage, parameter)
        if isinstance(value, str):
            known = self._known(value)
            if value in known:
                return
            fix = did_you_mean(value, known).removeprefix("; ") or "a function of Python's can be given in Python only"
            allowed = f"one of {', '.join(known)}"
        elif self.is_one(value):
            return
        else:
            allowed = f"a {self.what}'s name or {self.made_of}"
        raise InvalidParameter(f"{stage.name}: {parameter} must be {allowed}, got {brief(value)}; {fix}")

    def load(self, name: str) -> Any:
        """The one of that name; of a class, an object made without parameters.

        Raises:
            StrategyError: if the package that provides it cannot be imported.
        """
        path = self._known(name)[name]
        module, _, attribute = path.partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute)
            return found() if isinstance(found, type) else found
        except Exception as error:  # whatever their package raises when it is imported
            reason = " ".join(str(error).split())
            raise StrategyError(f"{self.what} {name!r}: cannot load {path} ({reason}); mend its package") from error
