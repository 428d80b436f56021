"""`decodelab gap`: greedy search and beams beside the most probable sequence."""

import math
from pathlib import Path

import pytest

# Of two words and an end: the most probable sequence begins with the less probable word.
TRAP = """
name: trap
bos: <s>
eos: </s>
missing: eos
tree:
  a: [0.6, {a: [0.5, {a: 0.5, b: 0.5}], b: [0.5, {a: 0.5, b: 0.5}]}]
  b: [0.4, {b: [0.9, {b: 0.9, a: 0.1}], a: 0.1}]
"""

SHORT = """
name: short
bos: <s>
eos: </s>
otherwise: {a: 0.8, </s>: 0.2}
"""


@pytest.fixture
def tables(folder: Path) -> Path:
    (folder / "trap.yaml").write_text(TRAP)
    (folder / "short.yaml").write_text(SHORT)
    return folder


def test_the_gap_of_each_width_is_known_where_the_optimum_is_proved(run, tables: Path):
    found = run("gap", "-m", "trap.yaml", "--widths", "1,2,3", "--max-new-tokens", "3", "--json").json
    (case,) = found["cases"]
    assert (case["text"], case["proved"]) == ("b b b", True)
    assert case["logprob"] == case["bound"] == pytest.approx(math.log(0.4 * 0.9 * 0.9))
    greedy, *beams = case["outcomes"]
    assert greedy["text"] == "a a a"
    assert greedy["gap"] == greedy["gap_bound"] == pytest.approx(math.log(0.324 / 0.15), abs=1e-6)
    assert [o["gap"] for o in beams] == pytest.approx([0, 0], abs=1e-6)
    assert [(s["search"], s["below"]) for s in found["searches"]] == [
        ("greedy", 1),
        ("beam(width=2, length_penalty=0.0, early_stopping=never)", 0),
        ("beam(width=3, length_penalty=0.0, early_stopping=never)", 0),
    ]


def test_it_counts_how_often_shorter_and_empty_sequences_win(run, tables: Path):
    found = run("gap", "", "a", "-m", "short.yaml", "--widths", "1,2", "--max-new-tokens", "12", "--json").json
    assert found["proved"] == 2
    greedy, beam = found["searches"]
    assert (greedy["below"], greedy["shorter"], greedy["empty"]) == (2, 2, 2)
    assert (beam["below"], beam["shorter"], beam["empty"]) == (0, 0, 0)
    assert greedy["mean_gap"] == pytest.approx(math.log(0.2) - 12 * math.log(0.8), abs=1e-6)


def test_what_the_budget_leaves_open_is_a_span(run, tables: Path):
    found = run("gap", "-m", "short.yaml", "--widths", "1", "--max-new-tokens", "12", "--budget", "1", "--json").json
    (case,) = found["cases"]
    assert not case["proved"]
    assert case["bound"] == pytest.approx(2 * math.log(0.8), abs=1e-6)
    (outcome,) = case["outcomes"]
    assert outcome["gap"] < outcome["gap_bound"] == pytest.approx(case["bound"] - outcome["logprob"])


def test_processors_shape_the_distribution_that_is_searched(run, tables: Path):
    found = run("gap", "-m", "trap.yaml", "--processors", "top_k=1", "--max-new-tokens", "3", "--json").json
    assert found["processors"] == "top_k=1"
    assert found["cases"][0]["text"] == "a a a"
    assert all(s["below"] == 0 for s in found["searches"])


def test_the_tables_say_what_the_document_says(run, tables: Path):
    found = run("gap", "", "b", "-m", "trap.yaml", "--widths", "1,2", "--max-new-tokens", "3")
    assert found.code == 0
    rows = [line.split() for line in found.stdout.splitlines()]
    assert ["greedy", "1/2", "0.385", "0.385", "0.770", "0", "0"] in [row[:7] for row in rows]
    assert ["beam", "2", "0/2", "0.000", "0.000", "0.000", "0", "0"] in [row[:8] for row in rows]
    assert "optimum proved for 2 of 2 prompts" in found.stdout
    one_by_one = run("gap", "", "-m", "trap.yaml", "--widths", "1", "--max-new-tokens", "3", "--show", "0").stdout
    assert "most probable" not in one_by_one


def test_the_diagram_is_a_picture_or_a_page_that_needs_nothing_else(run, tables: Path):
    found = run("gap", "-m", "trap.yaml", "--max-new-tokens", "3", "--diagram", "gap.png")
    assert (tables / "gap.png").read_bytes().startswith(b"\x89PNG")
    assert "Plotted in gap.png." in found.stdout
    run("gap", "-m", "hostile.yaml", "--max-new-tokens", "3", "--diagram", "gap.html")
    page = (tables / "gap.html").read_text()
    assert "<svg" in page
    assert "<td>greedy</td>" in page
    assert "default-src 'none'" in page
    assert "hostile<i>" not in page  # the model's own name is escaped


def test_text_that_would_command_the_terminal_is_shown_as_escapes(run, folder: Path):
    found = run("gap", "-m", "hostile.yaml", "--max-new-tokens", "8", "--widths", "1")
    assert found.code == 0
    assert "\x1b" not in found.stdout
    assert "\u202e" not in found.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--widths", "0"], '--widths must be numbers of at least 1, got "0"; write for example 1,3,10'),
        (["--widths", "1,x"], '--widths must be numbers of at least 1, got "1,x"'),
        (["--widths", ""], "--widths must be numbers of at least 1"),
        (["--budget", "0"], "--budget must be at least 1, got 0"),
        (["--processors", "beam(width=2)"], "cannot come after beam"),
        (["--processors", "top_pp=0.5"], "unknown stage 'top_pp'"),
        (["--diagram", "nowhere/gap.png"], "cannot write 'nowhere/gap.png'"),
        (["--diagram", "gap.txt"], "its name must end in one of .png, .svg, .pdf, .html"),
        (["--max-new-tokens", "0"], "max_new_tokens must be at least 1, got 0"),
        (["-m", "nothing.yaml"], "there is no file 'nothing.yaml'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, tables: Path, arguments, message):
    found = run("gap", *([] if "-m" in arguments else ["-m", "trap.yaml"]), *arguments)
    assert found.code == 2
    assert found.stdout == ""
    assert message in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1
    assert not (tables / "gap.png").exists()
