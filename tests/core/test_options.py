"""Which option an answer settles on: a table of forms, real questions, and texts of any size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decodelab.core.options import AMBIGUOUS, LETTERS, OptionReader, offered_in, read_option
from decodelab.tasks.mmlu import MMLU

DRUGS = ["Aspirin", "Heparin", "Digoxin", "Vitamin D"]
"""Options without a letter of their own in their words, but for the last."""
FORMS = [
    ("The answer is (B)", "B"),
    ("The answer is B", "B"),
    ("The answer is B.", "B"),
    ("the answer is b", "B"),
    ("answer is (b)", "B"),
    ("(b)", "B"),
    ("b", "B"),
    ("B", "B"),
    ("B.", "B"),
    ("B)", "B"),
    ("**B**", "B"),
    ("[B]", "B"),
    ("{B}", "B"),
    ("Answer: B", "B"),
    ("**Answer: D**", "D"),
    ("Answer:\n  C", "C"),
    ("Answer:\n\n**C**", "C"),
    ("ANSWER: c", "C"),
    ("Final answer: (C)", "C"),
    ("### Final Answer\nB", "B"),
    ("Ans: B", "B"),
    ("Answer - B", "B"),
    ("Answer B", "B"),
    ("Answer (B)", "B"),
    ("We get $\\boxed{B}$", "B"),
    ("\\boxed{\\text{B}}", "B"),
    ("\\boxed{\\textbf{(B)}}", "B"),
    ("\\boxed{b}", "B"),
    ("\\boxed{Heparin}", "B"),
    ("\\boxed{\\text{Heparin}}", "B"),
    ("The answer is $\\boxed{ B }$, not A", "B"),
    ("\\(\\boxed{B}\\)", "B"),
    ("\\boxed{\\mathrm{B}}", "B"),
    ("\\boxed{B. Heparin}", "B"),
    ("The answer is Digoxin", "C"),
    ("The answer is digoxin.", "C"),
    ("Digoxin", "C"),
    ("Digoxin.", "C"),
    ("The correct option is C. I chose it because", "C"),
    ("The correct option is C. I chose", "C"),
    ("It is Digoxin.", "C"),
    ("C. Digoxin", "C"),
    ("(C) Digoxin", "C"),
    ("C: Digoxin", "C"),
    ("C - Digoxin", "C"),
    ("Digoxin (C)", "C"),
    ("C) Digoxin is used", "C"),
    ("The answer is (B) Digoxin", "ambiguous"),
    ("Not Heparin, Digoxin", "C"),
    ("Not Heparin, Digoxin.", "C"),
    ("Not Heparin,Digoxin", "C"),
    ("Not Heparin - Digoxin", "C"),
    ("Not B, C", "C"),
    ("Not (B), (C).", "C"),
    ("Not B. Heparin, C. Digoxin", "C"),
    ("It isn't Heparin, Digoxin.", "C"),
    ("The answer is not B, C", "C"),
    ("Not A, B, D", None),
    ("Not A, B, or D", None),
    ("Not Heparin, Digoxin or Aspirin", None),
    ("Not Heparin or Digoxin", None),
    ("Not Heparin and Digoxin", None),
    ("Not B / C", None),
    ("A.B.C.", "ambiguous"),
    ("A.B.C", "ambiguous"),
    ("A.B", "ambiguous"),
    ("B.C.", "ambiguous"),
    ("(A).(B).", "ambiguous"),
    ("A;B", "ambiguous"),
    ("The answer is A.C", "ambiguous"),
    ("The answer is A.C.", "ambiguous"),
    ("A.B.C. are wrong, D", "D"),
    ("b.d.", None),
    ("It is given b.d. or a.c., so B", "B"),
    ("A.M.", None),
    ("The U.S.A. says so: B", "B"),
    ("The answer is C.I think so", "C"),
    ("B.Heparin", "B"),
    ("B. Digoxin", "ambiguous"),
    ("Digoxin (B)", "ambiguous"),
    ("The answer is A or B", "ambiguous"),
    ("A and B", "ambiguous"),
    ("A or B", "ambiguous"),
    ("A/B", "ambiguous"),
    ("The answer is A and C.", "ambiguous"),
    ("Both A and B", "ambiguous"),
    ("Either B or C", "ambiguous"),
    ("A, B", "ambiguous"),
    ("(A) (B)", "ambiguous"),
    ("Aspirin or Heparin", "ambiguous"),
    ("I first thought the answer is A; no, the answer is (C).", "C"),
    ("The answer is A. No, wait, B.", "B"),
    ("The answer is A. Actually, the answer is B.", "B"),
    ("Answer: A or rather answer: C\nAnswer: B", "B"),
    ("The answer is not A", None),
    ("A is wrong", None),
    ("The answer is not A but B", "B"),
    ("Not A, but B.", "B"),
    ("A is wrong, B is right.", "B"),
    ("A is incorrect. B is incorrect. So C.", "C"),
    ("A is out, B is out, so C", "C"),
    ("The answer isn't A, it's B", "B"),
    ("The answer can't be A.", None),
    ("neither A nor B", None),
    ("A, B and C are wrong, so the answer is D", "D"),
    ("A, B and C are wrong.", None),
    ("The answer is B, not A.", "B"),
    ("The answer is B rather than A", "B"),
    ("B is correct; A is wrong", "B"),
    ("Option B is the correct answer.", "B"),
    ("(B) is the best choice.", "B"),
    ("I choose B", "B"),
    ("I would go with (b).", "B"),
    ("I'd pick option C", "C"),
    ("I would not choose A.", None),
    ("We cannot say.", None),
    ("I cannot say.", None),
    ("I don't know", None),
    ("", None),
    ("K is not a letter here", None),
    ("A patient comes in.", None),
    ("a", "A"),
    ("A", "A"),
    ("I", None),
    ("The answer is a drug", None),
    ("The answer is a", "A"),
    ("The answer is a.", "A"),
    ("The answer is A", "A"),
    ("The answer is A because it", "A"),
    ("The answer is E", None),
    ("The answer is (E)", None),
    ("Vitamin D", "D"),
    ("The answer is vitamin D", "D"),
    ("The answer is vitamin C", None),
    ("The answer is D-dimer", None),
    ("The answer is Bob", None),
    ("The answer is (Bob)", None),
    ("Because of this", None),
    ("<think>answer is A?</think>The answer is (B)", "B"),
    ("<think>The answer is (A)", None),
    ("The answer is A?", None),
    ("Is it A? No, B.", "B"),
    ("If the answer is A, then we are wrong. The answer is B.", "B"),
    ("~~A~~ B", "B"),
    ("<answer>B</answer>", "B"),
    ('{"answer": "B"}', "B"),
    ("{'answer': 'b'}", "B"),
    ("The answer is: B", "B"),
    ("The answer is **B**.", "B"),
    ("The answer is `B`", "B"),
    ('The answer is "B"', "B"),
    ("The answer is \u2018B\u2019", "B"),
    ("The answer is option B.", "B"),
    ("The correct answer is choice (B).", "B"),
    ("The best answer is: (B) Heparin.", "B"),
    ("The correct answer to this question is B", "B"),
    ("Therefore, the answer is (B).", "B"),
    ("Therefore, B.", "B"),
    ("So the answer would be B", "B"),
    ("\u7b54\u6848\u662fB", "B"),
    ("\u7b54\u6848\uff1aB", "B"),
    ("\uff08\uff22\uff09", "B"),
    ("The answer is\uff08\uff22\uff09", "B"),
    ("Option B", "B"),
    ("option (D)", "D"),
    ("choose option (D)", "D"),
    ("choice c", "C"),
    ("Let's see.\nA. no\nB. yes\nThe answer is B", "B"),
    ("A. Aspirin\nB. Heparin\nC. Digoxin\nD. Vitamin D", "ambiguous"),
    ("A. Aspirin\nB. Heparin\nC. Digoxin\nD. Vitamin D\n\nThe answer is (C).", "C"),
    ("A. Aspirin is wrong.\nB. Heparin is wrong.\nC. Digoxin is correct.\nD. Vitamin D is wrong.", "C"),
    ("The answer is B\n\nQuestion: what", "B"),
    ("The answer is none of these", None),
    ("B because it thins blood", "B"),
    ("B, because", "B"),
    ("B is correct.", "B"),
    ("The answer is B, since A is wrong.", "B"),
    ("Since A is wrong, the answer is B.", "B"),
    ("The answer must be (D).", "D"),
    ("The answer might be D", "D"),
    ("Correct answer: D", "D"),
    ("Correct: D", "D"),
    ("My final answer is D.", "D"),
    ("It's D.", "D"),
    ("It must be D", "D"),
    ("D it is", "D"),
    ("The answer is B and A is wrong", "B"),
    ("I think it's B", "B"),
    ("I believe the answer is B", "B"),
    ("Let me think. B? No. C.", "C"),
    ("The answer is A. Hmm, no: B", "B"),
    ("The correct choice is B: Heparin", "B"),
    ("heparin", "B"),
    ("HEPARIN", "B"),
    ("Answer: heparin", "B"),
    ("The answer is Heparin, not Digoxin.", "B"),
    ("It is not Digoxin but Heparin.", "B"),
    ("The answer is not Digoxin.", None),
    ("Digoxin is wrong. The answer is Heparin.", "B"),
    ("(A) Incorrect. (B) Correct.", "B"),
    ("A: wrong\nB: correct", "B"),
    ("The answer is (B), i.e. Digoxin", "ambiguous"),
    ("The answer is Digoxin, which is option B", "ambiguous"),
    ("The answer is Digoxin, which is option C", "C"),
    ("The answer is Digoxin. That corresponds to option C.", "C"),
    ("The remaining option is C.", "C"),
    ("I am torn between B and C, but I'll go with C.", "C"),
    ("The answer lies between A and C", "ambiguous"),
    ("The answer is, without a doubt, B.", "B"),
    ("B, C, D are incorrect. Therefore A.", "A"),
    ("The answer is B not A", "B"),
    ("Choice: B", "B"),
    ("Selection: (b)", "B"),
    ("\\boxed{A, B}", "ambiguous"),
    ("The answer is: A) Aspirin, B) Heparin", "ambiguous"),
    ("All except B", None),
    ("Is B the answer?", None),
    ("the answer should not be B", None),
    ("The answer is neither A nor B but C", "C"),
    ("Not B.", None),
    ("It isn't (B).", None),
    ("Definitely B", "B"),
    ("Probably (c).", "C"),
    ("Hmm, maybe D", "D"),
    ("Sure! The answer is B.", "B"),
    ("I'll say B", "B"),
    ("Going with B.", "B"),
    ("Let's go with option B.", "B"),
    ("My pick: B", "B"),
    ("B\n", "B"),
    (" B\n\nBecause heparin ...", "B"),
    ("(B", "B"),
    ("B) ", "B"),
    ("The correct answer is B) Heparin", "B"),
    ("The correct answer is **B) Heparin**", "B"),
    ("**Correct Answer: B. Heparin**", "B"),
    ("Answer: **(B)** Heparin", "B"),
    ("A nurse should give B vitamins.", None),
    ("The drug is given at a dose", None),
    ("Hepatitis B is viral", None),
    ("He has type A blood", None),
    ("The answer is hepatitis B", None),
    ("A.", "A"),
    ("a)", "A"),
    ("[a]", "A"),
    ("Answer: a", "A"),
    ("<b>B</b>", "B"),
    ("Answer: <b>B</b>", "B"),
    ("_B_", "B"),
    ("__B__", "B"),
    ("> B", "B"),
    ("- B", "B"),
    ("# B", "B"),
    ("Answer: {B}", "B"),
    ("Answer=B", "B"),
    ("answer:B", "B"),
    ("The answer is B\uff1aheparin", "B"),
    ("The answer is\nB", "B"),
    ("The answer is\n\n(B)\n", "B"),
    ("\u24b7", "B"),
    ("\U0001d401", "B"),
    ("\uff22", "B"),
    ("The answer is B, C is wrong", "B"),
    ("A is tempting, but B is right", "B"),
    ("While A seems right, the answer is B", "B"),
    ("The answer is not (A); it is (B)", "B"),
    ("Thus the correct option is (B) and not (C)", "B"),
    ("the answer is B instead of C", "B"),
    ("Between A and B, B is better. The answer is B", "B"),
    ("The answer is B or C, I'd guess C", "C"),
    ("I choose to answer C", "C"),
    ("Both B and C are correct", "ambiguous"),
    ("B and C are correct", "ambiguous"),
    ("B is correct and C is correct", "C"),
    ("The answers are A and B", "ambiguous"),
    ("A: Aspirin", "A"),
    ("It's either Aspirin or Heparin", "ambiguous"),
    ("Neither Aspirin nor Heparin", None),
    ("The answer is Aspirin and Heparin", "ambiguous"),
    ("Aspirin, Heparin, Digoxin", "ambiguous"),
    ("Aspirin is wrong; Heparin is right", "B"),
    ("The answer is (A) Aspirin. (B) is wrong.", "A"),
    ("Answer: (A), not (B).", "A"),
    ("So, the answer: A) Aspirin.", "A"),
    ("My answer would be (c)", "C"),
    ("I'm going with D", "D"),
    ("D. Vitamin D", "D"),
    ("d) vitamin d", "D"),
    ("The right answer is letter B", "B"),
    ("The answer is B, as A and C are wrong", "B"),
    ("Options A and B are incorrect; C is correct.", "C"),
    ("A: no. B: no. C: yes.", "C"),
    ("It cannot be A or B, so it must be C.", "C"),
    ("Neither A nor B is right. C is.", "C"),
    ("The answer is A... no wait, it's B.", "B"),
    ("A\n\nExplanation: B is wrong because...", "A"),
    ("A) Aspirin\n\nExplanation: Heparin is an anticoagulant.", "A"),
    ("The answer is either (A) or (C). I would pick (C).", "C"),
    ("The answer is: \n\n(B) Heparin", "B"),
    ("Final Answer: The final answer is $\\boxed{B}$. I hope it is correct.", "B"),
    ("The best answer is B.", "B"),
    ("Based on the above, B.", "B"),
    ("In conclusion, the answer is (D) Vitamin D.", "D"),
    ("The correct answer is not B but C.", "C"),
    ("I rule out A and B. C is left.", "C"),
    ("The final answer is (B)</answer>", "B"),
    ("<answer>(B) Heparin</answer>", "B"),
    ('{"answer":"B","confidence":0.9}', "B"),
    ("```\nB\n```", "B"),
    ('```json\n{"answer": "B"}\n```', "B"),
    ("Answer: B (Heparin)", "B"),
    ("Answer: Heparin (B)", "B"),
    ("Answer: B/Heparin", "B"),
    ("The answer is B: Heparin.", "B"),
    ("The answer is B because Digoxin is wrong", "B"),
    ("The answer is not Heparin. It is Digoxin.", "C"),
    ("Digoxin is not the answer", None),
    ("Digoxin is the answer", "C"),
    ("The answer is Digoxin or Heparin", "ambiguous"),
    ("The answer could be Digoxin", "C"),
    ("Is it Digoxin? I think so.", None),
    ("B is the answer. A is a common mistake.", "B"),
    ("A is a common mistake. B is the answer.", "B"),
    ("I believe A is correct, though B is plausible.", "A"),
    ("The patient has vitamin D deficiency, so the answer is (A).", "A"),
    ("Answer: A\nAnswer: B", "B"),
    ("Answer: none", None),
    ("A, B, C, D", "ambiguous"),
    ("None of A, B, C or D", None),
    ("All of A, B and C", "ambiguous"),
    ("The answer is 'B'", "B"),
    ("answer is B,", "B"),
    ("The answer is B-", "B"),
    ("The answer is **B**-Heparin", "B"),
    ("(B).", "B"),
    ("B,", "B"),
    ("B;", "B"),
    ("B?", None),
    ("[B] Heparin", "B"),
    ("Option (B): Heparin", "B"),
    ("The answer is Option B: Heparin", "B"),
    ("ANSWER: HEPARIN", "B"),
    ("the answer is the heparin", "B"),
    ("Therefore the correct answer is C) Digoxin.", "C"),
    ("The answer is $B$", "B"),
    ("The answer is \\(B\\).", "B"),
    ("The answer is \\textbf{B}", "B"),
    ("The answer is \\text{(B)}", "B"),
    ("The answer is \\mathbf{B}", "B"),
    ("Answer : B", "B"),
    ("Answer\tB", "B"),
    ("Answer\u2192B", "B"),
    ("=> B", "B"),
    ("-> B", "B"),
    ("Correct answer - (B)", "B"),
    ("The answer is B.\n\nQuestion: Next?\nA. x\nB. y\nAnswer: A", "A"),
]
"""What is read from answers to a question with these options."""
BLOOD = [
    ("The answer is B", "ambiguous"),
    ("The answer is (B)", "B"),
    ("The answer is AB", "C"),
    ("The answer is O", "D"),
    ("O", "D"),
    ("(A) B", "A"),
    ("option A", "A"),
]
"""Options that are letters: B, A, AB and O."""
NUMBERS = [
    ("The answer is 12", "A"),
    ("120.", "B"),
    ("1.2", "C"),
    ("The answer is 1200", "D"),
    ("It is 1,200.", "D"),
    ("12%", None),
    ("-12", None),
    ("The answer is 1.2", "C"),
    ("(B) 12", "ambiguous"),
    ("The answer is 7", None),
]
"""Options that are numbers: 12, 120, 1.2 and 1,200."""


def misread(forms, options):
    return [(text, wanted, found) for text, wanted in forms if (found := read_option(text, options)) != wanted]


def test_an_option_is_read_in_every_usual_form_and_never_guessed():
    assert misread(FORMS, DRUGS) == []
    assert len(FORMS) >= 200


def test_options_that_are_letters_or_numbers_are_told_from_letters_that_stand_for_options():
    assert misread(BLOOD, ["B", "A", "AB", "O"]) == []
    assert misread(NUMBERS, ["12", "120", "1.2", "1,200"]) == []


def test_options_whose_words_name_other_options_are_read_as_they_stand():
    options = ["Iron", "Zinc", "Both A and B", "None of the above"]
    forms = [
        ("The answer is both A and B", "C"),
        ("Both A and B", "C"),
        ("None of the above.", "D"),
        ("The answer is none of the above", "D"),
        ("(C) Both A and B", "C"),
        ("The answer is A.", "A"),
    ]
    assert misread(forms, options) == []


def test_what_is_not_offered_is_not_read():
    assert read_option("The answer is (C)", ["yes", "no"]) is None
    assert read_option("The answer is (C)") == "C"
    assert read_option("The correct option is C. I chose it.") == "C"
    assert read_option("The answer is Digoxin") is None


def test_the_end_of_a_long_answer_is_read_and_thoughts_are_not():
    assert read_option("Perhaps A. " * 50_000 + "So the answer is (B).") == "B"
    assert read_option("<think>" + "The answer is A. " * 9_000 + "</think>The answer is (B).") == "B"
    assert read_option("The answer is A. So\n</think>\n\nB") == "B"
    assert read_option("<think>The answer is A") is None


@pytest.mark.parametrize("text", ["answer: ", "A ", "A or ", "answer is ", "(", "\\boxed{", "not ", "**A", "<answer>"])
def test_hostile_texts_are_read_in_linear_time(text):
    read_option(text * (200_000 // len(text)), DRUGS)


@given(st.text(st.sampled_from("ABCabc .,:()[]*\n\\{}$answerisnotoption'"), max_size=60))
def test_any_text_gives_an_offered_letter_or_none(text):
    assert read_option(text, ["yes", "no"]) in ("A", "B", AMBIGUOUS, None)


STATED = ("The answer is {words}.", "{words}", "({letter}) {words}", "Answer: {small}", "It is {words}.")


def test_no_wrong_option_of_a_real_question_is_read_as_the_right_one(data_dir):
    """Options of 445 questions in their own words: each is read as what it is, or not at all."""
    folder = data_dir / "mmlu_med"
    questions = [
        example
        for name in ("college_medicine", "professional_medicine")
        for example in MMLU().read(folder / f"{name}_test.csv")
    ]
    assert len(questions) == 445
    credited, read, asked = 0, 0, 0
    for question in questions:
        options = question.meta["choices"]
        reader = OptionReader(dict(zip(LETTERS, options, strict=False)))
        for letter, words in zip(LETTERS, options, strict=False):
            twice = sum(words.strip().casefold() == other.strip().casefold() for other in options) > 1
            for form in (STATED[0], STATED[1 + asked % 4]):
                found = reader.read(form.format(words=words.strip(), letter=letter, small=words.strip().lower()))
                credited += found not in (letter, AMBIGUOUS, None) and not twice
                read += found == letter
                asked += 1
    assert credited == 0
    assert read > 0.99 * asked


def test_the_options_that_a_prompt_lists_are_those_of_its_last_question():
    shots = "Which?\nA. cat\nB. dog\nAnswer: A\n\nWho?\nA. Ann\nB. Ben\nC. Cy\nAnswer:"
    assert offered_in(shots) == ["Ann", "Ben", "Cy"]
    assert offered_in("(A) cat\n(B) dog") == ["cat", "dog"]
    assert offered_in("A. Einstein wrote this.") is None
