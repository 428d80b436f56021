"""Thinking budgets: how many tokens stand between the marks, and what the model would have written otherwise."""

import copy
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken

import decodelab as dl
from decodelab.core.errors import InvalidParameter, UnknownToken
from decodelab.core.key import Keys
from decodelab.core.protocols import Vocab
from decodelab.core.values import Candidate
from decodelab.models.transformers_vocab import TransformersVocab
from decodelab.processors._thoughts import Marks, own_marks
from decodelab.processors.think import Think
from decodelab.testing import check_processor

WORDS = ["<think>", "hm", "so", "</think>", "Wait", "7"]
ROW = {"hm": 0.4, "so": 0.2, "</think>": 0.2, "Wait": 0.1, "7": 0.05, "</s>": 0.05}
MODEL = dl.TableModel(WORDS, {...: ROW}, bos="<s>", name="thinks")
START, HM, SO, END, WAIT, SEVEN, EOS = range(7)


def drawn(prompt: str, chain: str, *, model: dl.TableModel = MODEL, n: int = 60, new: int = 12) -> list[Candidate]:
    (g,) = dl.generate(model, prompt, f"{chain} | sample(n={n})" if chain else f"sample(n={n})", max_new_tokens=new)
    return sorted(g.candidates, key=lambda c: c.sample)


def thought(tokens: Sequence[int]) -> int:
    """Tokens before the first end mark, or before the text ends."""
    return next((i for i, token in enumerate(tokens) if token in (END, EOS)), len(tokens))


class TestBudget:
    @pytest.mark.parametrize("budget", [0, 1, 3, 7])
    def test_a_thought_is_the_models_own_until_the_budget_is_spent_and_then_it_ends(self, budget):
        for own, bounded in zip(drawn("<think>", ""), drawn("<think>", f"think={budget}"), strict=True):
            length = min(thought(own.tokens), budget)
            assert thought(bounded.tokens) == length
            assert bounded.tokens[:length] == own.tokens[:length]
            assert bounded.tokens[length] == (END if length == budget else own.tokens[length])

    def test_the_forced_mark_is_certain_and_the_model_says_how_unlikely_it_was(self):
        for candidate in drawn("<think>", "think=2"):
            if candidate.tokens[2:3] == (END,) and thought(candidate.tokens) == 2:
                assert candidate.processed_logprobs[2] == 0.0
                assert candidate.token_logprobs[2] == pytest.approx(math.log(0.2), abs=1e-6)

    @pytest.mark.parametrize("prompt", ["", "<think> hm </think>", "<think> hm"])
    def test_a_text_that_opens_no_thought_is_left_as_it_is(self, prompt):
        assert drawn(prompt, "think(budget=1, minimum=1)") == drawn(prompt, "")

    def test_a_thought_that_the_model_opens_counts_from_its_mark_and_all_thoughts_count(self):
        model = dl.TableModel(WORDS, {...: ROW, "7": {"<think>": 0.8, "hm": 0.1, "</think>": 0.1}}, bos="<s>")
        reopened = 0
        for candidate in drawn("7", "think=3", model=model, n=200, new=20):
            inside, spent, opened = False, 0, 0
            for token in candidate.tokens:
                inside = (inside or token == START) and token != END
                opened += token == START
                spent += inside and token != START
            assert spent <= 3
            reopened += opened > 1 and spent == 3
        assert reopened

    def test_every_row_of_a_beam_and_of_a_draft_keeps_it(self):
        for strategy in ("beam(width=4, n=4)", "sample(n=20) | speculative(draft=ngram)"):
            (g,) = dl.generate(MODEL, "<think>", f"think=2 | {strategy}", max_new_tokens=8)
            assert all(thought(c.tokens) <= 2 for c in g.candidates)
        plain = drawn("<think>", "think=2", n=20, new=8)
        assert [c.tokens for c in sorted(g.candidates, key=lambda c: c.sample)] == [c.tokens for c in plain]


class TestMinimum:
    @pytest.mark.parametrize("minimum", [1, 4])
    def test_no_thought_is_shorter_and_none_ends_the_text(self, minimum):
        for candidate in drawn("<think>", f"think(minimum={minimum})"):
            assert thought(candidate.tokens) >= minimum

    def test_budget_and_minimum_may_be_the_same(self):
        assert {thought(c.tokens) for c in drawn("<think>", "think(budget=3, minimum=3)")} == {3}

    def test_the_continuation_has_the_probability_of_the_ends_besides_its_own(self):
        found = dl.distribution(
            MODEL.prefill([(7, START)])[0][0], "think(minimum=1)", prompt_tokens=(7, START), model=MODEL
        )
        assert found.tolist() == pytest.approx([0.0, 0.4, 0.2, 0.0, 0.1 + 0.2 + 0.05, 0.05, 0.0, 0.0], abs=1e-6)

    def test_whole_texts_follow_the_law_of_a_model_whose_ends_are_replaced(self):
        # Three tokens of which the first two must be thoughts: an end in the first two places reads Wait.
        n = 1_500
        replaced = dict.fromkeys([HM, SO, SEVEN], 0.0) | {HM: 0.4, SO: 0.2, WAIT: 0.35, SEVEN: 0.05}
        counts: dict[tuple[int, ...], int] = {}
        for candidate in drawn("<think>", "think(minimum=2)", n=n, new=2):
            counts[candidate.tokens] = counts.get(candidate.tokens, 0) + 1
        for a, p in replaced.items():
            for b, q in replaced.items():
                expected = n * p * q
                assert abs(counts.get((a, b), 0) - expected) < 5 * math.sqrt(expected) + 1

    def test_the_rest_of_a_continuation_follows_where_an_end_was_more_probable_than_its_beginning(self):
        long = "think(minimum=6, continuation=[4, 1])"  # Wait hm
        for candidate in drawn("<think>", long):
            places = [i for i, token in enumerate(candidate.tokens[:5]) if token == WAIT]
            assert all(candidate.tokens[i + 1] == HM for i in places)
        shy = dl.TableModel(WORDS, {...: ROW | {"Wait": 0.28, "</think>": 0.02}}, bos="<s>")
        after = {c.tokens[i + 1] for c in drawn("<think>", long, model=shy) for i in range(5) if c.tokens[i] == WAIT}
        assert len(after) > 1

    def test_the_budget_holds_within_a_continuation(self):
        for candidate in drawn("<think>", "think(budget=2, minimum=2, continuation=[4, 1, 1, 1])"):
            assert thought(candidate.tokens) == 2


LETTERS = dl.TableModel(
    ["<", "/", "think", ">", "a", "b", "</"],
    {...: {"<": 0.05, "/": 0.1, "think": 0.15, ">": 0.2, "a": 0.2, "b": 0.2, "</": 0.05, "</s>": 0.05}},
    bos="<s>",
    separator="",
    name="letters",
)


class TestMarksOfSeveralTokens:
    @pytest.mark.parametrize("budget", [0, 1, 2, 5])
    def test_the_budget_is_spent_before_a_mark_that_is_forced_token_by_token(self, budget):
        for own, bounded in zip(
            drawn("<think>", "", model=LETTERS, new=16),
            drawn("<think>", f"think={budget}", model=LETTERS, new=16),
            strict=True,
        ):
            assert "</think>" in bounded.text or LETTERS.vocab.eos_ids[0] in bounded.tokens[:budget]
            before = bounded.text.partition("</think>")[0]
            length = len(LETTERS.vocab.encode_completion((), before))
            assert length <= budget
            assert bounded.tokens[:length] == own.tokens[:length]

    def test_a_mark_that_the_model_has_begun_is_completed(self):
        begun = dl.TableModel(
            LETTERS.vocab.words[:7], {...: {"</": 0.97, "think": 0.01, ">": 0.01, "a": 0.01}}, bos="<s>", separator=""
        )
        (g,) = dl.generate(begun, "<think>", "think=2 | greedy", max_new_tokens=4)
        assert g.best.text.startswith("</</think>")

    def test_below_the_minimum_no_spelling_of_the_mark_comes_about(self):
        for candidate in drawn("<think>", "think(minimum=6, continuation=b)", model=LETTERS, n=300, new=8):
            before = candidate.text.partition("</think>")[0]
            assert len(LETTERS.vocab.encode_completion((), before)) >= 6

    @given(st.lists(st.sampled_from([0, 1, 2, 3, 6]), max_size=8))
    @example([6, 2, 3, 3])
    @settings(max_examples=60, deadline=None)
    def test_a_mark_is_found_wherever_its_text_ends(self, tokens):
        marks = Marks(Think(), "<think>", "</think>", None, LETTERS.vocab)
        tail: tuple[int, ...] = ()
        for token in tokens:
            tail = (*tail, token)
            text = LETTERS.vocab.decode(tail)
            taken = marks.length("</think>", tail)
            assert bool(taken) == text.endswith("</think>")
            assert not taken or LETTERS.vocab.decode(tail[-taken:]) == "</think>"


def test_a_real_tokenizer_that_merges_the_mark_with_what_stands_before_it(gpt2: Vocab):
    stage = Think(minimum=100, continuation=" Wait")
    prompt = gpt2.encode("<think>")
    said = gpt2.encode_completion(prompt, "Done.</think>")
    assert gpt2.encode_completion(prompt, "</think>")[0] not in said  # `.</` is one token
    state = stage.init([prompt], gpt2, Keys.of(0, prompt, [0]))
    flat = torch.zeros(1, gpt2.size)
    for token in said[:-1]:
        assert stage.apply(flat, state)[0, token] == 0.0
        state = stage.update(state, flat, torch.tensor([token]))
    assert stage.apply(flat, state)[0, said[-1]] == -torch.inf


@pytest.mark.parametrize("special", [True, False])
def test_marks_that_a_tokenizer_has_added_and_a_chat_template_that_opens_a_thought(gpt2: TransformersVocab, special):
    tokenizer = copy.deepcopy(gpt2.tokenizer)
    tokenizer.add_tokens([AddedToken("<think>", special=special), AddedToken("</think>", special=special)])
    tokenizer.chat_template = "{{ messages[0]['content'] }}{% if add_generation_prompt %}<think>\n{% endif %}"
    vocab = TransformersVocab(tokenizer, len(tokenizer), gpt2.eos_ids, None)
    _, prompt = vocab.render_chat(dl.Chat.of("2 + 2?"))
    stage, flat = Think(budget=2), torch.zeros(1, vocab.size)
    state = stage.init([prompt], vocab, Keys.of(0, prompt, [0]))
    for token in vocab.encode_completion(prompt, "I think"):
        assert torch.equal(stage.apply(flat, state), flat)
        state = stage.update(state, flat, torch.tensor([token]))
    (end,) = vocab.encode_completion(prompt, "</think>")
    assert stage.apply(flat, state).isfinite().nonzero().tolist() == [[0, end]]
    state = stage.update(state, flat, torch.tensor([end]))
    assert torch.equal(stage.apply(flat, state), flat)
    assert vocab.token_text(end) == "</think>"


@pytest.mark.parametrize(
    ("words", "own"),
    [
        (["a"], ("<think>", "</think>")),
        (["[THINK]", "[/THINK]", "</think>"], ("[THINK]", "[/THINK]")),
        (["<think>", "</think>", "[THINK]", "[/THINK]"], ("<think>", "</think>")),
    ],
)
def test_marks_that_are_not_given_are_the_models_own(words, own):
    assert own_marks(dl.TableModel(words, {}).vocab) == own


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("think(budget=50, minimum=100)", "budget must be at least the minimum of 100 tokens, got 50"),
        ("think=-1", "budget must be an integer, at least 0"),
        ("think(minimum=-1)", "minimum must be an integer, at least 0"),
        ('think(budget=1, end="")', "end must be a text without space around it"),
        ("think(budget=1, start=7)", "start must be a text"),
        ('think(minimum=1, continuation="")', "continuation must hold texts"),
    ],
)
def test_bad_parameters_are_refused(text, why):
    with pytest.raises(InvalidParameter, match=why):
        dl.Strategy.of(text)


def test_what_cannot_be_written_is_refused_when_it_is_run():
    with pytest.raises(UnknownToken, match=r"think: .*</done>"):
        drawn("<think>", 'think(budget=2, end="</done>")')
    with pytest.raises(InvalidParameter, match="must not begin as the end of a thought does"):
        drawn("<think>", "think(minimum=2, continuation=[3])")


def test_without_a_limit_it_says_that_it_has_none():
    assert Think().no_effect()
    assert not Think(budget=0).no_effect()


@pytest.mark.parametrize(
    "values", [{"minimum": 2}, {"budget": 3, "minimum": 1}, {"minimum": 9, "continuation": [4, 1]}]
)
def test_it_keeps_the_promises_of_a_processor(values):
    check_processor(Think(**values), vocab=dl.TableModel(WORDS, {}, bos="<s>").vocab, may_empty=True)
