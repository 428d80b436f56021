"""Self-refine: the conversation that each draft comes from, when it ends, and what is returned."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

import decodelab as dl
from decodelab.core.errors import InvalidParameter, PromptTooLong
from decodelab.core.key import Keys
from decodelab.core.protocols import Draw, Drawn, Question
from decodelab.core.values import Candidate, Chat, Limits

Reply = Callable[[Draw, int], str | None]


def play(search: dl.SelfRefine, question: Question, reply: Reply) -> tuple[list[tuple[str, float]], list[Draw]]:
    """What a search returns that is given these replies, and what it drew."""
    rounds, asked = search.rounds(question, Limits()), list[Draw]()
    draws = next(rounds)
    try:
        while True:
            asked += draws
            assert sum(draw.n for draw in draws) <= search.peak_rows
            said = [[(index, reply(draw, index)) for index in range(draw.first, draw.first + draw.n)] for draw in draws]
            draws = rounds.send([[_drawn(i, text) for i, text in some if text is not None] for some in said])
    except StopIteration as end:
        return [(candidate.text, score) for candidate, score in end.value], asked


def _drawn(index: int, text: str) -> Drawn:
    return Drawn(Candidate((1,), text, (0.0,), (0.0,), "eos", index, 0.0), finished=True)


def scripted(*replies: str) -> Reply:
    """These replies, one after the other."""
    left = iter(replies)
    return lambda draw, index: next(left)


PLAIN = Question("What is 2 + 3?", (), Keys.of(0, (), [0]))
CHAT = Question("", (), Keys.of(0, (), [0]), chat=Chat.of("What is 2 + 3?", "Be brief."))


def test_the_last_draft_comes_first():
    found, _ = play(dl.SelfRefine(2), PLAIN, scripted("4", "wrong", "6", "too much", "5"))
    assert found == [("5", 0.0), ("6", -1.0), ("4", -2.0)]
    found, _ = play(dl.SelfRefine(2, drafts=False), PLAIN, scripted("4", "wrong", "6", "too much", "5"))
    assert found == [("5", 0.0)]


def test_a_review_that_is_content_ends_it():
    found, asked = play(dl.SelfRefine(3), PLAIN, scripted("4", "wrong", "5", "It needs no changes."))
    assert [text for text, _ in found] == ["5", "4"]
    assert len(asked) == 4
    _, asked = play(dl.SelfRefine(1, done=None), PLAIN, scripted("4", "no changes", "5"))
    assert len(asked) == 3


def test_a_text_goes_on_between_empty_lines():
    _, asked = play(
        dl.SelfRefine(2, review="Check.", improve="Mend."), PLAIN, scripted("4\n", "wrong", "6", "high", "5")
    )
    assert [draw.prompt for draw in asked] == [
        None,
        "What is 2 + 3?4\n\nCheck.\n\n",
        "What is 2 + 3?4\n\nCheck.\n\nwrong\n\nMend.\n\n",
        "What is 2 + 3?4\n\nCheck.\n\nwrong\n\nMend.\n\n6\n\nCheck.\n\n",
        "What is 2 + 3?4\n\nCheck.\n\nwrong\n\nMend.\n\n6\n\nCheck.\n\nhigh\n\nMend.\n\n",
    ]


def test_a_chat_goes_on_in_turns():
    _, asked = play(dl.SelfRefine(1, review="Check.", improve="Mend."), CHAT, scripted("4", "wrong", "5"))
    last = asked[-1].prompt
    assert isinstance(last, Chat)
    turns: list[tuple[object, object]] = [(_of(m, "role"), _of(m, "content")) for m in last.messages]
    assert turns == [
        ("system", "Be brief."),
        ("user", "What is 2 + 3?"),
        ("assistant", "4"),
        ("user", "Check."),
        ("assistant", "wrong"),
        ("user", "Mend."),
    ]


def _of(message: Mapping[str, object], name: str) -> object:
    return message[name]


def test_drafts_are_refined_independently():
    """Two drafts: the first is content at once, the second gets no review, as a constraint may leave none."""

    def reply(draw: Draw, index: int) -> str | None:
        if draw.prompt is None:
            return f"draft {index}"
        if "Mend." in str(draw.prompt):
            return f"better {index}"
        return {0: "no changes", 1: None, 2: "poor"}[index]

    found, _ = play(dl.SelfRefine(1, answers=3, review="Check.", improve="Mend."), PLAIN, reply)
    assert found == [("draft 0", 0.0), ("draft 1", 0.0), ("better 2", 0.0), ("draft 2", -1.0)]


def test_the_drafts_are_the_samples_and_the_rest_continues_them():
    model = dl.load("pocket-nano")
    search = dl.SelfRefine(2, answers=2, review="Is it right?", improve="Once more:", done=None)
    (found,) = dl.generate(model, "What is 2 + 3?", search, max_new_tokens=12, seed=4)
    (samples,) = dl.generate(model, "What is 2 + 3?", "sample(n=2)", max_new_tokens=12, seed=4)
    assert [c.score for c in found.candidates] == [0, 0, -1, -1, -2, -2]
    assert [c.tokens for c in found.candidates[-2:]] == [c.tokens for c in samples.candidates]
    text = f"{samples.candidates[0].text.rstrip()}\n\nIs it right?\n\n"
    prompt = found.prompt_tokens + model.vocab.encode_completion(found.prompt_tokens, text)
    (review,) = dl.generate(model, [prompt], "sample", max_new_tokens=12, seed=4)
    text += f"{review.best.text.rstrip()}\n\nOnce more:\n\n"
    prompt = found.prompt_tokens + model.vocab.encode_completion(found.prompt_tokens, text)
    (better,) = dl.generate(model, [prompt], "sample", max_new_tokens=12, seed=4)
    assert found.candidates[2].tokens == better.best.tokens
    assert found.cost.forward_tokens > samples.cost.forward_tokens


def test_a_conversation_that_does_not_fit_names_the_stage():
    model = dl.load("pocket-nano")
    assert model.context_length is not None
    with pytest.raises(PromptTooLong, match=r"prompt 0, which self_refine\(.*\) continues, has \d+ tokens"):
        dl.generate(model, "2 + 3?", dl.SelfRefine(review="Is it right? " * 900), max_new_tokens=4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("self_refine(revisions=0)", "revisions must be an integer, at least 1, got 0"),
        ('self_refine(review="")', 'review must be a text that is not empty, got ""'),
        ("self_refine(done=3)", "done must be a text that is not empty, got 3"),
        ("self_refine(answers=0)", "answers must be an integer, at least 1, got 0"),
    ],
)
def test_bad_parameters_are_refused(text, message):
    with pytest.raises(InvalidParameter, match=message):
        dl.parse(text)
