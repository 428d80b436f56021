"""A metric of texts, which `decodelab measure` reports, and one of confidences, for `decodelab calibrate`."""

from decodelab.metrics.metric import ConfidenceMetric, TextMetric

capitals = TextMetric("begins with a capital", lambda texts: texts.share([t[:1].isupper() for t in texts.texts]))

mean_gap = ConfidenceMetric(
    "mean of |confidence - outcome|", lambda confidence, correct: abs(confidence - correct).mean()
)
