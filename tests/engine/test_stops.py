"""Stop strings: found wherever they straddle tokens, cut exactly, per row."""

from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.errors import EmptySupport, InvalidParameter


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


def test_a_stop_before_an_open_character_ends_at_once(says_bytes):
    model = says_bytes(b"a", b"b\xc3", b"\xa9", b"z")
    best = dl.generate(model, "", "greedy", stop="b")[0].best
    assert (best.text, best.finish_reason, len(best.tokens)) == ("a", "stop", 2)


@pytest.mark.parametrize(
    ("pieces", "stop", "limit", "text", "tokens"),
    [
        # Token 12520 of GPT-2 is a space and two bytes of an emoji.
        ([b"a", b" \xf0\x9f", b"\x98\x80"], " ", 2, "a", 2),
        ([b"a", b" \xf0\x9f", b"\x98\x80"], " ", 9, "a", 2),
        ([b"a", b" \xf0\x9f"], " ", 9, "a", 2),  # ended by EOS
        ([b"a", b"b", b"\xf0\x9f"], "b\ufffd", 3, "a", 3),
        ([b"a", b"b", b"\xf0\x9f"], "b\ufffd", 9, "a", 4),
        ([b"a", b"\xff", b"c"], "\ufffd", 9, "a", 3),
    ],
)
@pytest.mark.parametrize(
    "strategy", ["greedy", "beam(width=2)", "exact(budget=9)", "greedy | speculative(draft=ngram)"]
)
def test_no_stop_string_is_left_in_the_text_however_it_ends(says_bytes, pieces, stop, limit, text, tokens, strategy):
    best = dl.generate(says_bytes(*pieces), "", strategy, stop=stop, max_new_tokens=limit)[0].best
    assert (best.text, best.finish_reason, len(best.tokens)) == (text, "stop", tokens)


broken = st.lists(
    st.sampled_from([b"a", b" ", b"b", b" \xf0\x9f", b"\x98\x80", b"\xc3", b"\xa9", b"\xff"]), min_size=1, max_size=7
)


@given(
    broken, st.lists(st.sampled_from([" ", "b", "ab", "\u00e9", "\ufffd", "\U0001f600"]), min_size=1), st.integers(1, 8)
)
def test_no_text_holds_a_stop_string_and_none_ends_without_one(says_bytes, pieces, stops, limit):
    model = says_bytes(*pieces)
    best = dl.generate(model, "", "greedy", stop=stops, max_new_tokens=limit)[0].best
    whole = model.vocab.decode_completion(model.vocab.encode(""), best.tokens)
    assert not any(stop in best.text for stop in stops)
    assert (best.finish_reason == "stop") == any(stop in whole for stop in stops)
    assert whole.startswith(best.text)


class Cut:
    """What a scorer and a checker were shown."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, prompt: str, texts: Sequence[str], /) -> list[float]:
        self.texts += texts
        return [0.0] * len(texts)


@pytest.mark.parametrize("search", ["value_beam", "smc", "mcts"])
def test_a_text_is_judged_as_it_is_returned(says, search):
    shown = Cut()
    stage = {"value_beam": dl.ValueBeam(1, shown), "smc": dl.SMC(2, shown), "mcts": dl.MCTS(3, scorer=shown)}[search]
    best = dl.generate(says("one", " two.", " three"), "", stage, stop=".")[0].best
    assert (best.text, best.finish_reason) == ("one two", "stop")
    assert best.text in shown.texts
    assert not any("." in text for text in shown.texts)


def test_a_checker_is_asked_about_the_text_that_is_returned():
    model = dl.TableModel(
        ["1", "+", ";"], {(): {"1": 1.0}, "1": {";": 1.0}, ";": {"</s>": 1.0}}, bos="<s>", separator=""
    )
    odd = dl.Rejection(lambda text: "invalid" if ";" in text else "complete", tries=2)
    assert dl.generate(model, "", odd, stop=";")[0].best.text == "1"


def test_a_phrase_that_a_stop_string_cuts_off_is_not_in_the_text():
    model = dl.TableModel(
        ["a", "b"], {(): {"a": 0.6, "b": 0.4}, "a": {"b": 1.0}, "b": {"</s>": 1.0}}, bos="<s>", separator=""
    )
    with pytest.raises(EmptySupport, match="force_words: found no text with 'b' in it"):
        dl.generate(model, "", "force_words(phrases=[b])", stop="b")
    # Here the stop string takes away a phrase that was there a token before.
    wide = dl.TableModel(
        ["a", "b", "c", "d"],
        {(): {"a": 1.0}, "a": {"b": 1.0}, "b": {"c": 0.9, "d": 0.1}, "c": {"</s>": 1.0}, "d": {"</s>": 1.0}},
        bos="<s>",
        separator="",
    )
    best = dl.generate(wide, "", "force_words(phrases=[ab])", stop="bc")[0].best
    assert (best.text, best.finish_reason) == ("abd", "eos")


def test_of_texts_that_are_equal_up_to_their_stop_string_one_is_kept():
    row = {"a": 0.1, ".": 0.4, ".b": 0.3, "</s>": 0.2}
    model = dl.TableModel(["a", ".", ".b"], {(): {"a": 1.0}, ...: row}, bos="<s>", separator="")
    (g,) = dl.generate(model, "", "beam(width=3, n=3, dedupe=text)", stop=".", max_new_tokens=3)
    assert [c.text for c in g.candidates] == ["a", "aa", "aaa"]


def test_an_open_character_at_the_end_shows_as_one_that_is_missing(says_bytes):
    best = dl.generate(says_bytes(b"a", b"\xe2", b"\x82"), "", "greedy", max_new_tokens=2)[0].best
    assert (best.text, best.finish_reason) == ("a\ufffd", "length")


@pytest.fixture
def chatty(says_bytes):
    """A model that says `hi`, a special token that is no EOS, and goes on."""
    model = says_bytes(b"hi", b"<|im_end|>", b"more")
    model.vocab.tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    return model


@pytest.mark.parametrize(
    "strategy", ["greedy", "beam(width=2)", "exact(budget=9)", "greedy | speculative(draft=ngram)"]
)
def test_a_stop_text_that_is_a_special_token_stops_at_that_token(chatty, strategy):
    assert dl.generate(chatty, "", strategy)[0].best.text == "himore"
    best = dl.generate(chatty, "", strategy, stop=["<|im_end|>"])[0].best
    assert (best.text, best.finish_reason, best.tokens) == ("hi", "stop", (0, 1))
    later = dl.generate(chatty, "", strategy, stop=["zzz", "</s>", "<|im_end|>"], max_new_tokens=1)[0].best
    assert (later.text, later.finish_reason) == ("hi", "length")


def test_the_name_of_a_special_token_inside_a_stop_text_is_refused(chatty):
    with pytest.raises(
        InvalidParameter, match=r"holds \"<\|im_end\|>\"; special tokens are no part of the text: give that"
    ):
        dl.generate(chatty, "", "greedy", stop="<|im_end|>\n")
