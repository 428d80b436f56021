"""The codes of the stages that the compiled chain knows, and what its arithmetic agrees on with the references."""

from __future__ import annotations

SAME_DISTANCE = 1e-10
"""Surprises whose distances from the entropy differ by less than this many nats are tied: float64 sums are no finer."""

SAME_MASS = 1e-11
"""A mass that falls short of its share by less than this part reaches it: float64 sums of equal tokens are no finer."""

SAME_LOGPROB = 1e-14
"""A log-probability that falls short of a threshold by less than this reaches it."""

HUGE = 1e31
"""Where the largest logit is below this, its distance to any other is a finite float32."""

NOTHING = -1
"""The code of a stage that changes nothing."""

TEMPERATURE, TOP_K, TOP_P, MIN_P, TYPICAL_P, EPSILON, ETA, TOP_N_SIGMA, TOP_A, P_LESS = range(10)
TOP_H, DYNAMIC_TEMPERATURE, MIROSTAT_1, MIROSTAT_2, EXCLUDE_TOP = range(10, 15)
