"""Conversations with a model of our own, many at a time through the engine."""

from __future__ import annotations

import json
from collections.abc import Sequence

from decodelab.backends.chat import ChatSettings, Replies, Reply
from decodelab.core.errors import NoChatTemplate, RequestError
from decodelab.core.protocols import LanguageModel
from decodelab.core.values import Chat
from decodelab.engine.job import encode_prompt
from decodelab.engine.runners.runner import Failed
from decodelab.engine.scheduler import Engine
from decodelab.models.loading import load


class LocalChat:
    """A model that answers conversations greedily, or by sampling under seed 0.

    A conversation is put through the model's chat template. A model without one reads it as plain text: questions as
    they are, `Answer: ` before each reply. Names of special tokens in it are text. What conversations have in common is
    computed once.

    Args:
        name: as `decodelab.load` takes it.
        settings: temperature 0 is greedy; `at_once` conversations are computed together; `timeout` is not used.

    Raises:
        ModelError: for a model that cannot be loaded.

    >>> from decodelab.core.values import Chat
    >>> [(number, reply)] = LocalChat("pocket-nano", ChatSettings(max_tokens=4)).replies([Chat.of("What is 2 + 3?")])
    >>> number, reply.completion_tokens
    (0, 4)
    """

    def __init__(self, name: str, settings: ChatSettings) -> None:
        model = load(name)
        self._engine = Engine(model, max_rows=settings.at_once)
        self._strategy = f"temperature={settings.temperature:g} | sample" if settings.temperature else "greedy"
        self._max_tokens = settings.max_tokens or 64
        self._template = _has_template(model)
        self.identity = json.dumps(["local", model.digest, self._strategy, self._max_tokens])

    def tokens(self, chat: Chat) -> int:
        """Tokens of a conversation."""
        return len(encode_prompt(self._engine.model, self._prompt(chat), literal=not self._template)[1])

    def replies(self, chats: Sequence[Chat]) -> Replies:
        """Continue conversations; one that the context does not hold, or the template refuses, fails alone."""
        numbers: dict[int, int] = {}
        try:
            for i, chat in enumerate(chats):
                try:
                    number = self._engine.submit(
                        self._prompt(chat), self._strategy, max_new_tokens=self._max_tokens, literal=not self._template
                    )
                except RequestError as error:
                    yield i, error
                else:
                    numbers[number] = i
            for found in self._engine.run():
                if isinstance(found, Failed):
                    yield numbers[found.index], found.error
                else:
                    best, read = found.best, len(found.prompt_tokens)
                    yield numbers[found.index], Reply(best.text, read, len(best.tokens), found.cost.seconds)
        finally:
            for _ in self._engine.interrupted():  # of conversations that were given up nothing is wanted
                pass

    def _prompt(self, chat: Chat) -> str | Chat:
        return chat if self._template else plain_text(chat)


def _has_template(model: LanguageModel) -> bool:
    """Whether a model has a chat template, be it one that not every conversation passes."""
    try:
        model.vocab.render_chat(Chat.of("?"))
    except NoChatTemplate:
        return False
    except RequestError:
        pass
    return True


def plain_text(chat: Chat) -> str:
    r"""A conversation for a model that knows no turns.

    >>> turns = ({"role": "user", "content": "1?\n"}, {"role": "assistant", "content": "YES"})
    >>> plain_text(Chat((*turns, {"role": "user", "content": "2?\n"})))
    '1?\nAnswer: YES\n\n2?\nAnswer:'
    """
    return "".join(
        f" {turn['content'].strip()}\n\n" if turn["role"] == "assistant" else f"{turn['content'].rstrip()}\nAnswer:"
        for turn in chat.messages
    )


class LocalBackend:
    """Models that this process loads."""

    remote = False

    def check_name(self, name: str) -> None:
        """Any name may be a model's; loading tells."""

    def chat_model(self, name: str, settings: ChatSettings) -> LocalChat:
        """A model of this machine."""
        return LocalChat(name, settings)
