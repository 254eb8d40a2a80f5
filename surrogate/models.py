"""The models that predict ΔE with a standard deviation, and the surrogate that a campaign trains.

Energies in eV throughout. Both models take the matrix of :class:`surrogate.fingerprint.GaspyFingerprint`,
work from no observations at all (they then return the adsorbate's prior), do not depend on the order of the
rows, and are deterministic under their seed. A standard deviation is that of one *computed* ΔE: it includes
the scatter between sites that the fingerprint cannot tell apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from config.errors import ConfigError
from surrogate.fingerprint import FEATURE_VERSION, GaspyFingerprint
from surrogate.gaussian_process import GaussianProcessModel
from surrogate.prior import prior_of
from surrogate.trees import ExtraTreesModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from numpy.typing import ArrayLike, NDArray

    from surrogate.sites import SiteEnvironment

__all__ = ["MIN_STD_EV", "MODELS", "AdsorptionSurrogate", "ExtraTreesModel", "GaussianProcessModel"]

ModelName = Literal["gaussian_process", "extra_trees"]
MODELS: Mapping[str, type[GaussianProcessModel] | type[ExtraTreesModel]] = {
    "gaussian_process": GaussianProcessModel,
    "extra_trees": ExtraTreesModel,
}
MIN_STD_EV = 0.02
"""Smallest standard deviation: a DFT ΔE is no better defined than that."""


class AdsorptionSurrogate:
    """Predicts ΔE of one adsorbate from a site's environment.

    Parameters
    ----------
    adsorbate
        What stands for it in ids: ``CO``, ``H``, ..., a name with a hash if it is the user's own.
    model
        A key of :data:`MODELS`.
    seed
        Seed of every random choice in training.

    Attributes
    ----------
    n_train_
        Observations that it was trained on.
    prior
        Prior of the adsorbate; from the observations themselves if nothing is published.

    Raises
    ------
    ConfigError
        If the model is unknown.
    """

    def __init__(self, adsorbate: str, model: ModelName = "gaussian_process", seed: int = 0) -> None:
        if model not in MODELS:
            message = f"unknown surrogate model {model!r}; allowed: {', '.join(MODELS)}"
            raise ConfigError(message)
        self.adsorbate = adsorbate
        self.model = model
        self.seed = seed
        self.fit([], [])

    def fit(self, environments: Sequence[SiteEnvironment], delta_e: ArrayLike) -> Self:
        """Train from scratch on these observations; none at all leaves the prior.

        Parameters
        ----------
        delta_e
            Observed ΔE, eV, of shape (n_environments,).

        Raises
        ------
        ValueError
            If the lengths differ or an energy is not finite.
        """
        energies = np.asarray(delta_e, dtype=float)
        if energies.shape != (len(environments),):
            message = f"{len(environments)} environments, but energies of shape {energies.shape}"
            raise ValueError(message)
        if not np.isfinite(energies).all():
            message = "every ΔE must be finite"
            raise ValueError(message)
        self.n_train_ = len(energies)
        self.prior = prior_of(self.adsorbate, energies)
        self._bounds = self.prior.bounds(energies)
        self._fingerprint = GaspyFingerprint(self.prior).fit(environments, energies)
        self._model = MODELS[self.model](self.prior, seed=self.seed)
        self._model.fit(self._fingerprint.transform(environments), energies)
        return self

    def predict(
        self, environments: Sequence[SiteEnvironment]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of ΔE, eV, each of shape (n_environments,).

        Means lie within the prior's believable range or that of the observations, standard deviations are
        at least :data:`MIN_STD_EV`.
        """
        if not len(environments):
            return np.empty(0), np.empty(0)
        features = self._fingerprint.transform(environments)
        unique, inverse = np.unique(features, axis=0, return_inverse=True)
        mean, std = self._model.predict(unique, return_std=True)
        inverse = inverse.ravel()
        return np.clip(mean, *self._bounds)[inverse], np.maximum(std, MIN_STD_EV)[inverse]

    def record(self) -> dict[str, Any]:
        """Plain values that say what this surrogate is, for the store."""
        return {
            "adsorbate": self.adsorbate,
            "model": self.model,
            "seed": self.seed,
            "n_train": self.n_train_,
            "features": FEATURE_VERSION,
            "prior": {"mean_ev": self.prior.mean_ev, "std_ev": self.prior.std_ev},
            "parameters": self._model.parameters(),
        }
