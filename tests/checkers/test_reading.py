"""Checkers by name and as functions: held to one of three verdicts, with the text that caused a fault."""

from typing import Any

import pytest

import decodelab as dl
from decodelab.checkers.catalogue import find_checker
from decodelab.checkers.reading import begin_reading
from decodelab.core.errors import CheckerFailed, InvalidParameter


def test_a_function_is_asked_about_the_whole_text_once_for_each():
    asked = []

    def even(text: str):
        asked.append(text)
        return "complete" if len(text) % 2 == 0 else "prefix"

    reading = begin_reading(even).read("a").read("b")
    assert (reading.invalid, reading.complete, reading.invalid) == (False, True, False)
    assert asked == ["ab"]


def test_the_built_in_checker_is_found_by_name():
    assert begin_reading("python").read("x = = ").invalid
    assert begin_reading(find_checker("python")).read("x = 1").complete


@pytest.mark.parametrize("answer", [None, True, "Invalid", 1, "dead"])
def test_an_invalid_verdict_is_refused_with_the_text(answer):
    def odd(text: str) -> Any:
        return answer

    with pytest.raises(
        CheckerFailed, match=r"checker <.*odd> must return invalid, prefix or complete, got .* the text \"a b\""
    ):
        begin_reading(odd).read("a b").invalid  # noqa: B018


def test_a_checker_that_raises_is_named_with_the_text_that_caused_it():
    def broken(text: str) -> Any:
        return "prefix" if len(text) < 3 else 1 / 0

    with pytest.raises(CheckerFailed, match=r"checker <.*broken> raised ZeroDivisionError: .* for the text \"a a\""):
        dl.generate(letters(), "", dl.Check(broken) | dl.Greedy(), max_new_tokens=4)


def letters():
    return dl.TableModel(["a", "b"], {...: {"a": 0.5, "b": 0.3, "</s>": 0.2}}, bos="<s>")


@pytest.mark.parametrize("stage", [dl.Check, dl.Rejection])
@pytest.mark.parametrize(
    ("checker", "message"),
    [
        ("pyton", "must be one of python, linted_python, got pyton; did you mean 'python'"),
        (
            "os:system",
            'got "os:system"; a Python function can be given in Python only',
        ),
        (3, "must be a checker's name or a function of a text, got 3; write "),
        (None, "must be a checker's name or a function of a text, got none"),
    ],
)
def test_an_invalid_checker_is_refused(stage, checker, message):
    with pytest.raises(InvalidParameter, match=message):
        stage(checker)


@pytest.mark.parametrize(
    ("stage", "parameters", "message"),
    [
        (dl.Check, {"candidates": 0}, "check: candidates must be an integer, at least 1, got 0; use none for no bound"),
        (dl.Check, {"look": 1.5}, "check: look must be"),
        (dl.Check, {"prompt": "yes"}, "check: prompt must be"),
        (dl.Rejection, {"n": 0}, "rejection: n must be"),
        (
            dl.Rejection,
            {"n": 5, "tries": 4},
            "rejection: tries must be an integer, at least 5, got 4; draw at least as many as you want accepted",
        ),
    ],
)
def test_parameters_out_of_range_are_refused(stage, parameters, message):
    with pytest.raises(InvalidParameter, match=message):
        stage("python", **parameters)


def test_a_function_prints_as_its_name_which_no_stage_takes_back():
    strategy = dl.Strategy.of(dl.Check(len) | dl.Greedy())  # pyright: ignore[reportArgumentType]
    assert str(strategy) == 'check="<len>" | greedy'
    with pytest.raises(InvalidParameter, match="check: checker must be one of python"):
        dl.Strategy.of(str(strategy))
