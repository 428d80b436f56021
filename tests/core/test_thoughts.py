"""Thoughts are no part of an answer, by the marks of every model."""

import pytest

from decodelab.core.thoughts import ends_in_thought, opens_thought, without_thoughts


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("It is B.", "It is B."),
        ("<think>A?</think>It is B.", "It is B."),
        ("<think>A?</think>\n\nIt is B.", "It is B."),
        ("<think>\n\n</think>\n\n    return x", "    return x"),
        ("A?\n</think>\nB", "B"),
        ("<think>It is A", ""),
        ("B. <think>or A?", "B. "),
        ("<think>a</think>b<think>c</think>d", "bd"),
        ("<think>I write <think> first</think>B", "B"),
        ("<think>a<think>b</think>c</think>B", "B"),
        ("<think>a</think>B</think>", "B"),
        ("B</think>", ""),
        ("<THINK>a</THINK>B", "B"),
        ("<thinking>a</thinking>B", "B"),
        ("<thought>a</thought>B", "B"),
        ("<reasoning>a</reasoning>B", "B"),
        ("<seed:think>a</seed:think>B", "B"),
        ("[THINK]a[/THINK]B", "B"),
        ("[THINK]a", ""),
        ("a[/THINK]B", "B"),
        ("\u25c1think\u25b7a\u25c1/think\u25b7B", "B"),
        ("<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>B<|end_of_solution|>", "B"),
        ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>B<|END_RESPONSE|>", "B"),
        ("<|channel|>analysis<|message|>A?<|end|><|start|>assistant<|channel|>final<|message|>B<|return|>", "B"),
        ("<|channel|>analysis<|message|>A?", ""),
        ("<|channel|>commentary<|message|>A?<|end|><|start|>assistant<|channel|>final<|message|>B", "B"),
        ("<|channel|>final<|message|>B", "B"),
        ("<|channel>thought\nA?<channel|>B", "B"),
        ("analysisWe need A?assistantfinalThe answer is B", "The answer is B"),
        ("analysisWe need A", ""),
        ("analysis of the case: B", "analysis of the case: B"),
        ("", ""),
    ],
)
def test_what_stands_between_the_marks_is_left_out(text, answer):
    assert without_thoughts(text) == answer
    assert without_thoughts(answer) == answer


@pytest.mark.parametrize(
    ("prompt", "opens"),
    [
        ("<|assistant|><think>", True),
        ("<|assistant|>\n<think>\n", True),
        ("[/INST][THINK]", True),
        ("<|start|>assistant<|channel|>analysis<|message|>", True),
        ("<|START_THINKING|> ", True),
        ("<|assistant|><think>\n\n</think>\n\n", False),
        ("<think>2 + 2?", False),
        ("Use <think> and </think>.\n<|assistant|>\n", False),
        ("", False),
    ],
)
def test_a_prompt_that_ends_in_an_opening_mark_begins_a_thought(prompt, opens):
    assert opens_thought(prompt) is opens


@pytest.mark.parametrize(
    ("text", "answer", "open_"),
    [
        ("It is B", "", True),
        ("A?</think>B", "B", False),
        ("A?</think>", "", False),
        ("A?<think>B", "", True),
        ("A?</think>B<think>C", "B", True),
        ("", "", True),
    ],
)
def test_a_text_that_begins_within_a_thought_is_one_until_it_is_closed(text, answer, open_):
    assert (without_thoughts(text, begun=True), ends_in_thought(text, begun=True)) == (answer, open_)


def test_texts_of_any_size_are_stripped_in_linear_time():
    assert without_thoughts("<think>" * 200_000) == ""
    assert without_thoughts("</think>" * 200_000 + "B") == "B"
