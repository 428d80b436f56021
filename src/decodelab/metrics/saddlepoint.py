"""The tail of a weighted sum of gamma variables, by the saddlepoint approximation."""

from __future__ import annotations

import math

import numpy as np

from decodelab.metrics.checks import Floats


def gamma_sum_tail(scales: Floats, shapes: Floats) -> float:
    """Probability that sum(scales * G) is at least 0, for independent gamma variables G with given shapes.

    Args:
        scales: float64 [n], of either sign.
        shapes: float64 [n], positive; a sum of k exponential variables has shape k.

    Source: Lugannani and Rice 1980. Within 8 % of the exact probability, closer the more variables there are.

    >>> gamma_sum_tail(np.array([1.0, -1.0]), np.array([2.0, 2.0])).__round__(6)
    0.5
    """
    # What is smaller than any rounding of the others makes no difference to them.
    used = np.abs(scales) > 1e-12 * np.abs(scales).max(initial=0.0)
    a, k = scales[used], shapes[used]
    if not len(a) or a.min() > 0:
        return 1.0
    if a.max() < 0:
        return 0.0
    from scipy.optimize import brentq

    def slope(t: float) -> float:
        return float((k * a / (1 - t * a)).sum())

    # The slope runs from -infinity to infinity between the two poles.
    low, high = 1 / float(a.min()), 1 / float(a.max())
    near = 1e-12
    while slope(low * (1 - near)) > 0 or slope(high * (1 - near)) < 0:
        near /= 16
        if near < 1e-16:
            return 0.0 if slope(0.0) < 0 else 1.0
    t = float(brentq(slope, low * (1 - near), high * (1 - near), xtol=1e-300, rtol=1e-14))  # pyright: ignore[reportArgumentType]
    tilted = a / (1 - t * a)
    variance = float((k * tilted**2).sum())
    exponent = 2 * float((k * np.log1p(-t * a)).sum())
    w, u = math.copysign(math.sqrt(max(exponent, 0.0)), t), t * math.sqrt(variance)
    if abs(w) < 1e-4:
        # Both terms of the formula are large here, and their difference tends to this.
        return 0.5 - 2 * float((k * tilted**3).sum()) / (6 * math.sqrt(2 * math.pi) * variance**1.5)
    return min(
        max(math.erfc(w / math.sqrt(2)) / 2 + math.exp(-w * w / 2) / math.sqrt(2 * math.pi) * (1 / u - 1 / w), 0.0), 1.0
    )
