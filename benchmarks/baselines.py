"""What the surrogate is compared with: the procedure of Tran and Ulissi, Nat. Catal. 1, 696 (2018).

Extra trees on the GASpy fingerprint, whose elements are described by the *median* ΔE of the training sites
that bind through that element alone. Energies in eV.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from surrogate.calibration import Calibration
from surrogate.elements import SYMBOLS, counts_by_element
from surrogate.fingerprint import GaspyFingerprint
from surrogate.prior import prior_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray

    from surrogate.sites import SiteEnvironment

N_TREES = 100
"""scikit-learn's default, as are all other settings."""


class PlainTrees:
    """Extra trees on the GASpy fingerprint; what they call an uncertainty is the spread of the trees."""

    def __init__(self, adsorbate: str, seed: int = 0) -> None:
        self.adsorbate = adsorbate
        self.seed = seed
        self.calibration_ = Calibration()

    def fit(
        self,
        environments: Sequence[SiteEnvironment],
        delta_e: NDArray[np.float64],
        groups: Sequence[object] | None = None,  # noqa: ARG002  (one signature for all models)
    ) -> Self:
        """Train on observed ΔE, eV, of shape (n_environments,); there must be some."""
        from sklearn.ensemble import ExtraTreesRegressor

        self._fingerprint = GaspyFingerprint(prior_of(self.adsorbate)).fit(environments, delta_e)
        self._fingerprint.references_ = median_references(environments, delta_e)
        self._forest = ExtraTreesRegressor(N_TREES, random_state=self.seed)
        self._forest.fit(self._fingerprint.transform(environments), delta_e)
        return self

    def predict(
        self, environments: Sequence[SiteEnvironment]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and spread of the trees, eV, each of shape (n_environments,)."""
        unique, inverse = np.unique(self._fingerprint.transform(environments), axis=0, return_inverse=True)
        by_tree = np.array([tree.predict(unique) for tree in self._forest.estimators_])
        rows = inverse.ravel()
        return by_tree.mean(axis=0)[rows], np.maximum(by_tree.std(axis=0), 1e-3)[rows]


def median_references(
    environments: Sequence[SiteEnvironment], delta_e: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Median ΔE of every element, eV, of shape (103,).

    Over sites whose first shell is of that element alone; where there are none, over those that have it in
    their first shell, else over all.
    """
    has = counts_by_element([environment.first_shell for environment in environments]) > 0
    is_pure = has.sum(axis=1) == 1
    medians = np.full(len(SYMBOLS), float(np.median(delta_e)))
    for element in np.flatnonzero(has.any(axis=0)):
        of_element = has[:, element]
        rows = of_element & is_pure if (of_element & is_pure).any() else of_element
        medians[element] = np.median(delta_e[rows])
    return medians
