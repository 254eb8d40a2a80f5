"""How dense a crystal is, and how strained its bonds, against its pure elements. Units: Å, Å³."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from surrogate.element_properties import element_property
from surrogate.elements import atomic_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from surrogate.sites import BulkContext

_CM3_PER_MOL = 1.0 / 0.602214076
"""Å³ per atom."""


@lru_cache(maxsize=1)
def pure_volumes() -> NDArray[np.float64]:
    """Volume per atom of every element at ambient conditions, Å³, of shape (103,)."""
    return element_property("molar_volume") * _CM3_PER_MOL


@lru_cache(maxsize=1)
def pure_bonds() -> NDArray[np.float64]:
    """Distance of neighbours in a close-packed crystal of every element's density, Å, of shape (103,)."""
    bonds: NDArray[np.float64] = np.cbrt(np.sqrt(2.0) * pure_volumes())
    return bonds


def pure_bond(symbol: str) -> float:
    """One element's of :func:`pure_bonds`."""
    return float(pure_bonds()[atomic_number(symbol) - 1])


def volume_against_pure(bulk: BulkContext) -> float | None:
    """Volume of a crystal relative to that of its elements; None if it is not known."""
    if bulk.volume_per_atom is None or not bulk.composition:
        return None
    atoms = sum(count for _, count in bulk.composition)
    pure = sum(count * pure_volumes()[atomic_number(symbol) - 1] for symbol, count in bulk.composition)
    return float(bulk.volume_per_atom * atoms / pure)
