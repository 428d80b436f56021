"""A language model given as an explicit table of conditional probabilities: every sequence can be enumerated."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from decodelab.core.errors import EmptyPrompt, ModelFormatError, PromptTooLong, UnknownToken, did_you_mean
from decodelab.core.protocols import PAD, Cache
from decodelab.core.values import Tokens
from decodelab.models.table_row import probabilities
from decodelab.models.table_vocab import TableVocab
from decodelab.models.table_yaml import Row, key_text, read_table, written_table
from decodelab.models.token_checks import checked_tokens

if TYPE_CHECKING:
    from torch import Tensor

Table = Mapping[Any, Row] | Callable[[tuple[str, ...]], Row | Sequence[float]]
"""Rows by prefix (a tuple of words), by last word or for everything else (...); or a function of the prefix."""

_REMEMBERED = 1 << 16
"""Rows of a callable table that are kept."""


class Outcome(NamedTuple):
    """A finished sequence of a table: its new tokens, log-probability in nats, and why it ended."""

    tokens: Tokens
    logprob: float
    reason: Literal["eos", "length"]


class TableModel:
    """A language model whose conditional probabilities are written down.

    It is the oracle of sampling and search tests (`enumerate` lists every sequence with its exact probability) and
    the form in which textbook examples are run.

    A table maps a prefix to the probabilities of the next word. The prefix is the whole sequence so far, prompt
    included, a leading BOS left out. The row for a prefix is the first there is of

    1. `table[prefix]`, the prefix as a tuple of words;
    2. `table[word]`, the last word of the prefix as a string (a Markov chain);
    3. `table[...]`, the row for everything else;
    4. EOS with certainty, when the prefix ends with EOS, or when `missing="eos"`;

    and otherwise it is an error that names the prefix. A callable table is asked for every prefix instead.

    Args:
        vocab: the words, in the order of their ids; `eos` and `bos` are appended when they are not among them.
        table: the probabilities; each row must sum to 1 within 1e-6 (and is divided by its sum).
        eos: the word that ends a sequence, or None.
        bos: the word that begins one, or None; without it an empty prompt cannot be continued.
        context_length: the longest sequence, in tokens, or None when unbounded.
        missing: what a prefix without a row means: an "error", or certain "eos".
        separator: what stands between words in text: a space, or nothing (text is then cut into the longest words).
        logprobs: whether the numbers of the table are natural logarithms of probabilities.
        normalise: whether each row is divided by its sum: rows of weights, or of the words that matter; with `logprobs`
            rows of logits.
        name: what to call it. A callable table is identified by it in `digest`.

    Raises:
        ModelFormatError: when the table names a word that is not in `vocab`, or a row is no distribution.

    >>> table = {(): {"A": 0.5, "B": 0.5}, "A": {"A": 0.6, "</s>": 0.4}}
    >>> model = TableModel(["A", "B"], table, bos="<s>", missing="eos")
    >>> for tokens, logprob, reason in model.enumerate("", max_new_tokens=2):
    ...     print(model.vocab.decode(tokens), round(math.exp(logprob), 3), reason)
    A A 0.3 length
    A 0.2 eos
    B 0.5 eos
    """

    def __init__(
        self,
        vocab: Sequence[str],
        table: Table,
        *,
        eos: str | None = "</s>",
        bos: str | None = None,
        context_length: int | None = None,
        missing: Literal["error", "eos"] = "error",
        separator: str = " ",
        logprobs: bool = False,
        normalise: bool = False,
        name: str = "table",
    ):
        words = [*vocab, *(word for word in (eos, bos) if word is not None and word not in vocab)]
        self.vocab = TableVocab(words, eos=eos, bos=bos, separator=separator)
        if missing not in ("error", "eos"):
            raise ModelFormatError(f"table: missing must be error or eos, got {missing!r}")
        if missing == "eos" and eos is None:
            raise ModelFormatError("table: missing=eos needs an eos word, got eos=None; name one")
        if context_length is not None and context_length < 1:
            raise ModelFormatError(
                f"table: context_length must be at least 1, got {context_length}; None means unbounded"
            )
        self._table = table
        self.context_length = context_length
        self._missing = missing
        self._logprobs, self._normalise = logprobs, normalise
        self.name = name
        self._rows: dict[Any, tuple[float, ...]] = {}
        if not callable(table):
            for key, row in table.items():
                if key is not ... and not isinstance(key, str | tuple):
                    raise ModelFormatError(f"table: keys must be tuples of words, words or ..., got {key!r}")
                for word in () if key is ... else (key,) if isinstance(key, str) else key:
                    self._known(word, f"the prefix {key_text(key)}")
                self._rows[key] = self._checked(row, key_text(key))

    def _known(self, word: str, where: str) -> int:
        ids = self.vocab.ids
        if word not in ids:
            hint = did_you_mean(word, ids) or "; add it to vocab"
            raise ModelFormatError(f"table: {where} names the word {word!r}, which is not in the vocabulary{hint}")
        return ids[word]

    def _checked(self, row: Row | Sequence[float], where: str) -> tuple[float, ...]:
        if isinstance(row, Mapping):
            numbers: list[Any] = [None] * self.vocab.size
            for word, number in row.items():
                numbers[self._known(word, f"the row after {where}")] = number
        else:
            numbers = list(row) if isinstance(row, Iterable) else [row]
            if len(numbers) != self.vocab.size:
                raise ModelFormatError(
                    f"table: the row after {where} has {len(numbers)} probabilities for {self.vocab.size} words"
                )
        return probabilities(numbers, where, logprobs=self._logprobs, normalise=self._normalise)

    @property
    def digest(self) -> str:
        """SHA-256 over vocabulary and table, in hex; a callable table counts by the model's name."""
        distribution = (
            self.name
            if callable(self._table)
            else sorted([key_text(key), list(map(repr, row))] for key, row in self._rows.items())
        )
        vocab = self.vocab
        parts = [
            vocab.words,
            vocab.eos_ids,
            vocab.bos_id,
            vocab.separator,
            self._missing,
            self.context_length,
            distribution,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def generation_config(self) -> dict[str, Any]:
        """Empty: a table sets no generation settings."""
        return {}

    def probs(self, tokens: Tokens) -> tuple[float, ...]:
        """Probability of each word after `tokens`, as float64.

        Raises:
            ModelFormatError: when the table has no row for them.

        >>> TableModel(["A", "B"], {...: {"A": 0.25, "B": 0.75}}).probs((0, 1))
        (0.25, 0.75, 0.0)
        """
        vocab = self.vocab
        prefix = tuple(vocab.words[t] for t in tokens[1 if tokens and tokens[0] == vocab.bos_id else 0 :])
        if callable(self._table):
            if prefix not in self._rows:
                if len(self._rows) >= _REMEMBERED:
                    self._rows.clear()
                self._rows[prefix] = self._checked(self._table(prefix), key_text(prefix))
            return self._rows[prefix]
        for key in (prefix, *prefix[-1:], ...):
            if key in self._rows:
                return self._rows[key]
        if vocab.eos_ids and (self._missing == "eos" or (tokens and tokens[-1] in vocab.eos_ids)):
            return tuple(1.0 if i == vocab.eos_ids[0] else 0.0 for i in range(vocab.size))
        raise ModelFormatError(f"table: no row for {key_text(prefix)}; add one, or set missing=eos")

    def enumerate(self, prompt: str | Tokens, max_new_tokens: int) -> Iterator[Outcome]:
        """Yield every sequence of non-zero probability that ends by EOS, at `max_new_tokens` or at the context length.

        Depth first, by ascending ids; probabilities of all outcomes sum to 1.

        Raises:
            EmptyPrompt: when there is no token to start from.
        """
        prompt = self.vocab.encode(prompt) if isinstance(prompt, str) else tuple(prompt)
        self._check([prompt])
        room = max_new_tokens if self.context_length is None else min(max_new_tokens, self.context_length - len(prompt))
        return self._outcomes(prompt, (), (), room)

    def _outcomes(self, prompt: Tokens, tokens: Tokens, logs: tuple[float, ...], room: int) -> Iterator[Outcome]:
        if tokens and tokens[-1] in self.vocab.eos_ids:
            yield Outcome(tokens, math.fsum(logs), "eos")
        elif len(tokens) >= room:
            yield Outcome(tokens, math.fsum(logs), "length")
        else:
            for token, p in enumerate(self.probs(prompt + tokens)):
                if p > 0:
                    yield from self._outcomes(prompt, (*tokens, token), (*logs, math.log(p)), room)

    def cache_bytes(self, prompt: int, rows: int, new: int) -> int:
        """Bytes its cache holds for `rows` continuations of `new` tokens of a prompt of `prompt` tokens."""
        return 8 * rows * (prompt + new)

    def prefill(self, prompts: Sequence[Tokens]) -> tuple[Tensor, TableCache]:
        """Log-probabilities after each prompt, float32 [rows, vocab], and a cache of the prompts.

        Raises:
            EmptyPrompt: when a prompt has no tokens.
            PromptTooLong: when one exceeds the context length.
            UnknownToken: when a token id is outside the vocabulary.
        """
        if not prompts:
            raise ValueError("prefill: no prompts")
        prompts = [tuple(map(int, prompt)) for prompt in prompts]
        self._check(prompts)
        return self._logits(prompts), TableCache(prompts)

    def decode(self, cache: Cache, tokens: Tensor) -> tuple[Tensor, TableCache]:
        """Append int64 tokens [rows, k] to every row: the log-probabilities after each, float32 [rows, k, vocab].

        After `PAD` they are 0.
        """
        assert isinstance(cache, TableCache)
        held = cache.rows
        checked_tokens(self.name, tokens, len(held), self.vocab.size)
        given = [tuple(row) for row in tokens.tolist()]
        counts = [row.index(PAD) if PAD in row else len(row) for row in given]
        self._check_length(max(cache.lengths) + tokens.shape[1])
        cache.rows = [old + row for old, row in zip(held, given, strict=True)]
        logits = torch.zeros(*tokens.shape, self.vocab.size)
        for i in range(tokens.shape[1]):
            live = [row for row, n in enumerate(counts) if i < n]
            if live:
                logits[live, i] = self._logits([held[row] + given[row][: i + 1] for row in live])
        return logits, cache

    def _logits(self, prefixes: Sequence[Tokens]) -> Tensor:
        # Samples of one prompt share most of their prefixes.
        different = {prefix: i for i, prefix in enumerate(dict.fromkeys(prefixes))}
        probs = torch.tensor([self.probs(prefix) for prefix in different], dtype=torch.float64)
        logprobs = probs.reshape(len(different), self.vocab.size).log().to(torch.float32)
        return logprobs[[different[prefix] for prefix in prefixes]]

    def _check(self, prompts: Sequence[Tokens]) -> None:
        for prompt in prompts:
            if not prompt:
                raise EmptyPrompt(f"{self.name}: a prompt must have at least one token, got none; give bos a word")
            self._check_length(len(prompt))
            for token in prompt:
                if not 0 <= token < self.vocab.size:
                    raise UnknownToken(f"{self.name}: token ids must be in [0, {self.vocab.size}), got {token}")

    def _check_length(self, tokens: int) -> None:
        if self.context_length is not None and tokens > self.context_length:
            raise PromptTooLong(f"{self.name}: {tokens} tokens exceed the context length {self.context_length}")

    @staticmethod
    def one_step(words: Mapping[str, float], **given: Any) -> TableModel:
        """A table of one step: a word is drawn from these, and the text ends; the prompt is empty.

        Args:
            words: the words with their probabilities.
            given: further arguments of a `TableModel`, such as `normalise=True`.

        Raises:
            ModelFormatError: when they are no distribution.

        >>> model = TableModel.one_step({"margherita": 2, "new york": 1, "ananas": 1}, normalise=True)
        >>> [(model.vocab.decode(o.tokens), round(math.exp(o.logprob), 3)) for o in model.enumerate("", 2)]
        [('margherita', 0.5), ('new york', 0.25), ('ananas', 0.25)]
        """
        return TableModel(list(words), {(): words}, **{"bos": "<s>", "missing": "eos", "separator": "", **given})

    @staticmethod
    def from_yaml(source: str | Path) -> TableModel:
        """Read a table from a YAML file (a path, or text that ends in .yaml or .yml) or from YAML text.

        `tree` holds the probabilities after the empty prefix: a word with its probability, or, where the table goes on,
        with a list of its probability and the tree after it. `rows` holds trees after other prefixes, `after` the
        rows by last word, `otherwise` the row for everything else; the other fields are the arguments of
        `TableModel`. `next` alone is a table of one step (`one_step`). All words are text (no quotes needed for `no` or
        `1`) and a probability may be a fraction, `1/3`. docs/tables.md has the format.
        The vocabulary is in order of appearance when it is not given.

        Raises:
            ModelNotFound: when there is no such file.
            ModelFormatError: when it is not a table.

        >>> model = TableModel.from_yaml('''
        ... bos: <s>
        ... eos: end
        ... missing: eos
        ... tree:
        ...   A: [0.5, {A: 0.6, B: 0.2, C: 0.1, D: 0.1}]
        ...   B: [0.3, {A: 0.3, C: 0.4, end: 0.3}]
        ...   C: 0.1
        ...   D: 0.1
        ... rows:
        ...   - {prefix: [the, cat], next: {sat: 0.9, slept: 0.1}}
        ... ''')
        >>> two = sorted(model.enumerate("", 2), key=lambda outcome: -outcome.logprob)[:2]
        >>> [(model.vocab.decode(o.tokens), round(o.logprob, 3)) for o in two]
        [('A A', -1.204), ('B C', -2.12)]
        """
        return TableModel(**read_table(source))

    def to_yaml(self) -> str:
        """Write the table as YAML that `from_yaml` reads back as an equal table.

        Raises:
            ModelFormatError: when the table is a callable.
        """
        if callable(self._table):
            raise ModelFormatError("table: a callable table cannot be written; enumerate it into a mapping first")
        vocab, words = self.vocab, self.vocab.words
        rows = {key: {words[i]: p for i, p in enumerate(row) if p > 0} for key, row in self._rows.items()}
        data: dict[str, Any] = {"name": self.name, "vocab": list(words)}
        # A plain null would be read back as the word `null`: an empty list stands for None.
        data["eos"] = words[vocab.eos_ids[0]] if vocab.eos_ids else []
        data["bos"] = words[vocab.bos_id] if vocab.bos_id is not None else []
        data["separator"] = vocab.separator
        data["missing"] = self._missing
        if self.context_length is not None:
            data["context_length"] = str(self.context_length)
        return written_table(data, rows)


class TableCache:
    """The sequences of several rows.

    Attributes:
        rows: the tokens of each row.
    """

    def __init__(self, rows: Sequence[Tokens]):
        self.rows = list(rows)

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens held for each row."""
        return [len(row) for row in self.rows]

    @property
    def nbytes(self) -> int:
        """Eight bytes a token."""
        return 8 * sum(self.lengths)

    def select(self, rows: Tensor) -> TableCache:
        """The given rows, in that order."""
        return TableCache([self.rows[i] for i in rows.tolist()])

    def fork(self, rows: Tensor) -> TableCache:
        """A copy of the given rows."""
        return self.select(rows)

    def rewind(self, lengths: Sequence[int]) -> TableCache:
        """Forget the last tokens of each row so that `lengths` remain."""
        if len(lengths) != len(self.rows) or any(not 0 < n <= m for n, m in zip(lengths, self.lengths, strict=True)):
            raise ValueError(
                f"rewind: lengths must be in [1, tokens held] for each row, got {list(lengths)} for {self.lengths}"
            )
        return TableCache([row[:n] for row, n in zip(self.rows, lengths, strict=True)])

    def join(self, other: Cache) -> TableCache:
        """The rows of this cache followed by those of another."""
        assert isinstance(other, TableCache)
        return TableCache(self.rows + other.rows)
