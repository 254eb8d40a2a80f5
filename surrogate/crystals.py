"""How dense a crystal is, and how strained its bonds, against its pure elements. Units: Å, Å³."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from surrogate.element_properties import element_property
from surrogate.elements import SYMBOLS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from surrogate.sites import BulkContext

_CM3_PER_MOL = 1.0 / 0.602214076
"""Å³ per atom."""


@lru_cache(maxsize=1)
def pure_volumes() -> Mapping[str, float]:
    """Volume per atom of every element at ambient conditions, Å³."""
    # Plain numbers by symbol: a bulk has few bonds, and there may be a million bulks.
    return dict(zip(SYMBOLS, (element_property("molar_volume") * _CM3_PER_MOL).tolist(), strict=True))


@lru_cache(maxsize=1)
def pure_bonds() -> Mapping[str, float]:
    """Distance of neighbours in a close-packed crystal of every element's density, Å."""
    return {symbol: (math.sqrt(2.0) * volume) ** (1.0 / 3.0) for symbol, volume in pure_volumes().items()}


def volume_against_pure(bulk: BulkContext) -> float | None:
    """Volume of a crystal relative to that of its elements; None if it is not known.

    Raises
    ------
    KeyError
        If a symbol is no element up to lawrencium.
    """
    if bulk.volume_per_atom is None or not bulk.composition:
        return None
    atoms = sum(count for _, count in bulk.composition)
    pure = sum(count * pure_volumes()[symbol] for symbol, count in bulk.composition) / atoms
    return bulk.volume_per_atom / pure


def bond_against_pure(a: str, b: str, length: float) -> float:
    """Length of a bond between two elements relative to the mean of their own.

    Raises
    ------
    KeyError
        If a symbol is no element up to lawrencium.
    """
    return 2.0 * length / (pure_bonds()[a] + pure_bonds()[b])
