"""What models of transformers are given, checked before it is computed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from decodelab.core.errors import EmptyPrompt, PromptTooLong, UnknownToken
from decodelab.core.protocols import PAD
from decodelab.core.values import Tokens


def check_prompts(name: str, prompts: Sequence[Tokens], size: int, longest: int | None, holder: str) -> None:
    """Refuse prompts that a model cannot compute.

    Args:
        name: of the model.
        prompts: token ids.
        size: of its vocabulary.
        longest: the most tokens it holds, None when unbounded.
        holder: what of it holds them.

    Raises:
        EmptyPrompt: when a prompt has no tokens.
        PromptTooLong: when it has too many.
        UnknownToken: when a token id is outside the vocabulary.
    """
    if not prompts:
        raise ValueError("prefill: no prompts")
    for prompt in prompts:
        if not prompt:
            raise EmptyPrompt(f"{name}: a prompt must have at least one token, got none; begin with BOS")
        if longest is not None and len(prompt) > longest:
            raise PromptTooLong(f"{name}: the prompt has {len(prompt)} tokens, {holder} {longest}; shorten it")
        _check_ids(name, min(prompt), max(prompt), size)


def checked_tokens(name: str, tokens: Tensor, rows: int, size: int) -> Tensor:
    """Tokens [rows, k] to be appended, with an id of the vocabulary in place of `PAD`.

    Raises:
        ValueError: when they have another shape, or `PAD` stands before a token.
        UnknownToken: when a token id is outside the vocabulary; tokens on an accelerator are not looked at.
    """
    if len(tokens) != rows or not tokens.numel():
        raise ValueError(f"decode: tokens must be [{rows}, k >= 1], got {list(tokens.shape)}")
    if tokens.device.type != "cpu":
        return tokens.clamp(min=0)
    low, high = (int(bound) for bound in torch.aminmax(tokens))
    _check_ids(name, int(tokens[:, 0].min()) if low == PAD else low, high, size)
    if low != PAD:
        return tokens
    padding = tokens == PAD
    if bool((padding[:, :-1] & ~padding[:, 1:]).any()):
        raise ValueError("decode: padding must come after all tokens of a row")
    # Which token stands for padding does not matter: nothing before it sees it.
    return tokens.clamp(min=0)


def _check_ids(name: str, low: int, high: int, size: int) -> None:
    if low < 0 or high >= size:
        got = low if low < 0 else high
        raise UnknownToken(f"{name}: token ids must be in [0, {size}), got {got}")
