"""examples/broken_diverse_beam.py: the right algorithm is ours, and each mistake does what docs/beams.md says."""

import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "broken_diverse_beam.py"


@pytest.fixture(scope="module")
def printed() -> str:
    """What the example prints."""
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("builtins.print", lambda text: lines.append(text))
        runpy.run_path(str(EXAMPLE), run_name="__main__")
    return "\n".join(lines)


def test_the_page_shows_what_the_example_prints(printed):
    page = (EXAMPLE.parents[1] / "docs" / "beams.md").read_text()
    assert printed in page


def test_the_right_algorithm_finds_what_diverse_beam_finds(printed):
    lines = printed.splitlines()
    groups = [line.partition("hypotheses: ")[2] for line in lines[1:3]]
    assert lines[-1].partition("): ")[2] == ", ".join(groups)
