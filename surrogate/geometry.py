r"""The geometry around a site before anything relaxes, as numbers.

A probe sphere is let down over the site until it touches an atom; that is about where an adsorbate's atom
will bind. Around its centre the atoms at distances :math:`d_i` are counted in soft shells of radius
:math:`r`, plainly and weighted by properties of their elements (weighted symmetry functions [1]_),

.. math::
    n_P(r) = \sum_i P_i \, e^{-(d_i - r)^2 / 2w^2} \left(1 - d_i^2 / R^2\right)^2,

with :math:`P = 1` or a property in units of its standard deviation over all elements, from their mean. Such
sums do not change when the surface is turned, shifted, mirrored, repeated or its atoms are reordered, and
change smoothly with positions. Units: Å.

References
----------
.. [1] Gastegger et al., J. Chem. Phys. 148, 241709 (2018), doi:10.1063/1.5019667.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from surrogate.element_properties import PROPERTIES as ELEMENT_PROPERTIES
from surrogate.element_properties import property_table
from surrogate.elements import atomic_number
from surrogate.sites import SiteGeometry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from surrogate.sites import Shell, SiteEnvironment

    Array = NDArray[np.float64]
    IntArray = NDArray[np.int64]

PROBE_A = 0.7
"""Radius of the probe, Å: near the covalent radii of C and O."""
REACH_A = 6.5
""":math:`R`: atoms further away do not count, Å."""
SHELLS_A = np.arange(1.5, 5.01, 0.5)
"""Radii of the shells, Å."""
SHELL_WIDTH_A = 0.35
""":math:`w`, Å."""
BINDING_A = 2.5
"""Shells up to here hold the binding atoms: the probe touches them at about 2 Å."""
PROPERTIES = (
    "electronegativity",
    "cohesive_energy",
    "d_electrons",
    "row",
    "p_electrons",
    "molar_volume",
    "ionisation_energy",
)
"""What the sums are weighted by, besides one."""
_ROUNDING = 1e-9
DECIMALS = 3
"""Sums are rounded, so that sites that are the same by symmetry are equal."""
COLUMNS = {f"shell_{radius:.1f}_{name}": "" for radius in SHELLS_A for name in ("atoms", *PROPERTIES)}
"""Each column with its unit: none has one."""


def site_geometries(places: Array, positions: Array, numbers: IntArray, radii: Array) -> list[SiteGeometry]:
    """Describe the geometry around sites of a surface.

    Parameters
    ----------
    places
        Lateral positions of the sites, shape (n_sites, 2), Å.
    positions
        Atoms of the surface with their periodic copies, as far as the probe and :data:`REACH_A` reach around
        every site, top at high z, shape (n_atoms, 3), Å.
    numbers
        Atomic numbers, shape (n_atoms,).
    radii
        Covalent radii, shape (n_atoms,), Å.
    """
    weights = np.column_stack([np.ones(len(numbers)), _standardised()[numbers - 1]])
    found = []
    for place, height in zip(places, touching_heights(places, positions, radii), strict=True):
        distances = np.linalg.norm(positions - (*place, height), axis=1)
        near = np.flatnonzero(distances < REACH_A)
        fading = (1.0 - (distances[near] / REACH_A) ** 2) ** 2
        shells = np.exp(-0.5 * ((SHELLS_A[:, None] - distances[near]) / SHELL_WIDTH_A) ** 2) * fading
        found.append(SiteGeometry.of(np.round(shells @ weights[near], DECIMALS)))
    return found


def touching_heights(places: Array, positions: Array, radii: Array) -> Array:
    """Heights of the probe's centre where it first touches an atom, of shape (n_sites,), Å.

    Over a hole that the probe would fall through, one takes its place that just fits.
    """
    heights = np.empty(len(places))
    for row, place in enumerate(places):
        beside = np.linalg.norm(positions[:, :2] - place, axis=1)
        reach = radii + max(PROBE_A, float((beside - radii).min()))
        under = beside <= reach * (1.0 + _ROUNDING)
        rise = np.sqrt(np.maximum(reach[under] ** 2 - beside[under] ** 2, 0.0))
        heights[row] = (positions[under, 2] + rise).max()
    return heights


def geometry_features(environments: Sequence[SiteEnvironment]) -> NDArray[np.float32]:
    """Feature matrix with the columns of :data:`COLUMNS`; NaN where the geometry is not known."""
    matrix = np.full((len(environments), len(COLUMNS)), np.nan, np.float32)
    known = [i for i, environment in enumerate(environments) if environment.geometry is not None]
    packed = b"".join(environments[i].geometry.packed for i in known)  # type: ignore[union-attr]
    matrix[known] = np.frombuffer(packed, np.float32).reshape(-1, len(COLUMNS))
    return matrix


def redecorated(
    geometry: SiteGeometry, before: tuple[Shell, Shell], after: tuple[Shell, Shell]
) -> SiteGeometry:
    """Put other elements in the same places.

    Sums over plain atoms stay. Those weighted by properties move with the mean property of the binding atoms,
    up to :data:`BINDING_A`, and of their neighbours beyond.

    Parameters
    ----------
    before, after
        First and second shell of the site that the geometry is of, and of the one that it is to be of.
    """
    shifts = [_mean(new) - _mean(old) for old, new in zip(before, after, strict=True)]
    sums = geometry.values().reshape(len(SHELLS_A), 1 + len(PROPERTIES)).astype(float)
    sums[:, 1:] += sums[:, :1] * np.where(SHELLS_A[:, None] <= BINDING_A, *shifts)
    return SiteGeometry.of(np.round(sums, DECIMALS))


def _mean(shell: Shell) -> Array:
    """Mean of the weighting properties over a shell; 0, that of all elements, where it is empty."""
    total = sum(n for _, n in shell)
    weighted = [n * _standardised()[atomic_number(symbol) - 1] for symbol, n in shell]
    mean: Array = sum(weighted, np.zeros(len(PROPERTIES))) / max(total, 1)
    return mean


@cache
def _standardised() -> Array:
    """Chosen properties of every element, each with mean 0 and standard deviation 1 over the elements."""
    table = property_table()[:, [ELEMENT_PROPERTIES.index(name) for name in PROPERTIES]]
    standardised: Array = (table - table.mean(axis=0)) / table.std(axis=0)
    return standardised
