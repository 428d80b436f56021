"""The states of processors after a prompt and generated tokens, for `distribution`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch

from decodelab.core.errors import RequestError, StrategyError, VocabularyMismatch
from decodelab.core.key import Keys
from decodelab.core.protocols import LanguageModel, Processor, Vocab
from decodelab.core.stage import brief
from decodelab.core.values import Tokens
from decodelab.engine.job import checked_ids, encode_prompt
from decodelab.strategy.replay import NeedsLogits, begin, follow

if TYPE_CHECKING:
    from torch import Tensor

TokensByRow: TypeAlias = "Sequence[int] | Sequence[Sequence[int]] | Tensor"
"""Token ids that all rows share, or one sequence for each row."""


def states_after(
    processors: Sequence[Processor],
    rows: int,
    size: int,
    prompt_tokens: TokensByRow,
    generated: TokensByRow,
    state: Sequence[Any] | None,
    vocab: Vocab | None,
    model: LanguageModel | None,
) -> list[tuple[slice, list[Any]]]:
    """The states of processors after a prompt and generated tokens, in groups of rows that share them.

    Random numbers are those of seed 0; a row's sample index is its position.

    Raises:
        RequestError, UnknownToken, VocabularyMismatch: if what is given does not fit `rows` rows of `size` logits.
        StrategyError: if a processor needs a vocabulary, or logits of earlier steps, that are not given.
    """
    vocab = model.vocab if vocab is None and model is not None else vocab
    if vocab is not None and vocab.size != size:
        raise VocabularyMismatch(
            f"distribution: the vocabulary has {vocab.size} tokens, the logits {size}; give the logits of that model"
        )
    prompts, texts = _by_row(prompt_tokens, rows, size, "prompt_tokens"), _by_row(generated, rows, size, "generated")
    if state is not None:
        if any(prompts) or any(texts):
            raise RequestError("distribution: give the tokens or the state after them, not both")
        if isinstance(state, str | Mapping) or not isinstance(state, Sequence) or len(state) != len(processors):
            raise RequestError(
                f"distribution: state must be a list with the state of each of the {len(processors)} processors, "
                f"got {brief(state)}; write None for those without"
            )
        return [(slice(None), list(state))]
    if len(prompts) == len(texts) == 1:
        return [(slice(None), _replay(processors, prompts[0], texts[0], range(rows), size, vocab, model))]
    return [
        (
            slice(i, i + 1),
            _replay(processors, prompts[i % len(prompts)], texts[i % len(texts)], [i], size, vocab, model),
        )
        for i in range(rows)
    ]


def _by_row(given: TokensByRow, rows: int, size: int, what: str) -> list[Tokens]:
    """One sequence that all rows share, or one for each."""
    what = f"distribution: {what}"
    listed = given.tolist() if isinstance(given, torch.Tensor) else given
    if isinstance(listed, str) or not isinstance(listed, Iterable):
        raise RequestError(f"{what} must be token ids, got {brief(given)}; encode the text with the model's vocabulary")
    listed = list(listed)
    nested = [isinstance(item, Sequence | torch.Tensor) and not isinstance(item, str) for item in listed]
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
    """The states of rows of one prompt after the same generated tokens."""
    rows = len(samples)
    states = begin(processors, [prompt] * rows, vocab, size, Keys.of(0, prompt, samples), _needs_vocab)
    tokens = torch.tensor(generated, dtype=torch.int64)[:, None].expand(-1, rows)
    try:
        return follow(processors, states, tokens, size)
    except NeedsLogits as asked:
        if model is None:
            raise StrategyError(
                f"distribution: {asked} updates its state from each token's logits; pass model= or state="
            ) from None
    return follow(processors, states, tokens, size, past_logits(model, encode_prompt(model, prompt)[1], generated))


def _needs_vocab(processor: Processor) -> StrategyError:
    return StrategyError(f"distribution: {processor} needs the vocabulary; pass vocab= or model=")


def past_logits(model: LanguageModel, prompt: Tokens, generated: Tokens) -> Tensor:
    """The model's logits that each token generated after a prompt was chosen from, float32 [tokens, vocab]."""
    first, cache = model.prefill([prompt])
    if len(generated) < 2:
        return first[: len(generated)].float().cpu()
    rest, _ = model.decode(cache, torch.tensor([generated[:-1]]))
    return torch.cat([first, rest[0]]).float().cpu()
