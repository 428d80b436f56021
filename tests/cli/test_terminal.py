"""Text from models is made harmless, and JSON is valid whatever the numbers."""

import json
import unicodedata
import warnings

from hypothesis import given
from hypothesis import strategies as st

from decodelab.core.notices import NoEffectWarning, PlainCacheWarning, notes
from decodelab.io.json import json_text
from decodelab.io.text import printable

HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
JOINERS = "\u200c\u200d"
anything = st.text(st.characters(exclude_categories=()))


@given(anything)
def test_printable_text_has_no_control_characters(text: str):
    assert all(unicodedata.category(ch) not in HIDDEN or ch in JOINERS for ch in printable(text))


@given(st.text(st.characters(exclude_categories=("C", "Z"))))
def test_plain_text_is_shown_unchanged(text: str):
    assert printable(text) == text


def test_terminal_commands_and_marks_of_direction_show_as_escapes():
    assert printable("\x1b]0;title\x07") == r"\x1b]0;title\x07"
    assert printable("\x9b31m") == r"\x9b31m"
    assert printable("user\u202etxt.exe") == r"user\u202etxt.exe"
    assert printable("a\r\nb", keep="\n") == "a\\r\nb"
    assert printable("hidden\U000e0041") == r"hidden\U000e0041"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | anything,
    lambda inner: st.lists(inner) | st.dictionaries(anything, inner),
)


@given(json_values)
def test_json_round_trips(value: object):
    assert json.loads(json_text(value)) == value


def test_json_is_ascii_and_numbers_that_are_not_finite_are_null():
    text = json_text({"p": [float("nan"), float("-inf"), 0.5], "text": "é\u202e\x7f["})
    assert text.isascii()
    assert json.loads(text) == {"p": [None, None, 0.5], "text": "é\u202e\x7f["}


def test_notes_are_what_has_no_effect_and_what_takes_longer_each_once():
    with notes() as said:
        for _ in range(2):
            warnings.warn("top_p=1 keeps everything", NoEffectWarning, stacklevel=1)
            warnings.warn("beams copy the cache", PlainCacheWarning, stacklevel=1)
    assert said == ["top_p=1 keeps everything", "beams copy the cache"]
