"""Extremely randomised trees with a standard deviation fitted to their out-of-bag errors.

Trees that are grown to pure leaves agree with each other where they should not: the raw spread between
trees is zero on many sites. So the variance is taken as ``a · spread² + b``, and ``a`` and ``b`` are the
maximum posterior values for the errors that trees make on observations left out of their bootstrap sample
(Breiman, Mach. Learn. 45, 5 (2001)). Energies in eV.
"""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogate.cross_fit import grouped_folds, hold_out
from surrogate.fingerprint import GaspyFingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray
    from sklearn.ensemble import ExtraTreesRegressor

    from surrogate.cross_fit import HeldOut, MeanAndStd
    from surrogate.prior import AdsorbatePrior
    from surrogate.sites import SiteEnvironment

_MIN_FOR_OUT_OF_BAG = 10
_LARGE = 50
_MAX_FEATURES = 0.5
_HELD_OUT_TREES = 50
_SPREAD_FACTOR = 1.0
_FLOOR_SHARE = 0.1
"""Prior medians of ``a``, and of ``b`` in units of the prior's variance."""
_MEAN_PSEUDO_COUNT = 1.0
_VARIANCE_PSEUDO_COUNT = 5.0
"""So many observations' worth of the adsorbate's prior go into every mean, and into every variance."""


class ExtraTreesModel:
    """Extremely randomised trees (Geurts, Ernst and Wehenkel, Mach. Learn. 63, 3 (2006)).

    They see :class:`surrogate.fingerprint.GaspyFingerprint`.

    Parameters
    ----------
    prior
        Prior of the adsorbate; fades out as observations come in.
    seed
        Seed of the trees.

    Attributes
    ----------
    spread_factor_, floor_
        ``a`` and ``b`` of the variance; ``b`` in eV².
    held_out_
        Predictions of the observations by fewer trees that saw none of their group.
    """

    def __init__(self, prior: AdsorbatePrior, seed: int = 0, n_trees: int = 200) -> None:
        self.prior = prior
        self.seed = seed
        self.n_trees = n_trees

    def fit(
        self,
        environments: Sequence[SiteEnvironment],
        delta_e: NDArray[np.float64],
        groups: NDArray[np.int64] | None = None,
    ) -> Self:
        """Learn from observations: ΔE of shape (n,), eV; groups of shape (n,)."""
        self.held_out_: HeldOut | None = None
        self._fit(environments, delta_e)
        folds = grouped_folds(groups, self.seed)
        if folds is not None:

            def predict(_: int, rest: NDArray[np.bool_], out: NDArray[np.bool_]) -> MeanAndStd:
                model = ExtraTreesModel(self.prior, self.seed, min(self.n_trees, _HELD_OUT_TREES))
                model._fit(list(compress(environments, rest)), delta_e[rest])
                return model.predict(list(compress(environments, out)))

            self.held_out_ = hold_out(folds, predict)
        return self

    def _fit(self, environments: Sequence[SiteEnvironment], delta_e: NDArray[np.float64]) -> None:
        self.n_observations_ = len(delta_e)
        self.spread_factor_, self.floor_ = _SPREAD_FACTOR, _FLOOR_SHARE * self.prior.std_ev**2
        self._fingerprint = GaspyFingerprint(self.prior).fit(environments, delta_e)
        if not self.n_observations_:
            return
        from sklearn.ensemble import ExtraTreesRegressor

        features = self._fingerprint.transform(environments)
        order = np.lexsort((delta_e, *features.T))
        features, delta_e = features[order], delta_e[order]
        self._forest = ExtraTreesRegressor(
            self.n_trees,
            max_features=_MAX_FEATURES,
            min_samples_leaf=2 if self.n_observations_ >= _LARGE else 1,
            bootstrap=True,
            random_state=self.seed,
        ).fit(features, delta_e)
        if self.n_observations_ >= _MIN_FOR_OUT_OF_BAG:
            mean, spread, is_known = _out_of_bag(self._forest, features)
            error = (delta_e - mean)[is_known]
            self.spread_factor_, self.floor_ = self._calibrate(error, spread[is_known])

    def predict(
        self, environments: Sequence[SiteEnvironment]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean ΔE and its standard deviation, eV; each of shape (n,)."""
        features = self._fingerprint.transform(environments)
        mean, spread = np.full(len(features), self.prior.mean_ev), np.zeros(len(features))
        n = self.n_observations_
        if n and len(features):
            forest_mean, spread = _mean_and_spread(self._forest, features)
            mean = (n * forest_mean + _MEAN_PSEUDO_COUNT * self.prior.mean_ev) / (n + _MEAN_PSEUDO_COUNT)
        own = self.spread_factor_ * spread**2 + self.floor_
        variance = (n * own + _VARIANCE_PSEUDO_COUNT * self.prior.std_ev**2) / (n + _VARIANCE_PSEUDO_COUNT)
        return mean, np.sqrt(variance)

    def parameters(self) -> dict[str, Any]:
        """Settings and fitted hyperparameters, plain values."""
        return {
            "n_trees": self.n_trees,
            "max_features": _MAX_FEATURES,
            "spread_factor": float(self.spread_factor_),
            "floor_ev2": float(self.floor_),
        }

    def _calibrate(self, error: NDArray[np.float64], spread: NDArray[np.float64]) -> tuple[float, float]:
        """``a`` and ``b`` of greatest posterior likelihood for normal errors."""
        from scipy.optimize import minimize

        start = np.log([_SPREAD_FACTOR, _FLOOR_SHARE * self.prior.std_ev**2])

        def objective(log_ab: NDArray[np.float64]) -> float:
            variance = np.exp(log_ab[0]) * spread**2 + np.exp(log_ab[1])
            fit = 0.5 * (error**2 / variance + np.log(variance)).sum()
            return float(fit + 0.5 * ((log_ab - start) ** 2).sum())

        bounds = [(value - 5.0, value + 5.0) for value in start]
        best = minimize(objective, start, method="L-BFGS-B", bounds=bounds)
        return float(np.exp(best.x[0])), float(np.exp(best.x[1]))


def _mean_and_spread(
    forest: ExtraTreesRegressor, features: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation over the trees; one tree at a time, so memory stays small."""
    total, squares = np.zeros(len(features)), np.zeros(len(features))
    single = features.astype(np.float32)
    offset = forest.estimators_[0].predict(single, check_input=False)
    for tree in forest.estimators_:
        value = tree.predict(single, check_input=False) - offset
        total += value
        squares += value**2
    n = len(forest.estimators_)
    return offset + total / n, np.sqrt(np.maximum(squares / n - (total / n) ** 2, 0.0))


def _out_of_bag(
    forest: ExtraTreesRegressor, features: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Mean and spread of each observation over the trees that did not see it, and whether there are two."""
    total, squares, n = np.zeros(len(features)), np.zeros(len(features)), np.zeros(len(features))
    single = features.astype(np.float32)
    for tree, seen in zip(forest.estimators_, forest.estimators_samples_, strict=True):
        unseen = np.ones(len(features), dtype=bool)
        unseen[seen] = False
        value = tree.predict(single, check_input=False)
        total += np.where(unseen, value, 0.0)
        squares += np.where(unseen, value**2, 0.0)
        n += unseen
    known = np.maximum(n, 1.0)
    mean = total / known
    return mean, np.sqrt(np.maximum(squares / known - mean**2, 0.0)), n >= 2
