"""The HTML report: complete in itself, harmless whatever a model writes, and readable without JavaScript."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

VOID = {"meta", "input", "br"}


class Page(HTMLParser):
    """The elements of a page: name, attributes and own text, and whether every one is closed."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[int] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))
        if tag not in VOID:
            self.open.append(len(self.elements) - 1)

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self.open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.elements[self.open[-1]][2].append(data)

    def all(self, tag: str, css_class: str | None = None) -> list[tuple[dict[str, str | None], str]]:
        return [
            (attributes, "".join(text))
            for name, attributes, text in self.elements
            if name == tag and (css_class is None or css_class in (attributes.get("class") or "").split())
        ]


@pytest.fixture
def report(run, folder: Path):
    """The page of a comparison on the given models."""

    def report(*arguments: str) -> tuple[str, Page]:
        assert run("compare", *arguments, "--html", "report.html").code == 0
        source = (folder / "report.html").read_text(encoding="utf-8")
        page = Page(source)
        assert page.open == []
        return source, page

    return report


def test_every_token_is_there_with_both_its_probabilities(report):
    _, page = report("the", "-m", "toy.yaml", "-s", "temperature=0 | sample")
    tokens = [(a.get("title"), text) for a, text in page.all("span") if a.get("title")]
    assert tokens == [
        ("'cat': p 70.0% under the model, 100.0% under the processed distribution", " cat"),
        ("'sat': p 50.0% under the model, 100.0% under the processed distribution", " sat"),
        ("'</s>': p 100.0% under the model, 100.0% under the processed distribution", "</s>"),
    ]
    classes = [a.get("class") for a, _ in page.all("span") if a.get("title")]
    # 0.5 is the edge of two colours, and its logarithm in float32 lies a hair below it.
    assert classes in (["m1 p0", "m1 p0", "end"], ["m1 p0", "m2 p0", "end"])


def test_what_a_stop_string_cut_off_is_marked(report):
    _, page = report("the", "-m", "toy.yaml", "-s", "greedy", "--stop", "at s")
    shown = [(a.get("class"), text) for a, text in page.all("span") if a.get("title")]
    assert shown == [("m1 p1", " c"), ("end", "sat")]


def test_nothing_outside_the_file_is_needed(report):
    source, page = report("-m", "toy.yaml", "-s", "greedy", "-s", "sample")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", source)
    for _, attributes, _ in page.elements:
        assert not {"src", "srcset", "action", "data"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")


def test_only_the_report_s_own_script_may_run(report):
    _, page = report("-m", "toy.yaml", "-s", "greedy")
    [(_, script)] = page.all("script")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policies = [a["content"] for a, _ in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"]


def test_without_javascript_everything_shows(report):
    _, page = report("-m", "toy.yaml", "-s", "greedy", "-s", "sample")
    assert all("hidden" not in attributes for attributes, _ in page.all("article"))
    # The filter is of no use without its script, so the script brings it out.
    assert [a for name, a, _ in page.elements if "hidden" in a] == [{"hidden": None}]


def test_hostile_text_stays_text(report):
    source, page = report("-m", "hostile.yaml", "-s", "greedy", "--stop", "'")
    assert len(page.all("script")) == 1
    allowed = {"class", "title", "id", "name", "type", "checked", "hidden", "href", "style", "lang", "charset",
               "http-equiv", "content", "placeholder", "data-name"}  # fmt: skip
    assert {name for _, attributes, _ in page.elements for name in attributes} <= allowed
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", source)
    text = "".join(text for a, text in page.all("span") if a.get("title"))
    assert text.startswith(r"<script>alert(1)</script>\x1b[31mred\u202eevilnul\x00")
    assert ("<i>", "hostile") not in [(name, "".join(t)) for name, _, t in page.elements]
    assert "i" not in {name for name, _, _ in page.elements}


def test_a_hostile_prompt_stays_text(report):
    _, page = report("<script>alert(1)</script>\x1b[31mred", "-m", "hostile.yaml", "-s", "greedy")
    assert page.all("pre")[0][1] == r"<script>alert(1)</script>\x1b[31mred"
    assert len(page.all("script")) == 1


def test_it_follows_the_reader_s_light_or_dark(report):
    source, _ = report("-m", "toy.yaml", "-s", "greedy")
    assert "prefers-color-scheme: dark" in source
