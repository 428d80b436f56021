"""Modules that a process loads when one of their names is first looked up, not when they are imported."""

from __future__ import annotations

import importlib.util
import sys
from threading import RLock
from types import ModuleType


class _Unloaded(ModuleType):
    """A module that is still to be executed; `importlib.util.LazyLoader` is executed by a second `import`."""

    def __getattr__(self, name: str) -> object:
        """Execute the module, unless it is being executed, and look the name up in it."""
        state = object.__getattribute__(self, "__dict__")
        with state["_lock"]:
            if "_path" in state:
                self.__path__ = state.pop("_path")
                try:
                    self.__spec__.loader.exec_module(self)  # pyright: ignore[reportOptionalMemberAccess]
                except BaseException:
                    sys.modules.pop(self.__name__, None)
                    raise
                self.__class__ = ModuleType  # pyright: ignore[reportAttributeAccessIssue]
                return getattr(self, name)
        if name in state:  # another thread has executed it in the meantime
            return state[name]
        if "__getattr__" in state:
            return state["__getattr__"](name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


def load_when_used(name: str) -> None:
    """Let `import name` cost nothing until a name of the module is needed; nothing happens if it is there already.

    Stages use torch in what they do, not in what they are: with this, a strategy is read and checked without it.
    """
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    # Without a path, the import of a submodule executes the module first.
    vars(module).update(_path=vars(module).pop("__path__", []), _lock=RLock())
    module.__class__ = _Unloaded
    sys.modules[name] = module
