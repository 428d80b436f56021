"""Networks of transformers with a head for labels: classifiers of sequences, and of tokens, read at the last one."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from decodelab.core.values import Tokens
from decodelab.models.rater import CausalRater, Head, Logits, batches

_HEADS = ("score", "classifier")
"""What networks with a head on every token call it."""

_CLOSE = 1e-3
"""How far logits may be apart, relative to the largest, where they are computed in another order."""


def head_of(network: Any) -> Head | None:
    """How a network rates sequences; None for a token classifier that is not causal: no token stands for the whole.

    A causal network is asked in a way that shares beginnings if that gives the same logits.
    """
    shared = _shared(network)
    if shared is None and _of_tokens(network):
        return None
    vocab = network.get_input_embeddings().weight.shape[0]
    return Head(shared or _Whole(network), int(network.config.num_labels), int(vocab))


def _of_tokens(network: Any) -> bool:
    return type(network).__name__.endswith("ForTokenClassification")


class _Whole:
    """A network that is asked for whole sequences, as transformers computes them: in padded batches, or one by one
    where it does not know which token is padding."""

    def __init__(self, network: Any) -> None:
        self._network = network

    @torch.inference_mode()
    def __call__(self, sequences: Sequence[Tokens], segments: Sequence[Tokens] | None) -> Logits:
        """The logits of the labels of each sequence."""
        found: dict[int, Tensor] = {}
        tokens = passes = 0
        pad = self._network.config.pad_token_id
        for batch in batches(range(len(sequences)), lambda i: len(sequences[i])):
            for part in [batch] if pad is not None else [[i] for i in batch]:
                longest = max(len(sequences[i]) for i in part)
                ids = self._padded([sequences[i] for i in part], longest, pad or 0)
                mask = self._padded([[1] * len(sequences[i]) for i in part], longest, 0)
                more = (
                    {}
                    if segments is None
                    else {"token_type_ids": self._padded([segments[i] for i in part], longest, 0)}
                )
                logits = self._network(input_ids=ids, attention_mask=mask, **more).logits
                found |= dict(zip(part, logits, strict=True))
                tokens, passes = tokens + ids.numel(), passes + 1
        return Logits(torch.stack([found[i] for i in range(len(sequences))]).cpu().double(), tokens, passes)

    def _padded(self, rows: Sequence[Sequence[int]], longest: int, pad: int) -> Tensor:
        padded = [[*row, *[pad] * (longest - len(row))] for row in rows]
        return torch.tensor(padded, device=self._network.device)


def _shared(network: Any) -> CausalRater | None:
    """A causal network asked for its hidden states, to which its head is applied; None where that is not the same."""
    head = next((found for name in _HEADS if isinstance(found := getattr(network, name, None), nn.Linear)), None)
    body = getattr(network, network.base_model_prefix, None)
    if head is None or body is None or network.config.is_encoder_decoder:
        return None

    def begin(tokens: Tokens) -> tuple[Tensor, Any]:
        out = body(input_ids=torch.tensor([tokens], device=network.device), use_cache=True)
        return head(out.last_hidden_state[0, -1]), (len(tokens), out.past_key_values)

    def go_on(cache: Any, tokens: Tensor) -> Tensor:
        count, kept = cache
        past = deepcopy(kept)  # which is written in place
        past.batch_repeat_interleave(len(tokens))
        tokens = tokens.to(network.device)
        mask = torch.cat([tokens.new_ones(len(tokens), count), (tokens >= 0).long()], 1)
        out = body(input_ids=tokens.clamp(min=0), attention_mask=mask, past_key_values=past, use_cache=True)
        return head(out.last_hidden_state)

    found = CausalRater(begin, go_on)
    return found if _same(found, network) else None


@torch.inference_mode()
def _same(rater: CausalRater, network: Any) -> bool:
    """Whether sequences that begin alike, and one that begins another, come out as from the network one by one."""
    vocab = network.get_input_embeddings().weight.shape[0]
    pad = network.config.pad_token_id
    tokens = [t for t in ((7 * i + 3) % vocab for i in range(40)) if t != pad][:9]
    sequences = [tuple(tokens), tuple(tokens[:6]), (*tokens[:4], tokens[7]), (*tokens[:4], *tokens[6:8])]
    try:
        shared = rater(sequences, None).logits
        alone = [network(input_ids=torch.tensor([one], device=network.device)).logits for one in sequences]
    except Exception:  # whatever a network that has no such cache raises
        return False
    whole = torch.stack([one[0, -1] if _of_tokens(network) else one[0] for one in alone]).cpu().double()
    return bool(((shared - whole).abs() <= _CLOSE * whole.abs().max().clamp(min=1)).all())
