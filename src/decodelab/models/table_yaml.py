"""Tables of probabilities as YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from decodelab.core.errors import ModelFormatError, ModelNotFound, did_you_mean, quoted
from decodelab.io.yaml import RepeatedKey, unique_keys
from decodelab.models.checkpoint import as_path

Row = Mapping[str, float]
"""Probabilities of the next word; words left out have probability 0."""

_FIELDS = (
    "name",
    "vocab",
    "eos",
    "bos",
    "separator",
    "context_length",
    "missing",
    "logprobs",
    "normalise",
    "next",
    "tree",
    "rows",
    "after",
    "otherwise",
)


def read_table(source: str | Path) -> dict[str, Any]:
    """The arguments of a `TableModel` from a YAML file or YAML text; see `TableModel.from_yaml`."""
    name = "table"
    text = str(source)
    if isinstance(source, Path) or ("\n" not in text and text.endswith((".yaml", ".yml"))):
        path = as_path(source)
        if not path.is_file():
            raise ModelNotFound(f"model: there is no file {quoted(path)}; check the path")
        name = str(source)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelFormatError(f"model: cannot read {quoted(path)}: {error}") from error
    try:
        # BaseLoader keeps every scalar as text, so that the word `no` is a word, and builds no other objects.
        data = yaml.load(text, Loader=unique_keys(yaml.BaseLoader))
        return _from_data(data, name)
    except RepeatedKey as error:
        raise ModelFormatError(f"table: {name!r}, {error}; remove one") from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ModelFormatError(f"table: {name!r} is not YAML ({reason})") from error
    except RecursionError as error:
        raise ModelFormatError(f"table: {name!r} is nested in itself") from error


def written_table(data: dict[str, Any], rows: Mapping[Any, Row]) -> str:
    """A table as YAML: its other fields, and its rows by prefix, last word, or `...`."""
    trees = {key: row for key, row in rows.items() if isinstance(key, tuple)}
    taken: set[tuple[str, ...]] = set()

    def tree(prefix: tuple[str, ...]) -> dict[str, Any]:
        taken.add(prefix)
        return {
            word: [repr(p), tree((*prefix, word))] if (*prefix, word) in trees else repr(p)
            for word, p in trees[prefix].items()
        }

    if () in trees:
        data["tree"] = tree(())
    others = [{"prefix": list(key), "next": tree(key)} for key in sorted(trees, key=len) if key not in taken]
    if others:
        data["rows"] = others
    after = {key: {w: repr(p) for w, p in row.items()} for key, row in rows.items() if isinstance(key, str)}
    if after:
        data["after"] = after
    if ... in rows:
        data["otherwise"] = {w: repr(p) for w, p in rows[...].items()}
    return yaml.dump(data, sort_keys=False, allow_unicode=True, default_flow_style=None)


def key_text(key: Any) -> str:
    """How errors call the prefixes that a row of a table follows."""
    if key is ...:
        return "any other prefix"
    if isinstance(key, str):
        return f"the last word {key!r}"
    return repr(" ".join(key)) if key else "the empty prefix"


def _from_data(data: Any, name: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ModelFormatError(f"table: {name!r} must be a YAML mapping with `tree`, `rows`, `after` or `otherwise`")
    for field in data:
        if field not in _FIELDS:
            hint = did_you_mean(field, _FIELDS) or f"; allowed are {', '.join(_FIELDS)}"
            raise ModelFormatError(f"table: unknown field {field!r}{hint}")
    table: dict[Any, Row] = {}
    seen: dict[str, None] = {}

    def add(key: Any, row: Any) -> None:
        """Take in a row, and the trees below it."""
        if not isinstance(row, dict):
            raise ModelFormatError(f"table: what follows {key_text(key)} must map words to probabilities, got {row!r}")
        if key in table:
            raise ModelFormatError(f"table: there are two rows for {key_text(key)}; keep one")
        table[key] = probs = {}
        below = {}
        for word, entry in row.items():
            seen[word] = None
            probability, tree = (entry[0], entry[1]) if isinstance(entry, list) and len(entry) == 2 else (entry, None)
            probs[word] = _probability(probability, word)
            if tree is not None:
                if not isinstance(key, tuple):
                    raise ModelFormatError(f"table: the row after {key_text(key)} cannot go on with a tree; use rows")
                below[word] = tree
        for word, tree in below.items():
            add((*key, word), tree)

    one_step = "next" in data
    if one_step:
        others = [field for field in ("tree", "rows", "after", "otherwise") if field in data]
        if others:
            raise ModelFormatError(f"table: next is a table of one step and goes without {others[0]}; use tree")
        add((), data["next"])
    if "tree" in data:
        add((), data["tree"])
    for entry in _expect(data.get("rows", []), list, "rows"):
        if not isinstance(entry, dict) or set(entry) != {"prefix", "next"}:
            raise ModelFormatError(f"table: each of rows must have the fields prefix and next, got {entry!r}")
        prefix = tuple(_expect(entry["prefix"], list, "prefix"))
        seen.update(dict.fromkeys(prefix))
        add(prefix, entry["next"])
    for word, row in _expect(data.get("after", {}), dict, "after").items():
        seen[word] = None
        add(word, row)
    if "otherwise" in data:
        add(..., data["otherwise"])
    context_length = data.get("context_length")
    if context_length is not None and not (isinstance(context_length, str) and context_length.isdecimal()):
        raise ModelFormatError(f"table: context_length must be a whole number, got {context_length!r}")
    for field in ("name", "eos", "bos", "separator", "missing"):
        # An empty list stands for None in eos and bos: a YAML null would be the word `null`.
        if not isinstance(data.get(field, ""), str) and not (field in ("eos", "bos") and data[field] == []):
            raise ModelFormatError(f"table: {field} must be text, got {data[field]!r}")
    flags = {name: _flag(data.get(name, "false"), name) for name in ("logprobs", "normalise")}
    return {
        **flags,
        "vocab": _expect(data.get("vocab", list(seen)), list, "vocab"),
        "table": table,
        "eos": data.get("eos", "</s>") or None,
        "bos": data.get("bos", "<s>" if one_step else None) or None,
        "context_length": int(context_length) if context_length is not None else None,
        "missing": data.get("missing", "eos" if one_step else "error"),
        "separator": data.get("separator", "" if one_step else " "),
        "name": data.get("name", name),
    }


def _expect(value: Any, kind: type, field: str) -> Any:
    if not isinstance(value, kind):
        wanted = "a list" if kind is list else "a mapping"
        raise ModelFormatError(f"table: {field} must be {wanted}, got {value!r}")
    return value


def _flag(text: Any, field: str) -> bool:
    """A field that is true or false."""
    if text not in ("true", "false"):
        raise ModelFormatError(f"table: {field} must be true or false, got {text!r}")
    return text == "true"


def _probability(text: Any, word: str) -> float:
    try:
        top, _, bottom = text.partition("/")
        return float(top) / float(bottom) if bottom else float(top)
    except (AttributeError, ValueError, ZeroDivisionError) as error:
        raise ModelFormatError(
            f"table: {word!r} must have a probability such as 0.5 or 1/3, or [probability, tree], got {text!r}"
        ) from error
