"""Answers begun before, computed by a model that reads its prompts apart from what it writes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from decodelab.core.protocols import PAD, LanguageModel
from decodelab.core.values import Tokens
from decodelab.engine.prefix_cache import Prefilled


def continued(model: LanguageModel, prompt: Tokens, answers: Sequence[Tokens]) -> Prefilled:
    """One prompt, prefilled once, and these answers decoded behind it, none of them empty."""
    different = list(dict.fromkeys(answers))
    lengths = [len(answer) for answer in different]
    longest = max(lengths)
    _, cache = model.prefill([prompt])
    begun = cache.lengths[0]
    cache = cache.select(torch.zeros(len(different), dtype=torch.int64))
    tokens = torch.tensor([[*answer, *[PAD] * (longest - len(answer))] for answer in different])
    logits, cache = model.decode(cache, tokens)
    if min(lengths) < longest:
        cache = cache.rewind([begun + n for n in lengths])
    last = logits[torch.arange(len(different)), torch.tensor(lengths) - 1]
    computed = [length + (len(prompt) if i == 0 else 0) for i, length in enumerate(lengths)]
    return Prefilled([prompt + answer for answer in different], last, cache, computed)
