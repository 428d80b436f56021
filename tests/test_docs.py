"""Every page of the documentation is in its index, and every link leads somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
INDEX = ROOT / "docs" / "README.md"
LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def targets(page: Path) -> list[str]:
    """The links of a page to files and headings; code is not read."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [target for target in LINK.findall(prose) if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them in links."""
    titles = HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_index_links_every_page():
    linked = {(INDEX.parent / target.partition("#")[0]).resolve() for target in targets(INDEX)}
    assert [str(page) for page in PAGES if page != INDEX and page.resolve() not in linked] == []


def test_the_readme_links_the_index():
    assert "docs/README.md" in targets(ROOT / "README.md")


@pytest.mark.parametrize("page", [*sorted(ROOT.glob("*.md")), *PAGES, ROOT / "examples/README.md"], ids=str)
def test_links_resolve(page: Path):
    for target in targets(page):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target
