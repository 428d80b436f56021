"""`distribution`: the exact next-token law of a strategy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from decodelab.core.errors import EmptySupport, NonFiniteLogits, StrategyError
from decodelab.core.stage import StatelessProcessor
from decodelab.strategy.strategy import Strategy, StrategyLike


def distribution(logits: Tensor | Sequence[float], strategy: StrategyLike) -> Tensor:
    """The law from which a strategy draws its next token, as probabilities.

    Args:
        logits: [..., vocab], a tensor or numbers.
        strategy: processors and perhaps a search; greedy puts all mass on the argmax.

    Returns:
        float32 probabilities of the same shape.

    Raises:
        NonFiniteLogits: for NaN, +inf or only -inf.
        EmptySupport: if a stage removes every token.
        StrategyError: if the law depends on more than these logits (a beam, `default`, stateful processors).

    >>> distribution([3.0, 1.0, 0.5, 0.2], "top_p=0.9").round(decimals=3).tolist()
    [0.8209999799728394, 0.11100000143051147, 0.06700000166893005, 0.0]
    """
    plan = Strategy.of(strategy)
    search = plan.search
    if plan.stages[0].kind == "source" or getattr(search, "name", "") not in ("sample", "greedy"):
        raise StrategyError(f"distribution: {plan} has no single next-token law; give processors with sample or greedy")
    values = torch.as_tensor(logits, dtype=torch.float32)
    flat = values.reshape(-1, values.shape[-1])
    if not bool(flat.logsumexp(-1).isfinite().all()):
        raise NonFiniteLogits("distribution: logits contain NaN, +inf or only -inf; pass finite scores")
    for processor in plan.processors:
        if not isinstance(processor, StatelessProcessor):
            raise StrategyError(f"distribution: {processor} depends on the tokens before; it needs a state")
        flat = processor.apply(flat, None)
        if not bool(flat.logsumexp(-1).isfinite().all()):
            raise EmptySupport(f"distribution: {processor} left no token to choose from; loosen it")
    if getattr(search, "name", "") == "greedy":
        flat = torch.full_like(flat, -torch.inf).scatter_(-1, flat.argmax(-1, keepdim=True), 0.0)
    return flat.softmax(-1).reshape(values.shape)
