"""Models that say what a test wants them to say, and real ones."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

import decodelab as dl
from decodelab.core.protocols import LanguageModel, Vocab
from decodelab.models.transformers_vocab import TransformersVocab


class WithVocab:
    """A model as it is, under a different vocabulary of the same size."""

    def __init__(self, model: LanguageModel, vocab: Vocab) -> None:
        self.model = model
        self.vocab = vocab

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


@pytest.fixture(scope="session")
def says() -> Callable[..., LanguageModel]:
    """Make a model that, after an empty prompt, says these pieces of text with certainty, then ends."""

    def make(*pieces: str) -> LanguageModel:
        words = list(dict.fromkeys(pieces))

        def row(prefix: tuple[str, ...]) -> dict[str, float]:
            return {pieces[len(prefix)] if len(prefix) < len(pieces) else "</s>": 1.0}

        return dl.TableModel(words, row, bos="<s>", separator="")

    return make


def byte_vocab(pieces: Sequence[bytes]) -> TransformersVocab:
    """A byte-level tokenizer of transformers whose tokens are these pieces, then EOS, then BOS."""
    letters = bytes_to_unicode()
    ids = {"".join(letters[b] for b in piece): i for i, piece in enumerate(pieces)}
    ids |= {"</s>": len(ids), "<s>": len(ids) + 1}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=[]))
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    return TransformersVocab(fast, len(ids), (ids["</s>"],), ids["<s>"])


@pytest.fixture(scope="session")
def says_bytes() -> Callable[..., LanguageModel]:
    """Make a model that says these pieces, whole characters or not, one token each, then ends."""

    def make(*pieces: bytes) -> LanguageModel:
        words = [*dict.fromkeys(pieces)]

        def row(prefix: tuple[str, ...]) -> list[float]:
            token = words.index(pieces[len(prefix)]) if len(prefix) < len(pieces) else len(words)
            return [float(i == token) for i in range(len(words) + 2)]

        table = dl.TableModel([f"w{i}" for i in range(len(words))], row, bos="<s>", eos="</s>")
        return WithVocab(table, byte_vocab(words))  # pyright: ignore[reportReturnType]

    return make


@pytest.fixture(scope="session")
def random_table() -> Callable[..., dl.TableModel]:
    """Make a table with a random row for every prefix; `eos` scales how likely a sequence is to end."""

    def make(seed: int, size: int = 5, *, eos: float = 1.0, context_length: int | None = None) -> dl.TableModel:
        def row(prefix: tuple[str, ...]) -> Sequence[float]:
            rng = np.random.default_rng([seed, *(int(w[1:]) for w in prefix if w[0] == "w")])
            weights = np.exp(rng.normal(scale=1.5, size=size + 2))
            weights[size] *= eos
            weights[size + 1] = 0.0  # BOS
            return (weights / weights.sum()).tolist()

        return dl.TableModel(
            [f"w{i}" for i in range(size)], row, bos="<s>", context_length=context_length, name=f"table-{seed}"
        )

    return make


@pytest.fixture(scope="session")
def uniform() -> dl.TableModel:
    """Four words and EOS, all equally probable for ever."""
    words = ["a", "b", "c", "d"]
    return dl.TableModel(words, {...: dict.fromkeys([*words, "</s>"], 0.2)}, bos="<s>")


@pytest.fixture(scope="session")
def log() -> Callable[[float], float]:
    """The natural logarithm in float32, as a table's logits have it."""
    return lambda p: float(np.float32(math.log(p)))
