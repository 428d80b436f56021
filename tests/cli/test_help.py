"""Help that teaches: every command has examples that run, and says what to try next."""

import re
import shlex

import pytest

COMMANDS = [
    "demo",
    "generate",
    "serve",
    "compare",
    "trace",
    "tree",
    "score",
    "gap",
    "cost",
    "perplexity-study",
    "puzzle",
    "calibrate",
    "measure",
    "strategies",
    "models",
    "bench",
    "tune",
    "report",
    "scaling",
    "journal",
    "tasks score",
    "tasks audit",
    "tasks make",
    "tasks list",
    "tasks show",
    "tasks options",
    "tasks fetch",
    "tasks pass-at-k",
    "train pocket",
]


def test_the_help_of_the_whole_names_every_command_and_explains_strategies(run):
    found = run("--help")
    assert found.code == 0
    for command in COMMANDS:
        assert re.search(rf"^  {command.split()[0]} ", found.stdout, re.MULTILINE)
    assert "temperature=0.8 | top_p=0.9" in found.stdout
    assert "..." not in found.stdout.partition("Commands:")[2], "a summary is cut off"


def test_no_arguments_give_the_help(run):
    assert run().stdout == run("--help").stdout
    assert "pocket" in run("train").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples_and_a_next_step(run, command: str):
    found = run(*command.split(), "--help")
    assert found.code == 0
    assert len(examples(found.stdout)) >= 2
    assert "Next:" in found.stdout
    assert all(len(line) <= 100 for line in found.stdout.splitlines())


def examples(text: str) -> list[list[str]]:
    """The command lines in a help text, without the remark that may follow one."""
    lines = re.findall(r"^ +decodelab (.+?)(?:  .*)?$", text, re.MULTILINE)
    return [shlex.split(line) for line in lines]


def test_every_option_in_the_examples_exists(run):
    for command in ["", *COMMANDS]:
        for example in examples(run(*command.split(), "--help").stdout):
            name = example[:2] if example[0] in ("train", "tasks") else example[:1]
            text = run(*name, "--help").stdout
            for word in example:
                if word.startswith("-") and len(word) > 1:
                    assert re.search(rf"{word}\b", text), f"{word} in {example}"


def test_the_version(run):
    from decodelab import __version__

    assert run("--version").stdout == f"decodelab {__version__}\n"
