"""What stateful processors are tested with."""

from collections.abc import Callable, Sequence
from pathlib import Path
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
