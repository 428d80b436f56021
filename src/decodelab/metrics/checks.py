"""Validation of the input of metrics, with one-line errors."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from decodelab.core.errors import InvalidData, quoted

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def numbers(what: str, values: ArrayLike, *, ndim: int = 1) -> Floats:
    """Finite numbers as a float64 array, not empty.

    Raises:
        InvalidData: for NaN, infinities, text, nothing at all, or another number of dimensions.

    >>> numbers("score", [1, 0.5])
    array([1. , 0.5])
    """
    array = _floats(what, values)
    if array.ndim != ndim:
        raise InvalidData(f"{what} must have {ndim} dimension(s), got shape {array.shape}; reshape it")
    if array.size == 0:
        raise InvalidData(f"{what} must not be empty, got no values; give at least one")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise InvalidData(
            f"{what} must be finite, got {array.flat[bad[0]]} at position {bad[0]}; remove or fix that item"
        )
    return array


def confidences(what: str, values: ArrayLike) -> Floats:
    """Probabilities of being right, float64 [n] in [0, 1].

    Raises:
        InvalidData: if a value is outside, or as `numbers`.

    >>> confidences("confidence", [0.2, 1.2])
    Traceback (most recent call last):
    decodelab.core.errors.InvalidData: confidence must be in [0, 1], got 1.2 at position 1; divide percentages by 100
    """
    array = numbers(what, values)
    bad = np.flatnonzero((array < 0) | (array > 1))
    if bad.size:
        raise InvalidData(
            f"{what} must be in [0, 1], got {array[bad[0]]:g} at position {bad[0]}; divide percentages by 100"
        )
    return array


def outcomes(what: str, values: ArrayLike) -> Floats:
    """Right (1) or wrong (0), float64 [n]; booleans count too.

    Raises:
        InvalidData: for any other value, or as `numbers`.
    """
    array = numbers(what, values)
    bad = np.flatnonzero((array != 0) & (array != 1))
    if bad.size:
        raise InvalidData(
            f"{what} must be 0 or 1, got {array[bad[0]]:g} at position {bad[0]}; give 1 for each right item, else 0"
        )
    return array


def judged(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats]:
    """Confidences and outcomes of the same items, checked."""
    p, y = confidences("confidence", confidence), outcomes("correct", correct)
    same_length(confidence=p, correct=y)
    return p, y


def same_length(**arrays: Sequence[Any] | NDArray[Any]) -> int:
    """How long all of these are.

    Raises:
        InvalidData: if they differ.
    """
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise InvalidData(f"{', '.join(lengths)} need one value per item each, got {said}; give equal lengths")
    return next(iter(lengths.values()))


def distributions(what: str, values: ArrayLike) -> Floats:
    """Probability distributions over the last axis, float64 [..., outcomes].

    Raises:
        InvalidData: for NaN, negative entries, or a sum that is off 1 by more than 1e-4 (float32 rounding is less).
    """
    array = _floats(what, values)
    if array.ndim == 0 or array.shape[-1] == 0:
        raise InvalidData(f"{what} must have at least one outcome, got shape {array.shape}; give probabilities")
    if not bool(np.isfinite(array).all()) or bool((array < 0).any()):
        raise InvalidData(
            f"{what} must be probabilities, got negative or non-finite entries; check where they come from"
        )
    sums = array.sum(-1)
    worst = float(sums.flat[np.abs(sums - 1).argmax()])
    if abs(worst - 1) > 1e-4:
        raise InvalidData(f"{what} must sum to 1, got {worst:g}; normalise it, or use softmax if these are logits")
    return array


def cluster_ids(clusters: Sequence[Hashable] | NDArray[Any] | None, n: int) -> tuple[Ints, int]:
    """Clusters numbered from 0 in order of appearance, int64 [n], and how many; without any, each item is its own.

    Raises:
        InvalidData: if there is not one cluster an item.

    >>> cluster_ids(["b", "a", "b"], 3)
    (array([0, 1, 0]), 2)
    """
    if clusters is None:
        return np.arange(n), n
    if len(clusters) != n:
        raise InvalidData(f"clusters needs one value per item, got {len(clusters)} for {n}; name the cluster of each")
    seen: dict[Hashable, int] = {}
    ids = np.array([seen.setdefault(c, len(seen)) for c in clusters], dtype=np.int64)
    return ids, len(seen)


def token_sequences(what: str, sequences: Iterable[Sequence[Hashable]]) -> list[Sequence[Hashable]]:
    """Sequences of token ids or words, as metrics of tokens take them.

    Raises:
        InvalidData: for a text, whose characters would be taken for tokens, or a single sequence of ids.

    >>> token_sequences("distinct_n", ["the cat"])
    Traceback (most recent call last):
    decodelab.core.errors.InvalidData: distinct_n takes tokens or words, got the text 'the cat'; split it, for example
    with decodelab.core.words.words(text)
    """
    found: list[Any] = [sequences] if isinstance(sequences, str) else list(sequences)
    for sequence in found:
        if isinstance(sequence, str | bytes):
            raise InvalidData(
                f"{what} takes tokens or words, got the text {quoted(sequence)}; split it, for example with "
                "decodelab.core.words.words(text)"
            )
        if not isinstance(sequence, Sequence | np.ndarray) and not hasattr(sequence, "__getitem__"):
            raise InvalidData(
                f"{what} takes sequences of tokens or words, got {quoted(sequence)} in their place; "
                "give a list of sequences, for example [tokens]"
            )
    return found


def whole_texts(what: str, texts: Iterable[str]) -> list[str]:
    """Texts, as metrics of texts take them.

    Raises:
        InvalidData: for a single text in place of several, or tokens in place of a text.

    >>> whole_texts("self_bleu", [["the", "cat"]])
    Traceback (most recent call last):
    decodelab.core.errors.InvalidData: self_bleu takes texts, got a list; join its words
    """
    if isinstance(texts, str):
        raise InvalidData(f"{what} takes several texts, got the text {quoted(texts)}; give a list of texts")
    found = list(texts)
    for text in found:
        if not isinstance(text, str):
            raise InvalidData(f"{what} takes texts, got a {type(text).__name__}; join its words")
    return found


def in_unit(what: str, value: float) -> float:
    """A number strictly between 0 and 1.

    Raises:
        InvalidData: if it is not.
    """
    if not 0 < value < 1:
        raise InvalidData(f"{what} must be between 0 and 1, got {value}; 0.95 is usual for a level, 0.8 for a power")
    return float(value)


def at_least(what: str, value: int, least: int) -> int:
    """A whole number that is not too small.

    Raises:
        InvalidData: if it is.
    """
    if int(value) != value or value < least:
        raise InvalidData(f"{what} must be an integer, at least {least}, got {value}")
    return int(value)


def _floats(what: str, values: ArrayLike) -> Floats:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidData(f"{what} must be numbers, got something else; check the data") from None
