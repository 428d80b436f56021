"""What a network of transformers says about itself."""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from decodelab.models.context import context_length
from decodelab.models.pretrained import Declared


def declared(model: Any) -> Declared:
    """What the configurations of a `PreTrainedModel` say that decoding depends on."""
    head, config = model.get_output_embeddings(), model.config.get_text_config(decoder=True)
    own = model.generation_config
    return Declared(
        kind=str(model.config.model_type),
        vocab_size=config.vocab_size if head is None else head.weight.shape[0],
        context_length=context_length(config.to_dict()),
        generation=own.to_diff_dict() if own is not None else {},
        ends=(getattr(model.config, "eos_token_id", None), getattr(config, "eos_token_id", None)),
    )


def content_digest(model: Any, tokenizer: Any, decided: str) -> str:
    """SHA-256 of a `PreTrainedModel` and its tokenizer as they are in memory, in hex.

    Args:
        model: the network.
        tokenizer: its tokenizer.
        decided: a digest of what else its texts depend on.
    """
    sha = hashlib.sha256(decided.encode())
    sha.update(model.config.to_json_string().encode())
    for name, tensor in sorted(model.state_dict().items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    for piece, token in sorted(tokenizer.get_vocab().items()):
        sha.update(f"{piece}\0{token}\0".encode(errors="surrogatepass"))
    backend = getattr(tokenizer, "backend_tokenizer", None)
    sha.update(repr((tokenizer.chat_template, tokenizer.special_tokens_map)).encode())
    sha.update(b"" if backend is None else backend.to_str().encode())
    return sha.hexdigest()
