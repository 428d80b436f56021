"""The prompts of a command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from decodelab.cli.terminal import note
from decodelab.core.errors import RequestError, quoted
from decodelab.io.tabular import read_jsonl
from decodelab.io.text import file_name, is_unicode, read_text

_ESCAPES = {"\\n": "\n", "\\t": "\t", "\\\\": "\\"}


@dataclass(frozen=True)
class PromptRow:
    """A prompt, and the other fields of its row in a JSONL file."""

    prompt: str
    fields: Mapping[str, Any] = field(default_factory=dict)


def read_prompts(arguments: Sequence[str], file: Path | None, *, escapes: bool = False) -> list[str]:
    """The prompts of `read_rows`."""
    return [row.prompt for row in read_rows(arguments, file, escapes=escapes)]


def read_rows(arguments: Sequence[str], file: Path | None, *, escapes: bool = False) -> list[PromptRow]:
    r"""The prompts of a command line: its arguments, those of a file, or one empty prompt.

    The argument `-` reads all of stdin as one prompt. A file (`-` is stdin) has one prompt per line, ignoring blank
    lines, or is JSONL with the field `prompt` if its name ends in `.jsonl` or its text starts with `{`.

    Raises:
        RequestError: for a file that cannot be read, is empty, or has a malformed line; names the line.

    >>> [row.prompt for row in read_rows([r"a\nb"], None, escapes=True)], read_rows([], None)
    (['a\nb'], [PromptRow(prompt='', fields={})])
    """
    if file is not None and arguments:
        raise RequestError(f"prompts: give arguments or --file, not both; got arguments and --file {file}")
    if arguments.count("-") > 1:
        raise RequestError("prompts: - reads stdin, which can be read only once; give it once")
    if file is not None:
        rows = _file_rows(file)
    else:
        for argument in arguments:
            if _is_file(argument):
                note(f"the prompt {quoted(argument)} is the name of a file and is taken as text; --file reads the file")
        rows = [PromptRow(_without_last_newline(read_text("-")) if a == "-" else a) for a in arguments]
    rows = rows or [PromptRow("")]
    for row in rows:
        if not is_unicode(row.prompt):
            raise RequestError("prompt is not UTF-8 text; convert it first, for example with iconv")
    return [PromptRow(unescaped(row.prompt), row.fields) for row in rows] if escapes else rows


def _is_file(argument: str) -> bool:
    """Whether there is a file of that name."""
    try:
        return Path(argument).is_file()
    except (OSError, ValueError):  # what no file can be called
        return False


def unescaped(text: str) -> str:
    r"""Replace the escapes `\n`, `\t` and `\\` with newline, tab and backslash.

    >>> unescaped(r"a\nb\\n")
    'a\nb\\n'
    """
    return re.sub(r"\\[nt\\]", lambda m: _ESCAPES[m[0]], text)


def _file_rows(file: Path) -> list[PromptRow]:
    text = read_text(file)
    if file.suffix == ".jsonl" or text.lstrip().startswith("{"):
        read = read_jsonl(file, text, ("prompt",))
        rows = [PromptRow(row["prompt"], {k: v for k, v in row.items() if k != "prompt"}) for row in read]
    else:
        rows = [PromptRow(line.rstrip("\r")) for line in text.split("\n") if line.strip()]
    if not rows:
        raise RequestError(f"{file_name(file)} has no prompts; write one per line")
    return rows


def _without_last_newline(text: str) -> str:
    return text[:-1].removesuffix("\r") if text.endswith("\n") else text
