"""Files that commands read and write: prompts in, results out, never half-written."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from decodelab.core.errors import OutputError, RequestError
from decodelab.core.rows import called, read_objects, read_text

_ESCAPES = {"\\n": "\n", "\\t": "\t", "\\\\": "\\"}


def read_prompts(arguments: Sequence[str], file: Path | None, *, escapes: bool = False) -> list[str]:
    r"""The prompts of a command line: its arguments, those of a file, or one empty prompt.

    The argument `-` is the whole of stdin as one prompt. A file (`-` is stdin) has one prompt a line, blank lines left
    out, or is JSONL with the field `prompt`, which its name (`.jsonl`) or its first line (`{`) tells.

    Raises:
        RequestError: for a file that cannot be read, is empty, or has a malformed line, with the line's number.

    >>> read_prompts([r"a\nb"], None, escapes=True), read_prompts([], None)
    (['a\nb'], [''])
    """
    if file is not None and arguments:
        raise RequestError(f"prompts: give them as arguments or with --file, not both, got {file} too")
    if arguments.count("-") > 1:
        raise RequestError("prompts: - reads stdin, which can be read only once; write it once")
    if file is not None:
        prompts = _file_prompts(file)
    else:
        prompts = [_without_last_newline(read_text("-")) if a == "-" else a for a in arguments] or [""]
    for prompt in prompts:
        if not _is_unicode(prompt):
            raise RequestError("prompt is not UTF-8 text; convert it first, for example with iconv")
    return [unescaped(p) for p in prompts] if escapes else prompts


def unescaped(text: str) -> str:
    r"""Replace `\n`, `\t` and `\\` by what they stand for.

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
        raise RequestError(f"{called(file)} has no prompts; write one a line")
    return prompts


def read_jsonl(file: Path, text: str, fields: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of JSONL text, one a line, each with these text fields; blank lines and other fields are passed over.

    Raises:
        RequestError: for a line that is not such an object, with its number.
    """
    example = json.dumps(dict.fromkeys(fields, "..."))
    rows: list[dict[str, Any]] = []
    for where, row in read_objects(file, text, example):
        for field in fields:
            if not isinstance(row.get(field), str) or not _is_unicode(row[field]):
                raise RequestError(f"{where}: needs the field {field!r} as text; write {example}")
        rows.append(row)
    return rows


def _without_last_newline(text: str) -> str:
    return text[:-1].removesuffix("\r") if text.endswith("\n") else text


def _is_unicode(text: str) -> bool:
    """Whether text has no lone surrogates, as which Python hands over command-line bytes that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_writable(path: Path, fix: str = "choose another path") -> None:
    """Make sure, before any work is done, that a file can be written.

    Raises:
        OutputError: if it cannot, saying why.
    """
    target = path.expanduser().resolve()
    try:
        if target.is_dir():
            raise OutputError(f"cannot write {str(path)!r}: it is a directory; {fix}")
        if not target.parent.is_dir():
            raise OutputError(f"cannot write {str(path)!r}: there is no directory {str(target.parent)!r}; {fix}")
        if target.exists() and not os.access(target, os.W_OK):
            raise OutputError(f"cannot write {str(path)!r}: permission denied; {fix}")
        if _replaceable(target):
            # Only trying tells: permission bits say nothing of read-only mounts.
            part = _part(target)
            part.touch(exist_ok=False)
            part.unlink()
    except OSError as error:
        raise OutputError(f"cannot write {str(path)!r}: {error.strerror}; {fix}") from None


def write_text(path: Path, text: str) -> None:
    """Write a text file as UTF-8, whole or not at all; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; a device or pipe is written to directly.

    Raises:
        OutputError: if it cannot be written.
    """
    target = path.expanduser().resolve()
    part = _part(target)
    try:
        if not _replaceable(target):
            target.write_bytes(data)
            return
        try:
            part.write_bytes(data)
            if target.exists():
                part.chmod(target.stat().st_mode)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {str(path)!r}: {error.strerror}; free space or choose another path") from None


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Where to write a file piece by piece: it takes its place when the block ends, and leaves none if it fails.

    Raises:
        OutputError: if it cannot be written.
    """
    target = path.expanduser().resolve()
    part = _part(target) if _replaceable(target) else target
    try:
        yield part
        if part != target:
            if target.exists():
                part.chmod(target.stat().st_mode)
            part.replace(target)
    except OSError as error:
        raise OutputError(f"cannot write {str(path)!r}: {error.strerror}; free space or choose another path") from None
    finally:
        if part != target:
            part.unlink(missing_ok=True)


def _replaceable(target: Path) -> bool:
    return target.is_file() or not target.exists()


def _part(target: Path) -> Path:
    return target.with_name(f".{target.name[:100]}.{os.getpid()}.part")
