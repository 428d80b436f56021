"""A back end: `echo:NAME` says back what it was told, for `--judge echo:yes`."""

from collections.abc import Sequence

from decodelab.backends.chat import ChatModel, ChatSettings, Replies, Reply
from decodelab.core.errors import RequestError
from decodelab.core.values import Chat


class Echo:
    """A chat model that always replies with one word."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.identity = f"echo {word}"

    def tokens(self, chat: Chat) -> int:
        """Words, for want of a tokenizer."""
        return len(str(chat).split())

    def replies(self, chats: Sequence[Chat]) -> Replies:
        """The word, for each conversation."""
        for number, chat in enumerate(chats):
            yield number, Reply(self.word, self.tokens(chat), 1, 0.0)


class EchoBackend:
    """Chat models that say one word."""

    remote = True

    def check_name(self, name: str) -> None:
        """Refuse a name without a word."""
        if not name.partition(":")[2]:
            raise RequestError(f"echo: write echo:WORD, got {name!r}")

    def chat_model(self, name: str, settings: ChatSettings) -> ChatModel:
        """The model of `echo:WORD`."""
        return Echo(name.partition(":")[2])
