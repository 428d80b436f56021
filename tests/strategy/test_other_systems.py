"""What docs/other-systems.md shows is what happens."""

import doctest
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_examples_on_the_page_give_what_it_says():
    found = doctest.testfile(str(DOCS / "other-systems.md"), module_relative=False)
    assert found.attempted >= 3
    assert found.failed == 0
