"""Which tokens begin and end a text, of what a model's files say about it.

A text ends where transformers' `generate` ends it: at the tokens that the model's generation config names. Where it
names none, the model's configuration is asked, and then the tokenizer. The tokenizer's own end is not added to what the
generation config names, since transformers goes on there; where it is not among them, `load` notes it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from decodelab.core.notices import ModelNotice


def ends_of(
    name: str, generation: Mapping[str, Any], configured: Sequence[Any], own: int | None, size: int
) -> tuple[int, ...]:
    """The tokens that end a text, each once and inside the vocabulary; a note tells of those that are not.

    Args:
        name: what notes call the model.
        generation: the settings of its generation config.
        configured: what its configurations name as `eos_token_id`, in the order in which they are asked.
        own: the tokenizer's own end.
        size: how many ids its logits range over.
    """
    places = [("generation config", generation.get("eos_token_id")), *(("config", named) for named in configured)]
    for place, named in places:
        if ids := _inside(name, f"eos_token_id of its {place}", named, size):
            return ids
    return _inside(name, "the tokenizer's eos_token", own, size)


def begin_of(name: str, generation: Mapping[str, Any], own: int | None, size: int) -> int | None:
    """The token that begins a text, if any: the tokenizer's `own`, or else the generation config's."""
    found = _inside(name, "the tokenizer's bos_token", own, size)
    if not found and own is None:
        found = _inside(name, "bos_token_id of its generation config", generation.get("bos_token_id"), size)
    return found[0] if found else None


def _inside(name: str, what: str, given: Any, size: int) -> tuple[int, ...]:
    """The ids of a setting that are tokens, each once."""
    ids = [] if given is None else list(given) if isinstance(given, list | tuple) else [given]
    good = [token for token in ids if isinstance(token, int) and not isinstance(token, bool) and 0 <= token < size]
    if outside := [token for token in ids if token not in good]:
        _note(f"{name}: {what} is {outside[0]!r:.40}, outside the vocabulary of {size}; it is left out")
    return tuple(dict.fromkeys(good))


def _note(message: str) -> None:
    warnings.warn(message, ModelNotice, stacklevel=4)
