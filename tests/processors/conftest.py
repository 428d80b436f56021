"""What stateful processors are tested with."""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

import decodelab as dl
from decodelab.core.key import Keys
from decodelab.core.protocols import Vocab

Applied = Callable[..., Tensor]


def words(size: int) -> Vocab:
    """A vocabulary of this many words, without an end."""
    return dl.TableModel([f"w{i}" for i in range(size)], {}, eos=None).vocab


@pytest.fixture(scope="session")
def applied() -> Applied:
    """Apply a processor to logits [vocab] or [rows, vocab] after prompt and new tokens: one list, or one a row."""

    def apply(
        stage: Any, logits: Any, prompt: Sequence[Any] = (), generated: Sequence[Any] = (), vocab: Vocab | None = None
    ) -> Tensor:
        values = torch.as_tensor(logits, dtype=torch.float32)
        rows = values if values.dim() == 2 else values[None]
        prompts = list(prompt) if prompt and not isinstance(prompt[0], int) else [tuple(prompt)] * len(rows)
        pasts = list(generated) if generated and not isinstance(generated[0], int) else [tuple(generated)] * len(rows)
        keys = Keys.join([Keys.of(0, p, [i]) for i, p in enumerate(prompts)])
        state = stage.init([tuple(p) for p in prompts], vocab or words(rows.shape[1]), keys)
        for chosen in zip(*pasts, strict=True):
            state = stage.update(state, torch.full_like(rows, torch.nan), torch.tensor(chosen))
        return stage.apply(rows, state).reshape(values.shape)

    return apply


@pytest.fixture(scope="session")
def gpt2(data_dir: Path) -> Vocab:
    """GPT-2's own tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from decodelab.models.transformers_vocab import TransformersVocab

    folder = data_dir / "tokenizers" / "gpt2"
    bpe = models.BPE.from_file(str(folder / "encoder.json"), str(folder / "vocab.bpe"))
    tokenizer: Any = Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
    return TransformersVocab(fast, 50257, (50256,), None)


class Bytes:
    """A vocabulary of single bytes, with the texts that a constraint accepts and samples over it."""

    size, bos_id, eos_ids = 257, None, (256,)

    def token_bytes(self, token: int, first: bool = False) -> bytes:
        return bytes([token]) if token < 255 else b""

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(t for t in tokens if t < 255).decode(errors="replace")

    def _masked(self, stage: Any) -> Any:
        """The grammar's state at the beginning; of a schema, without the validation that follows."""
        state = stage.init([()], self, None)
        return getattr(state, "matched", state)

    def accepts(self, stage: Any, text: str) -> bool:
        """Whether every byte of a text is allowed, and then the end."""
        state = self._masked(stage)
        for byte in text.encode():
            if not state.allowed()[0, byte]:
                return False
            state = state.plus(torch.tensor([byte]))
        return bool(state.allowed()[0, 256])

    def sample(self, stage: Any, rng: Random, limit: int = 80) -> str | None:
        """A random text that may end; None if it has not ended in time. Brackets and quotes are drawn more often."""
        state, text = self._masked(stage), b""
        for _ in range(limit):
            allowed = state.allowed()[0].nonzero()[:, 0].tolist()
            assert allowed, f"nothing may follow {text!r}"
            if 256 in allowed and (allowed == [256] or rng.random() < 0.5):
                return text.decode()
            closing = [t for t in allowed if t < 256 and chr(t) in '"}],:']
            token = rng.choice(closing if closing and rng.random() < 0.4 else [t for t in allowed if t < 256])
            text += bytes([token])
            state = state.plus(torch.tensor([token]))
        return None


@pytest.fixture(scope="session")
def bytewise() -> Bytes:
    """What a constraint accepts and samples, byte by byte."""
    return Bytes()
