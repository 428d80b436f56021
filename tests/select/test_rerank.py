"""A language model judges the candidates: one by one, in pairs, or all at once."""

import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import decodelab as dl
from decodelab.core.errors import NoChatTemplate, PromptTooLong, UnsupportedStrategy
from decodelab.core.key import Keys
from decodelab.core.notices import JudgeAside
from decodelab.core.protocols import Question
from decodelab.core.values import Candidate, Tokens

SIZE = 128


class Letters:
    """A vocabulary of ASCII characters."""

    size = SIZE
    eos_ids = ()

    def encode(self, text: str) -> Tokens:
        return tuple(text.encode("ascii", "replace"))

    def encode_completion(self, prompt: Tokens, text: str) -> Tokens:
        return self.encode(text)

    def render_chat(self, chat: Any) -> Any:
        raise NoChatTemplate("none")


class Turns(Letters):
    """One with a chat template."""

    def render_chat(self, chat: Any) -> Any:
        text = f"[user]{chat.messages[0]['content']}[assistant]"
        return text, self.encode(text)


@dataclass
class Rows:
    """The texts of rows so far."""

    texts: list[str]

    def select(self, rows: torch.Tensor) -> "Rows":
        return Rows([self.texts[row] for row in rows.tolist()])


class Opinionated:
    """A model that answers a question with texts of its own, each with a probability; it says them letter by letter."""

    name = "opinionated"
    digest = "opinionated"
    vocab = Letters()
    context_length: int | None = None

    def __init__(self, answers: Callable[[str], dict[str, float]]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def prefill(self, prompts: Sequence[Tokens]) -> Any:
        texts = [bytes(prompt).decode() for prompt in prompts]
        self.asked += texts
        return torch.stack([self._next(text, "") for text in texts]), Rows(texts)

    def decode(self, cache: Rows, tokens: torch.Tensor) -> Any:
        said = [["".join(map(chr, row[: n + 1])) for n in range(len(row))] for row in tokens.clamp(min=0).tolist()]
        return torch.stack(
            [
                torch.stack([self._next(text, prefix) for prefix in prefixes])
                for text, prefixes in zip(cache.texts, said, strict=True)
            ]
        ), cache

    def _next(self, question: str, said: str) -> torch.Tensor:
        p = torch.full((SIZE,), 1e-12)
        for text, probability in self.answers(question).items():
            if text.startswith(said) and len(text) > len(said):
                p[ord(text[len(said)])] += probability
        return (p / p.sum()).log()


def question(model: Any, prompt: str = "2 + 3?") -> Question:
    return Question(prompt, (1,), Keys.of(0, (1,), [0]), model)


def candidates(texts: Sequence[str]) -> list[Candidate]:
    return [Candidate((i,), t, (-1.0,), (-1.0,), "eos", i, 0.0) for i, t in enumerate(texts)]


def ranked(stage: dl.Rerank, model: Any, texts: Sequence[str]) -> list[tuple[str, float]]:
    return [(c.text, round(score, 4)) for c, score in stage.rank(candidates(texts), question(model))]


class TestScore:
    def test_the_score_is_the_share_of_yes_in_all_its_forms(self):
        def answers(asked: str) -> dict[str, float]:
            right = "\n5\n" in asked
            return {" yes.": 0.5, " Yes!": 0.1, "no": 0.2, "hm": 0.2} if right else {" yes": 0.1, " no": 0.9}

        assert ranked(dl.Rerank(), Opinionated(answers), ["4", "5"]) == [("5", 0.75), ("4", 0.1)]

    def test_equal_texts_are_asked_about_once_and_without_their_thoughts(self):
        judge = Opinionated(lambda asked: {" yes": 0.6, " no": 0.4})
        ranked(dl.Rerank(), judge, ["5", "<think>4?</think>5", "5"])
        (asked,) = judge.asked
        assert "think" not in asked
        assert asked.startswith("Question:\n2 + 3?\n")
        assert asked.endswith("Answer yes or no.\nAnswer:")


class TestCompare:
    @staticmethod
    def longer(asked: str) -> dict[str, float]:
        first, second = re.findall(r"Answer [AB]:\n(.*)\n", asked)
        return {" A": 0.9, " B": 0.1} if len(first) > len(second) else {" A": 0.2, " B": 0.8}

    def test_the_winner_of_each_pair_goes_on(self):
        texts = ["a", "bbb", "cc", "dddd", "eeeee"]
        # bbb beats a, dddd beats cc, eeeee waits; dddd beats bbb, eeeee waits again; eeeee beats dddd.
        found = ranked(dl.Rerank(how="compare"), Opinionated(self.longer), texts)
        assert found == [("eeeee", 3.0), ("dddd", 2.0), ("bbb", 1.0), ("a", 0.0), ("cc", 0.0)]

    def test_a_judge_that_prefers_what_stands_first_prefers_nobody(self):
        judge = Opinionated(lambda asked: {" A": 0.9, " B": 0.1})
        assert ranked(dl.Rerank(how="compare"), judge, ["x", "y"]) == [("x", 1.0), ("y", 0.0)]
        assert ranked(dl.Rerank(how="compare"), judge, ["y", "x"]) == [("y", 1.0), ("x", 0.0)]
        assert len(judge.asked) == 4

    def test_a_preference_counts_beyond_the_order(self):
        def answers(asked: str) -> dict[str, float]:
            first, _ = re.findall(r"Answer [AB]:\n(.*)\n", asked)
            return {" A": 0.9, " B": 0.1} if first == "good" else {" A": 0.6, " B": 0.4}

        assert ranked(dl.Rerank(how="compare"), Opinionated(answers), ["bad", "good"])[0] == ("good", 1.0)


class TestChoose:
    def test_all_are_shown_and_the_number_said_is_chosen(self):
        judge = Opinionated(lambda asked: {" 2.": 0.7, " 1": 0.2, "3": 0.1})
        assert ranked(dl.Rerank(how="choose"), judge, ["4", "5", "5"]) == [("5", 0.7), ("4", 0.2), ("5", 0.1)]
        (asked,) = judge.asked
        assert "Response 1:\n4\n\nResponse 2:\n5\n\nResponse 3:\n5\n" in asked
        assert asked.endswith("The most consistent response is Response")

    def test_of_more_than_nine_no_number_begins_with_another(self):
        judge = Opinionated(lambda asked: {" 10": 0.6, " 01": 0.4})
        found = ranked(dl.Rerank(how="choose"), judge, [str(n) for n in range(1, 11)])
        assert found[:2] == [("10", 0.6), ("1", 0.4)]


class TestJudges:
    @pytest.mark.parametrize(
        ("how", "end"),
        [
            ("score", "Answer yes or no.[assistant]"),
            ("choose", "1 to 2.[assistant]The most consistent response is Response"),
        ],
    )
    def test_a_judge_with_a_chat_template_is_asked_as_a_user_asks(self, how, end):
        judge = Opinionated(lambda asked: {"Yes": 0.5, "No": 0.1, " 2": 0.4})
        judge.vocab = Turns()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", JudgeAside)
            ranked(dl.Rerank(how=how), judge, ["4", "5"])
        assert judge.asked[0].startswith("[user]Question:\n2 + 3?")
        assert judge.asked[0].endswith(end)

    def test_a_judge_that_would_rather_say_something_else_is_counted_and_its_choice_taken(self):
        def answers(asked: str) -> dict[str, float]:
            return {"Bananas": 0.9, " yes": 0.08, " no": 0.02} if "\n5\n" in asked else {" yes": 0.5, " no": 0.5}

        with pytest.warns(JudgeAside, match="^rerank: to 1 of 2 questions about a prompt"):
            assert ranked(dl.Rerank(), Opinionated(answers), ["4", "5"]) == [("5", 0.8), ("4", 0.5)]

    def test_where_no_option_has_any_probability_nothing_is_decided(self):
        class Mute(Opinionated):
            def _next(self, question: str, said: str) -> torch.Tensor:
                return torch.full((SIZE,), -math.inf).index_fill(0, torch.tensor([33]), 0.0)

        with pytest.warns(JudgeAside, match="to 2 of 2 questions .* has 0 of the probability"):
            assert ranked(dl.Rerank(), Mute(lambda asked: {}), ["4", "5"]) == [("4", 0.5), ("5", 0.5)]

    def test_what_the_judge_computes_is_counted(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", JudgeAside)
            plain, own, other = (
                dl.generate("pocket-nano", "2 + 3?", f"sample(n=3){select}", max_new_tokens=6, seed=1)[0]
                for select in ("", " | rerank", " | rerank(judge=pocket-small)")
            )
        assert plain.cost.forward_tokens < own.cost.forward_tokens
        assert plain.cost.forward_tokens < other.cost.forward_tokens
        assert {c.text for c in own.candidates} == {c.text for c in other.candidates}
        assert [c.score for c in own.candidates] != [c.score for c in other.candidates]

    def test_a_judge_that_is_not_there_is_refused_before_anything_is_generated(self):
        with pytest.raises(dl.DecodelabError, match="no shipped model and no directory 'pocket-tiny'"):
            dl.generate("pocket-nano", "2 + 3?", "sample(n=3) | rerank(judge=pocket-tiny)")

    def test_a_question_that_the_judge_cannot_hold_is_refused(self):
        judge = Opinionated(lambda asked: {" 1": 1.0})
        judge.context_length = 200
        with pytest.raises(PromptTooLong, match=r"a question to the judge has \d+ tokens, opinionated holds 200"):
            ranked(dl.Rerank(how="choose"), judge, ["x" * 90, "y"])

    def test_without_a_model_that_is_said(self):
        with pytest.raises(UnsupportedStrategy, match="rerank: there is no model to ask here"):
            dl.Rerank().rank(candidates(["a"]), Question.of(""))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("rerank(how=rank)", "rerank: how must be one of score, compare, choose, got rank"),
            ('rerank(judge="")', "rerank: judge must be self, a model or the name of one"),
            ("rerank(judge=3)", "rerank: judge must be self, a model or the name of one, got 3"),
        ],
    )
    def test_bad_parameters_are_refused(self, text, message):
        with pytest.raises(dl.DecodelabError, match=f"^{message}"):
            dl.Strategy.of(f"sample(n=4) | {text}")
