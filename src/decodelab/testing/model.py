"""What every language model must do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from decodelab.core.errors import DecodelabError
from decodelab.core.protocols import PAD, Cache, LanguageModel
from decodelab.core.values import Tokens


def check_model(model: LanguageModel, prompts: Sequence[str], *, tolerance: float = 1e-3) -> None:
    """Check that a model keeps the promises of `decodelab.core.protocols.LanguageModel`.

    What it is held to is itself: the logits after a sequence that is prefilled alone. They must come out the same

    * in a batch of prompts of other lengths;
    * when tokens are appended one by one, or several at once, or to some rows fewer than to others;
    * after rows were forked, dropped and reordered;
    * after a rewind, by the same or by different numbers of tokens;
    * after the rows of two caches were joined.

    The cache must say what it holds; logits must be floating point, as wide as the vocabulary, and free of NaN and
    +inf; text must survive encoding and decoding; and a prompt that is empty or names a token that is not there
    must be refused.

    Args:
        model: what to check.
        prompts: at least two texts of different lengths that the model can encode.
        tolerance: how far log-probabilities may differ; more is needed for 16-bit numbers.

    Raises:
        AssertionError: naming the first promise that is broken.

    >>> from decodelab import TableModel
    >>> coin = TableModel(["heads", "tails"], {...: {"heads": 0.5, "tails": 0.5}})
    >>> check_model(coin, ["heads", "heads tails"])
    """
    _check_vocab(model, prompts)
    sequences = [model.vocab.encode(prompt) for prompt in prompts]
    _require(len({len(s) for s in sequences}) > 1, "check_model needs prompts of at least two different lengths")
    if model.context_length is not None:
        _require(
            max(map(len, sequences)) + 16 <= model.context_length,
            "check_model needs prompts that leave room for 16 tokens",
        )
    _Run(model, sequences, tolerance).all()
    _check_refusals(model)


def _require(condition: bool, rule: str) -> None:
    if not condition:
        raise AssertionError(rule)


def _check_vocab(model: LanguageModel, prompts: Sequence[str]) -> None:
    vocab = model.vocab
    _require(vocab.size > 0, "the vocabulary is empty")
    specials = [*vocab.eos_ids, *([] if vocab.bos_id is None else [vocab.bos_id])]
    _require(all(0 <= t < vocab.size for t in specials), f"special ids {specials} must be in [0, {vocab.size})")
    _require(len(set(vocab.eos_ids)) == len(vocab.eos_ids), f"eos_ids {vocab.eos_ids} must differ from one another")
    for prompt in prompts:
        tokens = vocab.encode(prompt)
        _require(isinstance(tokens, tuple), f"encode must give a tuple, got {type(tokens).__name__}")
        _require(all(0 <= t < vocab.size for t in tokens), f"encode({prompt!r}) left the vocabulary: {tokens}")
        _require(vocab.decode(tokens) == prompt, f"decode(encode({prompt!r})) gave {vocab.decode(tokens)!r}")
        _require(all(isinstance(vocab.token_text(t), str) for t in tokens), "token_text must give text")
        for cut in range(1, len(tokens)):
            head, tail = tokens[:cut], tokens[cut:]
            text = vocab.decode(head) + vocab.decode_completion(head, tail)
            # A character cut in two shows as U+FFFD in the head.
            if "\N{REPLACEMENT CHARACTER}" not in vocab.decode(head):
                _require(
                    text == prompt, f"decode and decode_completion gave {text!r} for {prompt!r} cut at token {cut}"
                )
        completion = vocab.encode_completion(tokens, vocab.decode_completion(tokens, tokens[-1:]))
        _require(vocab.bos_id is None or vocab.bos_id not in completion, "encode_completion must not add BOS")
    _require(isinstance(model.digest, str) and model.digest == model.digest, "digest must be a constant text")


def _check_refusals(model: LanguageModel) -> None:
    for prompt, what in (((), "an empty prompt"), ((model.vocab.size,), "a token id outside the vocabulary")):
        try:
            model.prefill([prompt])
        except DecodelabError:
            continue
        raise AssertionError(f"prefill must refuse {what} with a DecodelabError")


def _prefixes(rows: Sequence[Tokens], new: Sequence[Tokens]) -> list[list[Tokens]]:
    """Each row up to each of its new tokens."""
    return [[row + tokens[: i + 1] for i in range(len(tokens))] for row, tokens in zip(rows, new, strict=True)]


class _Run:
    """Rows whose tokens are known, and the cache that should hold them."""

    def __init__(self, model: LanguageModel, prompts: Sequence[Tokens], tolerance: float):
        self.model = model
        self.prompts = [tuple(prompt) for prompt in prompts]
        self.tolerance = tolerance
        self.known: dict[Tokens, Tensor] = {}

    def all(self) -> None:
        """Everything in one life of a cache."""
        rows, cache = self.prefill(self.prompts, "start")
        rows, cache = self.decode(rows, cache, 1, "extend by one token")
        rows, cache = self.decode(rows, cache, 3, "extend by three tokens")
        rows, cache = self.ragged(rows, cache, "extend by different numbers of tokens")
        rows, cache = self.decode(rows, cache, 1, "extend after rewind of filler")

        n = len(rows)
        index = [*reversed(range(n)), 0, 0]
        rows, cache = [rows[i] for i in index], cache.select(torch.tensor(index))
        self.count(rows, cache, "after select")
        rows, cache = self.decode(rows, cache, 1, "extend after select forked and reordered rows", fork=True)
        cut = [max(1, len(row) - i % 4) for i, row in enumerate(rows)]
        rows, cache = [row[:k] for row, k in zip(rows, cut, strict=True)], cache.rewind(cut)
        self.count(rows, cache, "after rewind")
        rows, cache = self.decode(rows, cache, 1, "extend after rewind by different numbers of tokens")
        rows, cache = self.decode(rows, cache, 2, "extend after rewind by different numbers of tokens")
        cut = [len(row) - 2 for row in rows]
        rows, cache = [row[:k] for row, k in zip(rows, cut, strict=True)], cache.rewind(cut)
        self.count(rows, cache, "after rewind")
        rows, cache = self.decode(rows, cache, 1, "extend after rewind by the same number of tokens")

        longest = max(self.prompts, key=len)
        other_rows, other = self.prefill([longest, self.prompts[0]], "start")
        rows, cache = rows + other_rows, cache.join(other)
        self.count(rows, cache, "after join")
        rows, cache = self.decode(rows, cache, 1, "extend after join")
        index = [len(rows) - 1, 0]
        rows, cache = [rows[i] for i in index], cache.select(torch.tensor(index))
        rows, cache = self.decode(rows, cache, 2, "extend after select dropped rows")

        shortest = min(self.prompts, key=len)
        rows, cache = self.prefill([shortest] * 3, "start with equal prompts")
        rows, cache = self.decode(rows, cache, 1, "extend of equal prompts")
        self.decode(rows, cache, 2, "extend of equal prompts")

    def prefill(self, prompts: Sequence[Tokens], what: str) -> tuple[list[Tokens], Cache]:
        logits, cache = self.model.prefill(prompts)
        self.shape(logits, (len(prompts), self.model.vocab.size), what)
        rows = [tuple(prompt) for prompt in prompts]
        self.compare(logits[:, None], [[row] for row in rows], what)
        self.count(rows, cache, what)
        return rows, cache

    def decode(
        self, rows: list[Tokens], cache: Cache, count: int, what: str, fork: bool = False
    ) -> tuple[list[Tokens], Cache]:
        """Append likely tokens; with `fork`, equal rows go different ways."""
        new = self.likely(rows, count, fork)
        logits, cache = self.model.decode(cache, torch.tensor(new))
        grown = [row + tokens for row, tokens in zip(rows, new, strict=True)]
        self.compare(logits, _prefixes(rows, new), what)
        self.count(grown, cache, what)
        return grown, cache

    def ragged(self, rows: list[Tokens], cache: Cache, what: str) -> tuple[list[Tokens], Cache]:
        """Append three, two or one likely tokens a row, filled up, and rewind the filler."""
        new = [tokens[: 3 - i % 3] for i, tokens in enumerate(self.likely(rows, 3, fork=False))]
        logits, cache = self.model.decode(cache, torch.tensor([(*t, *[PAD] * (3 - len(t))) for t in new]))
        self.shape(logits, (len(rows), 3, self.model.vocab.size), what)
        for row, prefixes in enumerate(_prefixes(rows, new)):
            self.compare(logits[row, None, : len(new[row])], [prefixes], what)
        self.count([(*row, PAD, PAD, PAD) for row in rows], cache, what)
        grown = [row + tokens for row, tokens in zip(rows, new, strict=True)]
        cache = cache.rewind([len(row) for row in grown])
        self.count(grown, cache, "after rewind of filler")
        return grown, cache

    def likely(self, rows: list[Tokens], count: int, fork: bool) -> list[Tokens]:
        """The likeliest tokens to follow each row; with `fork`, equal rows go different ways."""
        new: list[Tokens] = []
        for i, row in enumerate(rows):
            tokens: Tokens = ()
            for _ in range(count):
                likely = self.alone(row + tokens).argsort(descending=True, stable=True)
                possible = int(torch.isfinite(self.alone(row + tokens)).sum())
                tokens += (int(likely[i % min(3, possible) if fork else 0]),)
            new.append(tokens)
        return new

    def alone(self, tokens: Tokens) -> Tensor:
        """Log-probabilities after a sequence prefilled by itself, float64 [vocab]."""
        if tokens not in self.known:
            logits, _ = self.model.prefill([tokens])
            self.shape(logits, (1, self.model.vocab.size), "start")
            self.known[tokens] = logits[0].double().log_softmax(-1).cpu()
        return self.known[tokens]

    def shape(self, logits: Tensor, shape: tuple[int, ...], what: str) -> None:
        _require(
            tuple(logits.shape) == shape, f"{what}: logits must be of shape {list(shape)}, got {list(logits.shape)}"
        )
        _require(logits.is_floating_point(), f"{what}: logits must be floating point, got {logits.dtype}")
        _require(not bool(logits.isnan().any()), f"{what}: logits must not be NaN")
        _require(not bool((logits == torch.inf).any()), f"{what}: logits must not be +inf")

    def compare(self, logits: Tensor, prefixes: Sequence[Sequence[Tokens]], what: str) -> None:
        self.shape(logits, (len(prefixes), len(prefixes[0]), self.model.vocab.size), what)
        for row, steps in enumerate(prefixes):
            for step, tokens in enumerate(steps):
                got, expected = logits[row, step].double().log_softmax(-1).cpu(), self.alone(tokens)
                same = torch.equal(torch.isfinite(got), torch.isfinite(expected))
                finite = torch.isfinite(expected)
                worst = float((got[finite] - expected[finite]).abs().max()) if same else torch.inf
                _require(
                    worst <= self.tolerance,
                    f"{what}: log-probabilities of row {row}, token {step} differ by {worst:.2g} from those of the "
                    f"same sequence alone, {list(tokens)}",
                )

    def count(self, rows: Sequence[Tokens], cache: Cache, what: str) -> None:
        held, expected = list(cache.lengths), [len(row) for row in rows]
        _require(held == expected, f"{what}: the cache says it holds {held} tokens, it was given {expected}")
        _require(cache.nbytes > 0, f"{what}: a cache that holds tokens must have bytes, got {cache.nbytes}")
