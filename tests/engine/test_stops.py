"""Stop strings: found wherever they straddle tokens, cut exactly, per row."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import decodelab as dl


@pytest.mark.parametrize(
    ("pieces", "stop", "text", "tokens"),
    [
        (["hello", " world"], "lo wo", "hel", 2),
        (["he", "l", "lo", " wor", "ld", "!"], "lo w", "hel", 4),
        (["a", "b", "c"], "abc", "", 3),
        (["abc", "d"], "b", "a", 1),
        (["hello"], "h", "", 1),
        (["x", "\n", "\n", "y"], "\n\n", "x", 3),
        (["a", "a", "a", "b"], "aab", "a", 4),
        (["ab", "ab", "c"], "bc", "aba", 3),
        (["a", "b"], "zzz", "ab", 3),
    ],
)
def test_a_stop_string_is_cut_where_it_begins_whatever_tokens_it_straddles(says, pieces, stop, text, tokens):
    best = dl.generate(says(*pieces), "", "greedy", stop=stop)[0].best
    assert best.text == text
    assert len(best.tokens) == tokens
    assert best.finish_reason == ("eos" if stop == "zzz" else "stop")


def test_of_several_stop_strings_the_first_in_the_text_cuts(says):
    best = dl.generate(says("one", " two three"), "", "greedy", stop=["three", "tw", "wo"])[0].best
    assert (best.text, best.finish_reason) == ("one ", "stop")


def test_of_several_stop_strings_the_first_complete_one_ends(says):
    # "two three" begins earlier but is complete later than "wo".
    best = dl.generate(says("t", "w", "o", " ", "three"), "", "greedy", stop=["two three", "wo"])[0].best
    assert (best.text, len(best.tokens)) == ("t", 3)


def test_the_prompt_does_not_count_as_text_that_can_stop(says):
    model = dl.TableModel(["a", "b"], {"a": {"b": 1.0}, "b": {"</s>": 1.0}}, bos="<s>", separator="")
    assert dl.generate(model, "a", "greedy", stop="ab")[0].best.text == "b"
    assert dl.generate(model, "a", "greedy", stop="a")[0].best.text == "b"


pieces = st.lists(st.text("ab ", min_size=1, max_size=3), min_size=1, max_size=12)
stops = st.lists(st.text("ab ", min_size=1, max_size=4), min_size=1, max_size=3)


@given(pieces, stops, st.integers(0, 6))
def test_the_end_is_the_first_token_that_completes_a_stop_after_the_minimum(says, pieces, stops, minimum):
    assume(minimum <= len(pieces))
    count, cut = len(pieces), len("".join(pieces))
    reason = "eos"
    for t in range(minimum + 1, len(pieces) + 1):
        before, after = "".join(pieces[: t - 1]), "".join(pieces[:t])
        new = [at for s in stops for at in range(len(after)) if after.startswith(s, at) and at + len(s) > len(before)]
        if new:
            count, cut, reason = t, min(new), "stop"
            break
    best = dl.generate(says(*pieces), "", "greedy", stop=stops, min_new_tokens=minimum)[0].best
    assert best.finish_reason == reason
    assert best.text == "".join(pieces)[:cut]
    assert len(best.tokens) == count + (reason == "eos")


def test_rows_stop_each_for_itself():
    row = {"x": 0.4, ".": 0.4, "</s>": 0.2}
    model = dl.TableModel(["x", "."], {...: row}, bos="<s>", separator="")
    (g,) = dl.generate(model, "", "sample(n=200)", stop="xx.", max_new_tokens=8)
    plain = dl.generate(model, "", "sample(n=200)", max_new_tokens=8)[0]
    reasons = set()
    for c, p in zip(g.candidates, plain.candidates, strict=True):
        at = p.text.find("xx.")
        reasons.add(c.finish_reason)
        if at >= 0:
            assert (c.text, c.finish_reason) == (p.text[:at], "stop")
            assert c.tokens == p.tokens[: at + 3]
        else:
            assert c == p
    assert reasons == {"stop", "eos", "length"}


def test_beams_end_with_a_stop_string_too():
    model = dl.TableModel(
        ["a", "b", "."],
        {(): {"a": 0.6, "b": 0.4}, "a": {"b": 0.5, ".": 0.5}, "b": {".": 0.9, "a": 0.1}, ".": {"a": 1.0}},
        bos="<s>",
        separator="",
    )
    (g,) = dl.generate(model, "", "beam(width=3, length_penalty=0.0, n=3)", stop=".", max_new_tokens=4)
    assert [(c.text, c.finish_reason) for c in g.candidates] == [("b", "stop"), ("a", "stop"), ("ab", "stop")]
    assert [c.tokens for c in g.candidates] == [(1, 2), (0, 2), (0, 1, 2)]


def test_a_token_that_is_a_stop_token_and_completes_a_stop_string_is_cut(says):
    best = dl.generate(says("a", "b."), "", "greedy", stop=".", stop_token_ids=[1])[0].best
    assert (best.text, best.finish_reason) == ("ab", "stop")


@pytest.mark.parametrize(
    ("text", "stop", "left"),
    [
        ("naïve café", "é", "naïve caf"),
        ("价格是一百", "是", "价格"),
        ("ok 👍🏽 yes", "👍", "ok "),
        ("a👍b", "👍b", "a"),
    ],
)
def test_stop_strings_of_characters_that_are_split_over_byte_tokens(says_bytes, text, stop, left):
    data = [bytes([b]) for b in text.encode()]
    best = dl.generate(says_bytes(*data), "", "greedy", stop=stop)[0].best
    assert (best.text, best.finish_reason) == (left, "stop")
    assert len(best.tokens) == len((left + stop).encode())


def test_a_stop_before_an_open_character_ends_when_that_is_complete(says_bytes):
    # Text is settled by whole characters: the end comes one token late, what is left is the same.
    model = says_bytes(b"a", b"b\xc3", b"\xa9", b"z")
    best = dl.generate(model, "", "greedy", stop="b")[0].best
    assert (best.text, best.finish_reason, len(best.tokens)) == ("a", "stop", 3)


def test_an_open_character_at_the_end_shows_as_one_that_is_missing(says_bytes):
    best = dl.generate(says_bytes(b"a", b"\xe2", b"\x82"), "", "greedy", max_new_tokens=2)[0].best
    assert (best.text, best.finish_reason) == ("a\ufffd", "length")
