"""What is said in a chat is text: names of special tokens are special only where the template writes them.

Contents are marked before the template sees them, so that afterwards the template's own special tokens can be told from
the same names in contents. A copy of the tokenizer that knows special tokens by other names, which nobody can guess,
then reads the whole at once: as usual, but for what contents say.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from decodelab.core.errors import RequestError
from decodelab.core.values import Chat, Tokens

_SHAPED = re.compile(r"<.+>|\[.+\]", re.DOTALL)


class ChatContents:
    """Keeps the names of special tokens in the contents of chats apart from a template's own.

    Added tokens that are no special ones but have their shape (`<tool_call>`, `<think>`) count as such, except in what
    the assistant has said, where they are the model's own.

    Args:
        tokenizer: any `PreTrainedTokenizerBase`, or a `JsonTokenizer`.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._backend = getattr(tokenizer, "backend_tokenizer", None)
        added = {str(token): token.special for token in tokenizer.added_tokens_decoder.values()}
        # A single character that someone made special (to fill up, say) is a letter of texts first.
        special = [name for name, is_special in added.items() if is_special and len(name) > 1]
        names = list(dict.fromkeys([*special, *filter(_SHAPED.fullmatch, added)]))
        nonce = secrets.randbits(64)
        self._mark = f"\ue000{nonce}\ue001"
        self._private = {name: f"\ue002{nonce}.{i}\ue003" for i, name in enumerate(names)}
        self._all, self._special = _Names(names), _Names(special)

    def marked(self, chat: Chat) -> Chat:
        """The chat with a mark within every name in it."""
        return replace(
            chat,
            messages=tuple(self._message(message) for message in chat.messages),
            tools=tuple(self._within(tool, self._all) for tool in chat.tools),
            tool_choice=self._within(chat.tool_choice, self._all),
            chat_template_kwargs=self._within(chat.chat_template_kwargs, self._all),
        )

    def plain(self, text: str) -> str:
        """A text without marks."""
        return text.replace(self._mark, "")

    def tokens(self, text: str) -> Tokens:
        """Token ids of what a template wrote; marked names are text.

        Raises:
            RequestError: for a tokenizer that cannot be copied.
        """
        own = self._all.pattern.sub(lambda found: self._private[found[0]], text)
        copy, ids = self._copy
        found: list[int] = copy.encode(self.plain(own), add_special_tokens=False).ids
        return tuple(ids.get(token, token) for token in found)

    def literal(self, text: str) -> Tokens:
        """Token ids of a text in which no name is special; without a copy, as far as the tokenizer itself can."""
        marked = self._all.marked(text, self._mark)
        if marked == text or self._backend is None:
            more = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
            return tuple(self._tokenizer(text, **more)["input_ids"])
        return self.tokens(marked)

    def _message(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        if message.get("role") != "assistant":
            return self._within(message, self._all)
        calls = ("tool_calls", "function_call")
        return {
            key: self._within(value, self._all if key in calls else self._special) for key, value in message.items()
        }

    def _within(self, value: Any, names: _Names) -> Any:
        if isinstance(value, str):
            return names.marked(value, self._mark)
        # What has no name in it stays what it is: templates may tell a tuple from a list.
        if isinstance(value, Mapping):
            pairs = {self._within(key, names): self._within(one, names) for key, one in value.items()}
            changed = any(key not in value or pairs[key] is not value[key] for key in pairs)
            return pairs if changed else value
        if isinstance(value, Sequence):
            found = [self._within(one, names) for one in value]
            return found if any(new is not old for new, old in zip(found, value, strict=True)) else value
        return value

    @cached_property
    def _copy(self) -> tuple[Any, dict[int, int]]:
        """The tokenizer with the other names, and what its ids are in the original."""
        from tokenizers import Tokenizer

        if self._backend is None:
            raise RequestError(
                "chat: a message has the name of a special token in it, which this model's tokenizer "
                f"({type(self._tokenizer).__name__}) cannot read as text; take it out"
            )
        written = json.loads(self._backend.to_str())
        model, renamed = written["model"], self._private
        if isinstance(model["vocab"], dict):
            model["vocab"] = {renamed.get(piece, piece): i for piece, i in model["vocab"].items()}
        else:
            model["vocab"] = [[renamed.get(piece, piece), *rest] for piece, *rest in model["vocab"]]
        # Text would be merged to a special token that is a piece of the vocabulary.
        if "merges" in model:
            pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
            model["merges"] = [[a, b] for a, b in pairs if not {a, b, a + b} & renamed.keys()]
        if model.get("unk_token") is not None:
            model["unk_token"] = renamed.get(model["unk_token"], model["unk_token"])
        for token in written["added_tokens"]:
            token["content"] = renamed.get(token["content"], token["content"])
        copy: Any = Tokenizer.from_str(json.dumps(written | {"truncation": None, "padding": None}))
        copy.encode_special_tokens = self._tokenizer.split_special_tokens
        return copy, {copy.token_to_id(token["content"]): token["id"] for token in written["added_tokens"]}


class _Names:
    """Names, and where they begin in texts."""

    def __init__(self, names: Sequence[str]) -> None:
        listed = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        self.pattern = re.compile(listed or r"(?!)")
        self._beginning = re.compile(f"(?={self.pattern.pattern})")
        self._prefixes = {name[:length] for name in names for length in range(1, len(name))}
        self._longest = max(map(len, names), default=0)

    def marked(self, text: str, mark: str) -> str:
        """A text with a mark after the first character of every name, and of what may become one at its end."""
        begins = {found.start() for found in self._beginning.finditer(text)}
        begins |= {at for at in range(max(0, len(text) - self._longest), len(text)) if text[at:] in self._prefixes}
        for at in sorted(begins, reverse=True):
            text = f"{text[: at + 1]}{mark}{text[at + 1 :]}"
        return text
