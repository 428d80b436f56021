"""Options by likelihood: the sum of an option's token log-probabilities, as a plain transformers pass gives it."""

import pytest
import torch

import decodelab as dl
from decodelab.core.errors import PromptTooLong, RequestError
from decodelab.tasks.choices import Choice, prefer
from decodelab.tasks.mmlu import MMLU
from decodelab.tasks.pocket import PocketChoice

WEATHER = dl.TableModel(
    ["is", "wet", "dry", "very"],
    {...: {"wet": 0.5, "dry": 0.2, "very": 0.2, "is": 0.1}, ("is", "very"): {"dry": 0.9, "wet": 0.1}},
    bos="<s>",
)


def test_the_most_probable_option_is_the_answer_and_its_share_the_confidence():
    (found,) = prefer(WEATHER, [Choice("1", "is", ("dry", "wet"), 0)])
    assert found.best == 1
    assert found.confidence == pytest.approx(0.5 / 0.7)


def test_an_option_of_several_tokens_has_the_product_of_their_probabilities():
    (found,) = prefer(WEATHER, [Choice("1", "is", ("very dry", "very wet", "wet"), 0)])
    assert torch.tensor(found.logprobs).exp().tolist() == pytest.approx([0.18, 0.02, 0.5])


def test_of_equals_the_first_is_the_answer():
    (found,) = prefer(WEATHER, [Choice("1", "is", ("very", "dry"), 0)])
    assert found.best == 0


def test_questions_are_scored_as_by_one_transformers_pass_an_option(data_dir, stories260k_dir):
    model = dl.load_transformers(stories260k_dir)
    task = MMLU(form="standard")
    examples = task.read(data_dir / "mmlu_med" / "college_medicine_test.csv")[:20]
    choices = [task.choice(example) for example in examples]
    found = prefer(model, choices, cut=True)
    assert any(preference.cut for preference in found)
    for choice, preference in zip(choices, found, strict=True):
        for option, logprob in zip(choice.options, preference.logprobs, strict=True):
            # As lm-evaluation-harness: encoded together, cut at the left, the last token not fed.
            given = model.vocab.tokenizer(choice.prompt)["input_ids"]
            whole = model.vocab.tokenizer(f"{choice.prompt}{option}")["input_ids"]
            target = whole[len(given) :]
            fed = torch.tensor([whole[-(512 + 1) :][:-1]])
            with torch.inference_mode():
                logits = model.model(input_ids=fed).logits[0, -len(target) :].log_softmax(-1)
            expected = logits.gather(-1, torch.tensor(target)[:, None]).sum()
            assert logprob == pytest.approx(float(expected), abs=2e-5)


def test_a_question_that_exceeds_the_context_is_refused_or_loses_its_beginning():
    model = dl.load("pocket-nano")
    long = Choice("long", "one two " * 400 + "three", (" four", " five"), 0)
    with pytest.raises(
        PromptTooLong, match=r"question long has .* tokens with its options, pocket-nano has context length 512"
    ):
        prefer(model, [long])
    (found,) = prefer(model, [long], cut=True)
    assert found.cut > 0


def test_an_option_without_tokens_is_refused():
    with pytest.raises(RequestError, match="question 1: option '' has no tokens"):
        prefer(WEATHER, [Choice("1", "is", ("wet", ""), 0)])


def test_a_question_whose_options_are_all_impossible_is_refused():
    sure = dl.TableModel(["is", "wet", "dry"], {...: {"wet": 1.0}}, bos="<s>")
    assert prefer(sure, [Choice("1", "is", ("dry", "wet"), 0)])[0].confidence == 1
    with pytest.raises(RequestError, match=r"question 1: .* gives each option probability 0"):
        prefer(sure, [Choice("1", "is", ("dry", "is"), 0)])


def test_options_of_pocket_questions_are_the_sentences_that_the_models_say():
    task = PocketChoice()
    example = task.generate(0)
    choice = task.choice(example)
    assert choice.options[choice.answer] in str(example.reference)
    assert [task.judge(example, option).score for option in choice.options].count(1) == 1
    assert task.judge(example, str(example.reference)).score == 1
    assert task.judge(example, " The answer is (Z).").score == 0


def test_it_is_told_how_far_it_is():
    told: list[int] = []
    prefer(WEATHER, [Choice(str(i), "is", ("wet", "dry"), 0) for i in range(20)], report=told.append)
    assert told == [16, 20]
