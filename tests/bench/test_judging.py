"""Judging: a conversation an answer, every reply kept, nothing asked twice, and what it costs before and after."""

import json
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from decodelab.backends.catalogue import chat_model
from decodelab.bench.records import JudgeReply
from decodelab.bench.run.judging import Judging, Spent, StoredReplies
from decodelab.bench.store.journal import Journal
from decodelab.core.errors import EndpointFailed, NoReply, PromptTooLong, RequestError
from decodelab.models.loading import model_info
from decodelab.tasks.infobench import InfoBench, following_ratio
from decodelab.tasks.response import Response
from decodelab.tasks.task import Example, Verdict

SAYS = {"Is it a title?": "YES", "Is it short?": "NO, it is long.", "Is it kind?": "Yes", "Is it apt?": "Hmm."}


def item(name, subset, *questions):
    return Example(name, f"Instruction: {name}", {"questions": list(questions), "subset": subset}, {"input": ""})


ANSWERS = [
    (item("a", "Easy_set", "Is it a title?", "Is it short?"), Response("first")),
    (item("b", "Hard_set", "Is it a title?", "Is it apt?", "Is it kind?"), Response("second")),
    (item("c", "Hard_set", "Is it kind?", "Is it a title?", "Is it short?", "Is it kind?"), Response("third")),
    (item("d", "Easy_set", "Is it kind?"), Response("")),
    (item("a", "Easy_set", "Is it a title?", "Is it short?"), Response("first")),  # another strategy said the same
]
SCORES = [1 / 2, 1 / 3, 3 / 4, 0.0, 1 / 2]


def said(body, number=0):
    """What the scripted judge says: it depends on the last question only."""
    return SAYS[body["messages"][-1]["content"].strip().splitlines()[-1]]


@pytest.fixture
def place(tmp_path):
    return tmp_path / "j.sqlite"


def judge_batch(name, place, answers=ANSWERS) -> tuple[list[Any], Spent]:
    """The verdicts in order, and what they took."""
    with Journal(place, writing=True) as journal:
        judging = Judging(chat_model(name), journal)
        found = dict(judging.verdicts(InfoBench(), answers))
        return [found[i] for i in range(len(answers))], judging.spent


def test_answers_are_judged_in_conversations_of_their_own(serve, place):
    server = serve(said)
    verdicts, spent = judge_batch(server.name, place)
    assert [verdict.score for verdict in verdicts] == SCORES
    assert verdicts[1].answer == {"results": [True, None, None], "ambiguous": "Hmm."}
    ratio = following_ratio([(example.reference, v) for (example, _), v in zip(ANSWERS, verdicts, strict=True)])
    assert ratio.overall.value == pytest.approx((1 + 1 + 3 + 0 + 1) / (2 + 3 + 4 + 1 + 2))
    assert ratio.subsets["Easy_set"].value == pytest.approx(2 / 5)
    assert ratio.subsets["Hard_set"].value == pytest.approx(4 / 7)
    assert (ratio.ambiguous, ratio.unasked, ratio.empty) == (1, 1, 1)
    assert len(server.asked) == spent.asked == 2 + 2 + 4  # the same answer to the same item is not judged twice
    last = max((body["messages"] for body in server.asked), key=len)
    assert [turn["role"] for turn in last] == ["user", "assistant"] * 3 + ["user"]
    assert [turn["content"] for turn in last[1:]] == [
        "Yes", "Is it a title?\n", "YES", "Is it short?\n", "NO, it is long.", "Is it kind?\n",
    ]  # fmt: skip
    words = sum(len(turn["content"].split()) for body in server.asked for turn in body["messages"])
    assert spent.prompt_tokens == words
    assert spent.price(price_in=2.0, price_out=10.0) == (words * 2 + spent.completion_tokens * 10) / 1e6


def test_what_was_asked_once_is_never_asked_again(serve, place):
    first, _ = judge_batch(serve(said).name, place)
    server = serve(said)
    with Journal(place, writing=True) as journal:
        [identity] = journal.judges()
        gone = Judging(StoredReplies(identity), journal)
        assert [v for _, v in sorted(gone.verdicts(InfoBench(), ANSWERS))] == first
        assert (gone.spent.asked, gone.spent.reused) == (0, 10)
        # Another rule reads the same replies as far as it asks the same.
        more = dict(gone.verdicts(InfoBench("paper"), ANSWERS[:1]))
        assert isinstance(more[0], RequestError)
    _, spent = judge_batch(server.name, place)
    assert (spent.asked, spent.reused) == (8, 0)  # another judge has not been asked yet


def test_every_conversation_can_be_read_in_the_journal(serve, place):
    judge_batch(serve(said).name, place, ANSWERS[2:3])
    with Journal(place, writing=False) as journal:
        after = {row[2]: JudgeReply(*row[:-1]) for row in journal.select("SELECT * FROM judge_replies")}
    talk, last = [], ""
    while last in after:
        talk.append((after[last].question.strip().splitlines()[-1], after[last].reply))
        last = after[last].key
    assert talk == [(q, SAYS[q]) for q in ANSWERS[2][0].reference["questions"]]


def test_a_run_that_ends_early_goes_on_where_it_was(serve, place):
    whole, _ = judge_batch(serve(said).name, place.with_name("whole"))
    under_way, refused = threading.Barrier(3, timeout=30), threading.Event()

    def answer(body, number):
        under_way.wait()
        if number == 0:
            refused.set()
            return 401, {}, b""
        refused.wait(30)
        return said(body)

    dying = serve(answer)
    with pytest.raises(EndpointFailed, match="401"):
        judge_batch(dying.name, place)
    with Journal(place, writing=False) as journal:
        stored = len(list(journal.select("SELECT key FROM judge_replies")))
    assert stored == 2  # those under way when a third was refused
    dying.answer = said
    dying.asked.clear()
    verdicts, spent = judge_batch(dying.name, place)
    assert verdicts == whole
    assert spent.asked == len(dying.asked) == 8 - stored


def test_an_answer_that_is_no_unicode_is_judged_all_the_same(serve, place):
    verdicts, _ = judge_batch(serve(said).name, place, [(ANSWERS[0][0], Response("\ud800 \0 \x1b[31m <b>"))])
    assert isinstance(verdicts[0], Verdict)
    assert verdicts[0].score == 1 / 2


def test_an_answer_that_is_too_long_for_the_judge_is_left_without_a_verdict(serve, place):
    def answer(body, number):
        return (413, {}, b"") if '"second"' in body["messages"][0]["content"] else said(body)

    verdicts, _ = judge_batch(serve(answer).name, place)
    assert isinstance(verdicts[1], PromptTooLong)
    assert [v.score for v in verdicts if isinstance(v, Verdict)] == [SCORES[0], *SCORES[2:]]


FILTERED = (400, {}, b'{"error": {"code": "content_filter", "message": "policy"}}')
CUT = (200, {}, b'{"choices": [{"message": {"content": "YES, bec"}, "finish_reason": "length"}]}')


@pytest.mark.parametrize(("refused", "why"), [(FILTERED, r"answered 400 \(policy\)"), (CUT, "cut its reply off")])
def test_an_answer_that_the_judge_refuses_is_left_without_a_verdict_and_tried_again(serve, place, refused, why):
    server = serve(lambda body, number: refused if '"second"' in body["messages"][0]["content"] else said(body))
    verdicts, spent = judge_batch(server.name, place)
    assert isinstance(verdicts[1], NoReply)
    assert re.search(why, str(verdicts[1]))
    assert [v.score for v in verdicts if isinstance(v, Verdict)] == [SCORES[0], *SCORES[2:]]
    assert spent.asked == 6
    server.answer = said
    verdicts, spent = judge_batch(server.name, place)
    assert [verdict.score for verdict in verdicts] == SCORES
    assert (spent.asked, spent.reused) == (2, 2 + 2 + 4)


def test_the_key_is_in_no_journal_though_the_judge_repeats_it(serve, place, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")
    judge_batch(serve(lambda body, number: "YES sk-0123456789 and sk-01234").name, place)
    assert b"sk-01234" not in b"".join(file.read_bytes() for file in place.parent.iterdir())


def test_the_estimate_is_what_a_judge_who_always_agrees_takes(serve, place):
    server = serve(lambda body, number: "YES")
    with Journal(place, writing=True) as journal:
        judging = Judging(chat_model(server.name), journal)
        before = judging.estimate(InfoBench(), ANSWERS)
        assert (before.asked, before.reused, server.asked) == (2 + 3 + 4, 0, [])
        list(judging.verdicts(InfoBench(), ANSWERS))
        assert judging.spent.asked == before.asked
        text = sum(len(turn["content"]) for body in server.asked for turn in body["messages"])
        assert text / 4 < before.prompt_tokens < text / 4 * 1.1
        after = judging.estimate(InfoBench(), ANSWERS)
        assert (after.asked, after.prompt_tokens, after.completion_tokens) == (0, 0, 0)


def test_a_judge_that_does_not_count_is_noted(serve, place):
    body = json.dumps({"choices": [{"message": {"content": "YES"}}]}).encode()
    _, spent = judge_batch(serve(lambda _, number: (200, {}, body)).name, place)
    assert (spent.asked, spent.uncounted, spent.prompt_tokens) == (9, 9, 0)


@pytest.fixture(scope="session")
def roomy(tmp_path_factory) -> Path:
    """A shipped model with room for the rules, which it was not made for."""
    folder = tmp_path_factory.mktemp("judge") / "roomy"
    shutil.copytree(model_info("pocket-nano").path, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4096}))
    return folder


def test_a_model_of_our_own_can_judge_and_what_it_cannot_say_is_ambiguous(roomy, place):
    verdicts, spent = judge_batch(str(roomy), place, ANSWERS[:2])
    assert [verdict.answer["results"][0] for verdict in verdicts] == [None, None]
    assert [verdict.score for verdict in verdicts] == [0, 0]
    assert (spent.asked, spent.uncounted) == (2, 0)
    with Journal(place, writing=True) as journal:
        judging = Judging(chat_model(str(roomy)), journal)
        assert judging.estimate(InfoBench(), ANSWERS[:2]).asked == 0
        again = [v for _, v in sorted(judging.verdicts(InfoBench(), ANSWERS[:2]))]
    assert again == verdicts


def test_a_model_whose_context_is_too_short_for_the_rules_says_so(place):
    verdicts, _ = judge_batch("pocket-nano", place, ANSWERS[:1])
    assert isinstance(verdicts[0], PromptTooLong)
    assert "pocket-nano has context length 512" in str(verdicts[0])
