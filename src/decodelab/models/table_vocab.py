"""The vocabulary of a table: whole words."""

from __future__ import annotations

from collections.abc import Sequence

from decodelab.core.errors import ModelFormatError, NoChatTemplate, UnknownToken, did_you_mean
from decodelab.core.values import Chat, Tokens


class TableVocab:
    """The words of a table, in the order of their ids.

    >>> vocab = TableVocab(["a", "ab", "<s>"], eos=None, bos="<s>", separator="")
    >>> vocab.encode("aab"), vocab.decode([2, 0, 1])
    ((2, 0, 1), 'aab')
    """

    def __init__(self, words: Sequence[str], *, eos: str | None, bos: str | None, separator: str):
        self.words = tuple(words)
        if not self.words:
            raise ModelFormatError("table: the vocabulary is empty; give it words")
        for word in self.words:
            if not isinstance(word, str) or not word or (separator and separator in word):
                raise ModelFormatError(f"table: words must be text without {separator!r} in it, got {word!r}")
        self.ids = {word: i for i, word in enumerate(self.words)}
        self.separator = separator
        if len(self.ids) != len(self.words):
            twice = next(word for i, word in enumerate(self.words) if self.ids[word] != i)
            raise ModelFormatError(f"table: the vocabulary has {twice!r} twice; words must differ")
        self.size = len(self.words)
        self.eos_ids: tuple[int, ...] = () if eos is None else (self.ids[eos],)
        self.bos_id = None if bos is None else self.ids[bos]

    def encode(self, text: str) -> Tokens:
        """Ids of a text's words, with BOS before them if there is one.

        Raises:
            UnknownToken: when a word is not in the vocabulary.
        """
        return (*(() if self.bos_id is None else (self.bos_id,)), *self._split(text))

    def encode_literal(self, text: str) -> Tokens:
        """As `encode`, but BOS and EOS, which are no text, are refused.

        Raises:
            UnknownToken: when a word is one of them, or not in the vocabulary.
        """
        tokens = self.encode(text)
        named = [name for name, token in self.special_tokens.items() if token in self._split(text)]
        if named:
            raise UnknownToken(f"prompt: {named[0]!r} is a special token of the table and no text; leave it out")
        return tokens

    @property
    def special_tokens(self) -> dict[str, int]:
        """The ids of BOS and EOS, by name."""
        return {self.words[token]: token for token in (self.bos_id, *self.eos_ids) if token is not None}

    def _split(self, text: str) -> Tokens:
        if self.separator:
            words = [word for word in text.split(self.separator) if word]
        else:
            words = []
            while text:
                lengths = range(min(len(text), max(map(len, self.words))), 0, -1)
                word = next((text[:n] for n in lengths if text[:n] in self.ids), text[0])
                words.append(word)
                text = text[len(word) :]
        for word in words:
            if word not in self.ids:
                hint = did_you_mean(word, self.ids) or f"; its {self.size} words include {', '.join(self.words[:5])}"
                raise UnknownToken(f"prompt: {word!r} is not in the table's vocabulary{hint}")
        return tuple(self.ids[word] for word in words)

    def encode_completion(self, prompt: Tokens, text: str) -> Tokens:
        """Ids of the words of text that follows a prompt: no BOS."""
        return self._split(text)

    def decode(self, tokens: Sequence[int]) -> str:
        """The words, joined; BOS and EOS left out."""
        hidden = (self.bos_id, *self.eos_ids)
        return self.separator.join(self.words[t] for t in tokens if t not in hidden)

    def decode_completion(self, prompt: Sequence[int], tokens: Sequence[int]) -> str:
        """The words that follow a prompt, with the separator between them and the prompt."""
        before, after = self.decode(prompt), self.decode(tokens)
        return self.separator + after if before and after else after

    def token_text(self, token: int) -> str:
        """The word."""
        return self.words[token]

    def token_bytes(self, token: int, first: bool = False) -> bytes:
        """The word as UTF-8, with the separator before it unless it is the first; BOS and EOS add nothing."""
        if token in (self.bos_id, *self.eos_ids):
            return b""
        return (self.words[token] if first else self.separator + self.words[token]).encode()

    def render_chat(self, chat: Chat) -> tuple[str, Tokens]:
        """Refuse: a table has no chat template.

        Raises:
            NoChatTemplate: always.
        """
        raise NoChatTemplate("chat: a table has no chat template; give the prompt as text")
