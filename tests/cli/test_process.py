"""The command as the operating system sees it: what it loads, its exit codes, signals and broken pipes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from decodelab.cli.main import app

COMMAND = [sys.executable, "-c", "from decodelab.cli.main import main; main()"]
HEAVY = ("torch", "transformers", "tokenizers", "numpy", "jinja2", "rich", "yaml", "pydantic", "matplotlib", "plotly")


def test_the_command_line_loads_nothing_heavy():
    code = f"""
import sys
from decodelab.cli.main import app
try:
    app(["--help"])
except SystemExit as end:
    assert end.code == 0, end.code
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "[]", result.stderr


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["generate", "--seed", "x"], 2), (["nosuch"], 2)])
def test_exit_codes(arguments: list[str], code: int):
    result = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True)
    assert result.returncode == code
    assert "Traceback" not in result.stderr


def test_python_dash_m_is_the_command():
    arguments = [sys.executable, "-m", "decodelab", "strategies", "top_p"]
    result = subprocess.run(arguments, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("top_p=P")
    assert subprocess.run([*arguments[:3], "nosuch"], capture_output=True).returncode == 2


def test_a_closed_pipe_is_no_error():
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run([*COMMAND, "--help"], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert result.stderr == ""


def test_ctrl_c_in_mid_text_keeps_the_text(tmp_path: Path):
    (tmp_path / "endless.yaml").write_text("bos: <s>\neos: []\notherwise: {la: 1}\n")
    arguments = ["generate", "-m", "endless.yaml", "-s", "greedy", "--max-new-tokens", "1000000", "--stream"]
    with subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background makes them, and what they start, deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(8) == "la la la"
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate()
    assert process.returncode == 130
    assert set(stdout.split()) <= {"la"}
    assert "interrupted" in stderr
    assert "Traceback" not in stderr


@pytest.mark.parametrize("command", [["models"], ["--help"], ["generate", "hi", "-s", "greedy"]])
def test_a_closed_stdout_is_one_line(command):
    line = " ".join([sys.executable, "-m", "decodelab", *command, ">&-"])
    result = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == "decodelab: stdout is closed; redirect it to a file, or to /dev/null\n"


def test_a_closed_stdin_is_one_line():
    line = f"{sys.executable} -m decodelab generate - -s greedy <&-"
    result = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (2, "decodelab: cannot read stdin: it is closed; give a file\n")


@pytest.mark.parametrize("name", ["~nouser/file", "a" * 300, "x" * 5000])
@pytest.mark.parametrize(
    "command",
    [["generate", "-f"], ["generate", "hi", "-s", "greedy", "--out"], ["report"], ["journal"], ["models"], ["bench"]],
)
def test_a_path_that_no_file_can_have_is_one_line(capsys, command, name):
    with pytest.raises(SystemExit) as caught:
        app([*command, name])
    said = capsys.readouterr().err
    assert caught.value.code == 2
    assert said.count("\n") == 1
    assert len(said) < 600
