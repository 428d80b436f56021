"""Strategies inside `transformers.generate`, and transformers' processors inside a strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, cast

import torch
from torch import Tensor
from transformers import LogitsProcessor

from decodelab.adapters.run import Run
from decodelab.core.errors import InvalidParameter
from decodelab.core.key import Keys
from decodelab.core.protocols import Vocab
from decodelab.core.stage import Kind, Stage, brief
from decodelab.core.values import Tokens
from decodelab.strategy.strategy import Strategy, StrategyLike


class StrategyLogitsProcessor(LogitsProcessor):
    """The processors of a strategy as one `transformers.LogitsProcessor`; `to_logits_processor` makes it.

    The first call's rows are the prompts. Padding on the left is part of them unless `pad_token_id` says what to strip.
    Logits are processed on the CPU in float32, and given back on the device and in the type they came in.
    """

    supports_continuous_batching = False

    def __init__(self, strategy: Strategy, vocab: Vocab | None, seed: int, pad_token_id: int | None) -> None:
        self.run = Run(strategy, vocab, seed)
        self.pad_token_id = pad_token_id

    def __call__(self, input_ids: torch.LongTensor, scores: Tensor) -> Tensor:
        """Processed scores [rows, vocab] for rows of tokens, int64 [rows, length]."""
        rows = [self._without_padding(row) for row in input_ids.tolist()]
        return self.run.process(rows, scores.float().cpu()).to(scores.device, scores.dtype)

    def _without_padding(self, row: list[int]) -> Tokens:
        start = 0
        while start < len(row) - 1 and row[start] == self.pad_token_id:
            start += 1
        return tuple(row[start:])


@dataclass(frozen=True)
class Texts:
    """All tokens of each row."""

    rows: tuple[Tokens, ...]

    def __getitem__(self, rows: Tensor) -> Texts:
        """The texts of the given rows."""
        return Texts(tuple(self.rows[row] for row in rows.tolist()))


@dataclass(frozen=True)
class TransformersProcessor(Stage):
    """Processors of transformers, or any callables of token ids and scores, as a stage.

    Rows of equal length are processed together, so no row is padded. What they give must follow from their arguments:
    a processor that keeps state between calls breaks when rows fork or move. The stage has no text form, so a
    strategy with it cannot be written and read back.

    Raises:
        InvalidParameter: if something that is given cannot be called.
    """

    processors: Annotated[tuple[Any, ...], "callables of token ids [rows, length] and scores [rows, vocab]"]

    name: ClassVar[str] = "from_logits_processor"
    kind: ClassVar[Kind] = "processor"
    source: ClassVar[str] = "transformers, LogitsProcessor"

    def __post_init__(self) -> None:
        """Check the parameters."""
        for processor in self.processors:
            if not callable(processor):
                raise InvalidParameter(
                    f"from_logits_processor: a processor must be callable, got {brief(processor)}; "
                    "give a transformers.LogitsProcessor"
                )

    def __str__(self) -> str:
        """The names of the classes."""
        return f"{self.name}({', '.join(type(p).__name__ for p in self.processors)})"

    def init(self, prompts: Sequence[Tokens], vocab: Vocab, keys: Keys) -> Texts:
        """The prompts."""
        return Texts(tuple(tuple(prompt) for prompt in prompts))

    def apply(self, logits: Tensor, state: Texts) -> Tensor:
        """What the processors make of float32 logits [rows, vocab]."""
        processed = torch.empty_like(logits)
        for length in {len(row) for row in state.rows}:
            rows = torch.tensor([i for i, row in enumerate(state.rows) if len(row) == length])
            ids = torch.tensor([state.rows[i] for i in rows.tolist()], dtype=torch.int64)
            scores = logits[rows]
            for processor in self.processors:
                scores = processor(ids, scores)
            processed[rows] = scores.float()
        return processed

    def update(self, state: Texts, logits: Tensor, tokens: Tensor) -> Texts:
        """Append the chosen tokens."""
        return Texts(tuple((*row, token) for row, token in zip(state.rows, tokens.tolist(), strict=True)))


def from_logits_processor(processor: Any) -> TransformersProcessor:
    """A stage that runs a `transformers.LogitsProcessor`, a list of them, or any such callable.

    Raises:
        InvalidParameter: if it cannot be called.

    >>> from transformers import TopKLogitsWarper
    >>> from decodelab import Sample, Strategy, Temperature
    >>> print(Strategy.of(Temperature(0.7) | from_logits_processor(TopKLogitsWarper(2)) | Sample(4)))
    temperature=0.7 | from_logits_processor(TopKLogitsWarper) | sample(n=4)
    """
    return TransformersProcessor(tuple(processor) if isinstance(processor, list) else (cast(Any, processor),))


def to_logits_processor(
    strategy: StrategyLike, vocab: Vocab | None = None, *, seed: int = 0, pad_token_id: int | None = None
) -> StrategyLogitsProcessor:
    """A strategy's processors as one `transformers.LogitsProcessor`, for `model.generate(logits_processor=[...])`.

    Each row has its own state, also under beams. Make a new one for every call of `generate`: it takes each call
    for a continuation of the last one's rows. Pass `do_sample=True, top_k=0` there, or transformers cuts to its own 50.

    Args:
        strategy: processors, with `sample` or `greedy` at most.
        vocab: the model's vocabulary, for stages that look at words or special tokens.
        seed: of the random numbers that stages draw; the tokens are drawn by transformers.
        pad_token_id: the token that pads prompts on the left, so that it does not count as a part of them.

    Raises:
        UnsupportedStrategy: if there is more than processors with `sample` or `greedy`.

    >>> to_logits_processor("min_p=0.1")(torch.tensor([[7]]), torch.tensor([[5.0, 4.0, 0.0]]))
    tensor([[5., 4., -inf]])
    """
    return StrategyLogitsProcessor(Strategy.of(strategy), vocab, seed, pad_token_id)
