"""Has answers judged by a model: nothing is asked twice, and what was said is kept at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import blake2b

from decodelab.backends.chat import ChatModel, Replies, chat_model
from decodelab.bench.plan import Cell, Failure, Plan
from decodelab.bench.run.questions import Posed
from decodelab.bench.store.journal import Journal, KeptReply, Scored
from decodelab.core.errors import DecodelabError, RequestError
from decodelab.core.values import Chat
from decodelab.tasks.task import Example, Judged, Verdict

ASSUMED_REPLY = "YES"
ASSUMED_TOKENS = 2
"""What an estimate takes a reply for: YES, and the token that ends it."""

Answer = tuple[Example, str]


@dataclass
class Spent:
    """What judging took, as the judge counted it.

    Attributes:
        asked: replies that were asked for.
        found: replies that the journal had.
        prompt_tokens, completion_tokens: of those asked for.
        uncounted: how many of them came without such numbers.
    """

    asked: int = 0
    found: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0

    def count(self, prompt_tokens: int | None, completion_tokens: int | None) -> None:
        """Add a reply."""
        self.asked += 1
        self.prompt_tokens += prompt_tokens or 0
        self.completion_tokens += completion_tokens or 0
        self.uncounted += prompt_tokens is None or completion_tokens is None

    def price(self, price_in: float, price_out: float) -> float:
        """What that costs at prices for a million tokens."""
        return (self.prompt_tokens * price_in + self.completion_tokens * price_out) / 1e6


@dataclass(frozen=True)
class KeptReplies:
    """A judge who is not there any more: only what the journal has of him counts.

    Attributes:
        identity: whose replies are taken.
    """

    identity: str

    def tokens(self, chat: Chat) -> int:
        """Nothing is asked, nothing is spent."""
        return 0

    def replies(self, chats: Sequence[Chat]) -> Replies:
        """None of them."""
        for number in range(len(chats)):
            yield number, RequestError("the journal has no reply to this, and no judge is named; name one")


@dataclass(frozen=True)
class _Conversation:
    """How far an answer has been talked about: its messages, the replies among them, and the key of the last."""

    messages: tuple[Mapping[str, str], ...] = ()
    replies: tuple[str, ...] = ()
    last: str = ""

    def asking(self, question: str) -> Chat:
        # Half a surrogate pair, which answers may hold, can be neither sent nor kept.
        return Chat((*self.messages, {"role": "user", "content": question.encode(errors="replace").decode()}))

    def after(self, chat: Chat, reply: str, key: str) -> _Conversation:
        return _Conversation((*chat.messages, {"role": "assistant", "content": reply}), (*self.replies, reply), key)


@dataclass
class Judging:
    """A judge, and the journal that keeps what he says.

    Every answer has a conversation of its own; conversations go on side by side. Answers of one text to one item share
    theirs. A reply is in the journal as soon as it came, by the digest of the judge and of all that was said before: a
    run that ends early goes on where it was.
    """

    judge: ChatModel
    journal: Journal
    spent: Spent = field(default_factory=Spent)

    def verdicts(self, task: Judged, answers: Sequence[Answer]) -> Iterator[tuple[int, Verdict | DecodelabError]]:
        """Judge answers: the number of each with its verdict, as soon as there is one, or with why there is none.

        Raises:
            EndpointFailed: when the judge cannot be asked any more.
            JournalError: if the journal cannot be written.
        """
        talks = {number: _Conversation() for number in range(len(answers))}
        while talks:
            chats: dict[str, Chat] = {}
            about: dict[str, list[int]] = {}
            for number in list(talks):
                example, text = answers[number]
                talks[number], open_ = self._heard(task, example, text, talks[number], self.spent)
                if open_ is None:
                    yield number, task.verdict(example, text, talks.pop(number).replies)
                else:
                    key, chats[key] = open_
                    about.setdefault(key, []).append(number)
            if chats:
                yield from self._asked(chats, about, talks)

    def _asked(
        self, chats: Mapping[str, Chat], about: Mapping[str, Sequence[int]], talks: dict[int, _Conversation]
    ) -> Iterator[tuple[int, DecodelabError]]:
        """Ask a question in each conversation and keep the replies; yield the answers about which that cannot be."""
        keys = list(chats)
        with closing(self.judge.replies([chats[key] for key in keys])) as replies:
            for place, reply in replies:
                key, chat, numbers = keys[place], chats[keys[place]], about[keys[place]]
                if isinstance(reply, DecodelabError):
                    for number in numbers:
                        del talks[number]
                        yield number, reply
                    continue
                question, before = chat.messages[-1]["content"], talks[numbers[0]].last
                counted = reply.prompt_tokens, reply.completion_tokens
                self.journal.keep(
                    KeptReply(key, self.judge.identity, before, question, reply.text, *counted, reply.seconds)
                )
                self.spent.count(*counted)
                for number in numbers:
                    talks[number] = talks[number].after(chat, reply.text, key)

    def estimate(self, task: Judged, answers: Sequence[Answer]) -> Spent:
        """What judging would take if every reply were YES; nothing is asked and nothing written."""
        spent, seen = Spent(), set[str]()
        for example, text in answers:
            talk, _ = self._heard(task, example, text, _Conversation(), spent)
            while (question := task.question(example, text, talk.replies)) is not None:
                chat = talk.asking(question)
                key = _key(self.judge.identity, chat)
                if key not in seen:
                    seen.add(key)
                    spent.count(self.judge.tokens(chat), ASSUMED_TOKENS)
                talk = talk.after(chat, ASSUMED_REPLY, key)
        return spent

    def _heard(
        self, task: Judged, example: Example, text: str, talk: _Conversation, spent: Spent
    ) -> tuple[_Conversation, tuple[str, Chat] | None]:
        """A conversation as far as the journal has it, and what it has no reply to, with the key this would have."""
        while (question := task.question(example, text, talk.replies)) is not None:
            chat = talk.asking(question)
            key = _key(self.judge.identity, chat)
            kept = self.journal.reply(key)
            if kept is None:
                return talk, (key, chat)
            spent.found += 1
            talk = talk.after(chat, kept.reply, key)
        return talk, None


def _key(identity: str, chat: Chat) -> str:
    """What tells a reply from all others: who was asked, and everything said before."""
    said = json.dumps([identity, [[turn["role"], turn["content"]] for turn in chat.messages]])
    return blake2b(said.encode(), digest_size=16).hexdigest()


def judge_plan(
    plan: Plan,
    asked: Sequence[Posed],
    journal: Journal,
    progress: Callable[[int, int, str], None] = lambda done, total, doing: None,
) -> tuple[dict[str, Spent], list[Failure]]:
    """Judge the answers to a plan that are in a journal, and score them there; what was judged before costs nothing.

    Args:
        plan: the plan.
        asked: its tasks with their items.
        journal: open for writing, with the answers in it.
        progress: told of how many answers of how many are judged, and of what is being done.

    Returns:
        What each task took that a model judges, and which answers could not be judged and why.

    Raises:
        ModelError: for a judge that cannot be loaded, or not be asked any more.
        JournalError: if the journal cannot be written.
    """
    spent: dict[str, Spent] = {}
    failures: list[Failure] = []
    for one in asked:
        if one.plan.judge is None or not isinstance(one.task, Judged):
            continue
        judging = Judging(chat_model(**one.plan.judge.asking), journal)
        spent[one.label] = judging.spent
        have = journal.scores(plan.digest, one.label)
        listed = [(each, key) for each in journal.asked(plan.digest) if each.task == one.label for key in each.keys]
        texts = journal.texts([key for _, key in listed])
        listed = [(each, key) for each, key in listed if key in texts]
        answers = [(one.by_id[each.example], texts[key].text) for each, key in listed]
        for done, (number, verdict) in enumerate(judging.verdicts(one.task, answers), 1):
            each, key = listed[number]
            if isinstance(verdict, DecodelabError):
                failures.append(Failure(Cell(one.label, each.model, each.strategy), each.example, verdict))
            else:
                rule = one.rules[each.example]
                scored = Scored(key, rule.digest, rule.task, each.example, verdict.score, verdict.answer)
                if have.get((key, each.example)) != scored:
                    journal.score([scored])
            progress(done, len(answers), f"{one.label}: judged by {one.plan.judge.name}")
    return spent, failures


def estimate_plan(
    asked: Sequence[Posed], answers: Mapping[str, Sequence[tuple[str, str]]], journal: Journal
) -> dict[str, Spent]:
    """What each task would take that a model judges; an answer that is not there yet is as long as it may be.

    Args:
        asked: the plan's tasks with their items.
        answers: of each task, by what tables call it: the item's id and the answer's key.
        journal: with what is there already.

    Raises:
        ModelError: for a judge that cannot be loaded.
    """
    spent: dict[str, Spent] = {}
    for one in asked:
        if one.plan.judge is None or not isinstance(one.task, Judged):
            continue
        judging = Judging(chat_model(**one.plan.judge.asking), journal)
        texts = journal.texts([key for _, key in answers[one.label]])
        pairs: list[Answer] = []
        for name, key in answers[one.label]:
            text = texts[key].text if key in texts else key + " word" * one.plan.max_new_tokens
            pairs.append((one.by_id[name], text))
        spent[one.label] = judging.estimate(one.task, pairs)
    return spent
