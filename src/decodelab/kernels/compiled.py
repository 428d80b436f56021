"""The compiled part of the fused chain: one row of logits, all its stages, in a few passes over the vocabulary.

Numba compiles this module when it is first imported, which nothing does before a large vocabulary asks for it; the
result is cached on disk. All of the compiled code is in this one file because numba's cache notices a change of the
file a function is in, and of no other.

How a stage is computed. The vocabulary is cut into blocks of 64 and the largest logit of each block is kept, so that a
pass can step over blocks that hold nothing it looks for. Sums over the distribution are float64, with an exponential
that the compiler can vectorise, as it does other loops over a slice (an index into the whole row it would have to check
for being negative). Where a stage needs the k-th largest or a quantile of mass, tokens are counted (or weighed) in a
histogram over their distance from a centre, whose bins are the leading bits of the float32 distance: fine near the
centre, coarse far away, whatever the scale of the logits. Only the one bin in which the target is crossed is looked at
again, bit by bit, and sorted when few are left. For a quantile of mass a sample first says between which distances it
lies; if the one pass that adds up what is nearer proves it right, only the tokens between them go through the
histogram. Nothing is approximate but float64 rounding.
"""

# pyright: reportReturnType=false, reportCallIssue=false
# Annotations say what a value means; numba has machine types of its own for it, and compiles by what it is called with.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from decodelab.kernels.codes import (
    DYNAMIC_TEMPERATURE,
    EPSILON,
    ETA,
    EXCLUDE_TOP,
    HUGE,
    MIN_P,
    MIROSTAT_1,
    MIROSTAT_2,
    P_LESS,
    SAME_DISTANCE,
    SAME_LOGPROB,
    SAME_MASS,
    TEMPERATURE,
    TOP_A,
    TOP_H,
    TOP_K,
    TOP_N_SIGMA,
    TOP_P,
    TYPICAL_P,
)

BLOCK = 64
BINS = 2048
NEGLIGIBLE = 1e-300
"""Mass, relative to that of the most probable token, that is as good as none."""
RUN = 16
"""The most blocks that one loop goes over: long enough to cost little to enter, short enough to add up well."""
FEW = 64
SAMPLED = 16
"""One block in this many makes up the sample."""

_NEGATIVE_INFINITY = np.float32(-np.inf)
_TINY = np.float32(np.finfo(np.float32).tiny)
_HUGE = np.float32(np.finfo(np.float32).max)
_LOWEST_KEY = np.int32(-(2**31))
_HIGHEST_KEY = np.int32(2**31 - 1)
_KEY_OF_INFINITY = np.int32(0x7F800000)
_KEY_OF_MINUS_INFINITY = np.int32(-0x7F800001)

_LOG2_E = 1.4426950408889634
_LARGEST = float(np.finfo(np.float64).max)
_LN_2 = float(np.log(2.0))
_ROUND = 1.5 * 2.0**52 + 1023.0
"""Adding this rounds to an integer and leaves it, biased as an exponent, in the lowest bits."""
_C0, _C1, _C2, _C3 = 1.0, 1.0000000000000064426, 0.4999999999999728707, 0.16666666666557741683
_C4, _C5, _C6 = 0.041666666668425982545, 0.0083333333846656435066, 0.0013888888499146062977
_C7, _C8, _C9 = 0.00019841171384383514167, 0.000024801917680289916537, 2.7639768199811331491e-6
_C10 = 2.7488446180355791523e-7
"""The polynomial of degree 10 that is nearest to e^r in relative error, 2e-16, for |r| <= log(2) / 2 (Remez)."""


def _compiled(*flags: str, entry: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function; an entry point is cached on disk where there is a place for it."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        options: dict[str, Any] = {"fastmath": set(flags), "nogil": True, "error_model": "numpy"}
        if not entry:
            return njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)(function)
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # neither the package's folder nor the user's cache can be written to
            return njit(**options)(function)

    return decorate


@_compiled("contract")
def _exp(x: float) -> float:
    """e^x for x <= 0 to 1e-14, without branches or table so that loops over it vectorise; below -708 as at -708."""
    x = max(x, -708.0)
    z = x * _LOG2_E + _ROUND
    k = z - _ROUND
    r = x - k * _LN_2
    p = _C10
    p = p * r + _C9
    p = p * r + _C8
    p = p * r + _C7
    p = p * r + _C6
    p = p * r + _C5
    p = p * r + _C4
    p = p * r + _C3
    p = p * r + _C2
    p = p * r + _C1
    p = p * r + _C0
    return p * np.int64(np.float64(z).view(np.int64) << np.int64(52)).view(np.float64)


@_compiled()
def _key(bits: int) -> int:
    """The bits of a float32 as an integer of the same order."""
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@_compiled()
def _float(key: int) -> float:
    """The float32 of a key."""
    return np.int32(_key(key)).view(np.float32)


@_compiled()
def _block_maxima(bits: Any, peaks: Any) -> bool:
    """Write the largest logit of each block of a row, given as int32; False when the row holds NaN or +inf.

    Integers order NaN too: above +inf or below -inf, by its sign.
    """
    lowest, highest = _HIGHEST_KEY, _LOWEST_KEY
    for b in range(len(peaks)):
        block = bits[b * BLOCK : b * BLOCK + BLOCK]
        low, high = _HIGHEST_KEY, _LOWEST_KEY
        for i in range(len(block)):
            key = _key(block[i])
            low, high = np.int32(min(low, key)), np.int32(max(high, key))
        peaks[b] = _float(high)
        lowest, highest = np.int32(min(lowest, low)), np.int32(max(highest, high))
    return lowest >= _KEY_OF_MINUS_INFINITY and highest < _KEY_OF_INFINITY


@_compiled()
def _largest(peaks: Any) -> float:
    """The largest logit."""
    top = _NEGATIVE_INFINITY
    for b in range(len(peaks)):
        top = max(top, peaks[b])
    return top


@_compiled("reassoc", "contract", "nsz")
def _block_mass(block: Any, top: float) -> float:
    """The sum of w = e^(x - top)."""
    mass = 0.0
    for i in range(len(block)):
        mass += _exp(np.float64(block[i]) - top)
    return mass


@_compiled("reassoc", "contract", "nsz")
def _block_moments(block: Any, top: float) -> tuple[float, float, float]:
    """The sums of w = e^(x - top), of w^2 and of w (top - x)."""
    mass, squares, spread = 0.0, 0.0, 0.0
    for i in range(len(block)):
        distance = max(np.float64(block[i]) - top, -709.0)
        weight = _exp(distance)
        mass += weight
        squares += weight * weight
        spread -= weight * distance
    return mass, squares, spread


@_compiled()
def _end_of_run(peaks: Any, b: int) -> int:
    """The end of the blocks that follow this one, it and they with tokens left, as far as they make one loop."""
    end = b + 1
    while end < len(peaks) and end < b + RUN and peaks[end] > _NEGATIVE_INFINITY:
        end += 1
    return end


@_compiled()
def _moments(row: Any, peaks: Any, top: float, only_mass: bool) -> tuple[float, float, float]:
    """Total mass and sum of squared masses relative to the largest logit, and the mean distance from it.

    The entropy is log(mass) + mean distance. If only the mass is asked for, the others are 0.
    """
    mass, squares, spread, b = 0.0, 0.0, 0.0, 0
    while b < len(peaks):
        if peaks[b] == _NEGATIVE_INFINITY:
            b += 1
            continue
        end = _end_of_run(peaks, b)
        if only_mass:
            mass += _block_mass(row[b * BLOCK : end * BLOCK], np.float64(top))
        else:
            m, q, s = _block_moments(row[b * BLOCK : end * BLOCK], np.float64(top))
            mass += m
            squares += q
            spread += s
        b = end
    return mass, squares, spread / mass


@_compiled("reassoc", "contract", "nsz")
def _block_sums(block: Any, top: float, mean: float) -> tuple[float, float, float]:
    """Of what is left: the number, the sum of top - x - mean, and the sum of its squares."""
    count, total, squares = 0.0, 0.0, 0.0
    for i in range(len(block)):
        left = block[i] > _NEGATIVE_INFINITY
        off = top - np.float64(block[i]) - mean if left else 0.0
        count += 1.0 if left else 0.0
        total += off
        squares += off * off
    return count, total, squares


@_compiled()
def _spread(row: Any, peaks: Any, top: float) -> tuple[float, float]:
    """How many tokens are left, and the standard deviation of their logits."""
    count, mean, squares = 0.0, 0.0, 0.0
    for _ in range(2):
        count, total, squares = 0.0, 0.0, 0.0
        for b in range(len(peaks)):
            if peaks[b] > _NEGATIVE_INFINITY:
                c, t, q = _block_sums(row[b * BLOCK : b * BLOCK + BLOCK], np.float64(top), mean)
                count += c
                total += t
                squares += q
        mean += total / count
    return count, np.sqrt(squares / count)


@_compiled()
def _sort(keys: Any, values: Any) -> None:
    """Sort by key and carry the values along (Shell's sort: it is called for a few, and must survive many)."""
    n = len(keys)
    gap = 1
    while gap < n // 3:
        gap = 3 * gap + 1
    while gap >= 1:
        for i in range(gap, n):
            key, value, j = keys[i], values[i], i
            while j >= gap and keys[j - gap] > key:
                keys[j], values[j] = keys[j - gap], values[j - gap]
                j -= gap
            keys[j], values[j] = key, value
        gap //= 3


@_compiled()
def _distance_bits(x: float, centre: float) -> int:
    """The bits of the float32 distance from the centre, an integer that grows with the distance."""
    return np.int64(np.float32(abs(np.float64(x) - centre)).view(np.int32))


@_compiled()
def _weigh(block: Any, top: float, by_mass: bool, weights: Any) -> None:
    """Write the relative probabilities of tokens, or 1 for each that is left."""
    weights = weights[: len(block)]
    if by_mass:
        for i in range(len(block)):
            weights[i] = _exp(np.float64(block[i]) - top)
    else:
        for i in range(len(block)):
            weights[i] = 1.0 if block[i] > _NEGATIVE_INFINITY else 0.0


@_compiled()
def _bin(x: float, centre: float, shift: int) -> int:
    """Eleven bits of the distance, from this one on."""
    return (_distance_bits(x, centre) >> shift) & (BINS - 1)


@_compiled()
def _add_to_bins(block: Any, centre: float, shift: int, weights: Any, hist: Any) -> None:
    """Add weights to the bins of the distances.

    Each bin is four sums, and each of the four has an instruction of its own: an addition then waits for none but the
    fourth before it, even if all are to one bin.
    """
    whole = len(block) // 4 * 4
    for i in range(0, whole, 4):
        hist[_bin(block[i], centre, shift), 0] += weights[i]
        hist[_bin(block[i + 1], centre, shift), 1] += weights[i + 1]
        hist[_bin(block[i + 2], centre, shift), 2] += weights[i + 2]
        hist[_bin(block[i + 3], centre, shift), 3] += weights[i + 3]
    for i in range(whole, len(block)):
        hist[_bin(block[i], centre, shift), 0] += weights[i]


@_compiled()
def _all_equal(values: Any) -> bool:
    """Whether all values are the same."""
    for j in range(1, len(values)):  # noqa: SIM110  (numba has no generator expressions)
        if values[j] != values[0]:
            return False
    return True


@_compiled()
def _zero(hist: Any) -> None:
    """Clear the histograms."""
    for b in range(BINS):
        for i in range(4):
            hist[b, i] = 0.0


@_compiled()
def _first_bin(hist: Any, target: float) -> tuple[int, float]:
    """The bin in which the running sum reaches the target, and the sum before it; -1 if none does."""
    before = 0.0
    for b in range(BINS):
        here = hist[b, 0] + hist[b, 1] + hist[b, 2] + hist[b, 3]
        if before + here >= target:
            return b, before
        before += here
    return -1, before


@_compiled()
def _fill_bins(tokens: Any, top: float, centre: float, shift: int, by_mass: bool, hist: Any) -> None:
    """Weigh the bins of tokens: of a row, or of a list. Those of -inf weigh nothing."""
    weights = np.empty(BLOCK)
    _zero(hist)
    for first in range(0, len(tokens), BLOCK):
        block = tokens[first : first + BLOCK]
        _weigh(block, np.float64(top), by_mass, weights)
        _add_to_bins(block, centre, shift, weights, hist)


@_compiled()
def _hair_wider(centre: float, near: float, far: float) -> tuple[float, float, float]:
    """Centre and distances from it in float32, a hair wider than they are in float64."""
    middle = np.float32(centre)
    off = abs(np.float64(middle) - centre)
    return middle, np.float32(near * (1.0 - 1e-6) - off), np.float32(min(far * (1.0 + 1e-6) + off, _LARGEST))


@_compiled()
def _gather_bin(row: Any, peaks: Any, centre: float, found: int, values: Any, ids: Any) -> int:
    """List the tokens of one bin, and say how many there are."""
    # First, without a branch and in float32, all that might be in it.
    low, high = np.int32(found << 20).view(np.float32), np.int32(min((found + 1) << 20, 0x7F800000)).view(np.float32)
    middle, near, far = _hair_wider(centre, np.float64(low), np.float64(high))
    candidates = 0
    for b in range(len(peaks)):
        if middle - peaks[b] <= far and peaks[b] > _NEGATIVE_INFINITY:
            block = row[b * BLOCK : b * BLOCK + BLOCK]
            first = b * BLOCK
            for i in range(len(block)):
                ids[candidates] = first + i
                distance = abs(block[i] - middle)
                candidates += np.int64((distance >= near) & (distance <= far))
    members = 0
    for j in range(candidates):
        x = row[ids[j]]
        values[members], ids[members] = x, ids[j]
        members += np.int64(_bin(x, centre, 20) == found) & np.int64(x > _NEGATIVE_INFINITY)
    return members


@_compiled()
def _measure(block: Any, centre: float, distances: Any) -> None:
    """Write the distances of tokens from the centre."""
    distances = distances[: len(block)]
    for i in range(len(block)):
        distances[i] = abs(np.float64(block[i]) - centre)


@_compiled("reassoc", "contract", "nsz")
def _block_nearer(block: Any, top: float, centre: float, near: float) -> tuple[float, float]:
    """The masses of all tokens, and of those nearer to the centre than `near`."""
    mass, nearer = 0.0, 0.0
    for i in range(len(block)):
        weight = _exp(np.float64(block[i]) - top)
        mass += weight
        nearer += weight if abs(np.float64(block[i]) - centre) < near else 0.0
    return mass, nearer


@_compiled()
def _mark(block: Any, middle: float, near: float, far: float, marks: Any) -> None:
    """Mark the tokens at a distance from `near` to `far`, all in float32."""
    marks = marks[: len(block)]
    for i in range(len(block)):
        distance = abs(block[i] - middle)
        marks[i] = np.uint8((distance >= near) & (distance <= far))


@_compiled("reassoc", "contract", "nsz", "nnan")
def _extent(distances: Any, weights: Any) -> tuple[float, float, float, float]:
    """The least and the largest distance; the sums of the weights and of their squares."""
    low, high, mass, squares = _LARGEST, 0.0, 0.0, 0.0
    weights = weights[: len(distances)]
    for j in range(len(distances)):
        low = distances[j] if distances[j] < low else low
        high = distances[j] if distances[j] > high else high
        mass += weights[j]
        squares += weights[j] * weights[j]
    return low, high, mass, squares


@_compiled()
def _bracket(row: Any, peaks: Any, top: float, centre: float, share: float, hist: Any) -> tuple[float, float]:
    """Two distances from the centre between which, by a sample, the mass within reaches its share.

    The sample is one block of many; the distances are four standard errors to either side. (0, 0) if
    it tells too little: more than a 16th of the tokens lie between.
    """
    distances, weights, size = np.empty(len(row) // SAMPLED + BLOCK), np.empty(len(row) // SAMPLED + BLOCK), 0
    for b in range(SAMPLED // 2, len(peaks), SAMPLED):
        if peaks[b] > _NEGATIVE_INFINITY:
            block = row[b * BLOCK : b * BLOCK + BLOCK]
            _weigh(block, np.float64(top), True, weights[size:])
            _measure(block, centre, distances[size:])
            size += len(block)
    low, high, mass, squares = _extent(distances[:size], weights[:size])
    if high > _LARGEST:  # some are removed
        whole, size = size, 0
        for j in range(whole):
            distances[size], weights[size] = distances[j], weights[j]
            size += np.int64(distances[j] <= _LARGEST)
        low, high, mass, squares = _extent(distances[:size], weights[:size])
    if not 1e-300 < high - low < _LARGEST or mass < NEGLIGIBLE:
        return 0.0, 0.0
    step = (high - low) / (BINS - 2)
    bins_a_nat = 1.0 / step
    for i in range(BINS):
        hist[i, 0] = 0.0
    for j in range(size):
        hist[np.int64((distances[j] - low) * bins_a_nat), 0] += weights[j]
    error = 4.0 * np.sqrt(share * (1.0 - share) * squares)
    near, far, running, between = 0.0, _LARGEST, 0.0, 0
    for i in range(BINS):
        if running <= share * mass - error:
            near = low + i * step
        running += hist[i, 0]
        if running >= share * mass + error:
            far = low + (i + 1) * step
            break
    for j in range(size):
        between += distances[j] >= near and distances[j] <= far
    return (near, far) if 16 * between < size else (0.0, 0.0)


@_compiled()
def _list_between(
    row: Any, peaks: Any, top: float, centre: float, near: float, far: float, values: Any, ids: Any
) -> tuple[float, float, float, int]:
    """List the tokens between two distances: the masses of all, of those nearer and of the listed, and their number."""
    mass, nearer, inside, members = 0.0, 0.0, 0.0, 0
    marks = np.zeros(BLOCK, np.uint8)
    eights = marks.view(np.int64)  # most hold no token that is looked for
    middle, near_32, far_32 = _hair_wider(centre, near, far)
    b = 0
    while b < len(peaks):
        end = _end_of_run(peaks, b)
        if peaks[b] > _NEGATIVE_INFINITY:
            m, n = _block_nearer(row[b * BLOCK : end * BLOCK], np.float64(top), centre, near)
            mass += m
            nearer += n
        b = end
    for b in range(len(peaks)):
        if peaks[b] > _NEGATIVE_INFINITY:
            block, first = row[b * BLOCK : b * BLOCK + BLOCK], b * BLOCK
            if len(block) < BLOCK:
                marks[:] = 0
            _mark(block, middle, near_32, far_32, marks)
            for e in range(BLOCK // 8):
                if eights[e] != 0:
                    for i in range(8 * e, 8 * e + 8):
                        if marks[i] != 0 and near <= abs(np.float64(block[i]) - centre) <= far:
                            values[members], ids[members] = block[i], first + i
                            members += 1
    for j in range(members):
        inside += _exp(np.float64(values[j]) - top)
    return mass, nearer, inside, members


@_compiled()
def _crossing(
    row: Any, peaks: Any, top: float, centre: float, share: float, mass: float, by_mass: bool,
    reach: float, hist: Any, values: Any, ids: Any,
) -> tuple[bool, float, int]:  # fmt: skip
    """Where the tokens, by distance from the centre, first weigh the target.

    Args:
        row, peaks: logits and the largest of each block.
        top: the largest logit; a token weighs e^(x - top) if `by_mass`, else 1.
        centre: distances are |x - centre|.
        share, mass: the sum of weights to reach is share * mass; 0 stands for the mass of the whole distribution, if
            not known.
        reach: a first guess of a distance within which it is reached: while few tokens are, no others are looked at.
        hist, values, ids: memory to work in.

    Returns:
        Whether the target is reached at all, the logit of the token that reaches it, and, of the tokens of
        this very logit, the id of the last that is needed if they are taken by id.
    """
    target, before, members, shift = share * mass, 0.0, 0, 20
    while True:
        near, weight = 0, 0.0
        for b in range(len(peaks)):
            near += peaks[b] >= centre - reach
        if 4 * near > 3 * len(peaks):
            break
        if mass == 0.0:
            mass, _, _ = _moments(row, peaks, top, True)
            target = share * mass
        least = np.nextafter(np.float32(centre - reach), _NEGATIVE_INFINITY)
        for b in range(len(peaks)):
            if peaks[b] >= least and peaks[b] > _NEGATIVE_INFINITY:
                block = row[b * BLOCK : b * BLOCK + BLOCK]
                for i in range(len(block)):
                    if block[i] >= least and abs(np.float64(block[i]) - centre) <= reach:
                        values[members], ids[members] = block[i], b * BLOCK + i
                        members += 1
                        weight += _exp(np.float64(block[i]) - top) if by_mass else 1.0
        if weight >= target:
            break
        members = 0
        reach *= 2.0

    if members == 0 and by_mass and len(peaks) > SAMPLED:
        near_edge, far_edge = _bracket(row, peaks, top, centre, share, hist)
        if far_edge > 0.0:
            whole, nearer, inside, members = _list_between(row, peaks, top, centre, near_edge, far_edge, values, ids)
            goal = target if mass > 0.0 else share * whole
            if nearer < goal and nearer + inside >= goal:
                before, target, mass = nearer, goal, whole if mass == 0.0 else mass
            else:  # one sample in thousands is that far off
                members = 0

    listed = members > 0
    while not listed or (members > FEW and shift >= 0 and not _all_equal(values[:members])):
        _fill_bins(values[:members] if listed else row, top, centre, shift, by_mass, hist)
        if mass == 0.0:
            for b in range(BINS):
                mass += hist[b, 0] + hist[b, 1] + hist[b, 2] + hist[b, 3]
            target = share * mass
        found, inside = _first_bin(hist, target - before)
        if found < 0:
            # Not reached by all tokens; or, of a list, not by rounding: its bins sum to a little less than it did.
            if not listed:
                return False, top, 0
            break
        before += inside
        if listed:
            kept = 0
            for j in range(members):
                values[kept], ids[kept] = values[j], ids[j]
                kept += _bin(values[j], centre, shift) == found
            members = kept
        else:
            members = _gather_bin(row, peaks, centre, found, values, ids)
            listed = True
        shift = 9 if shift == 20 else 0 if shift == 9 else -1

    if _all_equal(values[:members]):
        # Too many to add up one by one, as when all logits are equal.
        weight = _exp(np.float64(values[0]) - top) if by_mass else 1.0
        needed = min(max(np.int64(np.ceil((target - before) / weight)), 1), members)
        return True, values[0], ids[needed - 1]

    keys, sorted_values = np.empty(members), np.empty(members, np.float32)
    for j in range(members):
        sorted_values[j] = values[j]
        keys[j] = abs(np.float64(values[j]) - centre)
        if centre >= top:
            keys[j] = -np.float64(values[j])
    _sort(keys, sorted_values)
    at, below = 0, before
    for j in range(members):
        if j > 0 and keys[j] > keys[j - 1]:
            below = before
        at = j
        before += _exp(np.float64(sorted_values[j]) - top) if by_mass else 1.0
        if before >= target:
            break
    reached = sorted_values[at]
    weight = _exp(np.float64(reached) - top) if by_mass else 1.0
    last_id = ids[members - 1]
    for j in range(members):
        if values[j] == reached:
            below += weight
            last_id = ids[j]
            if below >= target:
                break
    return True, reached, last_id


@_compiled()
def _clear(block: Any) -> None:
    """Remove a block."""
    for i in range(len(block)):
        block[i] = _NEGATIVE_INFINITY


@_compiled()
def _peak(block: Any) -> float:
    """The largest logit of a block."""
    peak = _NEGATIVE_INFINITY
    for i in range(len(block)):
        peak = max(peak, block[i])
    return peak


@_compiled()
def _copy(block: Any, out: Any) -> None:
    """Copy a block."""
    for i in range(len(block)):
        out[i] = block[i]


@_compiled()
def _keep(block: Any, low: float, high: float) -> None:
    """Keep the logits from `low` to `high`."""
    for i in range(len(block)):
        block[i] = block[i] if block[i] >= low and block[i] <= high else _NEGATIVE_INFINITY


@_compiled()
def _cut(row: Any, out: Any, peaks: Any, fresh: bool, low: float, high: float, last_id: int) -> None:
    """Keep the logits from `low` to `high`, but of those equal to `low` only the ones up to `last_id`.

    Where `out` has been written before, it is `row`, and a block without a peak is removed already.
    """
    for b in range(len(peaks)):
        first = b * BLOCK
        to = out[first : first + BLOCK]
        if peaks[b] < low or peaks[b] == _NEGATIVE_INFINITY:
            if fresh or peaks[b] > _NEGATIVE_INFINITY:
                _clear(to)
            peaks[b] = _NEGATIVE_INFINITY
            continue
        if fresh:
            _copy(row[first : first + BLOCK], to)
        _keep(to, low, high)
        if first + len(to) > last_id + 1:
            rest = to[max(0, last_id + 1 - first) :]
            for i in range(len(rest)):
                rest[i] = rest[i] if rest[i] != low else _NEGATIVE_INFINITY
        if peaks[b] == low or peaks[b] > high:
            peaks[b] = _peak(to)


@_compiled()
def _exclude_top(row: Any, out: Any, peaks: Any, fresh: bool, least: float) -> bool:
    """Remove all tokens of at least this logit but the last of the lowest among them; NaN removes nothing."""
    low, kept = np.float32(np.inf), -1
    for b in range(len(peaks)):
        if peaks[b] >= least and peaks[b] > _NEGATIVE_INFINITY:
            block = row[b * BLOCK : b * BLOCK + BLOCK]
            for i in range(len(block)):
                if block[i] >= least and block[i] <= low and block[i] > _NEGATIVE_INFINITY:
                    low, kept = block[i], b * BLOCK + i
    if kept < 0:
        return False
    for b in range(len(peaks)):
        block, to = row[b * BLOCK : b * BLOCK + BLOCK], out[b * BLOCK : b * BLOCK + BLOCK]
        if fresh:
            _copy(block, to)
        if peaks[b] >= low:
            for i in range(len(to)):
                if to[i] >= low and b * BLOCK + i != kept:
                    to[i] = _NEGATIVE_INFINITY
            peaks[b] = _peak(to)
    return True


@_compiled()
def _float32_at_least(x: float) -> float:
    """The smallest float32 that is not below x."""
    y = np.float32(x)
    return np.nextafter(y, np.float32(np.inf)) if np.float64(y) < x else y


@_compiled()
def _edge(centre: float, distance: float, sign: float) -> float:
    """The float32 furthest from the centre on one side that is within the distance."""
    y = np.float32(centre + sign * distance)
    outwards, inwards = np.float32(sign * np.inf), np.float32(-sign * np.inf)
    while abs(np.float64(y) - centre) > distance:
        y = np.nextafter(y, inwards)
    while abs(np.float64(np.nextafter(y, outwards)) - centre) <= distance:
        y = np.nextafter(y, outwards)
    return y


@_compiled()
def _scale(row: Any, out: Any, peaks: Any, fresh: bool, top: float, temperature: float, single: bool) -> None:
    """(x - top) / temperature, in single precision or double; what is finite stays so."""
    divisor = np.float32(temperature)
    for b in range(len(peaks)):
        block, to = row[b * BLOCK : b * BLOCK + BLOCK], out[b * BLOCK : b * BLOCK + BLOCK]
        if peaks[b] == _NEGATIVE_INFINITY:
            if fresh:
                _clear(to)
            continue
        if fresh:
            _copy(block, to)
        if single:
            for i in range(len(to)):
                least = to[i] if to[i] == _NEGATIVE_INFINITY else -_HUGE
                to[i] = max((to[i] - top) / divisor, least)
            peaks[b] = max((peaks[b] - top) / divisor, -_HUGE)
        else:
            for i in range(len(to)):
                least = to[i] if to[i] == _NEGATIVE_INFINITY else -_HUGE
                to[i] = max(np.float32((np.float64(to[i]) - np.float64(top)) / temperature), least)
            peaks[b] = max(np.float32((np.float64(peaks[b]) - np.float64(top)) / temperature), -_HUGE)


@_compiled()
def _reach_of(peaks: Any, top: float, k: int) -> float:
    """A distance within which at least k tokens lie, judged by the largest of each block; inf if unknown."""
    if k > len(peaks) // 2:
        return np.inf
    low, high = 0.0, 0.0
    for b in range(len(peaks)):
        if peaks[b] > _NEGATIVE_INFINITY:
            high = max(high, np.float64(top) - peaks[b])
    reach = np.inf
    for _ in range(12):
        count, middle = 0, 0.5 * (low + high)
        for b in range(len(peaks)):
            count += np.float64(top) - peaks[b] <= middle
        if count >= k:
            reach = high = middle
        else:
            low = middle
    return reach


@_compiled()
def _leaders(row: Any, peaks: Any, low: float, last_id: int, values: Any) -> Any:
    """The logits above `low`, and of those equal to it the ones up to `last_id`, in descending order."""
    count = 0
    for b in range(len(peaks)):
        if peaks[b] >= low and peaks[b] > _NEGATIVE_INFINITY:
            block = row[b * BLOCK : b * BLOCK + BLOCK]
            for i in range(len(block)):
                if block[i] > low or (block[i] == low and b * BLOCK + i <= last_id):
                    values[count] = block[i]
                    count += 1
    leaders, keys = np.empty(count, np.float32), np.empty(count)
    for j in range(count):
        leaders[j], keys[j] = values[j], -np.float64(values[j])
    _sort(keys, leaders)
    return leaders


@_compiled()
def _nth_equal(row: Any, value: float, n: int) -> int:
    """The id of the n-th token of this logit."""
    for i in range(len(row)):
        n -= row[i] == value
        if n == 0:
            return i
    return len(row)


@_compiled()
def _count_equal(leaders: Any, first: int, value: float) -> int:
    """How many of the first leaders have this logit."""
    count = 0
    for j in range(first):
        count += leaders[j] == value
    return count


@_compiled()
def _entropy_rank(leaders: Any, share: float) -> int:
    """How many leaders top-H keeps: while their part of the entropy is at most a share of the whole."""
    top, mass = np.float64(leaders[0]), 0.0
    for j in range(len(leaders)):
        mass += _exp(np.float64(leaders[j]) - top)
    entropy = np.empty(len(leaders))
    running = 0.0
    for j in range(len(leaders)):
        p = _exp(np.float64(leaders[j]) - top) / mass
        running += -p * np.log(p) if p > NEGLIGIBLE else 0.0
        entropy[j] = running
    kept = 1
    while kept < len(leaders) and entropy[kept] <= share * running:
        kept += 1
    return kept


@_compiled()
def _zipf_rank(leaders: Any, mu: float, size: int) -> int:
    """Mirostat's k: the Zipf exponent of the leading logits, then the rank at which it surprises by mu."""
    upper, lower = 0.0, 0.0
    for j in range(len(leaders) - 1):
        t = np.log((j + 2.0) / (j + 1.0))
        upper += t * (np.float64(leaders[j]) - np.float64(leaders[j + 1]))
        lower += t * t
    exponent = upper / max(lower, 2.2250738585072014e-308)
    epsilon = exponent - 1.0
    ratio = 1.0 / np.log(max(size, 2)) if epsilon == 0.0 else epsilon / -np.expm1(-epsilon * np.log(size))
    k = np.exp((mu * _LN_2 + np.log(ratio)) / exponent)
    return size if np.isnan(k) else np.int64(min(max(k, 1.0), np.float64(size)))


@_compiled()
def _least(code: int, number: float, mass: float, squares: float, mean_distance: float) -> float:
    """The smallest logit, relative to the largest, that a stage with a threshold on probability keeps."""
    if code in (EPSILON, EXCLUDE_TOP):
        return np.log(number * mass)
    if code == ETA:
        return np.log(min(number, np.sqrt(number) / mass * np.exp(-mean_distance)) * mass)
    if code == TOP_A:
        return np.log(number / mass)
    if code == P_LESS:
        return np.log(squares / mass)
    return np.log(mass) - number * _LN_2  # MIROSTAT_2


@_compiled()
def _stage(
    code: int, numbers: Any, row: Any, out: Any, peaks: Any, fresh: bool, hist: Any, values: Any, ids: Any
) -> tuple[bool, float]:
    """One stage from `row` to `out`, the same but while `fresh`.

    False if nothing changes and nothing was written; and the mass of the row relative to its largest logit, 0 where the
    stage had no need of it.

    Each of the larger functions is called from one place, which keeps the time to compile down.
    """
    top, size, number = _largest(peaks), len(row), numbers[0]
    mass, squares, mean_distance, count, deviation = 0.0, 0.0, 0.0, 0.0, 0.0
    if code not in (TEMPERATURE, MIN_P, TOP_N_SIGMA, TOP_P, TOP_K, TOP_H, MIROSTAT_1):
        mass, squares, mean_distance = _moments(row, peaks, top, code in (MIROSTAT_2, TOP_A, EPSILON, EXCLUDE_TOP))
    if code in (TOP_N_SIGMA, DYNAMIC_TEMPERATURE):
        count, deviation = _spread(row, peaks, top)

    if code in (TEMPERATURE, DYNAMIC_TEMPERATURE):
        temperature = number
        if code == DYNAMIC_TEMPERATURE:
            low_end, high_end = max(0.0, numbers[2] - number), min(numbers[2] + number, _LARGEST)
            entropy = np.log(mass) + mean_distance
            if entropy < 1e-260:  # all that the smallest weights can sum to, at distances of 1e38
                entropy = 0.0
            relative = min(entropy / np.log(max(count, 2.0)), 1.0)
            temperature = low_end + (high_end - low_end) * relative ** numbers[1]
        if temperature == 0.0:
            _cut(row, out, peaks, fresh, top, top, _nth_equal(row, top, 1))
            row, fresh, temperature = out, False, 1.0
        single = code == TEMPERATURE and _TINY <= temperature <= _HUGE and (temperature <= 1.0 or top < HUGE)
        _scale(row, out, peaks, fresh, top, temperature, single)
        return True, mass

    if code == EXCLUDE_TOP:
        # Compared before the largest logit is added, beside which a small difference may vanish.
        relative = _least(code, number, mass, squares, 0.0)
        if not relative <= SAME_LOGPROB:
            return False, mass
        return _exclude_top(row, out, peaks, fresh, np.float64(top) + min(relative, 0.0)), mass

    low, high, last_id = top, top, size
    if code == MIN_P:
        low = np.float32(top + np.float32(np.log(number)))
    elif code == TOP_N_SIGMA:
        low = min(top, _float32_at_least(np.float64(top) - number * deviation))
    elif code in (TOP_K, TOP_P, TYPICAL_P, TOP_H, MIROSTAT_1):
        # Typical: the logit whose surprise is the entropy.
        centre = np.float64(top) - mean_distance if code == TYPICAL_P else np.float64(top)
        by_mass = code in (TOP_P, TYPICAL_P)
        share = numbers[1] if code in (TOP_H, MIROSTAT_1) else number
        if code == TOP_P:
            share = number * (1.0 - SAME_MASS)
        if not by_mass:
            mass = 1.0
        while True:
            reach = 2.0 if by_mass else _reach_of(peaks, top, share)
            found, low, last_id = _crossing(row, peaks, top, centre, share, mass, by_mass, reach, hist, values, ids)
            if code in (TOP_H, MIROSTAT_1):
                leaders = _leaders(row, peaks, low if found else -_HUGE, last_id if found else size, values)
                if code == MIROSTAT_1:
                    code, share = TOP_K, np.float64(_zipf_rank(leaders, number, size))
                    continue
                kept = _entropy_rank(leaders, number)
                low, found = leaders[kept - 1], True
                last_id = _nth_equal(row, low, _count_equal(leaders, kept, low))
            break
        if not found:
            return False, 0.0
        if code == TYPICAL_P:
            distance = abs(np.float64(low) - centre) + SAME_DISTANCE
            low, high = _edge(centre, distance, -1.0), _edge(centre, distance, 1.0)
        if code in (TYPICAL_P, TOP_K):
            last_id = size
    else:
        # Less a rounding error: a probability that float64 cannot tell from the border reaches it.
        relative = _least(code, number, mass, squares, mean_distance) - SAME_LOGPROB
        if relative <= 0.0:
            low = _float32_at_least(np.float64(top) + relative)
        elif code == MIROSTAT_2:
            last_id = _nth_equal(row, top, 1)
    _cut(row, out, peaks, fresh, low, high, last_id)
    return True, mass if code in (MIROSTAT_2, TYPICAL_P, TOP_A, EPSILON, ETA, P_LESS) else 0.0


@_compiled(entry=True)
def run_chain(
    logits: Any, bits: Any, codes: Any, numbers: Any, values: Any, ids: Any, out: Any, normalisers: Any
) -> int:
    """Put every row of logits through the stages.

    Args:
        logits, bits: float32 [rows, vocab], and the same memory as int32.
        codes: int64 [stages], the codes of `decodelab.kernels.fused`.
        numbers: float64 [stages, rows, NUMBERS].
        values, ids: float32 and int32 [vocab + 1], memory to work in.
        out: float32 [rows, vocab], written; -inf is removed.
        normalisers: float64 [rows], written where the first stage needed them: the log of the sum of e^logit.

    Returns:
        -1, or the first row that holds NaN or +inf.
    """
    rows, size = logits.shape
    peaks = np.empty((size + BLOCK - 1) // BLOCK, np.float32)
    hist = np.empty((BINS, 4))
    for r in range(rows):
        row, fresh = logits[r], True
        if not _block_maxima(bits[r], peaks):
            return r
        for s in range(len(codes)):
            if _largest(peaks) == _NEGATIVE_INFINITY:
                break
            top = np.float64(_largest(peaks))
            changed, mass = _stage(codes[s], numbers[s, r], row, out[r], peaks, fresh, hist, values, ids)
            if s == 0 and mass > 0.0:
                normalisers[r] = top + np.log(mass)
            if changed:
                row, fresh = out[r], False
        if fresh:
            for i in range(size):
                out[r, i] = row[i]
    return -1


@_compiled(entry=True)
def run_draw(logits: Any, bits: Any, uniform: Any, tokens: Any) -> int:
    """Draw a token a row by inverting the cumulative distribution over ids.

    Args:
        logits, bits: float32 [rows, vocab], and the same memory as int32.
        uniform: float64 [rows] in (0, 1).
        tokens: int64 [rows], written.

    Returns:
        -1, or the first row that holds NaN or +inf or nothing but -inf.
    """
    rows, size = logits.shape
    peaks = np.empty((size + BLOCK - 1) // BLOCK, np.float32)
    firsts, masses = np.empty(len(peaks), np.int64), np.empty(len(peaks))
    for r in range(rows):
        row = logits[r]
        if not _block_maxima(bits[r], peaks):
            return r
        top = _largest(peaks)
        if top == _NEGATIVE_INFINITY:
            return r
        total, runs, b = 0.0, 0, 0
        while b < len(peaks):
            if peaks[b] == _NEGATIVE_INFINITY:
                b += 1
                continue
            end = _end_of_run(peaks, b)
            mass = _block_mass(row[b * BLOCK : end * BLOCK], np.float64(top))
            if mass > NEGLIGIBLE:
                firsts[runs], masses[runs] = b * BLOCK, mass
                total += mass
                runs += 1
            b = end
        target, before, at = uniform[r] * total, 0.0, 0
        while at < runs - 1 and before + masses[at] <= target:
            before += masses[at]
            at += 1
        # Where rounding leaves the target uncovered, the last token that can be drawn is.
        for i in range(firsts[at], min(firsts[at] + RUN * BLOCK, size)):
            weight = _exp(np.float64(row[i]) - top)
            if weight > NEGLIGIBLE:
                tokens[r] = i
                before += weight
                if before > target:
                    break
    return -1


@_compiled(entry=True)
def run_normaliser(logits: Any, bits: Any, out: Any) -> None:
    """Write the log of the sum of e^logit over each row.

    Args:
        logits, bits: float32 [rows, vocab], and the same memory as int32.
        out: float64 [rows], written; NaN and infinities as torch's logsumexp has them.
    """
    rows, size = logits.shape
    peaks = np.empty((size + BLOCK - 1) // BLOCK, np.float32)
    for r in range(rows):
        row = logits[r]
        ordinary = _block_maxima(bits[r], peaks)
        top = np.float64(_largest(peaks))
        if ordinary and top > -np.inf:
            mass, _, _ = _moments(row, peaks, top, True)
            out[r] = top + np.log(mass)
        else:
            out[r] = top
            for i in range(size):
                if np.isnan(row[i]):
                    out[r] = np.nan


@_compiled()
def _goes_first(values: Any, ids: Any, a: int, b: int) -> bool:
    """Whether entry a of a heap is to leave it before entry b: the smaller, and of equals the one of higher id."""
    return values[a] < values[b] or (values[a] == values[b] and ids[a] > ids[b])


@_compiled()
def _sink(values: Any, ids: Any, at: int) -> None:
    """Restore the heap below an entry."""
    size = len(values)
    while True:
        first = at
        for child in (2 * at + 1, 2 * at + 2):
            if child < size and _goes_first(values, ids, child, first):
                first = child
        if first == at:
            return
        values[at], values[first] = values[first], values[at]
        ids[at], ids[first] = ids[first], ids[at]
        at = first


@_compiled()
def _least_of_best(values: Any, k: int, best: Any, ids: Any) -> float:
    """The k-th largest value, by a heap in the memory of `best` and `ids`."""
    for i in range(k):
        best[i], ids[i] = values[i], i
    for i in range(k // 2 - 1, -1, -1):
        _sink(best, ids, i)
    for i in range(k, len(values)):
        if values[i] > best[0]:
            best[0], ids[0] = values[i], i
            _sink(best, ids, 0)
    return best[0]


@_compiled(entry=True)
def run_top(logits: Any, bits: Any, out: Any) -> None:
    """Write the ids of the largest logits of each row, ascending; of equals those of lowest id.

    As many blocks as tokens are wanted have a token that is no less than the k-th largest of all blocks' largest: only
    blocks that reach it are looked at, and what reaches it goes through a heap of the best so far.

    Args:
        logits, bits: float32 [rows, vocab] without NaN, and the same memory as int32.
        out: int64 [rows, k], written; k is from 1 to vocab.
    """
    rows, size = logits.shape
    k = out.shape[1]
    best, peaks = np.empty(k, np.float32), np.empty((size + BLOCK - 1) // BLOCK, np.float32)
    for r in range(rows):
        row, ids = logits[r], out[r]
        if k > len(peaks):
            _least_of_best(row, k, best, ids)
        else:
            _block_maxima(bits[r], peaks)
            bound = _least_of_best(peaks, k, best, ids)
            filled = 0
            for b in range(len(peaks)):
                if peaks[b] < bound:
                    continue
                block = row[b * BLOCK : b * BLOCK + BLOCK]
                for i in range(len(block)):
                    if block[i] < bound:
                        continue
                    if filled < k:
                        best[filled], ids[filled] = block[i], b * BLOCK + i
                        filled += 1
                        if filled == k:
                            for j in range(k // 2 - 1, -1, -1):
                                _sink(best, ids, j)
                    elif block[i] > best[0]:
                        best[0], ids[0] = block[i], b * BLOCK + i
                        _sink(best, ids, 0)
        ids.sort()
