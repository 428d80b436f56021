"""MAUVE: the similarity of model texts and human texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from decodelab.core.errors import InvalidData
from decodelab.metrics.checks import Floats, numbers
from decodelab.metrics.information import kl_divergence

SCALE = 5.0
"""The constant c of the paper: divergences become exp(-c KL)."""
POINTS = 25
"""Mixtures on the curve."""


@dataclass(frozen=True, eq=False)
class Mauve:
    """MAUVE and the curve it is the area under.

    Attributes:
        value: the area, 0 (nothing in common) to 1 (the same distribution).
        smoothed: the same with half a text added to each cluster (MAUVE*), less noisy for few texts.
        curve: float64 [points, 2], (exp(-c KL(model || mixture)), exp(-c KL(human || mixture))), each 0 to 1.
        clusters: how many clusters the texts were sorted into.
    """

    value: float
    smoothed: float
    curve: Floats
    clusters: int


def mauve(human: ArrayLike, model: ArrayLike, *, clusters: int | None = None, seed: int = 0) -> Mauve:
    """MAUVE of model texts against human texts, from features of both.

    Texts are sorted into clusters by their features; the two histograms over clusters are compared with all their
    mixtures. Model text that humans would not write and human text that the model misses both lower it. Values depend
    on the features, the number of texts and of clusters: compare only values made alike, from at least some hundred
    texts on each side (the authors advise 5,000), and look at several seeds.

    Args:
        human: features (embeddings) of the human texts, float [texts, dimensions].
        model: features of the model's texts, float [texts, dimensions].
        clusters: how many; a tenth of the smaller number of texts by default.
        seed: of k-means.

    Raises:
        InvalidData: for NaN, fewer than 2 texts on each side, different dimensions, or more clusters than texts.

    Source: Pillutla et al. 2021, sections 2 and 3; k-means after PCA to 90 % of the variance, as theirs. scikit-learn's
    k-means (k-means++, 5 starts) stands in for faiss, so clusters differ a little; the arithmetic after it is the same.

    >>> x = np.random.default_rng(0).normal(size=(200, 8))
    >>> round(mauve(x, x, seed=1).value, 6)
    1.0
    """
    p, q = numbers("human", human, ndim=2), numbers("model", model, ndim=2)
    if p.shape[1] != q.shape[1] or min(len(p), len(q)) < 2:
        raise InvalidData(
            f"mauve: needs at least 2 texts on each side and features of one kind, got shapes {p.shape} and {q.shape}"
        )
    count = max(2, round(min(len(p), len(q)) / 10)) if clusters is None else clusters
    if not 2 <= count <= len(p) + len(q):
        raise InvalidData(f"mauve: clusters must be from 2 to the number of texts {len(p) + len(q)}, got {count}")
    label = _clusters(np.concatenate([p, q]), count, seed)
    counts = [np.bincount(part, minlength=count) for part in (label[: len(p)], label[len(p) :])]
    curve = divergence_curve(*(c / c.sum() for c in counts))
    # Krichevsky and Trofimov's estimate.
    smooth = divergence_curve(*((c + 0.5) / (c + 0.5).sum() for c in counts))
    return Mauve(area(curve), area(smooth), curve, count)


def divergence_curve(human: ArrayLike, model: ArrayLike) -> Floats:
    """How far two distributions over clusters are from all their mixtures, float64 [points, 2].

    Each point is (exp(-c KL(model || mixture)), exp(-c KL(human || mixture))) with c = 5, for mixtures from all model
    to all human.

    Raises:
        InvalidData: for what are not distributions over as many clusters.

    Source: Pillutla et al. 2021, equation 3.
    """
    p, q = np.asarray(human, dtype=np.float64), np.asarray(model, dtype=np.float64)
    weights = np.linspace(1e-6, 1 - 1e-6, POINTS)[:, None]
    mixtures = weights * p + (1 - weights) * q
    return np.exp(-SCALE * np.stack([kl_divergence(q, mixtures), kl_divergence(p, mixtures)], axis=1))


def area(curve: Floats) -> float:
    """The area under a divergence curve, 0 to 1.

    >>> area(divergence_curve([1, 0], [0, 1])) < 0.01
    True
    """
    # The ends, where one side's divergence is infinite.
    closed = np.concatenate([curve, [[0.0, 1.0], [1.0, 0.0]]])
    # From (0, 1) down to (1, 0); points with one abscissa from top to bottom.
    closed = closed[np.lexsort((-closed[:, 1], closed[:, 0]))]
    return min(1.0, float(np.trapezoid(closed[:, 1], closed[:, 0])))


def _clusters(rows: Floats, count: int, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import normalize

    reduced = normalize(rows)
    if rows.shape[1] > 1:
        pca = PCA(random_state=seed).fit(reduced)
        explained = np.cumsum(pca.explained_variance_ratio_)
        kept = int(np.searchsorted(explained, 0.9) + 1)
        reduced = np.asarray(pca.transform(reduced))[:, :kept]
    # Fewer different texts than clusters: as many clusters as there are.
    count = min(count, len(np.unique(np.round(np.asarray(reduced), 12), axis=0)))
    # Five starts, as the authors; the stubs know only "auto".
    starts: Any = 5
    return KMeans(count, n_init=starts, max_iter=500, random_state=seed).fit_predict(reduced)
