"""How many tokens each prompt may be continued by, where the length of the whole is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from decodelab.core.errors import InvalidParameter

if TYPE_CHECKING:
    from decodelab.core.protocols import LanguageModel
    from decodelab.core.values import Chat


def new_tokens(
    model: LanguageModel, requests: Sequence[str | Chat], max_new_tokens: int, total_length: int | None
) -> list[int]:
    """The tokens that each prompt may be continued by: to `total_length`, or by `max_new_tokens` where that is None.

    Raises:
        InvalidParameter: for a prompt that has the total length already.
    """
    if total_length is None:
        return [max_new_tokens] * len(requests)
    from decodelab.engine.job import encode_prompt

    taken = [len(encode_prompt(model, request)[1]) for request in requests]
    for i, count in enumerate(taken):
        if count >= total_length:
            raise InvalidParameter(
                f"--total-length must leave room after the prompt, got {total_length} where prompt {i} has "
                f"{count} tokens with {model.name}; raise it"
            )
    return [total_length - count for count in taken]
