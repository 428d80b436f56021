"""Prompts: text, ids, chats, nothing; and those that cannot be continued."""

import warnings

import numpy as np
import pytest

import decodelab as dl
from decodelab.core.errors import EmptyPrompt, PromptTooLong, RequestError, UnknownToken


@pytest.fixture(scope="module")
def pocket():
    return dl.load("pocket-nano")


def test_text_and_its_ids_are_the_same_prompt(stories):
    ids = stories.vocab.encode("Once upon")
    by_text, by_ids = dl.generate(stories, ["Once upon", ids], "greedy", max_new_tokens=8)
    assert by_text.prompt_tokens == by_ids.prompt_tokens == ids
    assert by_text.best.tokens == by_ids.best.tokens
    # They are rows of one matrix product, whose rounding may depend on the row.
    assert by_text.best.token_logprobs == pytest.approx(by_ids.best.token_logprobs, abs=1e-5)
    assert by_ids.prompt.strip() == "Once upon"


def test_ids_are_taken_as_they_are_without_bos(stories):
    (g,) = dl.generate(stories, [[403, 407]], "greedy", max_new_tokens=2)
    assert g.prompt_tokens == (403, 407)


@pytest.mark.parametrize("prompts", [[1, 403], (1, 403), np.array([1, 403]), [np.int64(1), np.int64(403)]])
def test_a_sequence_of_integers_is_one_prompt(stories, prompts):
    (g,) = dl.generate(stories, prompts, "greedy", max_new_tokens=2)
    assert g.prompt_tokens == (1, 403)


def test_one_prompt_or_several(stories):
    assert len(dl.generate(stories, "Once", "greedy", max_new_tokens=1)) == 1
    assert len(dl.generate(stories, ["Once"], "greedy", max_new_tokens=1)) == 1
    assert len(dl.generate(stories, ["Once", [1, 403]], "greedy", max_new_tokens=1)) == 2
    assert dl.generate(stories, [], "greedy") == []


@pytest.mark.parametrize("empty", ["", (), []])
def test_an_empty_prompt_begins_with_bos(stories, empty):
    (g,) = dl.generate(stories, [empty], "greedy", max_new_tokens=4)
    assert g.prompt_tokens == (stories.vocab.bos_id,)
    assert g.prompt == ""


def test_an_empty_prompt_without_bos_is_refused():
    model = dl.TableModel(["a"], {...: {"a": 1.0}}, name="bare")
    with pytest.raises(EmptyPrompt, match=r"^prompt is empty and bare has no BOS token to start from; "):
        dl.generate(model, "", "greedy")
    with pytest.raises(EmptyPrompt):
        dl.score(model, "", "a")


def test_a_chat_is_rendered_by_the_models_own_template(pocket):
    (g,) = dl.generate(pocket, dl.Chat.of("2 + 3 ="), "greedy", max_new_tokens=2)
    text, tokens = pocket.vocab.render_chat(dl.Chat.of("2 + 3 ="))
    assert (g.prompt, g.prompt_tokens) == (text, tokens)
    assert "2 + 3 =" in g.prompt


def test_a_chat_for_a_model_without_a_template_is_refused(stories):
    with pytest.raises(RequestError, match="no chat template"):
        dl.generate(stories, dl.Chat.of("hello"), "greedy")


@pytest.mark.parametrize(("ids", "wrong"), [([1, 512], 512), ([-1], -1), ([1, 10**30], 10**30)])
def test_ids_outside_the_vocabulary_are_refused(stories, ids, wrong):
    with pytest.raises(UnknownToken, match=rf"^prompt: token ids must be in \[0, 511\], got {wrong}"):
        dl.generate(stories, [ids], "greedy")
    with pytest.raises(UnknownToken, match=r"^completion: token ids must be in"):
        dl.score(stories, "Once", ids)


@pytest.mark.parametrize("prompt", [None, 1.5, [1.5, 2.0], [[1, 2]], [None], {"text": "hello"}])
def test_an_invalid_prompt_is_refused_in_one_line(stories, prompt):
    with pytest.raises(RequestError, match=r"^prompt must be text or token ids, got ") as error:
        dl.generate(stories, [prompt], "greedy")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("length", [512, 513, 5000])
def test_a_prompt_that_fills_the_context_is_refused(stories, length):
    with pytest.raises(PromptTooLong, match=rf"^prompt 1 has {length} tokens, .* at most 511"):
        dl.generate(stories, ["Once", [1] * length], "greedy")


def test_a_prompt_one_shorter_than_the_context_has_room_for_one_token(stories):
    (g,) = dl.generate(stories, [[1] * 511], "greedy")
    assert (len(g.best.tokens), g.best.finish_reason) == (1, "length")


def test_prompts_are_checked_before_anything_is_computed(stories):
    seen = []
    with pytest.raises(PromptTooLong):
        dl.generate(stories, ["Once", [1] * 600], "greedy", observers=[seen.append])
    assert seen == []


def test_a_name_is_loaded(pocket):
    (g,) = dl.generate("pocket-nano", "Once", "greedy", max_new_tokens=3)
    assert g.candidates == dl.generate(pocket, "Once", "greedy", max_new_tokens=3)[0].candidates
    assert g.model == "pocket-nano"
    assert dl.score("pocket-nano", "Once", " upon").tokens


def test_a_term_without_effect_is_reported_where_it_was_asked_for(uniform):
    with pytest.warns(dl.NoEffectWarning) as caught:
        dl.generate(uniform, "a", "temperature=0.5 | top_p=1.0 | greedy", max_new_tokens=2)
    assert [str(w.message) for w in caught] == [
        "top_p=1.0: p = 1 keeps every token",
        "temperature=0.5: has no effect before greedy, which takes the argmax",
    ]
    assert {w.filename for w in caught} == {__file__}


def test_terms_with_an_effect_are_not(uniform):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dl.generate(uniform, "a", "temperature=0.5 | top_p=0.9 | sample(n=2) | best_of", max_new_tokens=2)
        dl.generate(uniform, "a", "typical_p=0.5 | greedy", max_new_tokens=2)  # may remove the argmax


class TestSpecialTokensInPrompts:
    def test_two_bos_and_names_that_became_tokens_are_noted_once_for_all_prompts(self, stories):
        with pytest.warns(dl.PromptWarning) as told:
            found = dl.generate(stories, ["<s>Once", "a</s>b", "fine", "<s>x"], "greedy", max_new_tokens=1)
        assert [str(w.message) for w in told] == [
            'prompt 0, prompt 3: begins with BOS ("<s>") twice, because the tokenizer puts one before every text; '
            "leave it out of the prompt",
            'prompt 0, prompt 1, prompt 3: "<s>", "</s>" became a special token; literal=True (decodelab generate '
            "--literal) reads such names as text",
        ]
        assert found[0].prompt_tokens[:2] == (1, 1)

    def test_read_literally_they_are_text_after_the_tokenizers_own_bos(self, stories):
        (g,) = dl.generate(stories, "<s>Once</s>", "greedy", max_new_tokens=1, literal=True)
        assert g.prompt_tokens[0] == 1
        assert not {1, 2} & set(g.prompt_tokens[1:])
        assert stories.vocab.decode(g.prompt_tokens) == "<s>Once</s>"
        plain = dl.generate(stories, "Once", "greedy", max_new_tokens=1, literal=True)[0]
        assert plain.prompt_tokens == stories.vocab.encode("Once")
        assert dl.generate(stories, "", "greedy", max_new_tokens=1, literal=True)[0].prompt_tokens == (1,)

    def test_an_engine_notes_and_reads_them_likewise(self, stories):
        engine = dl.Engine(stories)
        with pytest.warns(dl.PromptWarning) as told:
            engine.submit("<s>Once", "greedy", max_new_tokens=1)
        assert len(told) == 2
        engine.submit("<s>Once", "greedy", max_new_tokens=1, literal=True)
        found = [g for g in engine.run() if isinstance(g, dl.Generation)]
        assert {g.prompt_tokens[1] == 1 for g in found} == {True, False}

    def test_of_many_prompts_the_first_are_named_and_all_are_counted(self, stories):
        with pytest.warns(dl.PromptWarning, match="prompt 0, prompt 1, prompt 2 and 7 more: ") as told:
            dl.generate(stories, ["<s>Once"] * 10, "greedy", max_new_tokens=1)
        assert len(told) == 2

    def test_prompts_and_completions_that_are_scored_are_noted_likewise(self, stories):
        with pytest.warns(dl.PromptWarning) as told:
            dl.score_many(stories, [("<s>Once", " upon"), ("<s>Once", " a"), ("Once", " upon</s>")])
        assert [str(w.message) for w in told] == [
            'prompt 0: begins with BOS ("<s>") twice, because the tokenizer puts one before every text; leave it out '
            "of the prompt",
            'prompt 0, completion 2: "<s>", "</s>" became a special token; remove it if it is meant as text',
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            dl.score(stories, (1, 1, 403), (407,))

    def test_token_ids_are_taken_as_they_are_and_chats_are_not_read_literally(self, stories):
        assert dl.generate(stories, [(1, 1, 403)], "greedy", max_new_tokens=1)[0].prompt_tokens == (1, 1, 403)
        with pytest.raises(RequestError, match="literal: a chat's template writes special tokens"):
            dl.generate(stories, dl.Chat.of("hi"), "greedy", literal=True)

    def test_a_table_has_no_text_for_them(self):
        model = dl.TableModel(["a"], {...: {"a": 0.5, "</s>": 0.5}}, bos="<s>")
        with pytest.warns(dl.PromptWarning) as told:
            assert dl.generate(model, "<s> a", "greedy", max_new_tokens=1)[0].prompt_tokens == (2, 2, 0)
        assert len(told) == 2
        with pytest.raises(UnknownToken, match="'<s>' is a special token of the table and no text"):
            dl.generate(model, "<s> a", "greedy", literal=True)


def test_characters_that_the_tokenizer_does_not_have_are_noted(babyllama_dir):
    with pytest.warns(dl.PromptWarning, match="the tokenizer does not have"):
        dl.generate(dl.load(babyllama_dir), "漢 hello", "greedy", max_new_tokens=1)
