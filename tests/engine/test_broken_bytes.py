"""Bytes that are no text, where a checker decides: broken ones are seen, unfinished characters are waited for."""

import pytest

import decodelab as dl
from decodelab.core.errors import EmptySupport


def printable(text: str):
    return "invalid" if "\ufffd" in text else "complete"


SEARCHES = [dl.Rejection(printable, tries=2), dl.AWRS(printable, particles=2)]
each = pytest.mark.parametrize("search", SEARCHES, ids=lambda s: s.name)


@each
def test_a_character_may_come_byte_by_byte(says_bytes, search):
    model = says_bytes(b"a", b"\xf0", b"\x9f", b"\x91", b"\x8d", b"!")
    assert dl.generate(model, "", search)[0].best.text == "a\U0001f44d!"


@each
@pytest.mark.parametrize("pieces", [(b"a", b"\xf0"), (b"a", *[b"\xff"] * 9), (b"\x80", b"b")], ids=str)
def test_bytes_that_are_no_character_reach_the_checker_and_do_not_end_a_text(says_bytes, search, pieces):
    with pytest.raises(EmptySupport, match="found no text"):
        dl.generate(says_bytes(*pieces), "", search)


@each
def test_a_text_cut_within_a_character_is_a_prefix(says_bytes, search):
    assert dl.generate(says_bytes(b"a", b"\xf0", b"\x9f"), "", search, max_new_tokens=2)[0].best.text == "a\ufffd"
