"""The states of processors after tokens that are known: replayed, without generating anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn, cast

import torch
from torch import Tensor

from decodelab.core.errors import RequestError, StrategyError, VocabularyMismatch
from decodelab.core.key import Keys
from decodelab.core.protocols import LanguageModel, Processor, Vocab
from decodelab.core.stage import brief
from decodelab.core.values import Tokens
from decodelab.engine.job import checked_ids, encode_prompt

Past = Sequence[int] | Sequence[Sequence[int]] | Tensor
"""Token ids that all rows share, or one sequence for each row."""


def states_after(
    processors: Sequence[Processor],
    rows: int,
    size: int,
    prompt_tokens: Past,
    generated: Past,
    state: Sequence[Any] | None,
    vocab: Vocab | None,
    model: LanguageModel | None,
) -> list[tuple[slice, list[Any]]]:
    """The states of processors after a prompt and generated tokens, in groups of rows that share them.

    Coins that stages tossed on the way are those of seed 0, a row's sample index being its number.

    Raises:
        RequestError, UnknownToken, VocabularyMismatch: if what is given does not fit `rows` rows of `size` logits.
        StrategyError: if a processor needs a vocabulary or past logits that are not given.
    """
    vocab = model.vocab if vocab is None and model is not None else vocab
    if vocab is not None and vocab.size != size:
        raise VocabularyMismatch(
            f"distribution: the vocabulary has {vocab.size} tokens, the logits {size}; give the logits of that model"
        )
    prompts, pasts = _by_row(prompt_tokens, rows, size, "prompt_tokens"), _by_row(generated, rows, size, "generated")
    if state is not None:
        if any(prompts) or any(pasts):
            raise RequestError("distribution: give the tokens or the state they led to, not both")
        if isinstance(state, str | Mapping) or not isinstance(state, Sequence) or len(state) != len(processors):
            raise RequestError(
                f"distribution: state must be a list with the state of each of the {len(processors)} processors, "
                f"got {brief(state)}; write None for those without"
            )
        return [(slice(None), list(state))]
    if len(prompts) == len(pasts) == 1:
        return [(slice(None), _replay(processors, prompts[0], pasts[0], range(rows), size, vocab, model))]
    return [
        (
            slice(i, i + 1),
            _replay(processors, prompts[i % len(prompts)], pasts[i % len(pasts)], [i], size, vocab, model),
        )
        for i in range(rows)
    ]


def _by_row(given: Past, rows: int, size: int, what: str) -> list[Tokens]:
    """One sequence that all rows share, or one for each."""
    what = f"distribution: {what}"
    listed = given.tolist() if isinstance(given, Tensor) else given
    if isinstance(listed, str) or not isinstance(listed, Iterable):
        raise RequestError(f"{what} must be token ids, got {brief(given)}; encode the text with the model's vocabulary")
    listed = list(listed)
    nested = [isinstance(item, Sequence | Tensor) and not isinstance(item, str) for item in listed]
    if not any(nested):
        return [checked_ids(size, cast(Sequence[int], listed), what)]
    if not all(nested) or len(listed) != rows:
        raise RequestError(f"{what} must be one sequence, or one for each of the {rows} rows, got {brief(given)}")
    return [checked_ids(size, item, what) for item in cast(list[Sequence[int]], listed)]


def _replay(
    processors: Sequence[Processor],
    prompt: Tokens,
    generated: Tokens,
    samples: Sequence[int],
    size: int,
    vocab: Vocab | None,
    model: LanguageModel | None,
) -> list[Any]:
    """The states of rows that share one past."""
    keys = Keys.of(0, prompt, samples)
    prompts = [prompt] * len(samples)
    begin = [p.init(prompts, vocab if vocab is not None else cast(Vocab, _Unknown(size, p)), keys) for p in processors]
    try:
        return _follow(processors, begin, generated, None, size, len(samples))
    except _Looked as looked:
        if model is None:
            raise StrategyError(
                f"distribution: {looked} learns from the logits at each generated token; pass model= or state="
            ) from None
    return _follow(processors, begin, generated, _past_logits(model, prompt, generated), size, len(samples))


def _follow(
    processors: Sequence[Processor], states: list[Any], generated: Tokens, past: Tensor | None, size: int, rows: int
) -> list[Any]:
    """The states after each generated token; `past` are the model's logits [tokens, vocab], if anybody knows them."""
    unseen = torch.empty(1, size).expand(rows, size).as_subclass(_Unseen)
    for at, token in enumerate(generated):
        logits = unseen if past is None else past[at].expand(rows, size)
        tokens = torch.full((rows,), token)
        new: list[Any] = []
        for processor, state in zip(processors, states, strict=True):
            try:
                new.append(processor.update(state, logits, tokens))
            except _Looked:
                raise _Looked(str(processor)) from None
            logits = unseen if past is None else processor.apply(logits, state)
        states = new
    return states


def _past_logits(model: LanguageModel, prompt: Tokens, generated: Tokens) -> Tensor:
    """The model's logits at each generated token, float32 [tokens, vocab]."""
    _, begin = encode_prompt(model, prompt)
    first, cache = model.prefill([begin])
    if len(generated) == 1:
        return first.float().cpu()
    rest, _ = model.decode(cache, torch.tensor([generated[:-1]]))
    return torch.cat([first, rest[0]]).float().cpu()


class _Looked(Exception):
    """A processor looked at logits that nobody gave."""


class _Unseen(Tensor):
    """Past logits that nobody gave: their shape may be asked for, their values not."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer what every tensor of the shape would answer, and nothing else."""
        if func in _SHAPE:
            return super().__torch_function__(func, types, args, kwargs or {})
        raise _Looked


_SHAPE = (
    Tensor.size,
    Tensor.dim,
    Tensor.__len__,
    *(prop.__get__ for prop in (Tensor.shape, Tensor.device, Tensor.dtype)),  # pyright: ignore[reportAttributeAccessIssue]
)


class _Unknown:
    """A vocabulary of which only the size is known; a stage that asks for more is refused by name."""

    def __init__(self, size: int, stage: Processor) -> None:
        self.size = size
        self.stage = stage

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse."""
        raise StrategyError(f"distribution: {self.stage} needs the vocabulary; pass vocab= or model=")
