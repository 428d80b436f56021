"""Numbers that describe generated sequences."""

from decodelab.metrics.diversity import distinct_n
from decodelab.metrics.likelihood import perplexity

__all__ = ["distinct_n", "perplexity"]
