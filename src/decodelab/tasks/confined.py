"""What runs inside the sandbox: gives up every right, then runs the sources and reports how they ended.

`decodelab.tasks.sandbox` hands this file's text to a bare Python; nothing of decodelab is there to import.
"""

import builtins
import json
import os
import sys
import types
from collections.abc import Callable

NOBODY = 65534
AF_UNIX = 1
"""The family of the pairs of sockets by which event loops wake themselves; no other socket of it can be made."""
FORBIDDEN = (
    "ctypes.", "os.exec", "os.fork", "os.kill", "os.posix_spawn", "os.spawn", "os.startfile", "os.system", "pty.",
    "signal.pthread_kill", "socket.", "subprocess.", "syslog.",
)  # fmt: skip
"""How the names of events begin (PEP 578) at which a program is stopped: processes, sockets, foreign code."""


def main() -> None:
    """Run what stands in stdin; the report on stdout is a line that begins with the nonce."""
    nonce, seconds, memory, sources = json.load(sys.stdin)
    report = os.dup(1)
    for stream in (0, 1, 2):
        os.dup2(os.open("/dev/null", os.O_RDWR), stream)
    os.closerange(report + 1, 256)
    limit(seconds, memory)
    # A program may replace whatever it can reach, so what is needed after it is at hand before it.
    write, leave, out_of_memory_error, name_of = os.write, os._exit, MemoryError, type.__dict__["__name__"].__get__
    known, translate, run, any_error = builtins.__dict__, compile, exec, BaseException
    replace, as_they_were = known.update, dict(known)
    finished, out_of_memory = f"{nonce} finished".encode(), f"{nonce} memory".encode()

    def tell(line: bytes) -> None:
        write(report, line)
        leave(0)

    write(report, b"ready\n")
    forbid(lambda event: tell(f"{nonce} forbidden {event}".encode("utf-8", "replace")))
    module = types.ModuleType("program")
    sys.modules["program"] = module
    try:
        for source in sources:
            run(translate(source, "<program>", "exec"), module.__dict__)
            replace(as_they_were)
            module.__dict__["__builtins__"] = builtins
    except out_of_memory_error:
        tell(out_of_memory)
    except any_error as error:
        try:
            said = f": {error}"[:200].rstrip(": ")
        except any_error:
            said = ""
        tell(f"{nonce} raised {name_of(type(error))}{said}".encode("utf-8", "replace"))
    tell(finished)


def limit(seconds: float, memory: int) -> None:
    """Become nobody, with limits that cannot be raised again: one process, no file to write, bounded memory."""
    import resource

    for which, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, int(seconds) + 2),  # should nobody be left who watches the wall clock
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        resource.setrlimit(which, (most, most))
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def forbid(stop: Callable[[str], None]) -> None:
    """Call `stop` when a program reaches for what it must not have, whether or not it would have got it."""
    runtime = tuple(f"{folder}/" for folder in sys.path)
    normal, writing = os.path.normpath, os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def hook(event: str, arguments: tuple) -> None:
        if event.startswith(FORBIDDEN) and not (event == "socket.__new__" and arguments[1] == AF_UNIX):
            stop(event)
        elif event == "open" and not isinstance(arguments[0], int):  # a number is open already
            path, _, flags = arguments
            # Python itself looks for the lines of a syntax error in a file named <program> or <string>.
            if flags & writing or not normal(str(path)).startswith((*runtime, "<")):
                stop("open " + str(path)[:100])

    sys.addaudithook(hook)


if __name__ == "__main__":
    main()
