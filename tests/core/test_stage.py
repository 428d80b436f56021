"""Stages: parameters are checked, printed and documented in one way for every algorithm."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decodelab.core.errors import InvalidParameter
from decodelab.core.stage import Kind, Pipeline, Stage, brief, check_choice, check_number, value_text
from decodelab.strategy.grammar import parse_stages


@dataclass(frozen=True)
class Probe(Stage):
    """A stage with one parameter of each kind."""

    x: Annotated[float, "a number in (0, 2]"]
    k: Annotated[int, "an integer of at least 1"] = 1
    mode: Annotated[Any, "true, false or never"] = False

    name: ClassVar[str] = "probe"
    kind: ClassVar[Kind] = "processor"
    source: ClassVar[str] = "this test"

    def __post_init__(self) -> None:
        check_number(self, "x", low=0.0, high=2.0, low_open=True, fix="use 1.0")
        check_number(self, "k", low=1, integer=True, fix="use k=1")
        check_choice(self, "mode", (True, False, "never"), fix="use false")


def test_numbers_of_the_right_value_are_stored_as_the_right_type():
    probe = Probe(1, 3.0)  # pyright: ignore[reportArgumentType]
    assert probe == Probe(1.0, 3)
    assert (type(probe.x), type(probe.k)) == (float, int)
    assert str(probe) == "probe(x=1.0, k=3)"


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (0, "probe: x must be in (0, 2], got 0; use 1.0"),
        (2.5, "probe: x must be in (0, 2], got 2.5; use 1.0"),
        (-1, "probe: x must be in (0, 2], got -1; use 1.0"),
        (float("nan"), "probe: x must be in (0, 2], got nan; use 1.0"),
        (float("inf"), "probe: x must be in (0, 2], got inf; use 1.0"),
        pytest.param(10**400, "probe: x must be in (0, 2], got 1000000", id="huge"),
        (True, "probe: x must be in (0, 2], got true; use 1.0"),
        (None, "probe: x must be in (0, 2], got none; use 1.0"),
        ("1", 'probe: x must be in (0, 2], got "1"; use 1.0'),
        ([1.0], "probe: x must be in (0, 2], got [1.0]; use 1.0"),
    ],
)
def test_a_number_out_of_range_is_refused_with_what_is_allowed(x, message):
    with pytest.raises(InvalidParameter) as error:
        Probe(x)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "k", [0, -3, 1.5, float("nan"), float("inf"), False, "2", None, 2**63, pytest.param(10**5000, id="huge")]
)
def test_integers_are_whole_in_range_and_no_larger_than_a_tensor_holds(k):
    with pytest.raises(InvalidParameter, match=r"^probe: k must be an integer, at least 1[^\n]*; use k=1$"):
        Probe(1.0, k)


@pytest.mark.parametrize("mode", [1, 0, "Never", None, 1.0, [], "true"])
def test_a_choice_tells_true_from_1_and_words_from_values(mode):
    with pytest.raises(InvalidParameter, match=r"^probe: mode must be one of true, false, never, got "):
        Probe(1.0, 1, mode)


def test_parameters_document_themselves():
    x, k, _ = Probe.parameters()
    assert (x.name, x.required, x.doc) == ("x", True, "a number in (0, 2]")
    assert (k.name, k.required, k.default) == ("k", False, 1)


def test_stages_and_pipelines_chain_from_left_to_right():
    a, b, c = Probe(0.5), Probe(1.0), Probe(1.5)
    assert tuple(a | b | c) == tuple(a | (b | c)) == tuple(Pipeline((a, b)) | c) == (a, b, c)
    assert str(a | b) == "probe=0.5 | probe=1.0"


words = st.text(max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | st.integers(), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_every_plain_value_is_read_back_as_it_was_printed(value):
    (spec,) = parse_stages(f"name(key={value_text(value)})")
    read = spec.arguments["key"]
    assert read == value
    assert value_text(read) == value_text(value)


@pytest.mark.parametrize("word", ["null", "none", "true", "false", "inf", "nan", "été", "ªº", "x\u0300", "", "1a"])
def test_words_that_would_be_read_as_something_else_are_quoted(word):
    assert value_text(word) == f'"{word}"'


def test_a_value_in_an_error_is_one_short_line_whatever_it_is():
    bomb: list[Any] = ["x"]
    for _ in range(60):
        bomb = [bomb, bomb]
    loop: list[Any] = []
    loop.append(loop)
    for value in ("a\nb\r\u2028c" * 50, [1] * 1000, bomb, loop, 10**5000, object(), {"k": bomb}):
        assert len(brief(value)) <= 60
        assert len(brief(value).splitlines()) == 1
