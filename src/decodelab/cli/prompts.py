"""The prompts of a command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from decodelab.core.errors import RequestError
from decodelab.io.tabular import read_jsonl
from decodelab.io.text import file_name, is_unicode, read_text

_ESCAPES = {"\\n": "\n", "\\t": "\t", "\\\\": "\\"}


def read_prompts(arguments: Sequence[str], file: Path | None, *, escapes: bool = False) -> list[str]:
    r"""The prompts of a command line: its arguments, those of a file, or one empty prompt.

    The argument `-` reads all of stdin as one prompt. A file (`-` is stdin) has one prompt per line, ignoring blank
    lines, or is JSONL with the field `prompt` if its name ends in `.jsonl` or its text starts with `{`.

    Raises:
        RequestError: for a file that cannot be read, is empty, or has a malformed line; names the line.

    >>> read_prompts([r"a\nb"], None, escapes=True), read_prompts([], None)
    (['a\nb'], [''])
    """
    if file is not None and arguments:
        raise RequestError(f"prompts: give arguments or --file, not both; got arguments and --file {file}")
    if arguments.count("-") > 1:
        raise RequestError("prompts: - reads stdin, which can be read only once; give it once")
    if file is not None:
        prompts = _file_prompts(file)
    else:
        prompts = [_without_last_newline(read_text("-")) if a == "-" else a for a in arguments] or [""]
    for prompt in prompts:
        if not is_unicode(prompt):
            raise RequestError("prompt is not UTF-8 text; convert it first, for example with iconv")
    return [unescaped(p) for p in prompts] if escapes else prompts


def unescaped(text: str) -> str:
    r"""Replace the escapes `\n`, `\t` and `\\` with newline, tab and backslash.

    >>> unescaped(r"a\nb\\n")
    'a\nb\\n'
    """
    return re.sub(r"\\[nt\\]", lambda m: _ESCAPES[m[0]], text)


def _file_prompts(file: Path) -> list[str]:
    text = read_text(file)
    if file.suffix == ".jsonl" or text.lstrip().startswith("{"):
        prompts = [row["prompt"] for row in read_jsonl(file, text, ("prompt",))]
    else:
        prompts = [line.rstrip("\r") for line in text.split("\n") if line.strip()]
    if not prompts:
        raise RequestError(f"{file_name(file)} has no prompts; write one per line")
    return prompts


def _without_last_newline(text: str) -> str:
    return text[:-1].removesuffix("\r") if text.endswith("\n") else text
