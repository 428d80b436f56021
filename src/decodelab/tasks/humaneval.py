"""HumanEval: functions completed from their docstring, judged by running their tests in the sandbox."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from decodelab.core.errors import InvalidData, RequestError
from decodelab.io.tabular import read_objects, read_rows
from decodelab.io.text import expanded, file_name
from decodelab.programs.code_tests import apart
from decodelab.programs.completion import STOPS, program
from decodelab.programs.sandbox import Bounds, sandbox
from decodelab.tasks.fields import Id, Row, Words, read_items
from decodelab.tasks.task import Example, Verdict

EXAMPLE = (
    '{"task_id": "HumanEval/0", "prompt": "def f(x):\\n", "entry_point": "f", "canonical_solution": "    return x\\n", '
    '"test": "def check(candidate):\\n    assert candidate(1) == 1\\n"}'
)
_LARGEST_FILE = 2**28
_ADDRESS = re.compile(r"0x[0-9a-f]{6,16}")


def _python_name(name: str) -> str:
    if not name.isidentifier():
        raise ValueError(f"entry_point must be a Python name, got {name!r:.60}")
    return name


class _Row(Row):
    id: Id = Field(validation_alias="task_id")
    prompt: Words
    entry_point: Annotated[Words, AfterValidator(_python_name)]
    test: Words
    canonical_solution: Any = None


@dataclass(frozen=True)
class HumanEval:
    r"""HumanEval, or any data in its format: 1 if the program passes its tests, else 0.

    Programs run in bubblewrap (`decodelab.programs.sandbox`), and nowhere without it. Unlike in the published harness,
    the tests run in an interpreter of their own, so that a program can deceive them by nothing but what its function
    returns, which is taken as plain data. Tests that need more of a program share its interpreter, and the verdict says
    so and why (`decodelab.programs.code_tests`): such a program can still deceive them.

    Attributes:
        instruct: ask in words for the whole function, as chats want it; otherwise the prompt is to be continued.
        seconds: wall-clock time a program has; the published harness gives 3.
        memory_mb: megabytes of memory it has.

    >>> HumanEval().program({"prompt": "def f(x):\n", "entry_point": "f"}, "    return x\nprint(f(1))")
    'def f(x):\n    return x\n'
    """

    instruct: bool = False
    seconds: float = 5.0
    memory_mb: int = 512

    name: ClassVar[str] = "code"
    source: ClassVar[str] = "Chen et al. 2021; openai/human-eval"
    version: ClassVar[int] = 3
    open_ended: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the parameters."""
        if not 0.1 <= self.seconds <= 3600:
            raise InvalidData(f"code: seconds must be in [0.1, 3600], got {self.seconds}; 3 to 10 are usual")
        if not 64 <= self.memory_mb <= 1_000_000:
            raise InvalidData(f"code: memory_mb must be in [64, 1000000], got {self.memory_mb}; 512 is usual")

    @property
    def stop(self) -> tuple[str, ...]:
        """Where a completion ends; whole functions have nothing of the kind."""
        return () if self.instruct else STOPS

    def check(self) -> None:
        """Make sure that there is a sandbox.

        Raises:
            SandboxMissing: if there is none.
        """
        sandbox()

    def read(self, path: Path) -> list[Example]:
        """The examples of JSONL in HumanEval's format, perhaps compressed by gzip.

        Raises:
            RequestError, InvalidData: for a file or a line that cannot be read, with its number.
        """
        rows = read_objects(path, _unpacked(path), EXAMPLE) if path.suffix == ".gz" else read_rows(path, EXAMPLE)
        if not rows:
            raise RequestError(f"{file_name(path)} has no items; write {EXAMPLE}")
        found = []
        for name, row in read_items(rows, _Row, EXAMPLE):
            meta = {"prompt": row.prompt, "entry_point": row.entry_point, "test": row.test}
            prompt = instruction(row.prompt) if self.instruct else row.prompt
            found.append(Example(name, prompt, row.canonical_solution, meta))
        return found

    def program(self, meta: Mapping[str, Any], text: str) -> str:
        """The program that an answer comes to (`decodelab.programs.completion.program`)."""
        return program(meta["prompt"], meta["entry_point"], text)

    def judge(self, example: Example, text: str) -> Verdict:
        """Run the program and its tests; the verdict's answer says how that ended.

        Raises:
            SandboxMissing: if there is no sandbox.
        """
        meta, bounds = example.meta, Bounds(self.seconds, self.memory_mb * 2**20)
        written, function = self.program(meta, text), meta["entry_point"]
        tests = [meta["test"], f"check({function})"]
        how = apart(meta["prompt"], meta["test"], function)
        ended = None if how.why_not else sandbox().judge(written, [how.before, *tests], function, bounds)
        shared = ""
        if ended is None:
            shared = f" (the tests shared its interpreter: {how.why_not or 'they pass what is no plain data'})"
            ended = sandbox().run([written, *tests], bounds)
        # Addresses differ from run to run, and a stored verdict should not.
        return Verdict(float(ended.how == "finished"), _ADDRESS.sub("0x...", str(ended)) + shared)

    def judge_batch(self, answers: Sequence[tuple[Example, str]]) -> Iterator[Verdict]:
        """Judge answers, in their order; programs run side by side, one a core.

        Raises:
            SandboxMissing: if there is no sandbox.
        """
        self.check()
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            try:
                yield from pool.map(self.judge, *zip(*answers, strict=True))
            finally:
                pool.shutdown(cancel_futures=True)


def instruction(prompt: str) -> str:
    """How a chat is asked for the function."""
    return (
        "Complete the following Python function. Answer with the whole function, its imports included, in one "
        f"```python block.\n\n```python\n{prompt.rstrip()}\n```\n"
    )


def _unpacked(path: Path) -> str:
    """The text of a file compressed by gzip."""
    try:
        with gzip.open(expanded(path)) as file:
            data = file.read(_LARGEST_FILE + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "damaged, or not gzip"
        raise RequestError(f"cannot read {file_name(path)}: {reason}; check the path") from None
    if len(data) > _LARGEST_FILE:
        raise RequestError(f"{file_name(path)} unpacks to more than {_LARGEST_FILE:,} bytes; split it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(f"{file_name(path)} is not UTF-8 text (byte {error.start + 1}); convert it first") from None
