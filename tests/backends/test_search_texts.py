"""Searches over texts against a server that writes texts alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import decodelab as dl
from decodelab.backends.rounds import Found, Wanted, Written, search_texts
from decodelab.core.errors import RequestError
from decodelab.core.key import Keys
from decodelab.core.protocols import Question, SearchesInRounds
from decodelab.core.values import Chat, Limits

QUESTION = Question("Count.", (), Keys.of(0, (), [0]))
WHOLE = ["one\ntwo\nthree", "1\n2\n3\n4", "\n\nuno\ndos", "a b c"]


class Server:
    """Writes one of the texts by its sample index, word by word, to a stop string or its end."""

    def __init__(self, texts: Sequence[str] = WHOLE) -> None:
        self.texts = texts
        self.asked: list[list[Wanted]] = []

    def __call__(self, wanted: Sequence[Wanted]) -> list[list[Written]]:
        self.asked.append(list(wanted))
        return [[self.write(one, one.first + i) for i in range(one.n)] for one in wanted]

    def write(self, wanted: Wanted, index: int) -> Written:
        begun = [text for text in self.texts if text.startswith(wanted.begun)] if wanted.begun else self.texts
        rest = begun[index % len(begun)][len(wanted.begun) :]
        for n in range(1, len(rest) + 1):
            if any(rest[:n].endswith(stop) for stop in wanted.stop):
                return Written(rest[:n], n, "stop")
            if n == wanted.max_tokens:
                return Written(rest[:n], n, "length")
        return Written(rest, len(rest), "end")


def search(rounds: SearchesInRounds, question: Question, limits: Limits, server: Server) -> Found:
    """What a search finds against a server."""
    prompt = question.prompt if question.chat is None else question.chat
    texts = search_texts(rounds.rounds(question, limits), prompt, limits)
    wanted = next(texts)
    while True:
        try:
            wanted = texts.send(server(wanted))
        except StopIteration as end:
            return end.value


def longest(prompt: str, texts: Sequence[str]) -> list[float]:
    return [float(len(text)) for text in texts]


def test_a_beam_goes_on_from_the_best_texts():
    server = Server()
    found = search(dl.StepBeam(2, 2, longest), QUESTION, Limits(), server)
    assert [(c.text, score, c.finish_reason) for c, score in found] == [("\n\nuno\ndos", 9.0, "eos")]
    assert [[(w.begun, w.n, w.stop) for w in asked] for asked in server.asked[:3]] == [
        [("", 4, ("\n",))],
        [("\n", 1, ("\n",))],  # white space alone is no line
        [("\n\n", 1, ("\n",))],
    ]


def test_different_texts_are_different_answers():
    found = search(dl.DVTS(4, 1, longest), QUESTION, Limits(), Server())
    assert sorted(c.text for c, _ in found) == sorted(WHOLE)
    found = search(dl.StepParticles(4, longest, weight=0), QUESTION, Limits(), Server())
    assert sorted(c.text for c, _ in found) == sorted(WHOLE)


def test_limits_are_those_of_the_whole_answer():
    """A token is a character here; a stop string may straddle two lines."""
    for way in (dl.DVTS(4, 1, longest), dl.SelfRefine(1, answers=4, drafts=False, done="zzz")):
        found = search(way, QUESTION, Limits(max_new_tokens=5), Server())
        assert all(len(c.text) <= 5 for c, _ in found)
    found = search(dl.DVTS(2, 1, longest), QUESTION, Limits(stop=("e\nt", "3")), Server())
    assert [(c.text, c.finish_reason) for c, _ in found] == [("1\n2\n", "stop"), ("on", "stop")]


def test_a_chat_is_asked_as_a_chat():
    server = Server(["yes"])
    question = Question("", (), Keys.of(0, (), [0]), chat=Chat.of("Well?"))
    search(dl.SelfRefine(1, done=None), question, Limits(), server)
    prompts = [asked[0].prompt for asked in server.asked]
    assert all(isinstance(prompt, Chat) for prompt in prompts)
    assert [len(prompt.messages) for prompt in prompts if isinstance(prompt, Chat)] == [1, 3, 5]


def test_sentences_are_refused():
    with pytest.raises(RequestError, match="a sentence ends with no single one"):
        search(dl.StepBeam(2, 2, longest, every="sentence"), QUESTION, Limits(), Server())
