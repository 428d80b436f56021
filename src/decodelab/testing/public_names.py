"""Writes `decodelab/__init__.pyi`, from which type checkers and editors know the public names: `make stub`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import decodelab

STUB = Path(decodelab.__file__).with_suffix(".pyi")


def stub_text() -> str:
    """The stub that says where each public name lives."""
    homes: dict[str, list[str]] = defaultdict(list)
    for name in decodelab.__all__:
        if name != "__version__":
            homes[vars(decodelab)["_HOME"][name]].append(name)
    lines = ["# Written by `make stub`; the names are those of __init__.py and of the stages' tables."]
    for home in sorted(homes):
        lines += [f"from {home} import {name} as {name}" for name in sorted(homes[home])]
    return "\n".join([*lines, "", "__version__: str", "__all__: list[str]", ""])


if __name__ == "__main__":
    STUB.write_text(stub_text(), encoding="utf-8")
