"""A site's surroundings as numbers: the fingerprint of Tran and Ulissi, Nat. Catal. 1, 696 (2018).

Each coordination shell is a row of slots, one per element in it; a slot holds the element's atomic number,
Pauling electronegativity, number of atoms in the shell, and reference ΔE (:mod:`surrogate.prior`). Slots are
sorted by reference ΔE, strongest binder first, so that the order in which a shell lists its elements is
immaterial; empty slots hold the average element of the training set with a count of zero (Davie et al.,
J. Chem. Phys. 145, 104104 (2016)). Energies in eV.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from surrogate.elements import (
    SYMBOLS,
    atomic_number,
    counts_by_element,
    electronegativity,
    fractions,
    similarity,
)
from surrogate.prior import AdsorbatePrior, element_references

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray

    from surrogate.sites import Shell, SiteEnvironment

FEATURE_VERSION = "gaspy-1"
"""Changes whenever the same site would get other features."""
SHELLS = ("first", "second")
SLOT_FEATURES = ("atomic_number", "electronegativity", "count", "reference_ev")


def embedding(environments: Sequence[SiteEnvironment]) -> NDArray[np.float64]:
    """Place environments in a space where alike ones are near; of shape (n, 208).

    Needs no observations. Per shell: the composition, in coordinates in which alike elements are near, and
    the logarithm of the number of atoms.
    """
    root = np.linalg.cholesky(similarity())
    blocks = []
    for counts in _shell_counts(environments):
        blocks += [fractions(counts) @ root, np.log1p(counts.sum(axis=1, keepdims=True))]
    return np.hstack(blocks)


def _shell_counts(
    environments: Sequence[SiteEnvironment],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first = counts_by_element([environment.first_shell for environment in environments])
    second = counts_by_element([environment.second_shell for environment in environments])
    return first, second


class GaspyFingerprint:
    """Turns environments into the feature matrix of the models.

    Parameters
    ----------
    prior
        Prior of the adsorbate whose ΔE is to be predicted.
    n_elements_per_shell
        Slots per shell. A shell of more elements keeps those with the most atoms.

    Attributes
    ----------
    references_
        Reference ΔE of every element, eV, of shape (103,).
    """

    def __init__(self, prior: AdsorbatePrior, n_elements_per_shell: int = 3) -> None:
        if n_elements_per_shell < 1:
            message = f"n_elements_per_shell must be at least 1, got {n_elements_per_shell}"
            raise ValueError(message)
        self.prior = prior
        self.n_elements_per_shell = n_elements_per_shell

    def fit(self, environments: Sequence[SiteEnvironment], delta_e: NDArray[np.float64]) -> Self:
        """Learn the elements' reference ΔE and the average element from observations; none will do."""
        first, second = _shell_counts(environments)
        self.references_ = element_references(first, second, np.asarray(delta_e, dtype=float), self.prior)
        seen = np.flatnonzero((first + second).sum(axis=0))
        elements = seen if len(seen) else np.arange(len(SYMBOLS))
        properties = np.array([self._slot(SYMBOLS[i], 0) for i in elements])
        self.dummy_ = tuple(float(x) for x in properties.mean(axis=0))
        return self

    def transform(self, environments: Sequence[SiteEnvironment]) -> NDArray[np.float64]:
        """Feature matrix of shape (n_environments, 2 · n_elements_per_shell · 4)."""
        # Many sites share their surroundings, so each distinct pair of shells is worked out once.
        rows: dict[tuple[Shell, Shell], list[float]] = {}
        result = np.empty((len(environments), len(SHELLS) * self.n_elements_per_shell * len(SLOT_FEATURES)))
        for i, environment in enumerate(environments):
            key = environment.canonical()
            if key not in rows:
                rows[key] = [x for shell in key for slot in self._slots(shell) for x in slot]
            result[i] = rows[key]
        return result

    def fit_transform(
        self, environments: Sequence[SiteEnvironment], delta_e: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Fit, then transform the same environments."""
        return self.fit(environments, delta_e).transform(environments)

    def get_feature_names_out(self) -> list[str]:
        """Names of the columns, such as ``first_0_atomic_number``."""
        return [
            f"{shell}_{slot}_{feature}"
            for shell in SHELLS
            for slot in range(self.n_elements_per_shell)
            for feature in SLOT_FEATURES
        ]

    def _slot(self, symbol: str, count: int) -> tuple[float, ...]:
        number = atomic_number(symbol)
        return float(number), electronegativity(symbol), float(count), float(self.references_[number - 1])

    def _slots(self, shell: Shell) -> list[tuple[float, ...]]:
        slots = [self._slot(symbol, count) for symbol, count in shell]
        slots.sort(key=lambda slot: (-slot[2], slot[0]))
        kept = sorted(slots[: self.n_elements_per_shell], key=lambda slot: (slot[3], slot[0]))
        return kept + [self.dummy_] * (self.n_elements_per_shell - len(kept))
