"""Constraints on text: regular expressions, JSON schemas and grammars against enumeration, on tables and tokenizers."""

import json
import re
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import decodelab as dl
from decodelab.core.errors import EmptySupport, InvalidParameter, UnsupportedStrategy
from decodelab.core.notices import FewerCandidates
from decodelab.core.protocols import ByteVocab, LanguageModel, Vocab
from decodelab.core.stage import Stage

WORDS = ["a", "b", "ab", "ba", "é"]


def letters(**weights: float) -> LanguageModel:
    """A table over `WORDS` and the end, in which "ab" is also "a" and "b": texts have several spellings."""
    distribution = {"a": 0.3, "b": 0.2, "ab": 0.15, "ba": 0.1, "é": 0.05, "</s>": 0.2} | weights
    total = sum(distribution.values())
    return dl.TableModel(WORDS, {...: {w: p / total for w, p in distribution.items()}}, bos="<s>", separator="")


def found(model: LanguageModel, stages: list, limit: int, prompt: str = "") -> dict[tuple[int, ...], float]:
    """All sequences that end by EOS and what the model gives them, by a beam wide enough for all."""
    wide = dl.Beam(width=4000, n=4000, length_penalty=0.0, early_stopping="never")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewerCandidates)
        (g,) = dl.generate(model, prompt, [*stages, wide], max_new_tokens=limit)
    return {c.tokens: c.logprob for c in g.candidates if c.finish_reason == "eos"}


def legal(model, pattern: str, limit: int) -> dict[tuple[int, ...], float]:
    """The same by enumeration and Python's `re`."""
    return {
        tokens: logprob
        for tokens, logprob, reason in model.enumerate("", limit)
        if reason == "eos" and re.fullmatch(pattern, model.vocab.decode(tokens))
    }


# --- what is legal ------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["(ab)+", "a|b", "", "[^a]*", "b?é", "(a|ba){2}", ".*é.*", "zz|a"])
def test_a_regex_leaves_the_sequences_whose_whole_text_matches_in_every_spelling(pattern):
    model = letters()
    theirs = legal(model, pattern, 4)
    ours = found(model, [dl.Regex(pattern)], 4)
    assert ours.keys() == theirs.keys()
    assert ours == pytest.approx(theirs, abs=1e-5)


patterns = st.recursive(
    st.sampled_from(["a", "b", "é", "[ab]", "."]),
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("({}|{})".format, inner, inner),
        st.builds("({})?".format, inner),
        st.builds("({})*".format, inner),
        st.builds("({}){{2}}".format, inner),
    ),
    max_leaves=5,
)


@given(pattern=patterns)
@settings(max_examples=30)
def test_random_expressions_mean_what_they_mean_to_python(pattern):
    model = letters()
    theirs = legal(model, pattern, 3)
    if not theirs:  # nothing so short: then beams may have ended nothing at all
        return
    assert found(model, [dl.Regex(pattern)], 3).keys() == theirs.keys()


def test_a_grammar_can_count():
    model = letters()
    ours = found(model, [dl.Grammar('start: "" | "a" start "b"')], 7)
    assert {model.vocab.decode(t) for t in ours} == {"", "ab", "aabb", "aaabbb"}


def test_between_words_a_table_has_spaces_and_so_has_what_follows_a_prompt():
    model = dl.TableModel(["x", "y"], {...: {"x": 0.5, "y": 0.3, "</s>": 0.2}}, bos="<s>")
    after_nothing = dl.generate(model, "", "regex='x y( x)?' | greedy", max_new_tokens=6)[0].best
    after_a_word = dl.generate(model, "y", "regex=' x y( x)?' | greedy", max_new_tokens=6)[0].best
    assert (after_nothing.text, after_a_word.text) == ("x y x", " x y x")


def test_eos_is_allowed_exactly_where_the_text_is_complete():
    eager = letters(**{"</s>": 100.0})
    best = dl.generate(eager, "", "regex='a{3}b*' | greedy", max_new_tokens=20)[0].best
    assert (best.text, best.finish_reason) == ("aaa", "eos")
    never = letters(**{"</s>": 1e-9})
    best = dl.generate(never, "", "regex='a{3}' | greedy", max_new_tokens=20)[0].best
    assert (best.text, best.finish_reason) == ("aaa", "eos")


def test_the_masked_distribution_is_each_step_s_distribution_among_the_legal_tokens():
    (g,) = dl.generate(letters(), "", "regex='(ab)+' | sample", max_new_tokens=1)
    distribution: dict[tuple[int, ...], float] = {(0,): 0.3 / 0.45, (2,): 0.15 / 0.45}
    assert g.best.processed_logprob == pytest.approx(torch.tensor(distribution[g.best.tokens]).log().item(), abs=1e-6)


# --- how many there are ---------------------------------------------------------------------------


def test_fewer_sequences_than_asked_for_are_returned_with_a_note():
    with pytest.warns(FewerCandidates, match=r"found 3 of 10 candidates; beam.* satisfy regex"):
        (g,) = dl.generate(letters(), "", "regex='ab?' | beam(width=10, n=10)", max_new_tokens=9)
    assert sorted(c.text for c in g.candidates) == ["a", "ab", "ab"]
    assert len({c.tokens for c in g.candidates}) == 3


def test_constraints_that_contradict_each_other_are_an_error_and_end_at_once():
    for search in ("greedy", "sample(n=2)", "beam(width=3)"):
        with pytest.raises(EmptySupport, match=r'regex="b\.\*" left no token .* for prompt 0 at new token 1'):
            dl.generate(letters(), "", f"regex='a.*' | regex='b.*' | {search}", max_new_tokens=10**6)


def test_a_beam_does_without_hypotheses_that_the_vocabulary_cannot_complete():
    # After "b" nothing spells z; the likelier beam is a dead end that only its second step shows.
    model = letters(b=5.0)
    (g,) = dl.generate(model, "", "regex='bz|ba|a' | beam(width=2)", max_new_tokens=9)
    assert g.best.text in ("a", "ba")
    with pytest.raises(EmptySupport, match="regex"):
        dl.generate(model, "", "regex='bbz' | beam(width=2)", max_new_tokens=9)


def test_every_sample_is_legal_and_stays_what_it_is_alone():
    strategy = "regex='(a|b)+é' | sample(n=20)"
    many = dl.generate(letters(), ["a", "b"], strategy, max_new_tokens=60, seed=3)
    for g in many:
        assert all(re.fullmatch("(a|b)+é", c.text) for c in g.candidates if c.finish_reason == "eos")
    alone = dl.generate(letters(), ["b"], strategy, max_new_tokens=60, seed=3)[0]
    assert many[1].candidates == alone.candidates


# --- JSON -----------------------------------------------------------------------------------------

PERSON = {
    "type": "object",
    "properties": {"name": {"enum": ["Tim", "Lily"]}, "age": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("search", ["greedy", "sample(n=4)", "beam(width=4, n=4)"])
def test_json_of_a_real_model_fits_its_schema(search):
    stages = [dl.JSONSchema(PERSON, whitespace=False), search]
    (g,) = dl.generate(dl.load("pocket-nano"), "Once upon a time", stages, max_new_tokens=40)
    for candidate in g.candidates:
        value = json.loads(candidate.text)
        assert list(value) == ["name", "age"]
        assert value["name"] in ("Tim", "Lily")
        assert 1 <= value["age"] <= 9
        assert candidate.finish_reason == "eos"


def test_a_schema_is_a_mapping_its_text_or_a_file_and_prints_as_itself(tmp_path: Path):
    path = tmp_path / "person.json"
    path.write_text(json.dumps(PERSON))
    stage = dl.JSONSchema(PERSON)
    assert dl.JSONSchema(json.dumps(PERSON)) == stage == dl.JSONSchema(str(path))
    for strategy in (dl.Strategy.of(stage), dl.Strategy.of([{"json_schema": {"schema": PERSON}}])):
        assert dl.Strategy.of(str(strategy)) == strategy == dl.Strategy.from_json(json.dumps(strategy.to_json()))
        assert dl.Strategy.from_yaml(strategy.to_yaml()) == strategy == dl.Strategy.of(stage)


def test_a_grammar_may_be_a_file(tmp_path: Path):
    path = tmp_path / "two.lark"
    path.write_text('start: "a" "b"\n')
    assert dl.Grammar(str(path)) == dl.Grammar('start: "a" "b"\n')


# --- real tokenizers --------------------------------------------------------------------------------

TEXTS = ["Hello world", " two  spaces", "naïve café €5 \N{GRINNING FACE}", "line\nbreak\ttab", "1234"]


def check_bytes(vocab: Vocab) -> None:
    """Every text comes back from the bytes of its tokens, at the start and after another text."""
    assert isinstance(vocab, ByteVocab)
    for text in TEXTS:
        tokens = vocab.encode_completion(vocab.encode("Tim"), text)
        told = b"".join(map(vocab.token_bytes, tokens)).decode()
        assert told == vocab.decode_completion(vocab.encode("Tim"), tokens)
        first, *rest = tokens
        told = (vocab.token_bytes(first, first=True) + b"".join(map(vocab.token_bytes, rest))).decode()
        assert told == vocab.decode(tokens)
    assert all(vocab.token_bytes(t) == b"" for t in vocab.eos_ids)


def test_bytes_of_byte_level_tokens(gpt2):
    check_bytes(gpt2)
    assert gpt2.token_bytes(50256) == b""


def test_bytes_of_sentencepiece_tokens(stories260k_dir):
    check_bytes(dl.load(str(stories260k_dir)).vocab)


def test_bytes_of_the_pocket_models_tokens():
    model = dl.load("pocket-nano")
    check_bytes(model.vocab)
    assert [model.vocab.token_bytes(t) for t in range(7)] == [b""] * 7  # type: ignore[attr-defined]


def test_bytes_of_characters(babyllama_dir):
    vocab = dl.load(str(babyllama_dir)).vocab
    assert isinstance(vocab, ByteVocab)
    tokens = vocab.encode_completion(vocab.encode("A"), "b c.")
    assert b"".join(map(vocab.token_bytes, tokens)) == b"b c."


def test_a_pattern_reaches_into_the_bytes_of_a_character(stories260k_dir):
    model = dl.load(str(stories260k_dir))
    best = dl.generate(model, "Once", "regex=' €\N{GRINNING FACE}.' | greedy", max_new_tokens=20)[0].best
    assert best.text[:3] == " €\N{GRINNING FACE}"
    assert best.finish_reason == "eos"


# --- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dl.Regex("a(b"), "regex: pattern does not parse at character 2: unclosed group; got"),
        (lambda: dl.Regex("a(?=b)"), "regex: pattern does not parse at character 2: look-around"),
        (lambda: dl.Regex(3), "regex: pattern must be text, got 3"),  # type: ignore[arg-type]
        (
            lambda: dl.Grammar('start: "a" foo\n'),
            'grammar: text does not parse at line 1, column 8: unknown name: "foo"',
        ),
        (
            lambda: dl.Grammar('start: x\nx: "a" (\n'),
            r"grammar: text does not parse at line 2, column 9: Expected token",
        ),
        (lambda: dl.Grammar(3), "grammar: text must be text"),  # type: ignore[arg-type]
        (
            lambda: dl.Grammar("nowhere.lark"),
            "grammar: text nowhere.lark cannot be read|grammar: text .nowhere.lark. cannot",
        ),
        (lambda: dl.JSONSchema('{"type": '), "json_schema: schema is not JSON"),
        (lambda: dl.Regex("a\ud800"), "regex: pattern has a lone surrogate, .* at character 2"),
        (lambda: dl.Grammar('start: "\ud800"'), "grammar: text has a lone surrogate"),
        (lambda: dl.JSONSchema({"const": "\ud800"}), "json_schema: schema has a lone surrogate"),
        (lambda: dl.JSONSchema({"x-guidance": 3}), "json_schema: schema cannot be used: x-guidance is not"),
        (lambda: dl.Grammar('%llguidance {"no_forcing": true}\nstart: "a"'), "grammar: text must not set %llguidance"),
        (lambda: dl.JSONSchema("[1]"), "json_schema: schema must be a mapping"),
        (lambda: dl.JSONSchema({"type": "strin"}), "json_schema: schema cannot be used: Invalid type: strin"),
        (
            lambda: dl.JSONSchema({"type": "integer", "minimum": 3, "maximum": 2}),
            "json_schema: schema cannot be used: Unsat",
        ),
        (lambda: dl.JSONSchema("nowhere.json"), "json_schema: schema .*nowhere.json.* cannot be read"),
        (lambda: dl.JSONSchema({}, whitespace=3), "json_schema: whitespace must be"),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_parse_is_refused_with_its_place(make, message):
    with pytest.raises(InvalidParameter, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_a_vocabulary_without_bytes_is_refused():
    class Silent:
        size, bos_id, eos_ids = 3, 0, (2,)

    stage: Stage = dl.Regex("a")
    with pytest.raises(UnsupportedStrategy, match="regex: this model's vocabulary does not give the bytes"):
        stage.init([(0,)], Silent(), None)  # type: ignore[attr-defined]
