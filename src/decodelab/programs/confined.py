"""What runs inside the sandbox: gives up every right, then runs the sources and reports how they ended.

`decodelab.programs.sandbox` hands this file's text, after that of `plain_data`, to a bare Python; nothing of decodelab
is there to import. Modules that take long to import, such as json, collections and typing, are not imported here.
"""

import builtins
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from decodelab.programs.plain_data import NotPlain, decoded, encoded

NOBODY = 65534
AF_UNIX = 1
"""The family of the pairs of sockets by which event loops wake themselves; no other socket of it can be made."""
FORBIDDEN = (
    "ctypes.", "os.exec", "os.fork", "os.kill", "os.posix_spawn", "os.spawn", "os.startfile", "os.system", "pty.",
    "signal.pthread_kill", "socket.", "subprocess.", "syslog.",
)  # fmt: skip
"""How the names of events begin (PEP 578) at which a program is stopped: processes, sockets, foreign code."""
LARGEST = 2**26
"""Bytes of one message between a program and its tests, at most."""


def main() -> None:
    """Run what stands in stdin; the report on stdout is a line that begins with the nonce.

    A program that has a function to serve answers calls of it after its sources; tests that have one call it in another
    process before their last source.
    """
    nonce, seconds, memory, sources, serving, calling, pipes = decoded(sys.stdin.buffer.read())
    report = os.dup(1)
    for stream in (0, 1, 2):
        os.dup2(os.open("/dev/null", os.O_RDWR), stream)
    for descriptor in range(3, 256):
        if descriptor != report and descriptor not in pipes:
            os.closerange(descriptor, descriptor + 1)
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
    module = type(sys)("program")
    sys.modules["program"] = module
    try:
        if calling:
            reading, writing = pipes
            module.__dict__[calling] = elsewhere(
                calling, reading, writing, lambda what: tell(f"{nonce} {what}".encode())
            )
        for source in sources:
            run(translate(source, "<program>", "exec"), module.__dict__)
            replace(as_they_were)
            module.__dict__["__builtins__"] = builtins
        if serving:
            if serving not in module.__dict__:
                raise NameError(f"name {serving!r} is not defined")
            serve(module.__dict__[serving], *pipes)
    except out_of_memory_error:
        tell(out_of_memory)
    except any_error as error:
        try:
            said = f": {error}"[:200].rstrip(": ")
        except any_error:
            said = ""
        tell(f"{nonce} raised {name_of(type(error))}{said}".encode("utf-8", "replace"))
    tell(finished)


def serve(function: "Callable[..., Any]", reading: int, writing: int) -> None:
    """Answer calls of a function until nobody asks any more: what it returns or raises, and arguments it changed."""
    send(writing, b"ready")
    while (asked := receive(reading)) is not None:
        given = decoded(asked)
        positional, named = given
        try:
            answer = encoded(("returned", function(*positional, **named)))
        except NotPlain as error:
            answer = encoded(("raised", "NotPlain", f"the result is {error}, which is no plain data"))
        except BaseException as error:
            try:
                said = str(error)[:300]
            except BaseException:
                said = ""
            answer = encoded(("raised", type.__dict__["__name__"].__get__(type(error)), said))
        try:
            after = encoded(given)
        except (NotPlain, RecursionError, ValueError):
            after = asked
        send(writing, encoded((answer, None if after == asked else after)))


def elsewhere(name: str, reading: int, writing: int, leave: "Callable[[str], None]") -> "Callable[..., Any]":
    """A function that is called in the process at the other end of the pipes.

    Arguments and results are plain data; lists, sets and dicts that the function changed in place are changed here too.
    `leave` is called where there is nobody (gone), or where an argument is no plain data (whole).
    """

    def ask(*positional: "Any", **named: "Any") -> "Any":
        given = [list(positional), named]
        try:
            asked = encoded(given)
        except NotPlain as error:
            leave(f"whole the tests call it with {error}")
            raise
        if not send(writing, asked) or (answered := receive(reading)) is None:
            leave("gone")
            raise SystemExit
        try:
            answer, after = decoded(answered)
            how, *said = decoded(answer)
            if after is not None:
                changed = decoded(after)
                for mine, now in zip([*positional, *named.values()], [*changed[0], *changed[1].values()], strict=True):
                    update(mine, now)
            if how == "returned":
                (value,) = said
                return value
            kind, message = map(str, said)
        except (ValueError, TypeError, RecursionError, AttributeError, LookupError):
            raise ValueError("the program answers what is no answer") from None
        raise raised(kind, message)

    ask.__name__ = ask.__qualname__ = name
    if receive(reading) != b"ready":
        leave("gone")
    return ask


def update(mine: "Any", now: "Any") -> None:
    """Give a list, set or dict the contents of another."""
    if type(mine) is not type(now):
        return
    if isinstance(mine, list):
        mine[:] = now
    elif isinstance(mine, set | dict):
        mine.clear()
        mine.update(now)


def raised(kind: str, message: str) -> BaseException:
    """An exception of that name and text: of the built-in class, or an `Exception` of its own."""
    base: Any = builtins.__dict__.get(kind)
    if not (isinstance(base, type) and issubclass(base, BaseException)):
        base = Exception
    said = {"__str__": lambda self: message}
    made: Any = type(kind[:100], (base,), said)
    try:
        return made(message)
    except TypeError:  # of those that need more arguments
        return type(kind[:100], (Exception,), said)(message)


def send(writing: int, message: bytes) -> bool:
    """Write a message behind its length; whether somebody is there to read it."""
    rest = memoryview(b"%8d%b" % (len(message), message))
    try:
        while rest:
            rest = rest[os.write(writing, rest) :]
    except BrokenPipeError:
        return False
    return True


def receive(reading: int) -> bytes | None:
    """The next message; None at the end, or for one that is too long."""
    head = exactly(reading, 8)
    if head is None or not head.strip().isdigit() or int(head) > LARGEST:
        return None
    return exactly(reading, int(head))


def exactly(reading: int, count: int) -> bytes | None:
    """So many bytes; None where there are fewer."""
    parts = []
    while count and (part := os.read(reading, min(count, 2**20))):
        parts.append(part)
        count -= len(part)
    return None if count else b"".join(parts)


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


def forbid(stop: "Callable[[str], None]") -> None:
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
