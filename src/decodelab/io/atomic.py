"""Files written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from decodelab.core.errors import OutputError, quoted
from decodelab.io.text import expanded


def check_writable(path: Path, fix: str = "choose another path") -> None:
    """Make sure, before any work is done, that a file can be written.

    Raises:
        OutputError: if it cannot, saying why.
    """
    target = expanded(path).resolve()
    try:
        if target.is_dir():
            raise OutputError(f"cannot write {quoted(path)}: it is a directory; {fix}")
        if not target.parent.is_dir():
            raise OutputError(f"cannot write {quoted(path)}: there is no directory {quoted(target.parent)}; {fix}")
        if target.exists() and not os.access(target, os.W_OK):
            raise OutputError(f"cannot write {quoted(path)}: permission denied; {fix}")
        if _replaceable(target):
            # Only trying tells: permission bits say nothing of read-only mounts.
            part = _part(target)
            part.touch(exist_ok=False)
            part.unlink()
    except OSError as error:
        raise OutputError(f"cannot write {quoted(path)}: {error.strerror}; {fix}") from None


def write_text(path: Path, text: str) -> None:
    """Write a text file as UTF-8, whole or not at all; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; a device or pipe is written to directly.

    Raises:
        OutputError: if it cannot be written.
    """
    with writing(path) as part:
        part.write_bytes(data)


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Where to write a file piece by piece: it takes its place when the block ends, and leaves none if it fails.

    Raises:
        OutputError: if it cannot be written.
    """
    target = expanded(path).resolve()
    part = _part(target)
    try:
        if not _replaceable(target):
            yield target
            return
        try:
            yield part
            if target.exists():
                part.chmod(target.stat().st_mode)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {quoted(path)}: {error.strerror}; free space or choose another path") from None


def _replaceable(target: Path) -> bool:
    return target.is_file() or not target.exists()


def _part(target: Path) -> Path:
    return target.with_name(f".{target.name[:100]}.{os.getpid()}.part")
