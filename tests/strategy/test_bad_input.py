"""Bad input: one clear line with the way out; hostile input: never anything but a StrategyError."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.errors import (
    InvalidParameter,
    StrategyError,
    StrategySyntaxError,
    UnknownParameter,
    UnknownStage,
)

CASES: list[tuple[str, type[StrategyError], str]] = [
    # unknown names, with the near one
    ("topp=0.9", UnknownStage, "unknown stage 'topp'; did you mean 'top_p'?"),
    ("greddy", UnknownStage, "unknown stage 'greddy'; did you mean 'greedy'?"),
    ("temprature=1", UnknownStage, "unknown stage 'temprature'; did you mean 'temperature'?"),
    ("xyzzy", UnknownStage, "unknown stage 'xyzzy'; `decodelab strategies` lists all "),
    ("beam(widht=3)", UnknownParameter, "beam has no parameter 'widht'; did you mean 'width'? (allowed: width, "),
    ("sample(n=2, m=3)", UnknownParameter, "sample has no parameter 'm'"),
    ("greedy(k=1)", UnknownParameter, "greedy has no parameter 'k' (it takes none)"),
    ("greedy=1", UnknownParameter, "greedy takes no parameters, got 1; write just 'greedy'"),
    ("default=1", UnknownParameter, "default takes no parameters, got 1; write just 'default'"),
    # missing
    ("top_p", InvalidParameter, "top_p needs p (mass to keep, in (0, 1]); write top_p(p=...)"),
    ("beam", InvalidParameter, "beam needs width "),
    ("temperature()", InvalidParameter, "temperature needs temperature "),
    # out of range
    ("top_p=1.3", InvalidParameter, "top_p: p must be in (0, 1], got 1.3; use 1.0 to keep everything"),
    ("top_p=0", InvalidParameter, "top_p: p must be in (0, 1], got 0; use 1.0 to keep everything"),
    ("top_p=-0.5", InvalidParameter, "top_p: p must be in (0, 1], got -0.5; "),
    ("top_p=nan", InvalidParameter, "top_p: p must be in (0, 1], got nan; "),
    ("typical_p=0", InvalidParameter, "typical_p: p must be in (0, 1], got 0; use 1.0 to keep everything"),
    ("min_p=1.01", InvalidParameter, "min_p: p must be in (0, 1], got 1.01; "),
    ("top_k=0", InvalidParameter, "top_k: k must be an integer, at least 1, got 0; leave top_k out"),
    ("top_k=-5", InvalidParameter, "top_k: k must be an integer, at least 1, got -5; "),
    ("top_k=2.5", InvalidParameter, "top_k: k must be an integer, at least 1, got 2.5; "),
    ("top_k=nan", InvalidParameter, "top_k: k must be an integer, at least 1, got nan; "),
    ("temperature=-1", InvalidParameter, "temperature: temperature must be a finite number, at least 0, got -1; "),
    ("temperature=nan", InvalidParameter, "temperature: temperature must be a finite number, at least 0, got nan; "),
    ("temperature=inf", InvalidParameter, "temperature: temperature must be a finite number, at least 0, got inf; "),
    ("temperature=1e400", InvalidParameter, "temperature: temperature must be a finite number, at least 0, got inf; "),
    ("sample(n=0)", InvalidParameter, "sample: n must be an integer, at least 1, got 0; use n=1"),
    ("beam(width=0)", InvalidParameter, "beam: width must be an integer, at least 1, got 0; "),
    ("beam(width=3, n=4)", InvalidParameter, "beam: n must be an integer in [1, 3], got 4; widen the beam"),
    ("beam(width=3, length_penalty=nan)", InvalidParameter, "beam: length_penalty must be a finite number, got nan; "),
    ("beam(width=3, early_stopping=maybe)", InvalidParameter, "beam: early_stopping must be one of true, false, "),
    # of the wrong type
    ("top_p=true", InvalidParameter, "top_p: p must be in (0, 1], got true; "),
    ("top_p=none", InvalidParameter, "top_p: p must be in (0, 1], got none; "),
    ('top_p="0.9"', InvalidParameter, 'top_p: p must be in (0, 1], got "0.9"; '),
    ("top_p=[0.9]", InvalidParameter, "top_p: p must be in (0, 1], got [0.9]; "),
    ("top_p={p: 0.9}", InvalidParameter, "top_p: p must be in (0, 1], got {'p': 0.9}; "),
    # syntax
    ("", StrategySyntaxError, 'strategy "": expected the name of a stage at character 1, got \'the end\'; '),
    ("   ", StrategySyntaxError, "strategy "),
    ("top_p=0.9 |", StrategySyntaxError, 'strategy "top_p=0.9 |": expected the name of a stage at character 12, '),
    ("| greedy", StrategySyntaxError, 'strategy "| greedy": expected the name of a stage at character 1, got '),
    ("top_p 0.9", StrategySyntaxError, "strategy \"top_p 0.9\": expected '|' or the end at character 7, got '0.9'; "),
    ("top_p=", StrategySyntaxError, 'strategy "top_p=": expected a value at character 7, got \'the end\'; '),
    ("top_p=0.9 0.8", StrategySyntaxError, 'strategy "top_p=0.9 0.8": expected '),
    ("sample(n=4", StrategySyntaxError, "strategy \"sample(n=4\": expected ',' or ')' at character 11, "),
    ("sample(4)", StrategySyntaxError, 'strategy "sample(4)": expected a parameter name at character 8, got \'4)\'; '),
    ("sample(n=1, n=2)", StrategySyntaxError, "strategy \"sample(n=1, n=2)\": expected 'n' only once at "),
    ("sample(n=4))", StrategySyntaxError, 'strategy "sample(n=4))": expected '),
    ("top_p=0.9; greedy", StrategySyntaxError, 'strategy "top_p=0.9; greedy": expected a name, a value or one of '),
    ("top_p=0.9x", StrategySyntaxError, 'strategy "top_p=0.9x": expected '),
    ("top_p='0.9", StrategySyntaxError, "strategy "),
    (r'top_p="\q"', StrategySyntaxError, "strategy "),
    ("top_p=[1, 2", StrategySyntaxError, "strategy \"top_p=[1, 2\": expected ',' or ']' at character 12, "),
    ("top_p={[1]: 2}", StrategySyntaxError, 'strategy "top_p={[1]: 2}": expected a plain key '),
    ("__import__('os')", StrategySyntaxError, 'strategy "__import__(\'os\')": expected a parameter name '),
    ("temperature=0.8|top_p=0.9,top_k=5", StrategySyntaxError, "strategy "),
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind", "message"), CASES, ids=[repr(c[0]) for c in CASES])
def test_each_mistake_gives_one_line_that_says_what_got_allowed_and_the_fix(text, kind, message):
    with pytest.raises(StrategyError) as error:
        dl.Strategy.of(text)
    assert type(error.value) is kind
    line = str(error.value)
    assert line.startswith(message)
    assert len(line.splitlines()) == 1
    assert len(line) < 300


@pytest.mark.parametrize(
    "value",
    [None, 5, {"top_p": 0.9}, [5], [None], [["greedy"]], [{"top_p": 0.9, "top_k": 3}], [{}], [{5: 1}], b"greedy"],
    ids=repr,
)
def test_an_invalid_strategy_is_refused_with_what_one_looks_like(value):
    with pytest.raises(StrategySyntaxError, match=r", got .*; write ") as error:
        dl.Strategy.of(value)
    assert len(str(error.value).splitlines()) == 1


def test_an_empty_list_is_no_strategy():
    with pytest.raises(StrategySyntaxError, match=r"^a strategy needs at least one stage; write for example 'greedy'$"):
        dl.Strategy.of([])


def bomb(depth: int) -> str:
    """YAML whose printed form doubles with every line."""
    lines = ["- &a0 [x, x]", *(f"- &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, depth))]
    return "\n".join([*lines, f"- {{top_p: *a{depth - 1}}}"])


HOSTILE_YAML = [
    "[top_p: 2001-99-99]",
    "- top_p: !!int x",
    "- top_p: !!timestamp x",
    "- top_p: !!float x",
    "- top_p: !!python/object/apply:os.system [ls]",
    "- !!binary '&&&'",
    "- {[a]: b}",
    "- &a [*a]",
    "- top_p: &a [*a]",
    bomb(60),
    "[" * 5000,
    "- top_k: 0x" + "f" * 10_000,
    "- top_k: " + "9" * 10_000,
    "\0",
    "%YAML 9.9\n---\n- greedy",
    "key: value",
    "- a: b: c",
    "",
    "---\n- greedy\n---\n- greedy",
    "- greedy: !!set {a, b}",
]


@pytest.mark.parametrize("text", HOSTILE_YAML, ids=[f"{i}-{t[:20]!a}" for i, t in enumerate(HOSTILE_YAML)])
def test_hostile_yaml_is_refused_in_one_line(text):
    with pytest.raises(StrategyError) as error:
        dl.Strategy.from_yaml(text)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 500


HOSTILE_JSON = [
    "",
    "{",
    "nul",
    "[" * 100_000,
    '[{"top_k": ' + "9" * 10_000 + "}]",
    '["greedy"',
    '[{"top_p": NaN}]',
    "5",
    "null",
    '{"a": 1}',
]


@pytest.mark.parametrize("text", HOSTILE_JSON, ids=[f"{i}-{t[:20]!a}" for i, t in enumerate(HOSTILE_JSON)])
def test_hostile_json_is_refused_in_one_line(text):
    with pytest.raises(StrategyError) as error:
        dl.Strategy.from_json(text)
    assert len(str(error.value).splitlines()) == 1


HOSTILE_TEXT = [
    "top_p=" + "[" * 10_000,
    "top_p=" + "{a:" * 10_000,
    "top_p=" + "[" * 19 + "1" + "]" * 19,
    "top_k=" + "9" * 100_000,
    "top_k=" + "1" * 100_000 + "x",
    "top_k=" + "1_" * 50_000 + ".",
    "top_k=1" + "0" * 3999,
    "temperature=1e999999999",
    "temperature=" + "0." * 10_000,
    "a" * 100_000,
    "a|" * 50_000,
    "(" * 100_000,
    "sample(" + "n=1," * 10_000 + ")",
    "greedy | " * 20_000 + "greedy",
    " " * 100_000,
    " " * 100_000 + "?",
    '"' + "\\" * 100_001,
    "top_p='" + "a" * 100_000,
    "gre\0edy",
    "\0",
    "gr\u00e9edy",
    "\u202egreedy",
    "greedy\u2028greedy",
    "\ud800",
    "top_p=\u0661",  # a digit, but not one of ours
    "top_p=\uff11",
    "\x1b[31mgreedy",
    "top_p='\\ud800'",
    "top_k=0x10",
    "top_k=1e3000",
    "top_k=--1",
]


@pytest.mark.parametrize("text", HOSTILE_TEXT, ids=[f"{i}-{t[:20]!a}" for i, t in enumerate(HOSTILE_TEXT)])
def test_hostile_text_is_refused_in_one_short_printable_line(text):
    with pytest.raises(StrategyError) as error:
        dl.Strategy.of(text)
    line = str(error.value)
    assert line.isprintable()
    assert len(line) < 400


def read_or_refused(read: Callable[[Any], dl.Strategy], what: Any) -> dl.Strategy | None:
    """The strategy, or None when it is refused as it should be."""
    line = ""
    try:
        return read(what)
    except StrategyError as error:
        line = str(error)
    assert line.isprintable()
    return None


@given(st.text(max_size=60) | st.text("abtop_kn=|()[]{},:.0123456789eE+-\"'\\ \n", max_size=60))
def test_whatever_the_text_nothing_but_a_strategy_error_comes_out(text):
    strategy = read_or_refused(dl.Strategy.of, text)
    assert strategy is None or dl.Strategy.of(str(strategy)) == strategy


words = st.text(max_size=8) | st.sampled_from(["greedy", "top_p", "beam", "sample", "width", "n", "p"])
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=2),
    max_leaves=8,
)


@given(plain)
def test_whatever_the_data_nothing_but_a_strategy_error_comes_out(data: Any):
    strategy = read_or_refused(dl.Strategy.of, data)
    assert strategy is None or dl.Strategy.of(strategy.to_json()) == strategy
    assert read_or_refused(dl.Strategy.from_json, json.dumps(data)) == strategy
