"""`decodelab demo`: what `make run` shows a newcomer."""

from pathlib import Path

from decodelab.cli.commands.compare import STRATEGIES
from decodelab.cli.commands.demo import questions
from decodelab.pocket.item import split_of
from decodelab.tasks.response import Response


def test_it_asks_for_a_story_a_sum_a_path_and_a_choice_that_the_models_never_saw():
    asked = questions()
    assert [q.title for q in asked] == ["story", "sum", "shortest path", "choice"]
    for question in asked:
        assert question.example.reference is not None
        assert question.grade(Response(question.example.reference)) == 1.0
        assert question.grade(Response("no idea")) == 0.0
    assert split_of("sums", asked[1].text.removeprefix("What is ").removesuffix("?")) == "test"


def test_it_compares_eight_strategies_and_says_which_answers_are_right(run, folder: Path):
    found = run("demo", "-m", "pocket-nano", "--max-new-tokens", "24", "--html", "demo.html")
    assert found.code == 0
    for strategy in STRATEGIES:
        assert strategy in found.stdout
    assert "right" in found.stdout or "wrong" in found.stdout
    assert "demo.html" in found.stdout.splitlines()[-1]
    assert "<h2" in (folder / "demo.html").read_text()


def test_its_json_has_the_grades(run):
    found = run("demo", "-m", "pocket-nano", "--max-new-tokens", "8", "--no-html", "--json").json
    grades = [
        candidate["grade"]
        for question in found["questions"]
        for result in question["results"]
        for candidate in result["generation"]["candidates"]
    ]
    assert len(grades) == 4 * len(STRATEGIES)
    assert all(0 <= grade <= 1 for grade in grades)
