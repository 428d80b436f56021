"""What the cases of a function come to with a program, in the sandbox."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from decodelab.programs.completion import parses
from decodelab.programs.examples import Asked, Case
from decodelab.programs.sandbox import Bounds, sandbox

_HELPERS = """
def _plain_(value):
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted(map(_plain_, value))) + "}"
    if isinstance(value, dict):
        return "{" + ", ".join(sorted(_plain_(k) + ": " + _plain_(v) for k, v in value.items())) + "}"
    if isinstance(value, (list, tuple)):
        return type(value).__name__ + "(" + ", ".join(map(_plain_, value)) + ")"
    return repr(value)

_passed_, _outputs_ = "", []
"""
_CASE = """
try:
{setup}
    _value_ = ({call})
    _outputs_.append(_plain_(_value_)[:100000])
    _passed_ += "1" if repr(_value_) == {printed!r} or {equal} else "0"
except Exception as _error_:
    _outputs_.append("raised " + type(_error_).__name__)
    _passed_ += "0"
"""
_REPORT = """
raise LookupError(f"{secret} {{_passed_}} {{hash(tuple(_outputs_)) & 0xFFFFFFFFFFFFFFFF:016x}}")
"""


@dataclass(frozen=True)
class Trial:
    """What a program did with all cases.

    Attributes:
        passed: whether each case that says what it expects gave that.
        outputs: equal for programs with the same outputs in all cases; "" for one that did not get through them.
    """

    passed: tuple[bool, ...]
    outputs: str


def tried(programs: Sequence[str], asked: Asked, cases: Sequence[Case], bounds: Bounds) -> list[Trial]:
    """Run programs against cases, one a core.

    Cases run in an interpreter of their own, as tests of a task do (`Sandbox.judge`); if they pass to the function or
    get from it what is no plain data, they share the program's. A program that runs out of time or memory, or ends by
    itself, in any of the cases has passed none.

    Args:
        programs: sources.
        asked: the function.
        cases: at most 100 (`decodelab.programs.examples.MOST`).
        bounds: of all cases of a program together.

    Raises:
        SandboxMissing: if there is no sandbox.
    """
    box = sandbox()
    # What a program cannot know, as the tests run elsewhere: it cannot write the report itself.
    secret = secrets.token_hex(8)
    sources = [asked.before if parses(asked.before) else "", _source(cases, secret)]

    def one(program: str) -> Trial:
        ended = box.judge(program, sources, asked.name, bounds)
        if ended is None:
            ended = box.run([program, *sources], bounds)
        mark = f"LookupError: {secret} "
        if ended.how != "raised" or not ended.detail.startswith(mark):
            return Trial((False,) * sum(case.expected is not None for case in cases), "")
        passed, _, outputs = ended.detail.removeprefix(mark).partition(" ")
        told = zip(passed, cases, strict=True)
        return Trial(tuple(bit == "1" for bit, case in told if case.expected is not None), outputs)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        try:
            return list(pool.map(one, programs))
        finally:
            pool.shutdown(cancel_futures=True)


def _source(cases: Sequence[Case], secret: str) -> str:
    parts = [_HELPERS]
    for case in cases:
        setup = "\n".join(f"    {line}" for line in case.setup.split("\n"))
        expected = case.expected or ""
        equal = f"_value_ == ({expected})" if parses(f"({expected})") and expected else "False"
        parts.append(_CASE.format(setup=setup, call=case.call, printed=expected, equal=equal))
    return "".join([*parts, _REPORT.format(secret=secret)])
