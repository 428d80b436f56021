"""check_model passes what keeps its promises and names the first promise that is broken."""

import pytest
import torch

from decodelab.models import TableModel
from decodelab.models.table import TableCache
from decodelab.models.table_vocab import TableVocab
from decodelab.testing.model import check_model

# Every next word depends on the whole prefix, so that no mistake goes unseen.
WORDS = ["a", "b", "c", "d"]
PROMPTS = ["a", "b a b", "c c a b d", ""]


def distribution(prefix):
    weights = [1 + (7 * i + sum((j + 2) * ord(word) for j, word in enumerate(prefix))) % 5 for i in range(len(WORDS))]
    return {word: w / sum(weights) for word, w in zip(WORDS, weights, strict=True)}


class Honest(TableModel):
    def __init__(self, **options):
        super().__init__(WORDS, distribution, **{"bos": "<s>", "eos": None, **options})


class Cache(TableCache):
    """A table's cache whose operations can be replaced."""


def with_cache(**methods):
    """A model whose cache has these methods instead."""
    faulty = type("Faulty", (Cache,), methods)

    class Model(Honest):
        def prefill(self, prompts):
            logits, cache = super().prefill(prompts)
            return logits, faulty(cache.rows)

        def decode(self, cache, tokens):
            logits, grown = super().decode(cache, tokens)
            return logits, faulty(grown.rows)

    return Model()


class ForgetsTokens(Honest):
    def decode(self, cache, tokens):
        logits, cache = super().decode(cache, tokens)
        return logits, TableCache([row[:-1] for row in cache.rows])


class OnlyTheLastLogits(Honest):
    def decode(self, cache, tokens):
        logits, cache = super().decode(cache, tokens)
        return logits[:, -1:], cache


class LastLogitsEverywhere(Honest):
    def decode(self, cache, tokens):
        logits, cache = super().decode(cache, tokens)
        return logits[:, -1:].expand_as(logits), cache


class ReadsPadding(Honest):
    """Pads on the left inside `decode`, as if padding came first."""

    def decode(self, cache, tokens):
        logits, cache = super().decode(cache, tokens)
        short = (tokens == -1).sum(1).tolist()
        return torch.stack([row.roll(n, 0) for row, n in zip(logits, short, strict=True)]), cache


class DropsPadding(Honest):
    def decode(self, cache, tokens):
        logits, cache = super().decode(cache, tokens)
        return logits, TableCache([tuple(t for t in row if t != -1) for row in cache.rows])


class MixesUpTheBatch(Honest):
    def prefill(self, prompts):
        logits, cache = super().prefill(prompts)
        return logits.roll(1, 0), cache


class DependsOnTheBatch(Honest):
    def prefill(self, prompts):
        logits, cache = super().prefill(prompts)
        return logits + torch.arange(logits.shape[1]) * 0.1 * (len(prompts) > 1), cache


class Nan(Honest):
    def prefill(self, prompts):
        logits, cache = super().prefill(prompts)
        return logits * torch.nan, cache


class TooWide(Honest):
    def prefill(self, prompts):
        logits, cache = super().prefill(prompts)
        return torch.cat([logits, logits[:, :1]], 1), cache


class Whole(Honest):
    def prefill(self, prompts):
        logits, cache = super().prefill(prompts)
        return (logits * 100).long(), cache


class TakesEmptyPrompts(Honest):
    def _check(self, prompts):
        pass

    def probs(self, tokens):
        return super().probs(tokens or (4,))


class LosesText(Honest):
    def __init__(self):
        super().__init__()

        class Vocab(TableVocab):
            def decode(self, tokens):
                return super().decode(tokens)[:3]

        self.vocab = Vocab([*WORDS, "<s>"], eos=None, bos="<s>", separator=" ")


class AddsBosToCompletions(Honest):
    def __init__(self):
        super().__init__()

        class Vocab(TableVocab):
            def encode_completion(self, prompt, text):
                return self.encode(text)

        self.vocab = Vocab([*WORDS, "<s>"], eos=None, bos="<s>", separator=" ")


def test_an_honest_model_passes():
    check_model(Honest(), PROMPTS)
    check_model(with_cache(), PROMPTS)


@pytest.mark.parametrize(
    ("model", "promise"),
    [
        (ForgetsTokens(), "decode by one token: the cache says it holds"),
        (OnlyTheLastLogits(), "decode by three tokens: logits must be of shape"),
        (LastLogitsEverywhere(), "decode by three tokens: log-probabilities of row 0, token 0 differ"),
        (ReadsPadding(), "decode by different numbers of tokens: log-probabilities of row"),
        (DropsPadding(), "decode by different numbers of tokens: the cache says it holds"),
        (MixesUpTheBatch(), "prefill: log-probabilities of row 0"),
        (DependsOnTheBatch(), "prefill: log-probabilities of row 0"),
        (Nan(), "prefill: logits must not be NaN"),
        (TooWide(), r"prefill: logits must be of shape \[\d, 5\], got \[\d, 6\]"),
        (Whole(), "prefill: logits must be floating point"),
        (TakesEmptyPrompts(), "prefill must refuse an empty prompt"),
        (LosesText(), "decode"),
        (AddsBosToCompletions(), "encode_completion must not add BOS"),
        (with_cache(select=lambda self, rows: Cache(self.rows[: len(rows)])), "after select"),
        (with_cache(select=lambda self, rows: self), "after select"),
        (with_cache(rewind=lambda self, lengths: Cache([row[: max(lengths)] for row in self.rows])), "after rewind"),
        (with_cache(rewind=lambda self, lengths: self), "after rewind"),
        (with_cache(join=lambda self, other: Cache(other.rows + self.rows)), "after join"),
        (with_cache(join=lambda self, other: self), "after join"),
        (with_cache(nbytes=0), "must have bytes, got 0"),
        (with_cache(lengths=property(lambda self: [7] * len(self.rows))), "prefill: the cache says it holds"),
    ],
    ids=[
        "forgets a token",
        "gives the last logits only",
        "gives the last logits for all tokens",
        "takes padding for tokens",
        "does not hold padding",
        "mixes up the rows",
        "depends on the batch",
        "NaN",
        "logits too wide",
        "integer logits",
        "takes an empty prompt",
        "loses text",
        "adds BOS to completions",
        "select keeps the old order",
        "select does nothing",
        "rewind treats all rows alike",
        "rewind does nothing",
        "join turns the order round",
        "join does nothing",
        "cache without bytes",
        "cache that miscounts",
    ],
)
def test_a_broken_promise_is_named(model, promise):
    with pytest.raises(AssertionError, match=promise):
        check_model(model, PROMPTS)


def test_prompts_that_prove_nothing_are_refused():
    with pytest.raises(AssertionError, match="at least two different lengths"):
        check_model(Honest(), ["a", "b"])
    with pytest.raises(AssertionError, match="leave room for 16 tokens"):
        check_model(Honest(context_length=10), PROMPTS)
