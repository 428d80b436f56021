"""A tiny table as model, so that what commands do is known exactly, and a way to run command lines."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from decodelab.cli.main import app

TOY = """
name: toy
bos: <s>
eos: </s>
context_length: 12
tree:
  the: [0.6, {cat: [0.7, {sat: [0.5, {</s>: 1}], ran: [0.5, {</s>: 1}]}], dog: [0.3, {ran: [1, {</s>: 1}]}]}]
  a: [0.4, {dog: [0.9, {ran: [1, {</s>: 1}]}], cat: [0.1, {sat: [1, {</s>: 1}]}]}]
"""

HOSTILE = r"""
name: "hostile<i>"
bos: <s>
eos: </s>
separator: ""
tree:
  "<script>alert(1)</script>":
    - 1
    - "\e[31mred":
        - 1
        - "\u202Eevil":
            - 1
            - "nul\0":
                - 1
                - "' onmouseover='x":
                    - 1
                    - "[bold]&amp;\n\"": [1, {</s>: 1}]
"""


@dataclass(frozen=True)
class Outcome:
    """What a command line printed and returned."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


Run = Callable[..., Outcome]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory of the commands, with the models `toy.yaml` and `hostile.yaml` in it."""
    (tmp_path / "toy.yaml").write_text(TOY)
    (tmp_path / "hostile.yaml").write_text(HOSTILE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Run:
    """Run a command line in this process: `run("generate", "-m", "toy.yaml")`."""

    def run(*arguments: str, stdin: str | bytes | None = None) -> Outcome:
        result = CliRunner().invoke(app, arguments, input=stdin, catch_exceptions=False)
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run
