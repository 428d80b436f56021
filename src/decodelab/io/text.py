"""Text files, and text that models wrote made harmless for whoever reads it."""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path

from decodelab.core.errors import RequestError, quoted

_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"


def printable(text: str, keep: str = "") -> str:
    r"""Show control, format and other unseen characters as escapes; `keep` names those to leave.

    Model-written text can hold terminal commands, and marks that reverse the direction of what follows. Zero-width
    joiners stay: emoji and some scripts need them.

    >>> printable("\x1b[31mred\x00"), printable("a\nb\u202ec", keep="\n")
    ('\\x1b[31mred\\x00', 'a\nb\\u202ec')
    """
    if text.isprintable():
        return text
    return "".join(
        ch if ch in keep or ch in _JOINERS or unicodedata.category(ch) not in _HIDDEN else _escape(ch) for ch in text
    )


def _escape(ch: str) -> str:
    return ch.encode("unicode_escape").decode("ascii")


def printable_lines(text: str) -> str:
    r"""Model-written text for the terminal: newlines and tabs stay, all else unseen shows as an escape."""
    return printable(text, keep="\n\t")


def read_text(file: Path | str) -> str:
    """The UTF-8 text of a file, or of stdin for `-`.

    Raises:
        RequestError: if it cannot be read.
    """
    name = file_name(Path(file))
    if str(file) == "-" and sys.stdin is None:
        raise RequestError("cannot read stdin: it is closed; give a file")
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else expanded(file).read_bytes()
    except OSError as error:
        raise RequestError(f"cannot read {name}: {error.strerror}; check the path") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(f"{name} is not UTF-8 text (byte {error.start + 1}); convert it first") from None


def expanded(file: Path | str) -> Path:
    """The path that a user wrote, with its `~` expanded.

    Raises:
        RequestError: for what no file can be called: an unknown user, a NUL or a lone surrogate in it.
    """
    try:
        path = Path(file).expanduser()
        os.fsencode(path)
        if "\0" in str(path):
            raise ValueError("a NUL character in it")
    except (RuntimeError, ValueError) as error:
        why = " ".join(str(error).split()).rstrip(".")
        raise RequestError(f"{quoted(file)} cannot be the name of a file: {why}; check the path") from None
    return path


def file_name(file: Path) -> str:
    """What errors call a file."""
    return "stdin" if str(file) == "-" else quoted(file)


def is_unicode(text: str) -> bool:
    """Whether text has no lone surrogates, as which Python hands over command-line bytes that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
