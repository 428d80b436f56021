"""Tiny models of real architectures with random weights, built in memory."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from decodelab.core.quiet import quiet
from decodelab.models import TransformersModel

VOCAB = 64
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": VOCAB - 2,
    "eos_token_id": VOCAB - 1,
    "pad_token_id": None,
}


@pytest.fixture(scope="session")
def word_tokenizer() -> PreTrainedTokenizerFast:
    """Words w0 ... w61, <s> and </s>; no pad token."""
    words = {**{f"w{i}": i for i in range(VOCAB - 2)}, "<s>": VOCAB - 2, "</s>": VOCAB - 1}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="session")
def build_network() -> Callable[..., Any]:
    """A function that builds the bare network of an architecture, with random weights of lively size."""

    def build(model_type: str, *, attention: str | None = None, **sizes: Any) -> Any:
        with quiet():
            config = CONFIG_MAPPING[model_type](**{**SIZES, **sizes})
            more = {} if attention is None else {"attn_implementation": attention}
            network = AutoModelForCausalLM.from_config(config, dtype=torch.float32, **more)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in network.parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(noise * 0.3 if parameter.dim() > 1 else parameter + noise * 0.1)
        return network.eval()

    return build


@pytest.fixture(scope="session")
def build(
    build_network: Callable[..., Any], word_tokenizer: PreTrainedTokenizerFast
) -> Callable[..., TransformersModel]:
    """A function that builds the model of an architecture, with random weights and a word tokenizer."""

    def build(model_type: str, **sizes: Any) -> TransformersModel:
        return TransformersModel(build_network(model_type, **sizes), word_tokenizer)

    return build
