"""Keys: nothing of them is left in what is shown, and nothing else is lost."""

import string

from hypothesis import given
from hypothesis import strategies as st

from decodelab.core.secret import HIDDEN, Secret

LETTERS = string.ascii_letters + string.digits + string.punctuation
KEYS = st.text(LETTERS, min_size=8, max_size=40)


@given(KEYS, st.lists(st.one_of(st.text(), st.tuples(st.integers(0, 40), st.integers(0, 40))), max_size=6))
def test_no_part_of_a_key_is_shown(key, pieces):
    text = "".join(piece if isinstance(piece, str) else key[piece[0] : piece[1]] for piece in pieces)
    shown = Secret.of(key, "KEY").hidden(text).replace(HIDDEN, "\0")
    assert not [i for i in range(len(key) - 7) if key[i : i + 8] in shown]


@given(st.text(), KEYS)
def test_a_text_without_the_key_stays_as_it_is(text, key):
    parts = [key[i : i + 8].lower() for i in range(len(key) - 7)]
    if not any(part in text.lower() for part in parts):
        assert Secret.of(key, "KEY").hidden(text) == text


def test_all_around_the_key_stays():
    key = Secret.of(" sk-0123456789\n", "KEY")
    assert key.hidden("<sk-0123456789> 0123456 [12345678]\n") == "<***> 0123456 [***]\n"
    assert key.hidden("sk-0123456789sk-0123456789") == "***"
    assert "0123" not in repr(key)


def test_a_short_key_is_hidden_where_it_is_a_word():
    assert Secret.of("none", "KEY").hidden("none, nonetheless") == "***, nonetheless"
    assert Secret.of("", "KEY").hidden("as it is") == "as it is"
