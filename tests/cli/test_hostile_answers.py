"""What models write may be anything: it goes through parsers, journal, report and terminal, and does no harm.

Nothing here is timed; what is quadratic or evaluated would take minutes, or never end.
"""

import json
import re
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from decodelab.bench.plan import Plan
from decodelab.bench.records import Answer, ItemView, Score, WorkItem
from decodelab.bench.store.journal import Journal
from decodelab.pocket.language import TASKS as LANGUAGE
from decodelab.tasks.graph import Graph, published_row
from decodelab.tasks.gsm8k import GSM8K
from decodelab.tasks.jsonl import JSONL
from decodelab.tasks.mmlu import MMLU
from decodelab.tasks.mnli import MNLI
from decodelab.tasks.pocket import Pocket
from decodelab.tasks.stories import Stories
from decodelab.tasks.summaries import Summaries
from decodelab.tasks.task import Example, Task
from decodelab.tasks.text_scorers import SCORERS

NINES = "9" * 10**6
DEEP = 10_000
HOSTILE = {
    "markup": "</script><script>alert(1)</script><!-- ]]> <img src=x onerror=alert(1)> {{ 7*7 }} & \\input{x}",
    "escapes": "\x1b[31mred\x1b]0;title\x07 \x9b2J \x00 \u202eevil \u2028 \u2066 \r\b",
    "surrogates": "\ud800 \udfff answer is (A) \ud800",
    "shell": "$(rm -rf ~); `reboot` | sh && =cmd|'/C calc'!A0",
    "python": "__import__('os').system('id') eval('1') submit_paths(paths=[[0]], weights=[__import__('os').getpid()])",
    "integers": f"answer is {NINES} #### {NINES} \\boxed{{{NINES}}}",
    "integers in a call": f"submit_paths(paths=[[0, {NINES}]], weights=[{NINES}])",
    "integer in JSON": f'{{"paths": [[0, {NINES}]], "weights": [{NINES}]}}',
    "powers": "submit_paths(paths=[[0, 1]], weights=[9**9**9**9, 10**12 * 10**12 * 10**12]) #### 1e999999999",
    "nested lists": "submit_paths(paths=" + "[" * DEEP + "]" * DEEP + ", weights=[1])",
    "nested JSON": '{"paths": ' * DEEP + "[]" + "}" * DEEP,
    "nested arguments": '{"arguments": ' + '"' * DEEP,
    "sums": "submit_paths(paths=[[0, 1]], weights=[" + "1+" * DEEP + "1])",
    "signs": "submit_paths(paths=[[0, 1]], weights=[" + "-" * DEEP + "1])",
    "unfinished": "submit_paths(paths=[" * DEEP + "answer is (" * DEEP + "**" * DEEP + "<think>" * DEEP,
    "white": " \t\n\u3000" * 50_000 + "answer is",
}
TASKS: dict[str, tuple[Task, Example]] = {
    "graph": (Graph(), Graph().generate(0)),
    "graph, ties": (Graph(ties="all"), Graph().generate(0)),
    "graph, tools": (Graph(tools="free"), Graph(tools="free").generate(0)),
    "mmlu": (MMLU(), Example("0", "?", "A", {"choices": ["x", "y"]})),
    "mmlu, standard": (MMLU(form="standard"), Example("0", "?", "A", {"choices": ["x", "y"]})),
    "maths": (GSM8K(), Example("0", "?", "18")),
    "mnli": (MNLI(), Example("0", "?", "neutral")),
    "stories": (Stories(), Example("0", "?", None)),
    "summaries": (Summaries(), Example("0", "?", "A cat sat.")),
}
TASKS |= {scorer: (JSONL(scorer=scorer), Example("0", "?", "5")) for scorer in SCORERS}
TASKS |= {f"pocket-{name}": (Pocket(name), Pocket(name).generate(0)) for name in LANGUAGE}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize(("task", "example"), TASKS.values(), ids=TASKS)
def test_no_answer_harms_its_parser(task, example, text):
    verdict = task.judge(example, text)
    assert 0 <= verdict.score <= 1
    assert json.loads(json.dumps(verdict.answer)) == verdict.answer


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal in which models and strategies of hostile names answer the graph task with everything above."""
    file = tmp_path / "runs.sqlite"
    name = HOSTILE["markup"] + HOSTILE["escapes"]
    strategies = {f"{name} {i}": "greedy" for i in range(2)}
    plan = Plan.model_validate(
        {"models": [f"model {name}"], "strategies": strategies, "tasks": [{"name": "graph", "items": len(HOSTILE)}]}
    )
    answer = Answer("", "m", "d", "greedy", "", 0, "0", "[]", "", (1,), (-0.5,), (-0.5,), "eos", 5, 5, 3, 3, 100, 0.5)
    example = Graph().generate(0)
    with Journal(file, writing=True) as journal:
        shown = {"graph": [ItemView(i, text[:1000], text[:1000], i) for i, text in HOSTILE.items()]}
        journal.begin(plan.model_dump_json(), plan.digest, shown)
        work = []
        for strategy in strategies:
            for i, text in HOSTILE.items():
                key = f"{strategy} {i}"
                work.append(WorkItem(plan.models[0], "graph", i, strategy, keys=(key,)))
                verdict = Graph().judge(example, text)
                scored = Score(key, i, "graph", i, verdict.score, verdict.answer)
                journal.add([replace(answer, key=key, prompt=text, text=text)], [scored])
        journal.ask(plan.digest, plan.models[0], work)
    return file


def harmless(text: str) -> bool:
    """Whether a terminal shows a text and does nothing else."""
    return all(unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") or c == "\n" for c in text)


def test_no_answer_harms_the_terminal(run, journal):
    for command in (["report", str(journal)], ["journal", str(journal)]):
        shown = run(*command)
        assert shown.code == 0, shown.stderr
        assert harmless(shown.stdout)
        assert harmless(shown.stderr)
    assert run("report", str(journal), "--json").json["rows"][0]["unread"] > 0


@pytest.mark.parametrize("task", ["graph", "mmlu", "maths"])
def test_no_stored_answer_harms_its_rescoring(run, tmp_path, task):
    row = {
        "graph": published_row(Graph().generate(0)),
        "mmlu": {"question": "?", "choices": ["x", "y"], "answer": 0},
        "maths": {"question": "?", "answer": "#### 18"},
    }[task]
    items, outputs = tmp_path / "items.jsonl", tmp_path / "outputs.jsonl"
    items.write_text("".join(json.dumps(row | {"id": name}) + "\n" for name in HOSTILE))
    outputs.write_text("".join(json.dumps({"id": name, "output": text}) + "\n" for name, text in HOSTILE.items()))
    shown = run("tasks", "score", task, str(items), str(outputs))
    assert shown.code == 0, shown.stderr
    assert harmless(shown.stdout)
    assert run("tasks", "score", task, str(items), str(outputs), "--json").json["n"] == len(HOSTILE)


def test_no_answer_harms_what_is_written(run, journal, tmp_path):
    kinds = ("html", "latex", "csv", "markdown")
    written = {kind: tmp_path / f"report.{kind}" for kind in kinds}
    options = [part for kind, file in written.items() for part in (f"--{kind}", str(file))]
    found = run("report", str(journal), *options)
    assert found.code == 0, found.stderr
    texts = {kind: file.read_text() for kind, file in written.items()}
    assert "alert(1)</script>" not in texts["html"]
    assert not re.search(r"<img[^>]*onerror", texts["html"])
    assert not re.search(r"(?<!\\)<script", texts["markdown"])
    assert "\\input{" not in texts["latex"]
    for text in texts.values():
        assert "\x1b" not in text
        assert "\x00" not in text


def test_all_answers_come_out_of_the_journal_as_they_went_in(run, journal, tmp_path):
    out = tmp_path / "answers.jsonl"
    found = run("journal", str(journal), "--export", str(out))
    assert found.code == 0, found.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(row["text"] for row in rows) == sorted([*HOSTILE.values()] * 2)
