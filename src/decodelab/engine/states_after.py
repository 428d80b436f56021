"""The states of processors of rows that go on from tokens generated before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from decodelab.core.errors import UnsupportedStrategy
from decodelab.core.key import Keys
from decodelab.core.protocols import Processor, Vocab
from decodelab.core.states import can_join, join_states
from decodelab.core.values import Tokens
from decodelab.engine.faults import blamed


def states_after(
    processors: Sequence[Processor],
    prompts: Sequence[Tokens],
    written: Sequence[Tokens],
    vocab: Vocab,
    keys: Keys,
) -> list[Any]:
    """The state of each processor after what each row has generated behind its prompt, as if it had just done so.

    Raises:
        UnsupportedStrategy: for a processor whose state depends on the logits of past steps, or whose states cannot be
            joined where rows have generated different numbers of tokens.
        StageFailed: for what a processor raises.
    """
    lengths = torch.tensor([len(tokens) for tokens in written])
    groups = [(lengths == length).nonzero()[:, 0] for length in lengths.unique().tolist()]
    place = torch.cat(groups).argsort()
    states: list[Any] = []
    for processor in processors:
        with blamed(processor):
            parts = [_state(processor, prompts, written, vocab, keys, group) for group in groups]
            if len(parts) > 1 and not all(map(can_join, parts)):
                raise UnsupportedStrategy(
                    f"{processor} cannot go on from answers of different lengths: its state has no join; leave it out"
                )
            whole = join_states(parts)
            states.append(whole if whole is None or len(groups) == 1 else whole[place])
    return states


def _state(
    processor: Processor, prompts: Sequence[Tokens], written: Sequence[Tokens], vocab: Vocab, keys: Keys, rows: Any
) -> Any:
    """The state of a processor after what these rows have generated, as many tokens each."""
    from decodelab.strategy.replay import NeedsLogits, follow  # which loads torch

    index = rows.tolist()
    state = processor.init([prompts[row] for row in index], vocab, keys[rows])
    tokens = torch.tensor([written[row] for row in index], dtype=torch.int64)
    if state is None or not tokens.numel():
        return state
    try:
        (state,) = follow([processor], [state], tokens.T, vocab.size)
    except NeedsLogits:
        raise UnsupportedStrategy(
            f"{processor}: its state depends on the logits of past steps, which a search that goes on from texts does "
            "not keep; leave it out"
        ) from None
    return state
