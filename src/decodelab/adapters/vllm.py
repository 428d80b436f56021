"""Strategies inside vLLM's V1 engine, as a custom logits processor."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from decodelab.adapters.run import Run
from decodelab.core.errors import RequestError, StrategyError
from decodelab.core.protocols import Vocab
from decodelab.strategy.strategy import Strategy, StrategyLike

EXTRA_ARG = "decodelab"
"""The key of a request's extra_args under which it may bring a strategy of its own."""


@dataclass(frozen=True)
class Request:
    """A request of the batch; `output` is vLLM's own list, which grows as tokens are generated."""

    run: Run
    prompt: tuple[int, ...]
    output: Sequence[int]

    def tokens(self) -> tuple[int, ...]:
        """All tokens so far.

        Raises:
            RequestError: if vLLM does not know the last ones yet.
        """
        if any(token < 0 for token in self.output):
            raise RequestError("vllm: output tokens are not known yet; turn off asynchronous scheduling")
        return (*self.prompt, *self.output)


def to_vllm_logits_processor(
    strategy: StrategyLike | None, vocab: Vocab | None = None, *, seed: int = 0, interface: type | None = None
) -> type:
    """A strategy's processors as a custom logits processor class of vLLM: `LLM(..., logits_processors=[...])`.

    It follows the interface of vLLM's V1 model runner (`vllm.v1.sample.logits_processor.LogitsProcessor`). A
    request may bring a strategy of its own, `extra_args={"decodelab": "top_p=0.9"}`. vLLM's own penalties,
    temperature and truncations run after it, so leave them neutral. It has been tested against that interface
    only, never inside vLLM.

    Args:
        strategy: for requests that bring none; None leaves their logits as they are.
        vocab: the model's vocabulary, for stages that look at words or special tokens.
        seed: of the random numbers that stages draw, for requests without a seed; the tokens are drawn by vLLM.
        interface: the class to inherit from; vLLM's when None, which must then be installed.

    Raises:
        UnsupportedStrategy: if there is more than processors with `sample` or `greedy`.
    """
    own = None if strategy is None else Strategy.of(strategy)
    if own is not None:
        Run(own, vocab, seed)
    base: Any = interface or importlib.import_module("vllm.v1.sample.logits_processor").LogitsProcessor

    class DecodelabLogitsProcessor(base):
        """A strategy of decodelab for each request of the batch."""

        @classmethod
        def validate_params(cls, sampling_params: Any) -> None:
            """Refuse a request whose own strategy is wrong, as vLLM asks, with a ValueError."""
            try:
                written = _own(sampling_params)
                if written is not None:
                    Run(written, vocab, seed)
            except StrategyError as error:
                raise ValueError(f"{EXTRA_ARG}: {error}") from None

        def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None:
            self.requests: dict[int, Request] = {}
            self.started = 0

        def is_argmax_invariant(self) -> bool:
            """Strategies may move the argmax, so they run for greedy requests too, before vLLM's own penalties."""
            return False

        def update_state(self, batch_update: Any) -> None:
            """Follow requests that leave, come and move, in the order vLLM documents."""
            if batch_update is None:
                return
            for index in batch_update.removed:
                self.requests.pop(index, None)
            for index, params, prompt, output in batch_update.added:
                self.requests.pop(index, None)
                chosen = _own(params) or own
                if chosen is not None:
                    self.requests[index] = self._request(chosen, params, prompt, output)
            for source, target, direction in batch_update.moved:
                moving, displaced = self.requests.pop(source, None), self.requests.pop(target, None)
                if moving is not None:
                    self.requests[target] = moving
                if displaced is not None and direction.name == "SWAP":
                    self.requests[source] = displaced

        def _request(
            self, chosen: Strategy, params: Any, prompt: Sequence[int] | None, output: Sequence[int]
        ) -> Request:
            """A new request; without a seed of its own it differs from others of its prompt by its number."""
            if prompt is None:
                raise RequestError("vllm: a strategy needs the prompt's tokens; embeddings have none")
            own_seed = getattr(params, "seed", None)
            self.started += 1
            run = Run(chosen, vocab, seed + self.started if own_seed is None else own_seed)
            # A request that was preempted comes back with tokens; they are no part of its prompt.
            run.prompts = [tuple(prompt)]
            return Request(run, tuple(prompt), output)

        def apply(self, logits: Tensor) -> Tensor:
            """Process the rows of requests that have a strategy, [requests, vocab], in place."""
            for index, request in self.requests.items():
                row = request.run.process([request.tokens()], logits[index : index + 1].float().cpu())
                logits[index] = row[0].to(logits.device, logits.dtype)
            return logits

    return DecodelabLogitsProcessor


def _own(params: Any) -> Strategy | None:
    """The strategy that a request brings in its extra_args."""
    extra = getattr(params, "extra_args", None) or {}
    return Strategy.of(extra[EXTRA_ARG]) if extra.get(EXTRA_ARG) is not None else None
