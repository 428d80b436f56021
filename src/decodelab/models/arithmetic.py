"""How many floating-point operations a forward pass takes, from the sizes of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Arithmetic:
    """What a decoder multiplies.

    Attributes:
        body: parameters in the matrix products every token goes through; of experts, those a token is sent to.
        head: parameters in the product that makes logits of a hidden state.
        attention: query heads times their size, summed over the layers.
    """

    body: int
    head: int
    attention: int

    def flops(self, tokens: int, logits: int, seen: int) -> int:
        """Operations of matrix products and attention; a multiplication and an addition are two.

        2 body a token (Kaplan et al. 2020, section 2.1), 2 head a row of logits, and 4 attention for every token that a
        token sees, itself included: a product with its key, one with its value. Norms, activations, rotations
        and the softmax are left out, as is usual; they are some per cent of a small model.

        Args:
            tokens: tokens computed.
            logits: of these, those whose logits are computed.
            seen: tokens they see, summed over `tokens`.

        >>> Arithmetic(body=1000, head=200, attention=16).flops(tokens=3, logits=1, seen=1 + 2 + 3)
        6784
        """
        return 2 * self.body * tokens + 2 * self.head * logits + 4 * self.attention * seen


@runtime_checkable
class Counted(Protocol):
    """A language model whose operations can be counted."""

    def arithmetic(self) -> Arithmetic:
        """What it multiplies."""
        ...


def decoder_arithmetic(network: PreTrainedModel) -> Arithmetic:
    """The arithmetic of a decoder of transformers, from its configuration and the sizes of its weights."""
    config = network.config.get_text_config(decoder=True)
    head = network.get_output_embeddings()
    sent_to = getattr(config, "num_experts_per_tok", None) or 1
    experts = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None) or 1
    body = 0
    for module in network.modules():
        if module is head or isinstance(module, torch.nn.Embedding):
            continue
        for weight in module.parameters(recurse=False):
            if weight.dim() == 2:
                body += weight.numel()
            elif weight.dim() == 3:
                body += weight.numel() * sent_to // experts
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Arithmetic(
        body, 0 if head is None else head.weight.numel(), config.num_hidden_layers * config.num_attention_heads * size
    )
