"""Gradient-boosted trees, with a standard deviation that is boosted too.

Boosters learn ΔE under the absolute loss, which the odd site that reconstructed does not bend. They are those
of a cross-validation, where there are bulks enough for one: each left a fifth of the bulks out, and another
booster learns the logarithm of the errors they made there. Histogram boosting takes unknown features as they
are (Ke et al., NeurIPS 30 (2017)). Energies in eV.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from surrogate.cross_fit import HeldOut, grouped_folds
from surrogate.features import SiteFeatures

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray
    from sklearn.ensemble import HistGradientBoostingRegressor

    from surrogate.prior import AdsorbatePrior
    from surrogate.sites import SiteEnvironment

_SETTINGS: dict[str, Any] = {
    "max_iter": 200,
    "learning_rate": 0.08,
    "max_leaf_nodes": 24,
    "min_samples_leaf": 5,
    "l2_regularization": 2.0,
    "max_features": 0.3,
    "max_bins": 63,
    "early_stopping": False,
}
_ERROR_ITERATIONS = 60
_ERROR_RATE = 0.05
_ERROR_LEAF = 40
MIN_OBSERVATIONS = 20
"""Below, the model is its prior, moved to the mean of the observations."""
_ERROR_FLOOR_EV = 0.01


class BoostingModel:
    """Histogram gradient boosting on :class:`surrogate.features.SiteFeatures`.

    Parameters
    ----------
    prior
        Prior of the adsorbate: all there is below :data:`MIN_OBSERVATIONS` observations.
    seed
        Seed of the folds and of the boosters.

    Attributes
    ----------
    held_out_
        Predictions of the observations by boosters that saw none of their group, and their standard
        deviations by boosters of errors that saw none of it either.
    """

    def __init__(self, prior: AdsorbatePrior, seed: int = 0, features: SiteFeatures | None = None) -> None:
        self.prior = prior
        self.seed = seed
        self.features = features or SiteFeatures()

    def fit(
        self,
        environments: Sequence[SiteEnvironment],
        delta_e: NDArray[np.float64],
        groups: NDArray[np.int64] | None = None,
    ) -> Self:
        """Learn from observations: ΔE of shape (n,), eV; groups of shape (n,)."""
        self.held_out_: HeldOut | None = None
        self._boosters: list[HistGradientBoostingRegressor] = []
        self._error: HistGradientBoostingRegressor | None = None
        self._start = self.prior.updated(delta_e)
        self._constant_std = self._start.std_ev
        if len(delta_e) < MIN_OBSERVATIONS:
            return self
        features = _without_empty_columns(self.features.transform(environments))
        folds = grouped_folds(groups, self.seed)
        if folds is None:
            self._boosters = [self._booster().fit(features, delta_e)]
            self._constant_std = max(float(np.std(delta_e)), _ERROR_FLOOR_EV)
            return self
        mean = np.empty(len(delta_e))
        for fold in np.unique(folds):
            rest, out = folds != fold, folds == fold
            booster = self._booster().fit(_without_empty_columns(features[rest]), delta_e[rest])
            mean[out] = booster.predict(features[out])
            self._boosters.append(booster)
        error = np.log(np.abs(delta_e - mean) + _ERROR_FLOOR_EV)
        self._error = self._error_booster(features, error)
        std = np.empty(len(error))
        for fold in np.unique(folds):
            rest, out = folds != fold, folds == fold
            std[out] = np.exp(self._error_booster(features[rest], error[rest]).predict(features[out]))
        # What the mean logarithm leaves open: the root mean square of the errors in its units.
        self._constant_std = float(np.sqrt(np.mean(((delta_e - mean) / std) ** 2)) + _ERROR_FLOOR_EV)
        self.held_out_ = HeldOut(mean, self._constant_std * std)
        return self

    def _error_booster(
        self, features: NDArray[np.float32], error: NDArray[np.float64]
    ) -> HistGradientBoostingRegressor:
        booster = self._booster(
            loss="squared_error", max_iter=_ERROR_ITERATIONS, learning_rate=_ERROR_RATE,
            min_samples_leaf=_ERROR_LEAF,
        )  # fmt: skip
        return booster.fit(_without_empty_columns(features), error)

    def _booster(self, **changes: Any) -> HistGradientBoostingRegressor:
        from sklearn.ensemble import HistGradientBoostingRegressor

        settings = {"loss": "absolute_error", **_SETTINGS, **changes}
        return HistGradientBoostingRegressor(**settings, random_state=self.seed)

    def predict(
        self, environments: Sequence[SiteEnvironment]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean ΔE and its standard deviation, eV; each of shape (n,)."""
        std = np.full(len(environments), self._constant_std)
        if not self._boosters:
            return np.full(len(environments), self._start.mean_ev), std
        features = self.features.transform(environments)
        mean = np.mean([booster.predict(features) for booster in self._boosters], axis=0)
        if self._error is not None:
            std *= np.exp(self._error.predict(features))
        return mean, std

    def parameters(self) -> dict[str, Any]:
        """Settings, plain values."""
        return {"n_boosters": len(self._boosters), **_SETTINGS}


def _without_empty_columns(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Zero what is known of no row: the booster cannot bin a column without a value."""
    return np.where(np.isnan(features).all(axis=0), np.float32(0.0), features)
