"""Selections of code: by a checker, and by tests."""

from collections.abc import Sequence
from typing import Any

import pytest

import decodelab as dl
from decodelab.core.errors import InvalidParameter
from decodelab.core.notices import NoTests
from decodelab.core.protocols import Question, Selection
from decodelab.core.values import Candidate
from decodelab.testing import check_selection

PROMPT = '''import math


def double(x):
    """Twice the number.
    >>> double(2)
    4

    double(3) == 6
    And double(0) => 0.
    """
'''


def ranked(stage: Selection, texts: Sequence[str], prompt: str = PROMPT) -> list[tuple[int, float]]:
    """The places of texts, each less probable than the one before, with their scores."""
    pool = [Candidate((i,), t, (-1.0 - i,), (-1.0 - i,), "eos", i, 0.0) for i, t in enumerate(texts)]
    return [(c.sample, score) for c, score in stage.rank(pool, Question.of(prompt))]


class TestSyntax:
    def test_what_is_whole_comes_first_then_what_may_become_so_then_the_more_probable(self):
        texts = ["x = = 1", "def f(x):", "x = 1", "y = 2", "(1,"]
        assert ranked(dl.Syntax("python"), texts) == [(2, 2.0), (3, 2.0), (1, 1.0), (4, 1.0), (0, 0.0)]

    def test_code_is_found_in_blocks_and_thoughts_are_left_out(self):
        texts = ["Here it is:\n```python\nx = 1\n```\nDone!", "Here it is: x = 1", "<think>x =</think>x = 1", ""]
        assert ranked(dl.Syntax("python"), texts) == [(0, 2.0), (2, 2.0), (1, 0.0), (3, 0.0)]

    @pytest.mark.parametrize(
        ("text", "score"),
        [
            ("    return 2 * x\n", 2.0),
            ("    return 2 *", 1.0),
            ("    return 2 * * x\n", 0.0),
            ("    return 2 * x\n\nprint(double(2))", 2.0),
            ("```python\ndef double(x):\n    return x + x\n```", 2.0),
            ("", 0.0),
            ("<think>return 2 * x</think>", 0.0),
        ],
    )
    def test_a_completion_is_checked_with_its_prompt(self, text, score):
        assert ranked(dl.Syntax("python", prompt=True), [text]) == [(0, score)]

    def test_any_checker_will_do(self):
        def digits(text: str) -> Any:
            return "complete" if text.isdigit() else "invalid"

        assert ranked(dl.Syntax(digits), ["a", "1"]) == [(1, 2.0), (0, 0.0)]
        check_selection(dl.Syntax("python"))


@pytest.mark.usefixtures("needs_sandbox")
class TestTests:
    RIGHT = "    return 2 * x\n"
    SQUARE = "    return x ** 2\n"

    def test_more_tests_passed_win_and_equal_ones_go_to_what_others_agree_with(self):
        # All but the first two pass the three examples; at 5 the last two give the same.
        odd = "    return 2 * x if x < 5 else 7\n"
        texts = ["    return None\n", self.SQUARE, odd, self.RIGHT, "```python\ndef double(x):\n    return x + x\n```"]
        cases = ["double(2) == 4", "double(3) == 6", "double(0) == 0", "double(5)"]
        assert ranked(dl.Tests(cases), texts) == [(3, 3.0), (4, 3.0), (2, 3.0), (1, 2.0), (0, 0.0)]

    def test_the_examples_of_the_prompt_are_the_tests(self):
        assert ranked(dl.Tests(), [self.SQUARE, self.RIGHT]) == [(1, 3.0), (0, 2.0)]

    def test_by_codet_many_who_agree_outweigh_a_test_more(self):
        # 2 of 3 tests passed by 3 programs, against 3 passed by 1: 6 to 3 (Chen et al. 2022, section 2.2).
        texts = [self.RIGHT, self.SQUARE, "    return x * x\n", "    return pow(x, 2)\n"]
        assert ranked(dl.Tests(by="codet"), texts) == [(1, 6.0), (2, 6.0), (3, 6.0), (0, 3.0)]
        assert ranked(dl.Tests(), texts)[0] == (0, 3.0)

    def test_programs_that_cheat_fail_and_those_that_never_end_are_stopped(self):
        loops = "    while True:\n        pass\n"
        forges = (
            "    import gc, os\n"
            "    for n in range(3, 20):\n"
            "        try:\n"
            "            os.write(n, b'raised LookupError: 0 111 0')\n"
            "        except OSError:\n"
            "            pass\n"
            "    os._exit(0)\n"
        )
        texts = [loops, forges, self.SQUARE]
        assert ranked(dl.Tests(seconds=1.0), texts) == [(2, 2.0), (0, 0.0), (1, 0.0)]

    def test_a_chat_that_is_asked_for_a_function_is_read_like_a_completion(self):
        chat = f"<|user|>Complete this:\n```python\n{PROMPT}```\n<|assistant|>"
        answer = "Sure!\n```python\ndef double(x):\n    return 2 * x\n```"
        assert ranked(dl.Tests(), [answer], chat) == [(0, 3.0)]

    def test_some_of_a_pool_agree_among_themselves_only(self):
        texts = [self.SQUARE, self.SQUARE, self.RIGHT]
        pool = [Candidate((i,), text, (-1.0,), (-1.0,), "eos", i, 0.0) for i, text in enumerate(texts)]
        ranker = dl.Tests(by="codet").prepare(pool, Question.of(PROMPT))
        assert ranker([0, 1, 2]) == [(0, 4.0), (1, 4.0), (2, 3.0)]
        assert ranker([0, 2]) == [(2, 3.0), (0, 2.0)]

    @pytest.mark.parametrize("prompt", ["What is 2 + 2?", "def f(x):\n"])
    def test_without_tests_that_is_said_and_the_probability_decides(self, prompt):
        with pytest.warns(NoTests, match="no tests, as .*; the mean log-probability decides"):
            assert ranked(dl.Tests(), ["    return 1\n", "    return 2\n"], prompt) == [(0, 0.0), (1, 0.0)]

    @pytest.mark.parametrize(
        ("cases", "message"),
        [
            ([], "cases must be 1 to 100 texts, got 0 of them"),
            ([""], "cases must be 1 to 100 texts"),
            (["triple(2) == 6"], r"must be an expression that calls double, the function of the prompt, got .*triple"),
            (["double(2) =="], "must be an expression that calls double"),
        ],
    )
    def test_what_is_no_case_is_refused(self, cases, message):
        with pytest.raises(InvalidParameter, match=f"^tests: .*{message}"):
            ranked(dl.Tests(cases), [self.RIGHT])
