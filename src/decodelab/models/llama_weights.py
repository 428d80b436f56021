"""The weights of a Llama network from its safetensors files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn.functional import silu

from decodelab.models.checkpoint import weight_files
from decodelab.models.direct import Block, Projection, Weights
from decodelab.models.llama_config import LlamaConfig


def llama_tensors(directory: Path, dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors of a directory by name, on the CPU."""
    tensors: dict[str, Tensor] = {}
    for file in weight_files(directory):
        with safe_open(file, framework="pt") as opened:
            tensors |= {name: opened.get_tensor(name).to(dtype) for name in opened.keys()}  # noqa: SIM118
    return tensors


def llama_weights(tensors: Mapping[str, Tensor], config: LlamaConfig, dtype: torch.dtype) -> Weights:
    """The weights that tensors are, which are those of the configuration."""
    embeddings = tensors["model.embed_tokens.weight"]
    return Weights(
        embeddings=embeddings,
        blocks=[_block(tensors, f"model.layers.{layer}.") for layer in range(config.layers)],
        norm=tensors["model.norm.weight"],
        head=Projection(embeddings if config.tied else tensors["lm_head.weight"]),
        head_dim=config.head_dim,
        epsilon=config.epsilon,
        activate=silu,
        angles=_angles(config.head_dim, config.theta, dtype),
    )


def _block(tensors: Mapping[str, Tensor], prefix: str) -> Block:
    def projection(name: str) -> Projection:
        return Projection(tensors[f"{prefix}{name}.weight"], tensors.get(f"{prefix}{name}.bias"))

    return Block(
        attention_norm=tensors[f"{prefix}input_layernorm.weight"],
        query=projection("self_attn.q_proj"),
        key=projection("self_attn.k_proj"),
        value=projection("self_attn.v_proj"),
        output=projection("self_attn.o_proj"),
        mlp_norm=tensors[f"{prefix}post_attention_layernorm.weight"],
        gate=projection("mlp.gate_proj"),
        up=projection("mlp.up_proj"),
        down=projection("mlp.down_proj"),
    )


def _angles(size: int, theta: float, dtype: torch.dtype) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Rotary embedding (Su et al. 2021): pair i of a head turns by position / theta^(2 i / size)."""
    frequencies = 1.0 / theta ** (torch.arange(0, size, 2, dtype=torch.float32) / size)

    def angles(positions: Tensor) -> tuple[Tensor, Tensor]:
        half = positions[:, None].float() * frequencies
        both = torch.cat((half, half), -1)
        return both.cos().to(dtype), both.sin().to(dtype)

    return angles
