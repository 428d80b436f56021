"""TableModel: a language model one can read, enumerate and hold everything else against."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decodelab.core.errors import (
    EmptyPrompt,
    ModelFormatError,
    ModelNotFound,
    PromptTooLong,
    RequestError,
    UnknownToken,
)
from decodelab.core.values import Chat
from decodelab.models import TableModel, load
from decodelab.testing.model import check_model

COIN = {...: {"H": 0.25, "T": 0.75}}
TREE = {
    (): {"A": 0.5, "B": 0.3, "C": 0.1, "D": 0.1},
    ("A",): {"A": 0.6, "B": 0.2, "C": 0.1, "D": 0.1},
    ("B",): {"A": 0.3, "C": 0.4, "</s>": 0.3},
}


def tree(**options) -> TableModel:
    return TableModel(["A", "B", "C", "D"], TREE, **{"bos": "<s>", "missing": "eos", **options})


def words(model, outcomes):
    return {model.vocab.decode(o.tokens): (round(math.exp(o.logprob), 6), o.reason) for o in outcomes}


@st.composite
def tables(draw):
    """A table of two or three words: a row for every prefix up to length 2, and Markov rows after that."""
    vocab = ["a", "b", "c"][: draw(st.integers(2, 3))]
    ends = [*vocab, "</s>"]
    random = draw(st.randoms(use_true_random=False))

    def row():
        # Zeros are likely: impossible words are what one gets wrong.
        weights = [random.choice((0, 0, 1, 2, 5)) for _ in ends]
        weights[random.randrange(len(ends))] += 1
        return {word: w / sum(weights) for word, w in zip(ends, weights, strict=True)}

    prefixes = [p for n in range(3) for p in itertools.product(vocab, repeat=n)]
    return TableModel(vocab, {**{p: row() for p in prefixes}, **{word: row() for word in vocab}}, bos="<s>")


class TestRows:
    def test_the_whole_prefix_goes_before_the_last_word_and_that_before_the_rest(self):
        model = TableModel(["A", "B"], {("A", "B"): {"A": 1}, "B": {"B": 1}, ...: {"A": 0.5, "B": 0.5}})
        assert model.probs(model.vocab.encode("A B")) == (1, 0, 0)
        assert model.probs(model.vocab.encode("B B")) == (0, 1, 0)
        assert model.probs(model.vocab.encode("B A")) == (0.5, 0.5, 0)

    def test_after_eos_comes_eos(self):
        model = TableModel(["A"], {"A": {"A": 0.5, "</s>": 0.5}})
        assert model.probs((0, 1)) == (0, 1)
        assert model.probs((0, 1, 1)) == (0, 1)

    def test_a_prefix_without_row_is_an_error_that_names_it(self):
        with pytest.raises(ModelFormatError, match="no row for 'C D'; add one, or set missing=eos"):
            tree(missing="error").probs(tree().vocab.encode("C D"))

    def test_or_ends_the_sequence_when_asked_to(self):
        assert tree().probs(tree().vocab.encode("C D"))[tree().vocab.eos_ids[0]] == 1

    def test_bos_is_not_part_of_the_prefix(self):
        assert tree().probs(tree().vocab.encode("")) == (0.5, 0.3, 0.1, 0.1, 0, 0)

    def test_a_function_may_give_the_rows_as_mappings_or_sequences(self):
        matrix = np.array([[0.5, 0.25, 0.25], [0, 1, 0], [0, 0, 1]], dtype=np.float32)
        chain = TableModel(["A", "B"], lambda prefix: matrix[{"A": 0, "B": 1, "</s>": 2}[prefix[-1]]])
        assert chain.probs((0,)) == (0.5, 0.25, 0.25)
        length = TableModel(["A"], lambda prefix: {"</s>": 1} if len(prefix) >= 2 else {"A": 1})
        assert [o.tokens for o in length.enumerate("A", 5)] == [(0, 1)]

    def test_logits_are_log_probabilities_and_impossible_is_minus_infinity(self):
        logits, cache = TableModel(["H", "T"], COIN).prefill([(0,), (1, 1)])
        assert logits.dtype == torch.float32
        torch.testing.assert_close(logits, torch.tensor([[0.25, 0.75, 0]]).log().expand(2, 3))
        logits, _ = TableModel(["H", "T"], COIN).decode(cache, torch.tensor([[0, 1], [1, 1]]))
        assert logits.shape == (2, 2, 3)

    def test_nothing_is_looked_up_after_filler(self):
        model = TableModel(["a", "b"], {("a",): {"b": 1.0}, ("a", "b"): {"a": 1.0}}, eos=None, context_length=3)
        _, cache = model.prefill([(0,)])
        logits, cache = model.decode(cache, torch.tensor([[1, -1]]))
        assert logits[0, 0].tolist() == [0, -math.inf]
        assert list(cache.lengths) == [3]
        assert list(cache.rewind([2]).lengths) == [2]

    @pytest.mark.parametrize(
        ("tokens", "error", "why"),
        [
            ([[1, -1, 0]], ValueError, "padding must come after all tokens of a row"),
            ([[-1]], UnknownToken, "got -1"),
            ([[1, -1, -1, -1]], PromptTooLong, "5 tokens exceed the context length 4"),
        ],
    )
    def test_filler_stands_after_the_tokens_of_a_row_and_fits_the_context(self, tokens, error, why):
        model = TableModel(["H", "T"], COIN, context_length=4)
        _, cache = model.prefill([(0,)])
        with pytest.raises(error, match=why):
            model.decode(cache, torch.tensor(tokens))


class TestEnumeration:
    def test_the_two_step_example(self):
        found = words(tree(), tree().enumerate("", 2))
        assert found["A A"] == (0.3, "length")
        assert found["B C"] == (0.12, "length")
        assert found["B"] == (0.09, "eos")
        assert found["C"] == (0.1, "eos")

    def test_log_probabilities_are_exact(self):
        outcome = next(iter(TableModel(["H", "T"], COIN).enumerate("H", 40)))
        assert outcome.logprob == 40 * math.log(0.25)

    def test_the_context_ends_sequences_too(self):
        assert {o.tokens for o in tree(context_length=2).enumerate("", 5)} == {(0,), (1,), (2,), (3,)}

    def test_no_new_token_leaves_the_empty_sequence(self):
        assert list(tree().enumerate("", 0)) == [((), 0.0, "length")]

    @settings(max_examples=30)
    @given(tables(), st.integers(0, 4))
    def test_probabilities_of_all_sequences_sum_to_1(self, model, length):
        outcomes = list(model.enumerate("", length))
        assert math.fsum(math.exp(o.logprob) for o in outcomes) == pytest.approx(1, abs=1e-9)
        assert len({o.tokens for o in outcomes}) == len(outcomes)

    @settings(max_examples=30)
    @given(tables())
    def test_each_probability_is_the_product_along_its_path(self, model):
        for tokens, logprob, _ in model.enumerate("a", 3):
            prefix = model.vocab.encode("a")
            product = 1.0
            for token in tokens:
                product *= model.probs(prefix)[token]
                prefix = (*prefix, token)
            assert math.exp(logprob) == pytest.approx(product)


@settings(max_examples=20)
@given(tables())
def test_it_keeps_the_promises_of_a_language_model(model):
    check_model(model, ["", "a", "b a b", "a a"])


class TestText:
    def test_words_are_joined_by_spaces(self):
        vocab = tree().vocab
        assert vocab.encode("A  B ") == (5, 0, 1)
        assert vocab.decode((5, 0, 1, 4)) == "A B"
        assert vocab.encode_completion((5, 0), " B") == (1,)
        assert vocab.decode_completion((5, 0), (1, 2)) == " B C"
        assert vocab.decode_completion((5,), (1, 2)) == "B C"

    def test_or_by_nothing_and_then_the_longest_word_wins(self):
        vocab = TableModel(["a", "ab", "b"], {...: {"a": 1}}, separator="").vocab
        assert vocab.encode("aabb") == (0, 1, 2)
        assert vocab.decode((0, 1, 2)) == "aabb"
        assert vocab.decode_completion((0,), (1,)) == "ab"

    @pytest.mark.parametrize(("separator", "text", "word"), [(" ", "A E", "E"), ("", "AE", "E")])
    def test_an_unknown_word_is_refused_by_name(self, separator, text, word):
        with pytest.raises(UnknownToken, match=f"'{word}' is not in the table's vocabulary"):
            tree(separator=separator).vocab.encode(text)

    def test_an_unknown_word_gets_a_suggestion(self):
        with pytest.raises(UnknownToken, match="did you mean 'heads'"):
            TableModel(["heads", "tails"], {}).vocab.encode("head")

    def test_there_is_no_chat_template(self):
        with pytest.raises(RequestError, match="no chat template"):
            tree().vocab.render_chat(Chat.of("A"))

    def test_eos_and_bos_are_words_like_any_other(self):
        model = TableModel(["end", "A"], {}, eos="end", bos="A")
        assert (model.vocab.eos_ids, model.vocab.bos_id, model.vocab.size) == ((0,), 1, 2)
        assert TableModel(["A"], {}, eos=None).vocab.eos_ids == ()


class TestRequests:
    def test_an_empty_prompt_needs_bos(self):
        assert tree().vocab.encode("") == (5,)
        with pytest.raises(EmptyPrompt, match="give bos a word"):
            tree(bos=None).enumerate("", 1)

    def test_a_prompt_beyond_the_context(self):
        with pytest.raises(PromptTooLong, match="3 tokens exceed the context length 2"):
            tree(context_length=2).prefill([(5, 0, 0)])

    def test_a_token_that_is_not_there(self):
        with pytest.raises(UnknownToken, match=r"must be in \[0, 6\), got 6"):
            tree().prefill([(6,)])


class TestWrongTables:
    @pytest.mark.parametrize(
        ("table", "words"),
        [
            ({(): {"A": 0.5, "B": 0.4}}, "the row after the empty prefix must sum to 1, got 0.9"),
            ({("A", "B"): {"A": 1.1, "B": -0.1}}, r"must be in \[0, 1\], got 1.1 in the row after 'A B'"),
            ({"A": {"A": math.nan, "B": 1}}, "got nan in the row after the last word 'A'"),
            ({"A": {"A": "1"}}, "got '1'"),
            ({"A": {"A": True}}, "got True"),
            ({"A": {}}, "must sum to 1, got 0"),
            ({...: {"A": 0.5, "Bee": 0.5}}, "the row after any other prefix names the word 'Bee'"),
            ({("A", "Bee"): {"A": 1}}, "the prefix 'A Bee' names the word 'Bee'"),
            ({"Bee": {"A": 1}}, "names the word 'Bee', which is not in the vocabulary"),
            ({...: [0.5, 0.5]}, "has 2 probabilities for 3 words"),
            ({...: 1.0}, "has 1 probabilities for 3 words"),
            ({3: {"A": 1}}, r"keys must be tuples of words, words or \.\.\., got 3"),
        ],
    )
    def test_are_refused_in_one_line(self, table, words):
        with pytest.raises(ModelFormatError, match=words) as caught:
            TableModel(["A", "B"], table)
        assert "\n" not in str(caught.value)

    def test_a_tenth_ten_times_is_1(self):
        TableModel([str(i) for i in range(10)], {...: {str(i): 0.1 for i in range(10)}})

    def test_a_functions_rows_are_checked_when_they_are_asked_for(self):
        with pytest.raises(ModelFormatError, match=r"the row after 'A' must sum to 1, got 0.5"):
            TableModel(["A"], lambda prefix: {"A": 0.5}).prefill([(0,)])

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"vocab": ["A", "A"]}, "has 'A' twice"),
            ({"vocab": ["A B"]}, "words must be text without ' ' in it, got 'A B'"),
            ({"vocab": [""]}, "words must be text"),
            ({"vocab": [1]}, "words must be text"),
            ({"vocab": [], "eos": None}, "the vocabulary is empty"),
            ({"vocab": ["A"], "missing": "stop"}, "missing must be error or eos, got 'stop'"),
            ({"vocab": ["A"], "missing": "eos", "eos": None}, "missing=eos needs an eos word"),
            ({"vocab": ["A"], "context_length": 0}, "context_length must be at least 1, got 0"),
        ],
    )
    def test_so_are_wrong_arguments(self, arguments, words):
        with pytest.raises(ModelFormatError, match=words):
            TableModel(table={}, **arguments)


class TestDigest:
    def test_equal_tables_have_equal_digests(self):
        assert tree().digest == tree(name="other").digest

    @pytest.mark.parametrize("change", [{"missing": "error"}, {"context_length": 9}, {"bos": None}, {"separator": ""}])
    def test_a_change_changes_it(self, change):
        assert tree(**change).digest != tree().digest

    def test_the_row_of_a_word_is_not_the_row_of_a_prefix_of_one_word(self):
        assert TableModel(["A"], {"A": {"A": 1}}).digest != TableModel(["A"], {("A",): {"A": 1}}).digest


YAML = """
bos: <s>
eos: end
missing: eos
tree:
  A: [0.5, {A: 0.6, B: 0.2, C: 0.1, D: 0.1}]
  B: [0.3, {A: 0.3, C: 0.4, end: 0.3}]
  C: 0.1
  D: 1/10
"""


class TestYaml:
    def test_the_two_step_example(self):
        model = TableModel.from_yaml(YAML)
        assert words(model, model.enumerate("", 2)) == words(tree(), tree().enumerate("", 2))

    def test_from_a_file(self, tmp_path):
        (tmp_path / "two.yaml").write_text(YAML)
        assert TableModel.from_yaml(tmp_path / "two.yaml").digest == TableModel.from_yaml(YAML).digest
        assert load(str(tmp_path / "two.yaml")).name == str(tmp_path / "two.yaml")

    def test_words_are_text_whatever_yaml_makes_of_them(self):
        model = TableModel.from_yaml("otherwise: {no: 0.25, 1: 0.25, null: 0.25, 1.0: 0.25}")
        assert model.vocab.words == ("no", "1", "null", "1.0", "</s>")

    def test_markov_rows_the_rest_and_rows_after_prompts(self):
        model = TableModel.from_yaml(
            "{after: {a: {b: 1}}, otherwise: {a: 1}, rows: [{prefix: [b, a], next: {a: [1, {a: 1}]}}]}"
        )

        def next_word(prompt):
            return model.vocab.words[model.probs(model.vocab.encode(prompt)).index(1)]

        assert {p: next_word(p) for p in ("a", "b", "b b a", "b a", "b a a")} == {
            "a": "b",  # after a comes b,
            "b": "a",  # after anything else a,
            "b b a": "b",
            "b a": "a",  # but for these two prefixes
            "b a a": "a",
        }

    @settings(max_examples=30)
    @given(tables())
    def test_writing_and_reading_gives_an_equal_table(self, model):
        assert TableModel.from_yaml(model.to_yaml()).digest == model.digest

    @pytest.mark.parametrize(
        "model",
        [
            tree(),
            tree(bos=None, missing="error", context_length=7, separator=""),
            TableModel(["no", "1", "~"], {...: {"no": 1 / 3, "1": 1 / 3, "~": 1 / 3}}, eos=None),
            TableModel(["a"], {("a", "a"): {"a": 1}, "a": {"a": 0.5, "</s>": 0.5}}, name="x: y"),
        ],
    )
    def test_also_for_the_other_settings(self, model):
        again = TableModel.from_yaml(model.to_yaml())
        assert (again.digest, again.name) == (model.digest, model.name)

    def test_a_function_cannot_be_written(self):
        with pytest.raises(ModelFormatError, match="a callable table cannot be written"):
            TableModel(["A"], lambda prefix: {"A": 1}).to_yaml()

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(ModelNotFound, match="there is no file"):
            TableModel.from_yaml(tmp_path / "nowhere.yaml")

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("a: [", "is not YAML"),
            ("just text", "must be a YAML mapping"),
            ("treee: {a: 1}", "unknown field 'treee'; did you mean 'tree'"),
            ("tree: {a: half}", "'a' must have a probability such as 0.5 or 1/3"),
            ("tree: {a: 1/0}", "'a' must have a probability"),
            ("tree: {a: [1, {}, 2]}", "'a' must have a probability"),
            ("tree: {a: 0.5}", "must sum to 1, got 0.5"),
            ("tree: [a, b]", "must map words to probabilities"),
            ("rows: [{prefix: [a], next: {a: 1}}, {prefix: [a], next: {a: 1}}]", "there are two rows for 'a'"),
            ("rows: [{after: [a]}]", "must have the fields prefix and next"),
            ("rows: {a: 1}", "rows must be a list"),
            ("after: {a: {b: [1, {b: 1}]}}", "cannot go on with a tree; use rows"),
            ("{vocab: [a], tree: {b: 1}}", "names the word 'b', which is not in the vocabulary"),
            ("{otherwise: {a: 1}, context_length: many}", "context_length must be a whole number, got 'many'"),
            ("{otherwise: {a: 1}, eos: [a]}", "eos must be text, got"),
            ("{otherwise: {a: 1}, missing: maybe}", "missing must be error or eos"),
            ("tree: &t {a: [1, *t]}", "is not YAML"),
            ("tree: " + "{a: [1, " * 600 + "x" + "]}" * 600, "nested in itself"),
            ("tree: !!python/object/apply:os.getcwd []", "must map words to probabilities"),
        ],
    )
    def test_an_invalid_table_is_refused_in_one_line(self, text, words):
        with pytest.raises(ModelFormatError, match=words) as caught:
            TableModel.from_yaml(text)
        assert "\n" not in str(caught.value)


class TestNumbers:
    """What may be written in a row."""

    def probs(self, text: str) -> list[float]:
        return [round(p, 6) for p in TableModel.from_yaml(text).probs(())]

    def test_weights_and_partial_rows(self):
        assert self.probs("normalise: true\nvocab: [a, b, c]\ntree: {a: 3, b: 1}") == [0.75, 0.25, 0, 0]
        assert self.probs("normalise: true\ntree: {a: 0.2, b: 0.2}") == [0.5, 0.5, 0]

    def test_log_probabilities_and_logits(self):
        assert self.probs("logprobs: true\ntree: {a: -0.6931471806, b: -0.6931471806, c: -inf}") == [0.5, 0.5, 0, 0]
        assert self.probs("logprobs: true\nnormalise: true\ntree: {a: -0.69, b: -0.69}") == [0.5, 0.5, 0]
        assert self.probs("logprobs: true\nnormalise: true\ntree: {a: 1000, b: 1000}") == [0.5, 0.5, 0]

    def test_a_softmax_in_float32_sums_to_one(self):
        row = torch.linspace(-3, 5, 1000).softmax(0).tolist()
        words = [f"w{i}" for i in range(1000)]
        model = TableModel(words, {(): dict(zip(words, row, strict=True))}, missing="eos")
        assert math.fsum(model.probs(())) == pytest.approx(1, abs=1e-12)

    def test_one_step(self):
        model = TableModel.from_yaml("next: {margherita: 0.5, new york: 1/3, ananas: 1/6}")
        found = {model.vocab.decode(o.tokens): round(math.exp(o.logprob), 6) for o in model.enumerate("", 5)}
        assert found == {"margherita": 0.5, "new york": 0.333333, "ananas": 0.166667}

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            ("tree: {a: 0.5, b: 0.4}", "must sum to 1, got 0.9; fix its probabilities, or write normalise: true"),
            ("normalise: true\ntree: {a: 0, b: 0}", "must sum to 1, got 0; give at least one word a weight"),
            ("normalise: true\ntree: {a: -1, b: 2}", "weights must be at least 0"),
            ("normalise: true\ntree: {a: inf}", "weights must be at least 0 and finite"),
            ("logprobs: true\ntree: {a: 0.5, b: -1}", "log-probabilities must be at most 0, got 0.5"),
            ("logprobs: true\ntree: {a: -1, b: -1}", "must sum to 1"),
            ("normalise: yes\ntree: {a: 1}", "normalise must be true or false, got 'yes'"),
            ("next: {a: 1}\ntree: {a: 1}", "goes without tree"),
            ("next: [a]", "must map words to probabilities"),
        ],
    )
    def test_other_numbers_are_refused(self, text, error):
        with pytest.raises(ModelFormatError, match=error):
            TableModel.from_yaml(text)
