"""The results of a sweep as LaTeX, CSV, Markdown and pictures: complete, and nothing in a name is markup."""

import csv
import io
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from decodelab.bench.records import CellStats
from decodelab.bench.stats.comparison import Results
from decodelab.bench.stats.confidences import Bin
from decodelab.bench.stats.winner import Winner
from decodelab.io.text import printable
from decodelab.metrics.estimate import Estimate
from decodelab.report.sweep.csv import to_csv
from decodelab.report.sweep.latex import escaped, latex
from decodelab.report.sweep.plot import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Point, plot, reliability, ticks
from decodelab.report.sweep.png import to_png
from decodelab.report.sweep.table import advice, markdown, odd_lengths, print_results, results_data, title, verdict
from decodelab.tasks.response import LACKS

HOSTILE = "=cmd|'/C calc'!A0 \\input{x} $y$ & 50% #1 _a^b ~ [c] *d* <script>`e` \x1b[31m \u202e\x00\n\"--"


def row(
    strategy: str, score: float | None, *, cost: float = 10.0, named: str = "", more: dict[str, float] | None = None
) -> CellStats:
    """A cell of the task `sums` and the model `nano`, or of a task and a model of one name."""
    estimate = None if score is None else Estimate(score, score - 0.1, score + 0.1, 0.05, 50, 50)
    difference = Estimate(-0.25, -0.5, 0.0, 0.1, 50, 50) if strategy != "base" and score is not None else None
    return CellStats(
        task=named or "sums",
        model=named or "nano",
        strategy=strategy,
        items=50,
        asked=50,
        repeats=0,
        answers=50,
        score=estimate,
        difference=difference,
        p=None if difference is None else 0.012345678901,
        forward_tokens=int(50 * cost),
        prompt_tokens=4.0,
        decode_tokens=cost - 4.0,
        seconds=0.25,
        on_pareto_front=True,
        tokens=3.0,
        unread=0.0,
        unfinished=0.5,
        repeated=0.0,
        more=more or {},
        lacks=dict.fromkeys(LACKS, 0),
    )


def results(*rows: CellStats, winners: tuple[Winner, ...] = ()) -> Results:
    return Results(rows, winners, "base")


def test_a_csv_has_every_figure_in_full():
    found = list(
        csv.DictReader(io.StringIO(to_csv(results(row("base", 1 / 3), row("hot", 2 / 3, more={"easy": 0.1})))))
    )
    assert [r["strategy"] for r in found] == ["base", "hot"]
    assert {(r["task"], r["model"]) for r in found} == {("sums", "nano")}
    assert [float(r["score"]) for r in found] == [1 / 3, 2 / 3]
    assert float(found[1]["score_low"]) == 2 / 3 - 0.1
    assert [r["p"] for r in found] == ["", "0.012345678901"]
    assert [r["difference_high"] for r in found] == ["", "0.0"]
    assert [r["more_easy"] for r in found] == ["", "0.1"]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\uff1d1", HOSTILE])
def test_no_cell_of_a_csv_is_a_formula(name):
    [found] = csv.DictReader(io.StringIO(to_csv(results(row(name, 0.5, named=name)))))
    for column in ("task", "model", "strategy"):
        assert found[column].startswith("'")
        assert found[column].isprintable()


def test_latex_prints_names_as_they_are():
    assert escaped("a_b & 5%") == r"a\_b \& 5\%"
    assert escaped(r"\end{tabular}") == r"\textbackslash{}end\{tabular\}"
    assert escaped("x\\\\[2em]") == r"x\textbackslash{}\textbackslash{}{[}2em{]}"
    assert escaped("\x00\n") == r"\textbackslash{}x00\textbackslash{}n"


names = st.text(st.characters(exclude_categories=("Cs",)), max_size=30) | st.text(
    "\\`*_{}[]<>#|~&!.-=+@' \n$%^", max_size=30
)


@given(names)
def test_nothing_in_a_name_is_latex(name):
    known = r"\\text(backslash|asciitilde|asciicircum|less|greater|bar|quotedbl|quotesingle|asciigrave)\{\}"
    left = re.sub(rf"{known}|\\[{{}}$&#_%]|\{{[\[\]*-]\}}", "", escaped(name))
    assert not set(left) & set("\\{}$&#_%^~<>|\"'`[]*")
    assert printable(left) == left


def test_latex_has_all_scores_in_one_table_where_there_are_several_tasks():
    text = latex(
        results(
            row("base", 0.6), row("hot", 0.5), row("base", 0.25, named="b"), winners=(winner("sums", "base", "base"),)
        )
    )
    glance = text.partition(r"\end{table}")[0].splitlines()
    assert [line for line in glance if line.endswith(r"\\")] == [
        r"strategy & \shortstack{sums\\nano} & \shortstack{b\\b} \\",
        r"base & \textbf{0.600}$^*$ & 0.250 \\",
        r"hot & 0.500 &  \\",
    ]


PARTS = ("table", "thead", "tbody", "tr", "th", "td", "paragraph", "heading")
BLOCKS = {"inline", *(f"{part}_{end}" for part in PARTS for end in ("open", "close"))}


@given(names)
def test_nothing_in_a_name_is_markdown(name):
    won = Winner(name or "sums", name or "nano", name, 0.75, 0.05)
    text = markdown(results(row(name, 0.5, named=name), winners=(won,)))
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    assert {token.type for token in tokens} <= BLOCKS
    inline = [token for token in tokens if token.type == "inline"]
    assert {child.type for token in inline for child in token.children or ()} <= {"text"}
    cells = [token.content for token in inline]
    assert sum("0.500" in cell for cell in cells) == 1
    shown = "".join(child.content for child in inline[cells.index("0.500") - 1].children or ())
    assert shown.split() == printable(name).split()


@given(names)
def test_nothing_in_a_name_is_a_formula_or_another_cell(name):
    [found] = csv.DictReader(io.StringIO(to_csv(results(row(name, 0.5)))))
    assert found["strategy"].removeprefix("'") == printable(name).removeprefix("'")
    assert not found["strategy"].lstrip().startswith(("=", "+", "-", "@"))
    assert found["items"] == "50"


def test_a_latex_table_has_a_row_a_strategy_and_bold_best_means():
    undecided = {"undecided": ("hot",), "nearest": "hot", "items_needed": 120}
    winner = Winner("sums", "nano", "base", 0.6, 0.05, as_good=("base",), worse=(HOSTILE,), **undecided)
    text = latex(results(row("base", 0.6), row("hot", 0.5), row(HOSTILE, 0.1), row("none", None), winners=(winner,)))
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert [len(re.findall(r"(?<!\\)&", line)) for line in rows] == [8] * 5
    assert [r"\textbf{" in line for line in rows] == [False, True, False, False, False]
    assert ["$^*$" in line for line in rows] == [False, True, False, False, False]
    assert "Undecided: hot; about 120 items would decide." in text
    for command in ("begin", "end"):
        assert re.findall(rf"\\{command}\{{(\w+)\}}", text) in (["table", "tabular"], ["tabular", "table"])


def test_markdown_keeps_its_columns_whatever_names_hold():
    text = markdown(results(row("base", 0.5), row(HOSTILE, 0.5, more={"easy|": 0.25})))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert len(lines) == 4
    assert not re.search(r"(?<!\\)[<`*_\[]", text)
    assert "\x1b" not in text


def test_pictures_are_drawn_of_anything():
    for drawn in (results(row("base", 0.5), row(HOSTILE, 0.6, cost=500)), results(row("base", None)), results()):
        assert to_png(drawn).startswith(b"\x89PNG")


def test_the_table_fits_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_results(results(row("temperature 0.25", 0.5, cost=12345, more={"DRFR": 0.5}), row("beam 25", 0.6)))
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines()) <= 80
    assert "…" not in out
    assert "temperature 0.25: DRFR 0.5" in out


def test_numbers_at_an_axis_differ():
    drawn = plot("seconds per answer", [Point("a", 1.0371, 0.5, 0.4, 0.6), Point("b", 1.0442, 0.6, 0.5, 0.7)])
    assert drawn is not None
    texts = [text for _, text in drawn.xticks]
    assert len(set(texts)) == len(texts) > 1


@pytest.mark.parametrize("columns", ["20", "80", "200"])
def test_numbers_are_never_cut_and_strategies_wrap(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    long = "temperature=0.7 | top_p=0.9 | repetition_penalty=1.2 | sample(n=5) | vote(reader=integer)"
    print_results(results(row("base", 0.5, cost=1234567.0), row(long, 0.625, cost=89.0)))
    out = capsys.readouterr().out
    assert "…" not in out
    for number in ("0.625", "0.53–0.72", "-0.250", "0.012", "1,234,567", "89"):
        assert number in out
    _, _, header, _, *lines = out.splitlines()
    shown = "".join(line[: header.index("score")] for line in lines)
    assert "".join(long.split()) in "".join(shown.split())


def winner(task: str, best: str, *good: str, undecided: tuple[str, ...] = ()) -> Winner:
    """A table in which the strategies named first are shown to be as good as all others."""
    others = tuple(name for name in ("base", "hot") if name not in (best, *good, *undecided))
    return Winner(task, "nano", best, 0.5, 0.05, as_good=good, worse=others, undecided=undecided)


@pytest.mark.parametrize(
    ("winners", "says"),
    [
        ((), "There are too few answers to compare yet."),
        (
            (winner("a", "base", "base"), winner("b", "base", "base")),
            "base is as good as every other strategy, within 0.05, in all 2 tables; no other is shown to be.",
        ),
        (
            (winner("a", "hot", "hot", "base"), winner("b", "hot", "hot", "base")),
            "hot and base are as good as every other strategy, within 0.05, in all 2 tables; "
            "of these, base computes the fewest forward tokens.",
        ),
        # The cheaper one is not recommended where it is only not significantly different.
        (
            (winner("a", "hot", undecided=("base",)),),
            "hot has the highest mean in the one table. "
            "Undecided: too few items to show which strategies are as good, within 0.05.",
        ),
        (
            (winner("a", "hot", "hot"), winner("b", "hot", undecided=("base",)), winner("c", "base", "base")),
            "The highest mean is that of hot in 2 and base in 1 of 3 tables. "
            "Undecided in 1 of 3 tables: too few items to show which strategies are as good, within 0.05.",
        ),
        (
            (winner("a", "hot", "hot"), winner("c", "base", "base")),
            "The highest mean is that of hot in 1 and base in 1 of 2 tables; "
            "no strategy is as good as every other, within 0.05, everywhere.",
        ),
    ],
)
def test_what_to_use_is_said_in_a_sentence(winners, says):
    assert advice(results(row("base", 0.5, cost=10), row("hot", 0.6, cost=20), winners=winners)) == says


@pytest.mark.parametrize(
    ("winner", "says"),
    [
        (
            Winner("a", "b", "x", 0.5, 0.05, as_good=("x",), worse=("y", "z")),
            "x wins (0.500): every other strategy is significantly worse.",
        ),
        (
            Winner("a", "b", "x", 0.5, 0.05, tied=("y",), undecided=("y",), nearest="y", items_needed=74),
            "x and y share the highest mean (0.500). Undecided: y; about 74 items would decide.",
        ),
        (
            Winner("a", "b", "x", 0.5, 0.02, as_good=("x", "y"), worse=("z",)),
            "x has the highest mean (0.500). As good, within 0.02: y. Significantly worse: z.",
        ),
        (
            Winner("a", "b", "x", 0.5, 0.05, undecided=("y", "z"), nearest="y", items_needed=1200, left_out=("w",)),
            "x has the highest mean (0.500). Undecided: y and z; about 1,200 items would decide about y. "
            "Too few answers to compare: w.",
        ),
    ],
)
def test_what_can_be_told_is_said_in_a_sentence(winner, says):
    assert verdict(winner) == says


def test_lengths_that_differ_much_are_named(capsys):
    long, short, usual = (
        replace(row(name, 0.5), tokens=n) for name, n in (("long", 9.0), ("short", 1.5), ("usual", 4))
    )
    said = (
        "Answers of long are much longer than base's (3 times as long). "
        "Answers of short are much shorter than base's (0.5 times as long)."
    )
    found = results(row("base", 0.5), long, short, usual)
    assert odd_lengths(found.cells, "base") == said
    assert odd_lengths(found.cells, "none") == ""
    print_results(found)
    assert said in capsys.readouterr().out


NONE_LACK = dict.fromkeys(LACKS, 0)
UNREAD = replace(row("hot", 0.1), unread=0.34, lacks={**NONE_LACK, "empty": 2, "ambiguous": 15})


@pytest.mark.parametrize("form", [markdown, latex])
def test_every_table_has_a_column_of_answers_that_were_not_read_and_says_why(form):
    text = form(results(row("base", 0.5), UNREAD))
    assert "no answer" in text
    assert re.search(r" 34\\?% ", text)
    assert "hot 17 of 50 (empty 2, ambiguous 15)" in text
    opened = form(results(replace(row("base", 0.5), reads=False), replace(UNREAD, reads=False)))
    assert (re.search(r" 34\\?% ", opened) is None, re.search(r" 0\\?% ", opened)) == (False, None)


def test_the_terminals_table_says_how_many_were_not_read_and_why(capsys):
    print_results(results(row("base", 0.5), UNREAD, replace(row("x", 0.2), lacks={**NONE_LACK, "cut off": 25})))
    shown = capsys.readouterr().out
    assert "Answers that were not read: hot 17 of 50 (empty 2, ambiguous 15); x 25 of 50 (cut off 25)." in shown
    assert " 34% " in shown


def test_data_and_csv_count_what_was_not_read_by_the_reason():
    found = results(row("base", 0.5), UNREAD)
    assert results_data(found)["rows"][1]["lacks"]["ambiguous"] == 15
    listed = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert (listed[1]["lacks_ambiguous"], listed[1]["lacks_unfinished_thought"], listed[1]["unread"]) == (
        "15",
        "0",
        "0.34",
    )


def test_a_table_over_answered_items_says_so_and_how_many_are_left_out():
    rows = [replace(row("base", 0.5), left_out=0), replace(row("hot", 0.1), left_out=12, items=38)]
    said = "sums, nano, 38 to 50 of 50 items, answered items only (0 to 12 without an answer left out)"
    assert title("sums", "nano", rows) == said
    assert "38 of 50 items, answered items only (12 without" in title("sums", "nano", rows[1:])
    found = Results(tuple(rows), (), "base", answered_only=True)
    assert results_data(found)["over"] == "answered"
    assert advice(found) == "Over answered items only: There are too few answers to compare yet."
    assert results_data(results(*rows))["over"] == "all"


def test_results_are_json_ready_with_their_sentences():
    data = results_data(results(row("base", 0.5), winners=(winner("sums", "base", "base"),)))
    assert data["rows"][0]["strategy"] == "base"
    assert (data["agreement"], data["calibration"]) == ([], [])
    assert data["winners"][0]["says"] == "base wins (0.500): every other strategy is significantly worse."


numbers = st.just(0.0) | st.floats(0.001, 1e9)
points = st.lists(
    st.builds(lambda x, y: Point(f"{x}/{y}", x, y, y - 0.1, y + 0.1), numbers, st.floats(0, 1)),
    min_size=2,
    max_size=9,
    unique_by=lambda p: p.name,
)


@given(points)
def test_a_plot_stays_within_its_frame(found):
    drawn = plot("cost", found)
    if drawn is None:
        assert all(p.x == 0 for p in found)
        return
    for point in drawn.points:
        assert LEFT <= point.x <= WIDTH - RIGHT
        assert TOP <= point.y <= HEIGHT - BOTTOM
    assert {p.point.name for p in drawn.points if p.front}
    assert 1 <= len(drawn.xticks) <= 9
    assert all(LEFT - 1e-6 <= x <= WIDTH - RIGHT + 1e-6 for x, _ in drawn.xticks)


def test_a_plot_joins_those_that_none_is_better_than():
    found = [Point("cheap", 1, 0.5, 0.4, 0.6), Point("dear", 100, 0.7, 0.6, 0.8), Point("bad", 50, 0.4, 0.3, 0.5)]
    drawn = plot("cost", found)
    assert drawn is not None
    assert {p.point.name for p in drawn.points if p.front} == {"cheap", "dear"}
    assert [text for _, text in drawn.xticks] == ["1", "2", "5", "10", "20", "50", "100"]


@given(st.floats(-10, 10), st.floats(0.001, 10))
def test_ticks_are_few_and_within(low, width):
    found = ticks(low, low + width)
    assert 2 <= len(found) <= 9
    assert low - 1e-9 <= found[0] <= found[-1] <= low + width + 1e-9


def test_a_reliability_diagram_has_a_bar_for_each_bin_that_holds_something():
    full, empty = Bin(0.5, 0.6, 4, 0.55, 0.75, 0.3, 0.95), Bin(0.6, 0.7, 0, 0.0, 0.0, 0.0, 0.0)
    drawn = reliability([full, empty])
    [(x, y, width, height, said)] = drawn.bars
    assert (x, y, width, height) == pytest.approx((75, 37.5, 15, 112.5))
    assert said == "4 answers of confidence 0.55: 75% right"
