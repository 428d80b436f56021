"""Regular expressions mean what Python's `re` means; what dialects read differently is refused by name."""

import re
import warnings
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

import decodelab as dl
from decodelab.core.errors import InvalidParameter
from decodelab.models.transformers_vocab import TransformersVocab

REFUSED = [
    ("a\\", "character 2: the expression ends in a backslash"),
    ("a\\\nb", r"character 2: \\ before '\\n' has no meaning"),
    ("\\\t", "has no meaning"),
    ("[a\\", "unclosed set|ends in a backslash"),
    ("a\\é", "has no meaning"),
    (r"\q", "has no meaning"),
    (r"\pL", "has no meaning"),
    (r"\p{L}", "has no meaning"),
    (r"\Qa\E", "has no meaning"),
    (r"\cA", "has no meaning"),
    (r"\z", "has no meaning"),
    (r"\x4", "takes 2 hexadecimal digits"),
    (r"\x{41}", "takes 2 hexadecimal digits"),
    (r"\u{41}", "takes 4 hexadecimal digits"),
    (r"\ud800", "is no character"),
    (r"\U00110000", "is no character"),
    (r"\1", "backreference or an octal escape"),
    (r"(a)\1", "backreference or an octal escape"),
    (r"\012", "backreference or an octal escape"),
    (r"[\0]", "backreference or an octal escape"),
    (r"\bword\b", "word boundaries"),
    (r"[\b]", "word boundaries"),
    (r"a\B", "word boundaries"),
    ("(?=a)b", "look-around"),
    ("(?<!a)b", "look-around"),
    ("(?>a)b", "atomic groups"),
    ("a*+", "possessive"),
    ("a{2}+", "possessive"),
    ("(?P<a>x)(?P=a)", "backreferences"),
    ("(?(1)a|b)", "this kind of group"),
    ("(?#note)a", "this kind of group"),
    ("(?<n>a)", "a named group is written"),
    ("a(?i)b", "flags inside the expression"),
    ("(?x) a b", "the flag x is not supported"),
    ("(?m)a", "the flag m is not supported"),
    ("(?L)a", "the flag L is not supported"),
    ("(?", "this kind of group"),
    ("[[:alpha:]]", "POSIX class"),
    ("[a[b]]", "nested set"),
    ("[a&&b]", "&& in a set"),
    ("[a--b]", "-- in a set"),
    ("[a~~b]", "~~ in a set"),
    ("[a||b]", r"\|\| in a set"),
    ("[]a]", "empty or begins with"),
    ("[^]a]", "empty or begins with"),
    ("[]", "empty or begins with"),
    ("[a", "unclosed set"),
    ("[z-a]", "bad character range"),
    (r"[a-\d]", "bad character range"),
    (r"[\A]", "no meaning in a set"),
    ("a^b", "an anchor for the start of the text inside"),
    ("a$b", "an anchor for the end of the text inside"),
    (r"a\Zb", "an anchor for the end of the text inside"),
    ("(^a)*", "an anchor in a repeated group"),
    ("^*", "an anchor cannot be repeated"),
    ("*a", "nothing to repeat"),
    ("a|*", "nothing to repeat"),
    ("a**", "a quantifier after a quantifier"),
    ("a{2}{3}", "a quantifier after a quantifier"),
    ("a{3,2}", "minimum is above its maximum"),
    ("a{", "a brace that is no quantifier"),
    ("{2}", "a brace that is no quantifier"),
    ("a{x}", "a brace that is no quantifier"),
    ("(a", "unclosed group"),
    ("a)", "unopened group"),
    ("(?P<a>x)(?P<a>y)", "redefinition of group"),
    ("(" * 101 + ")" * 101, "nested more than 100 deep"),
]


@pytest.mark.parametrize(("pattern", "message"), REFUSED)
def test_what_is_no_expression_or_is_read_differently_is_refused_by_name(pattern, message):
    with pytest.raises(InvalidParameter, match=message) as error:
        dl.Regex(pattern)
    assert str(error.value).startswith("regex: pattern does not parse at character ")
    assert "\n" not in str(error.value)


LONG_S, DOTLESS_I = "\u017f", "\u0131"
TEXTS = [
    *("", '"', "\\", "\n", "a\n", "\t", " ", "a b", "\0", "\x1c", "\x85", "\u2028", "\u0301", "\u212a", "\x7f"),
    *("a", "b", "ab", "ba", "é", "A", "K", "k", "ß", "ẞ", "ss", "s", "İ", "i", "I", "B", "C", "_", "-", "/", "aa"),
    *("²", "½", ".", "}", "]", "x", "1", "2", "٣", "ab1", "😀", "aaa", "abab", LONG_S, DOTLESS_I),
]  # fmt: skip
MEANT = [
    *("", "a|", "a{,2}", "a{2,}b?", "(a|b)*", "(?:a|ab)(?:b|)", "a*?", "(a+?b)+", "^a$", "^(a|b)$", "^a|b$", "a$"),
    *("$", "^", "()", "(?P<n>a)b", r"\Aab\Z", ".", "(?s:.)", "[^a]", r"[^\n]", r"[^\s\S]|a", r"\d", r"\D", r"\w+"),
    *(r"\W", r"\s", r"\S*", r"[\w-]+", r"[^\W_]", "[-a]", "[é-ü]", "(?i)k", "(?i)ß", "(?i)[a-c]", "(?i:İ)", "(?i)i"),
    *(r"(?a:\w)", r"(?a)\d", "(?is).", "(?i)a(?-i:a)|b", f"(?i:{LONG_S})", r"\.", r"\]", "]", "}", r"\-", r"\/", "/"),
    *(r"\\", r"\"", '"', r"\x41", r"\u00e9", r"\U0001F600", r"\t", r"\ ", "\n"),
]  # fmt: skip


@pytest.mark.parametrize("pattern", MEANT)
def test_an_expression_matches_what_it_matches_in_python(bytewise, pattern):
    stage = dl.Regex(pattern)
    assert [t for t in TEXTS if bytewise.accepts(stage, t)] == [t for t in TEXTS if re.fullmatch(pattern, t)]


ATOMS = r"a b é . \d \w \s \S \W [ab] [^a] [a-c0-9] \. \n \x41 [\w-] K (?i:k) (?s:.) (?a:\w) ß (?i:ß) / \" [^\W_] ] \\"
expressions = st.recursive(
    st.sampled_from(ATOMS.split()),
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("(?:{}|{})".format, inner, inner),
        st.builds("({}){}".format, inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{,2}", "*?"])),
    ),
    max_leaves=6,
)


def check_against_python(bytewise, pattern: str, seed: int) -> None:
    stage, rng = dl.Regex(pattern), Random(seed)
    for _ in range(2):
        text = bytewise.sample(stage, rng, limit=20)
        assert text is None or re.fullmatch(pattern, text), text
    for text in rng.sample(TEXTS, 6):
        assert bytewise.accepts(stage, text) == bool(re.fullmatch(pattern, text)), text


@given(pattern=expressions, seed=st.integers(0, 99))
@settings(max_examples=25)
def test_samples_match_and_what_matches_is_accepted(bytewise, pattern, seed):
    check_against_python(bytewise, pattern, seed)


@pytest.mark.slow
@given(pattern=expressions, seed=st.integers(0, 99))
@settings(max_examples=1000)
def test_samples_match_and_what_matches_is_accepted_of_many(bytewise, pattern, seed):
    check_against_python(bytewise, pattern, seed)


@given(pattern=st.text(alphabet="ab^$.*+?{},2[]()|\\-&:<>=!P\nidwxu0é", max_size=8))
@settings(max_examples=60)
def test_any_text_is_refused_in_one_line_or_means_what_it_means_in_python(bytewise, pattern):
    refused, stage = None, None
    try:
        stage = dl.Regex(pattern)
    except InvalidParameter as error:
        refused = str(error)
    if stage is None:
        assert refused
        assert "\n" not in refused
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for text in ("", "a", "b", "ab", "aa", "\n", "é", "2"):
            assert bytewise.accepts(stage, text) == bool(re.fullmatch(pattern, text)), text


# --- the same in grammars -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("start: A\nA: /x(?=y)/", r'"/x\(\?=y\)/" at line 2, column 4 does not parse at character 2: look-around'),
        ("start: /[[a]/", "line 1, column 8 does not parse at character 2"),
        (r"start: /\ba/", "word boundaries"),
        ("start: /^a/", "an anchor in a terminal"),
        ("start: /a/m", "the flag m is not supported"),
        ('start: "a" %json {"type": "string"}', "%json at line 1, column 12, which is not checked; use json_schema"),
    ],
)
def test_expressions_of_a_grammar_are_checked_too(text, message):
    with pytest.raises(InvalidParameter, match=message) as error:
        dl.Grammar(text)
    assert "\n" not in str(error.value)


def test_expressions_of_a_grammar_mean_what_they_mean_in_python(bytewise):
    grammar = dl.Grammar('start: "//" A? | /k/i // a comment with /[ in it\nA: /a\\/\\w/ # and "another\n')
    accepted = [t for t in ("//", "//a/é", "//a/\u0301", "K", "\u212a", "//b") if bytewise.accepts(grammar, t)]
    assert accepted == ["//", "//a/é", "K", "\u212a"]


# --- the beginning of a text ----------------------------------------------------------------------


@pytest.mark.parametrize(("pattern", "text"), [(" x", " x"), ("x", "x"), ("  x", "  x"), (" ", " "), (" ?x", None)])
@pytest.mark.parametrize("prompt", ["", "A", "A "])
def test_the_text_returned_matches_where_a_space_stands_alone(babyllama_dir, prompt, pattern, text):
    model = dl.load(babyllama_dir)
    for search in ("greedy", "sample", "beam(width=3)"):
        best = dl.generate(model, prompt, f"regex='{pattern}' | {search}", max_new_tokens=8)[0].best
        assert best.finish_reason == "eos"
        assert best.text == text if text else re.fullmatch(pattern, best.text)


def test_other_constraints_hold_for_the_text_returned_too(babyllama_dir):
    model = dl.load(babyllama_dir)

    def spaced(text):
        return "complete" if text == " x" else "prefix" if " x".startswith(text) else "invalid"

    for stage in (dl.Grammar('start: " x"'), dl.Check(spaced)):
        assert dl.generate(model, "", [stage, "greedy"], max_new_tokens=8)[0].best.text == " x"
    best = dl.generate(model, "", [dl.JSONSchema({"enum": [" x"]}), "greedy"], max_new_tokens=9)[0].best
    assert best.text == '" x"'


def vocabulary(model: Any, decoder: Any) -> TransformersVocab:
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoder
    return TransformersVocab(PreTrainedTokenizerFast(tokenizer_object=tokenizer), tokenizer.get_vocab_size(), (), None)


PIECES = ["a", "\u2581", "\u2581a", "\u2581\u2581", "b", "ab\u2581", "\u2581\u2581b"]


@pytest.mark.parametrize(
    ("model", "decoder"),
    [
        (models.BPE({p: i for i, p in enumerate(PIECES)}, []), decoders.Metaspace()),
        (models.BPE({p: i for i, p in enumerate(PIECES)}, []), decoders.Metaspace(prepend_scheme="never")),
        (models.BPE({p: i for i, p in enumerate(PIECES[:2])}, []), decoders.Metaspace()),
        (models.WordPiece({"a": 0, "##b": 1, "cd": 2}, unk_token="a"), decoders.WordPiece()),
    ],
)
def test_the_bytes_of_tokens_are_what_decoding_adds_whatever_the_decoder(model, decoder):
    vocab = vocabulary(model, decoder)
    for first in range(vocab.size):
        for second in range(vocab.size):
            spelt = vocab.token_bytes(first, first=True) + vocab.token_bytes(second)
            assert vocab.decode([first, second]) == spelt.decode()


def test_the_bytes_of_first_tokens_are_the_text_they_decode_to(babyllama_dir, stories260k_dir):
    for directory in (babyllama_dir, stories260k_dir):
        vocab = dl.load(directory).vocab
        for token in range(vocab.size):
            if vocab.token_bytes(token):  # type: ignore[attr-defined]
                first = vocab.token_bytes(token, first=True).decode(errors="replace")  # type: ignore[attr-defined]
                assert vocab.decode([token]) == first
