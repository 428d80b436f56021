"""The metrics of confidences whose intervals are a BCa bootstrap's, each with its meaning."""

from __future__ import annotations

from decodelab.metrics import calibration
from decodelab.metrics.metric import ConfidenceMetric
from decodelab.metrics.selective import accuracy_at_coverage, risk_coverage

macro_ce = ConfidenceMetric("mean of the next two; nothing cancels", lambda p, y: calibration.macro_ce(p, y).value)
macro_ce_right = ConfidenceMetric(
    "mean of 1 - confidence in right answers", lambda p, y: calibration.macro_ce(p, y).right
)
macro_ce_wrong = ConfidenceMetric("mean confidence in wrong answers", lambda p, y: calibration.macro_ce(p, y).wrong)
brier = ConfidenceMetric("mean squared error; 0.25 for a constant 0.5", calibration.brier)
nll = ConfidenceMetric("in nats; 0.693 for a constant 0.5", calibration.nll)
auroc = ConfidenceMetric("P(right answer ranks above wrong); 0.5 is chance", calibration.auroc)
aurc = ConfidenceMetric("mean risk over all coverages; lower is better", lambda p, y: risk_coverage(p, y).area)
accuracy_at_50 = ConfidenceMetric("accuracy of the most confident 50 %", lambda p, y: accuracy_at_coverage(p, y, 0.5))
accuracy_at_80 = ConfidenceMetric("accuracy of the most confident 80 %", lambda p, y: accuracy_at_coverage(p, y, 0.8))
accuracy_at_90 = ConfidenceMetric("accuracy of the most confident 90 %", lambda p, y: accuracy_at_coverage(p, y, 0.9))
