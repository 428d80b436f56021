"""Has answers judged by a model: nothing is asked twice, and every reply is stored at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import blake2b

from decodelab.backends.catalogue import chat_model
from decodelab.backends.chat import ChatModel, Replies
from decodelab.bench.plan import Plan
from decodelab.bench.records import Failure, JudgeReply, WorkItem
from decodelab.bench.run.worklist import LoadedTask, same_score
from decodelab.bench.store import views
from decodelab.bench.store.journal import Journal
from decodelab.core.errors import DecodelabError, RequestError
from decodelab.core.values import Chat
from decodelab.tasks.response import Response
from decodelab.tasks.task import Example, ModelGraded, Verdict, explained

ASSUMED_REPLY = "YES"
ASSUMED_TOKENS = 2
"""What an estimate assumes of a reply: YES, and the token that ends it."""


@dataclass
class Spent:
    """What judging took, as the judge counted it.

    Attributes:
        asked: replies that were asked for.
        reused: replies that the journal had.
        prompt_tokens, completion_tokens: of those asked for.
        uncounted: how many of them came without such numbers.
    """

    asked: int = 0
    reused: int = 0
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
class StoredReplies:
    """A judge that is not available any more: only its replies in the journal count.

    Attributes:
        identity: whose replies they are.
    """

    identity: str

    def tokens(self, chat: Chat) -> int:
        """Nothing is asked, nothing is spent."""
        return 0

    def replies(self, chats: Sequence[Chat]) -> Replies:
        """None of them."""
        for number in range(len(chats)):
            yield (
                number,
                RequestError("the journal has no reply to this, and no judge is named; name one with --judge"),
            )


@dataclass(frozen=True)
class _Conversation:
    """The conversation about an answer so far: its messages, the replies among them, and the key of the last."""

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
    """A judge, and the journal that stores its replies.

    Every answer has a conversation of its own; conversations go on side by side. Answers of one text to one item share
    theirs. A reply is in the journal as soon as it came, by the digest of the judge and of everything said before: a
    run that ends early continues where it stopped.
    """

    judge: ChatModel
    journal: Journal
    spent: Spent = field(default_factory=Spent)

    def verdicts(
        self, task: ModelGraded, responses: Sequence[tuple[Example, Response]]
    ) -> Iterator[tuple[int, Verdict | DecodelabError]]:
        """Judge answers: the number of each with its verdict, as soon as there is one, or with why there is none.

        Raises:
            EndpointFailed: when the judge cannot be asked any more.
            JournalError: if the journal cannot be written.
        """
        talks = {number: _Conversation() for number in range(len(responses))}
        while talks:
            chats: dict[str, Chat] = {}
            about: dict[str, list[int]] = {}
            for number in list(talks):
                example, response = responses[number]
                talks[number], open_ = self._continued(task, example, response.answer, talks[number], self.spent)
                if open_ is None:
                    verdict = task.verdict(example, response.answer, talks.pop(number).replies)
                    yield number, explained(verdict, response)
                else:
                    key, chats[key] = open_
                    about.setdefault(key, []).append(number)
            if chats:
                yield from self._asked(chats, about, talks)

    def _asked(
        self, chats: Mapping[str, Chat], about: Mapping[str, Sequence[int]], talks: dict[int, _Conversation]
    ) -> Iterator[tuple[int, DecodelabError]]:
        """Ask a question in each conversation and store the replies; yield the answers about which that failed."""
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
                self.journal.add_reply(
                    JudgeReply(key, self.judge.identity, before, question, reply.text, *counted, reply.seconds)
                )
                self.spent.count(*counted)
                for number in numbers:
                    talks[number] = talks[number].after(chat, reply.text, key)

    def estimate(self, task: ModelGraded, responses: Sequence[tuple[Example, Response]]) -> Spent:
        """What judging would take if every reply were YES; nothing is asked and nothing written."""
        spent, seen = Spent(), set[str]()
        for example, response in responses:
            talk, _ = self._continued(task, example, response.answer, _Conversation(), spent)
            while (question := task.question(example, response.answer, talk.replies)) is not None:
                chat = talk.asking(question)
                key = _key(self.judge.identity, chat)
                if key not in seen:
                    seen.add(key)
                    spent.count(self.judge.tokens(chat), ASSUMED_TOKENS)
                talk = talk.after(chat, ASSUMED_REPLY, key)
        return spent

    def _continued(
        self, task: ModelGraded, example: Example, text: str, talk: _Conversation, spent: Spent
    ) -> tuple[_Conversation, tuple[str, Chat] | None]:
        """A conversation as far as the journal has it, and the question it has no reply to, with the key of that."""
        while (question := task.question(example, text, talk.replies)) is not None:
            chat = talk.asking(question)
            key = _key(self.judge.identity, chat)
            stored = self.journal.reply(key)
            if stored is None:
                return talk, (key, chat)
            spent.reused += 1
            talk = talk.after(chat, stored.reply, key)
        return talk, None


def _key(identity: str, chat: Chat) -> str:
    """The unique key of a reply: a digest of who was asked, and of everything said before."""
    said = json.dumps([identity, [[turn["role"], turn["content"]] for turn in chat.messages]])
    return blake2b(said.encode(), digest_size=16).hexdigest()


def judge_plan(
    plan: Plan,
    tasks: Sequence[LoadedTask],
    journal: Journal,
    progress: Callable[[int, int, str], None] = lambda done, total, doing: None,
) -> tuple[dict[str, Spent], list[Failure]]:
    """Judge the answers to a plan that are in a journal, and store their scores; what was judged before costs nothing.

    Args:
        plan: the plan.
        tasks: its tasks with their items.
        journal: open for writing, with the answers in it.
        progress: called with how many answers are judged, how many there are, and what is being done.

    Returns:
        What judging each model-graded task took, and which answers could not be judged and why.

    Raises:
        ModelError: for a judge that cannot be loaded, or cannot be asked any more.
        JournalError: if the journal cannot be written.
    """
    spent: dict[str, Spent] = {}
    failures: list[Failure] = []
    for task in tasks:
        if task.plan.judge is None or not isinstance(task.task, ModelGraded):
            continue
        judging = Judging(chat_model(**task.plan.judge.asking), journal)
        spent[task.label] = judging.spent
        answers = views.answers(journal, plan.digest, task.label)
        for done, (number, verdict) in enumerate(judging.verdicts(task.task, task.responses(answers)), 1):
            answer = answers[number]
            if isinstance(verdict, DecodelabError):
                failures.append(Failure(answer.task, answer.model, answer.strategy, answer.item, verdict))
            elif not same_score(answer, verdict):
                journal.score([task.score(answer.item, answer.key, verdict)])
            progress(done, len(answers), f"{task.label}: judged by {task.plan.judge.name}")
    return spent, failures


def estimate_plan(tasks: Sequence[LoadedTask], work: Sequence[WorkItem], journal: Journal) -> dict[str, Spent]:
    """What judging each model-graded task would take; an answer that is missing counts as as long as it may be.

    Args:
        tasks: the plan's tasks.
        work: everything the plan asks for, of all models.
        journal: with what is there already.

    Raises:
        ModelError: for a judge that cannot be loaded.
    """
    spent: dict[str, Spent] = {}
    for task in tasks:
        if task.plan.judge is None or not isinstance(task.task, ModelGraded):
            continue
        judging = Judging(chat_model(**task.plan.judge.asking), journal)
        asked = [(one.item, key) for one in work if one.task == task.label for key in one.keys]
        texts = views.texts(journal, [key for _, key in asked])
        longest = " word" * task.plan.max_new_tokens
        pairs = [(task.by_id[item], Response(texts.get(key, key + longest))) for item, key in asked]
        spent[task.label] = judging.estimate(task.task, pairs)
    return spent
