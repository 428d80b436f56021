"""Stops of a strategy: where regular expressions match and texts loop, across tokens, in every runner."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.errors import InvalidParameter, StrategyError

WORDS = ["a", "b", "c"]
LOOPING = dl.TableModel(WORDS, {...: dict.fromkeys(WORDS, 0.3) | {"</s>": 0.1}}, bos="<s>", separator="")


def best(model: Any, strategy: Any, **options: Any) -> dl.Candidate:
    return dl.generate(model, "", strategy, **options)[0].best


@pytest.mark.parametrize(
    ("pieces", "pattern", "before", "after", "tokens"),
    [
        (["one", " 1", "2", ". two"], r" \d+\.", "one", "one 12.", 4),
        (["x", "\n", "\n", "y"], r"\n\n|Q:", "x", "x\n\n", 3),
        (["x", "\nQ", ":y"], r"\n\n|Q:", "x\n", "x\nQ:", 3),
        (["abab"], "b+", "a", "ab", 1),  # complete with its first b
        (["aab"], "a*b", "", "aab", 1),  # the match that begins first
        (["xab", "abc"], "(ab)+c", "x", "xababc", 2),
        (["ab", "ab"], "^ba", "abab", "abab", 3),
        (["ba"], "^ba", "", "ba", 1),
        (["Ab"], "(?i)B", "A", "Ab", 1),
        (["a", "\u00e9", "b"], "[^a-z]", "a", "a\u00e9", 2),
        (["a", "b"], r"[^\s\S]|z", "ab", "ab", 3),
    ],
)
def test_a_text_ends_where_an_expression_first_matches(says, pieces, pattern, before, after, tokens):
    for cut, text in (("before", before), ("after", after)):
        found = best(says(*pieces), dl.StopRegex(pattern, cut=cut) | dl.Greedy())
        assert (found.text, len(found.tokens)) == (text, tokens)
        assert found.finish_reason == ("eos" if tokens == len(pieces) + 1 else "stop")


PATTERNS = [
    "ab",
    "a+b",
    "a*b",
    "(ab|ba)b",
    "b{2}",
    "a.c",
    "(a|ab)(c|bcd)",
    "c[^a]",
    "a{1,2}c",
    "(?:a?b)+c",
    "bb|^c",
    "x",
]


@given(
    st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=8), st.sampled_from(PATTERNS), st.booleans()
)
@settings(max_examples=60)
def test_it_is_the_match_that_ends_first_and_of_these_the_one_that_begins_first(says, pieces, pattern, before):
    text = "".join(pieces)
    matches = [
        (end, start)
        for end in range(1, len(text) + 1)
        for start in range(end)
        if re.compile(pattern).fullmatch(text, start, end)
    ]
    end, start = min(matches, default=(len(text), len(text)))
    found = best(says(*pieces), dl.StopRegex(pattern, cut="before" if before else "after") | dl.Greedy())
    assert found.text == text[: start if before else end]
    assert found.finish_reason == ("stop" if matches else "eos")


@given(
    st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=8), st.sampled_from(PATTERNS), st.booleans()
)
@settings(max_examples=50)
def test_what_may_be_cut_off_is_not_streamed(says, pieces, pattern, before):
    stage = dl.StopRegex(pattern, cut="before" if before else "after")
    streamed: list[str] = []
    model = says(*pieces)
    stream = dl.TextStream(model.vocab, lambda _g, _s, text: streamed.append(text), stops=[stage])
    text = best(model, stage | dl.Greedy(), observers=[stream]).text
    assert "".join(streamed) == text


def test_text_goes_out_as_soon_as_no_match_can_contain_it(says):
    model, pieces = says("one", "\n", "2", "x", "\n3", ". no"), []
    stage = dl.StopRegex(r"\n\d+\.")
    stream = dl.TextStream(model.vocab, lambda _g, _s, text: pieces.append(text), stops=[stage])
    assert best(model, stage | dl.Greedy(), observers=[stream]).text == "one\n2x"
    assert pieces == ["one", "\n2x"]


def test_a_match_within_the_least_number_of_tokens_does_not_count(says):
    model = says("a", "b", "a", "b", "c")
    for least, text in ((1, "a"), (2, "aba"), (4, "ababc")):
        assert best(model, "stop_regex=b | greedy", min_new_tokens=least).text == text


def test_the_prompt_is_not_searched_and_stop_strings_and_several_stops_work_beside_it(says):
    model = dl.TableModel(["a", "b"], {"a": {"b": 1.0}, "b": {"</s>": 1.0}}, bos="<s>", separator="")
    assert dl.generate(model, "a", "stop_regex='ab|^a' | greedy")[0].best.text == "b"
    model = says("one ", "two ", "three")
    assert best(model, "stop_regex=three | stop_regex=tw | greedy", stop="o t").text == "one "
    assert best(model, "stop_regex=three | stop_regex=tw | greedy", stop="ne").text == "o"


@pytest.mark.parametrize(
    "search", ["sample(n=40)", "sample(n=40) | speculative(draft=ngram, k=3)", "beam(width=6, n=6)", "k_best(n=6)"]
)
def test_every_runner_ends_texts_at_the_same_places(search):
    for text in dl.generate(LOOPING, "", f"stop_regex='b[bc]' | {search}", max_new_tokens=6)[0].candidates:
        whole = LOOPING.vocab.decode_completion((), text.tokens)
        found = re.search("b[bc]", whole)
        assert text.text == (whole[: found.start()] if found else whole)
        assert (text.finish_reason == "stop") == (found is not None)
        assert found is None or found.end() == len(whole)


def test_an_expression_that_takes_backtracking_for_ever_takes_linear_time(says):
    # Python's re would not come to an end.
    model = says(*["a" * 50] * 8)
    assert best(model, "stop_regex='(a|aa|a*)*b' | greedy").finish_reason == "eos"
    assert best(model, "stop_regex='(.*)(.*)(.*)(.*)(.*)[^a]' | greedy").finish_reason == "eos"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stop_regex='a*'", "stop_regex: pattern cannot be used, at character 1: it matches the empty text, so every"),
        ("stop_regex='a$'", "stop_regex: pattern cannot be used, at character 2: an anchor for the end of a text"),
        ("stop_regex='(a'", 'stop_regex: pattern cannot be used, at character 1: unclosed group; got "(a"'),
        (r"stop_regex='(a)\\1'", "stop_regex: pattern cannot be used, at character 4: a backreference"),
        (
            "stop_regex='((a{99}){99}){99}'",
            "stop_regex: pattern cannot be used, at character 1: it needs more than 2000",
        ),
        ("stop_regex='(){999999999}a'", "stop_regex: pattern cannot be used, at character 1: it needs more than 2000"),
        ("stop_regex=''", "stop_regex: pattern must be text, got"),
        ("stop_regex=3", "stop_regex: pattern must be text, got 3"),
        ("stop_regex(pattern=a, cut=in)", "stop_regex: cut must be one of before, after, got in"),
        ("repetition_stop=0", "repetition_stop: max_size must be an integer in [1, 4096], got 0"),
        ("repetition_stop(times=1)", "repetition_stop: times must be an integer, at least 2, got 1"),
        ("repetition_stop(min_length=0)", "repetition_stop: min_length must be an integer, at least 1, got 0"),
    ],
)
def test_a_stop_that_cannot_be_is_refused_in_one_line(text, message):
    with pytest.raises(InvalidParameter) as error:
        dl.parse(text)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_stop_stands_after_the_processors_and_other_systems_refuse_it():
    assert str(dl.parse("top_p=0.9 | stop_regex='\\n' | repetition_stop")) == (
        'top_p=0.9 | stop_regex="\\n" | repetition_stop | sample'
    )
    with pytest.raises(StrategyError, match=r"top_p \(processor\) cannot come after stop_regex \(stop\)"):
        dl.parse("stop_regex=x | top_p=0.9")
    with pytest.raises(dl.DecodelabError, match="stop_regex"):
        dl.to_logits_processor("top_p=0.9 | stop_regex=x | sample")


def looped(tokens: list[int], max_size: int, times: int, length: int) -> int | None:
    """After how many tokens a text loops, by the rule written out."""
    for n in range(1, len(tokens) + 1):
        for k in range(1, max_size + 1):
            m = max(k * times, length)
            if k < m <= n and all(tokens[i] == tokens[i - k] for i in range(n - m + k, n)):
                return n
    return None


@given(st.lists(st.integers(0, 1), min_size=1, max_size=20), st.integers(1, 5), st.integers(2, 4), st.integers(1, 9))
@settings(max_examples=50)
def test_a_text_ends_with_the_token_that_completes_a_loop_and_keeps_it(says, tokens, max_size, times, length):
    stage = dl.RepetitionStop(max_size, times, length)
    found = best(says(*("ab"[t] for t in tokens)), stage | dl.Greedy())
    end = looped(tokens, max_size, times, length)
    assert found.finish_reason == ("eos" if end is None else "stop")
    assert found.text == "".join("ab"[t] for t in tokens[:end])


def test_by_default_a_short_row_of_dashes_is_no_loop(says):
    assert best(says(*"-" * 20, "x"), "repetition_stop | greedy").finish_reason == "eos"
    assert len(best(says(*"-" * 40), "repetition_stop | greedy").tokens) == 24


def test_loops_of_every_row_are_its_own():
    (out,) = dl.generate(
        LOOPING, "", "repetition_stop(times=3, min_length=1) | sample(n=60)", max_new_tokens=12, seed=2
    )
    for c in out.candidates:
        end = looped(list(c.tokens), 64, 3, 1)
        assert (c.finish_reason == "stop") == (end is not None)
        assert end is None or end == len(c.tokens)
