"""The error tree: one root, each error under the parent that the docstring draws, names suggested."""

import inspect

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from decodelab.core import errors
from decodelab.core.errors import DecodelabError, did_you_mean
from decodelab.core.glossary import option_called

ALL = [e for e in vars(errors).values() if inspect.isclass(e) and issubclass(e, Exception)]


def drawn_parents() -> dict[str, str]:
    """Child to parent, read from the tree in the module's docstring."""
    parents, path = {}, []
    for line in (errors.__doc__ or "").splitlines():
        name = line.lstrip("│├└─ ").split(" ")[0]
        if not name or not (line[0] in "│├└ " or name == "DecodelabError"):
            continue
        depth = (len(line) - len(line.lstrip("│├└─ "))) // 4
        path[depth:] = [name]
        if depth:
            parents[name] = path[depth - 1]
    return parents


def test_the_tree_in_the_docstring_is_the_tree():
    actual = {e.__name__: e.__bases__[0].__name__ for e in ALL if e is not DecodelabError}
    assert drawn_parents() == actual


def test_one_except_clause_catches_everything():
    assert all(issubclass(e, DecodelabError) for e in ALL)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("topp", "top_p"), ("temprature", "temperature"), ("bream", "beam"), ("min-p", "min_p")],
)
def test_near_names_are_suggested(wrong, right):
    assert did_you_mean(wrong, ["top_p", "temperature", "beam", "min_p"]) == f"; did you mean {right!r}?"


@given(st.text(max_size=30))
def test_a_name_like_nothing_known_gets_no_suggestion_and_no_crash(name):
    assume(option_called(name, []) is None)  # n, say, which is one on the command line
    assert did_you_mean(name, []) == ""
    assert "\n" not in did_you_mean(name, ["top_p", "beam"])
