"""Recalibration: fit a map of confidences on a validation split, and never test on that split.

A fitted map remembers which items it was fitted on and refuses labelled items among which it finds one of them. Numbers
without labels (a deployed system's) can be mapped freely.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from decodelab.core.errors import InvalidData
from decodelab.metrics.checks import Floats, Ints, confidences, in_unit, numbers, outcomes, same_length

_EDGE = 1e-6


@dataclass(frozen=True, eq=False)
class Labelled:
    """Items with scores and the truth.

    Attributes:
        ids: a name for each item, all different; items with one name in two splits are the same item.
        scores: confidences [n] in [0, 1], or logits (log-probabilities) of the options [n, options].
        labels: right (1) or wrong (0) for confidences, the right option for logits, int64 [n].
        clusters: what each item belongs to (its prompt); a split never divides a cluster.
    """

    ids: tuple[str, ...]
    scores: Floats
    labels: Ints
    clusters: tuple[Hashable, ...]

    @staticmethod
    def confidences(
        ids: Sequence[str], confidence: ArrayLike, correct: ArrayLike, clusters: Sequence[Hashable] | None = None
    ) -> Labelled:
        """Answers with a confidence and whether they were right.

        Raises:
            InvalidData: for confidences outside [0, 1], outcomes other than 0 and 1, or names that occur twice.
        """
        p, y = confidences("confidence", confidence), outcomes("correct", correct)
        return _labelled(ids, p, y.astype(np.int64), clusters)

    @staticmethod
    def options(
        ids: Sequence[str], logits: ArrayLike, labels: ArrayLike, clusters: Sequence[Hashable] | None = None
    ) -> Labelled:
        """Questions with a logit (or log-probability) for each option, [n, options], and the right option.

        Raises:
            InvalidData: for NaN or infinite logits, labels that are no option, or names that occur twice.
        """
        z = numbers("logits", logits, ndim=2)
        y = np.asarray(labels)
        if not np.issubdtype(y.dtype, np.integer) or bool(((y < 0) | (y >= z.shape[1])).any()):
            raise InvalidData(f"labels must be options 0 to {z.shape[1] - 1}; count from 0")
        return _labelled(ids, z, y.astype(np.int64), clusters)

    def __len__(self) -> int:
        """The number of items."""
        return len(self.ids)

    def __getitem__(self, rows: Ints) -> Labelled:
        """The given items."""
        return Labelled(
            tuple(self.ids[i] for i in rows),
            self.scores[rows],
            self.labels[rows],
            tuple(self.clusters[i] for i in rows),
        )

    def split(self, validation: float = 0.5, *, seed: int = 0) -> tuple[Labelled, Labelled]:
        """Divide into a validation and a test split; whole clusters, by a hash of their names.

        Whether an item is in validation depends on its cluster's name and the seed only, not on the other items.

        Args:
            validation: share of clusters for validation, in (0, 1).
            seed: another seed, another division.

        Raises:
            InvalidData: for a share outside (0, 1), or when a split gets nothing.
        """
        in_unit("validation", validation)
        chosen = np.array([_unit(f"{seed}:{c}") < validation for c in self.clusters])
        if chosen.all() or not chosen.any():
            raise InvalidData(
                f"split: {len(set(self.clusters))} independent items are too few to split at {validation}; "
                "add items or choose another seed"
            )
        return self[np.flatnonzero(chosen)], self[np.flatnonzero(~chosen)]


def _labelled(ids: Sequence[str], scores: Floats, labels: Ints, clusters: Sequence[Hashable] | None) -> Labelled:
    owner = tuple(ids if clusters is None else clusters)
    same_length(ids=ids, scores=scores, labels=labels, clusters=owner)
    if len(set(ids)) < len(ids):
        raise InvalidData("ids must all differ, got one twice; give each sample of a prompt its own id")
    return Labelled(tuple(ids), scores, labels, owner)


def _unit(name: str) -> float:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()) / 2**64


class Map(Protocol):
    """A fitted map from scores to better scores of the same shape."""

    def __call__(self, scores: Floats) -> Floats:
        """Map scores."""
        ...


@dataclass(frozen=True, eq=False)
class Recalibration:
    """A fitted map that will not be tested on what it was fitted on.

    Attributes:
        method: how it was fitted.
        map: the map itself.
        parameters: what was fitted, by name.
        fitted_on: names of the validation items.
        clusters: their clusters.
    """

    method: str
    map: Map
    parameters: dict[str, float | list[float]]
    fitted_on: frozenset[str]
    clusters: frozenset[Hashable]

    def __call__(self, scores: ArrayLike) -> Floats:
        """Map scores that have no labels: what a deployed system does."""
        return self.map(np.asarray(scores, dtype=np.float64))

    def apply(self, test: Labelled) -> Labelled:
        """Map the scores of a test split.

        Raises:
            InvalidData: if an item, or another sample of its cluster, was used for fitting.
        """
        if self.fitted_on & set(test.ids) or self.clusters & set(test.clusters):
            shared = len(self.fitted_on & set(test.ids)) or len(self.clusters & set(test.clusters))
            raise InvalidData(
                f"recalibration was fitted on {shared} of these items or clusters, so the result would be biased; "
                "test it on a split that was not used for fitting (Labelled.split)"
            )
        return replace(test, scores=self.map(test.scores))


def _fitted(validation: Labelled, method: str, map: Map, **parameters: float | list[float]) -> Recalibration:
    return Recalibration(method, map, parameters, frozenset(validation.ids), frozenset(validation.clusters))


@dataclass(frozen=True)
class _Scaled:
    """Divide logits by a temperature; of confidences, the log-odds."""

    temperature: float

    def __call__(self, scores: Floats) -> Floats:
        if scores.ndim == 2:
            return scores / self.temperature
        return _sigmoid(_log_odds(scores) / self.temperature)


@dataclass(frozen=True, eq=False)
class _Affine:
    """Scale and shift logits (option by option) or log-odds."""

    scale: Floats
    shift: Floats

    def __call__(self, scores: Floats) -> Floats:
        if scores.ndim == 2:
            return scores * self.scale + self.shift
        return _sigmoid(_log_odds(scores) * self.scale[0] + self.shift[0])


@dataclass(frozen=True, eq=False)
class _Steps:
    """Interpolate between the steps of an increasing function."""

    at: Floats
    to: Floats

    def __call__(self, scores: Floats) -> Floats:
        return np.interp(scores, self.at, self.to)


TEMPERATURES = 0.01, 100.0
"""Between which a temperature is searched."""


def given_temperature(temperature: float) -> Recalibration:
    """Divide logits, or the log-odds of confidences, by a temperature that is known, fitted on nothing.

    Raises:
        InvalidData: unless it is positive and finite.

    >>> given_temperature(2.0)([0.9]).round(3).tolist()
    [0.75]
    """
    if not 0 < temperature < np.inf:
        raise InvalidData(f"temperature must be positive and finite, got {temperature:g}; 1 changes nothing")
    parameters: dict[str, float | list[float]] = {"temperature": temperature}
    return Recalibration("temperature", _Scaled(temperature), parameters, frozenset(), frozenset())


def at_limit(fit: Recalibration) -> float | None:
    """The temperature of a fit that ended at a limit of its search; None of others.

    The negative log-likelihood falls on beyond it: the answers of the validation split are never right (100: their
    confidences say nothing) or always (0.01), or there are too few.
    """
    found = fit.parameters.get("temperature")
    low, high = TEMPERATURES
    if not fit.fitted_on or not isinstance(found, float):
        return None
    return None if 1.01 * low < found < high / 1.01 else found


def temperature_scaling(validation: Labelled) -> Recalibration:
    """Divide logits by the one temperature that minimises the negative log-likelihood of the validation split.

    Above 1 it makes answers less confident. The most probable option stays, so accuracy does not change. Of confidences
    it divides the log-odds (clipped at 1e-6 from 0 and 1). The temperature is searched between 0.01 and 100; data that
    are always right, or never, end at a limit.

    Raises:
        InvalidData: for fewer than 2 items.

    Source: Guo et al. 2017, section 4.2; on confidences Kadavath et al. 2022 and others.

    >>> rng = np.random.default_rng(0)
    >>> p = rng.random(2000)
    >>> right = rng.random(2000) < p
    >>> overconfident = 1 / (1 + ((1 - p) / p) ** 2)
    >>> items = Labelled.confidences([str(i) for i in range(2000)], overconfident, right)
    >>> validation, test = items.split()
    >>> fit = temperature_scaling(validation)
    >>> bool(1.8 < fit.parameters["temperature"] < 2.2), len(fit.apply(test)) == len(test)
    (True, True)
    """
    from scipy.optimize import minimize_scalar

    _enough(validation)
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(_Scaled(float(np.exp(log_t)))(validation.scores), validation.labels),
        bounds=tuple(np.log(TEMPERATURES)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    temperature = float(np.exp(found.x))  # pyright: ignore[reportAttributeAccessIssue]
    return _fitted(validation, "temperature", _Scaled(temperature), temperature=temperature)


def vector_scaling(validation: Labelled) -> Recalibration:
    """Scale and shift each option's logit so that the negative log-likelihood of the validation split is least.

    Unlike a temperature it can correct a bias for one option (a model that likes "A"); it may change answers, and needs
    more
    data: two numbers an option.

    Raises:
        InvalidData: for confidences instead of logits, or fewer than 2 items.

    Source: Guo et al. 2017, section 4.2.
    """
    from scipy.optimize import minimize

    _enough(validation)
    if validation.scores.ndim != 2:
        raise InvalidData("vector_scaling: needs logits of options; for confidences use platt_scaling")
    n, options = validation.scores.shape
    onehot = np.eye(options)[validation.labels]

    def loss(x: Floats) -> tuple[float, Floats]:
        z = _Affine(x[:options], x[options:])(validation.scores)
        error = (_softmax(z) - onehot) / n
        gradient = np.concatenate([(error * validation.scores).sum(0), error.sum(0)])
        # A trace of shrinkage to the identity makes the minimum unique: a common shift has no effect.
        off = x - start
        return negative_log_likelihood(z, validation.labels) + 1e-6 * float(off @ off), gradient + 2e-6 * off

    start = np.concatenate([np.ones(options), np.zeros(options)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    scale, shift = found.x[:options], found.x[options:]
    return _fitted(validation, "vector", _Affine(scale, shift), scale=scale.tolist(), shift=shift.tolist())


def platt_scaling(validation: Labelled) -> Recalibration:
    """Scale and shift the log-odds of confidences by logistic regression on the validation split.

    Platt's own targets are pulled slightly away from 0 and 1, which keeps the fit finite when confidence separates
    right from wrong perfectly.

    Raises:
        InvalidData: for logits instead of confidences, or fewer than 2 items.

    Source: Platt 1999, section 2.2 (targets included). On log-odds of confidences rather than on margins of a support
    vector machine: also called logistic calibration.
    """
    from scipy.optimize import minimize

    _enough(validation)
    if validation.scores.ndim != 1:
        raise InvalidData("platt_scaling: needs confidences; for logits of options use vector_scaling")
    y = validation.labels
    right, wrong = int(y.sum()), int((1 - y).sum())
    target = np.where(y == 1, (right + 1) / (right + 2), 1 / (wrong + 2))
    x = _log_odds(validation.scores)

    def loss(w: Floats) -> tuple[float, Floats]:
        z = w[0] * x + w[1]
        error = (_sigmoid(z) - target) / len(x)
        return float((np.logaddexp(0, z) - target * z).mean()), np.array([error @ x, error.sum()])

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS")
    scale, shift = map(float, found.x)
    return _fitted(validation, "platt", _Affine(np.array([scale]), np.array([shift])), scale=scale, shift=shift)


def isotonic_regression(validation: Labelled) -> Recalibration:
    """Map confidences by the increasing function that fits the validation split best (least squares), interpolated.

    It assumes only that more confident answers are right more often, and needs some hundred items: with few it
    learns the noise, and its flat steps make ties.

    Raises:
        InvalidData: for logits instead of confidences, or fewer than 2 items.

    Source: Zadrozny and Elkan 2002; by scikit-learn.
    """
    from sklearn.isotonic import IsotonicRegression

    _enough(validation)
    if validation.scores.ndim != 1:
        raise InvalidData("isotonic_regression: needs confidences, got logits of options")
    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    model.fit(validation.scores, validation.labels.astype(np.float64))
    at, to = np.asarray(model.X_thresholds_), np.asarray(model.y_thresholds_)
    return _fitted(validation, "isotonic", _Steps(at, to), steps=float(len(at)))


METHODS = {
    "temperature": temperature_scaling,
    "platt": platt_scaling,
    "isotonic": isotonic_regression,
    "vector": vector_scaling,
}
"""Every way to recalibrate, by name; the vector needs logits, Platt's and the isotonic one confidences."""


def negative_log_likelihood(scores: Floats, labels: Ints) -> float:
    """Mean negative log-likelihood of labels in nats, under confidences [n] or logits [n, options]."""
    if scores.ndim == 2:
        from scipy.special import log_softmax

        return float(-log_softmax(scores, axis=1)[np.arange(len(labels)), labels].mean())
    z = _log_odds(scores)
    return float((np.logaddexp(0, z) - labels * z).mean())


def _enough(validation: Labelled) -> None:
    if len(validation) < 2:
        raise InvalidData(f"recalibration needs at least 2 validation items, got {len(validation)}; use about 100")


def _log_odds(p: Floats) -> Floats:
    p = np.clip(p, _EDGE, 1 - _EDGE)
    return np.log(p) - np.log1p(-p)


def _sigmoid(z: Floats) -> Floats:
    from scipy.special import expit

    return expit(z)


def _softmax(z: Floats) -> Floats:
    from scipy.special import softmax

    return softmax(z, axis=1)
