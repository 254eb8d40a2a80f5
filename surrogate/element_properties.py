"""Tabulated properties of the elements around a site, and what their places in the periodic table say.

Sources, as compiled in pymatgen (Ong et al., Comput. Mater. Sci. 68, 314 (2013), MIT licence): atomic radius
after Slater, J. Chem. Phys. 41, 3199 (1964), Å; molar volume of the element at ambient conditions, cm³/mol;
melting point, K; first ionisation energy and electron affinity, eV (NIST, CRC Handbook). Work function of
polycrystalline surfaces: Michaelson, J. Appl. Phys. 48, 4729 (1977), eV. Cohesive energy: Kittel,
Introduction to Solid State Physics, 8th ed. (2005), eV per atom. Electronegativity (Pauling), column and row:
:mod:`surrogate.elements`. A value that nobody tabulates is the mean of the others, weighted by how alike the
elements are.

Tables of d-band centres and coupling elements (Ruban et al., J. Mol. Catal. A 115, 421 (1997)) are left
out: with columns, rows and valence electrons there already, they did not lower the errors.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from surrogate.elements import SYMBOLS, electronegativity, group_and_period, similarity

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TABLE = """
H 0.25 11.42 14 13.6 0.75 - - / He - 21 1 24.59 -0.52 - - / Li 1.45 13.02 454 5.39 0.62 2.9 1.63 /
Be 1.05 4.85 1560 9.32 -0.52 4.98 3.32 / B 0.85 4.39 2349 8.3 0.28 - 5.81 /
C 0.7 5.29 3800 11.26 1.26 - 7.37 / N 0.65 13.54 63 14.53 -0.07 - 4.92 / O 0.6 17.36 55 13.62 1.46 - 2.6 /
F 0.5 11.2 54 17.42 3.4 - - / Ne - 13.23 25 21.56 -1.22 - - / Na 1.8 23.78 371 5.14 0.55 2.75 1.11 /
Mg 1.5 14 923 7.65 -0.42 3.66 1.51 / Al 1.25 10 933 5.99 0.43 4.28 3.39 /
Si 1.1 12.06 1687 8.15 1.39 4.85 4.63 / P 1 17.02 317 10.49 0.75 - 3.43 / S 1 15.53 388 10.36 2.08 - 2.85 /
Cl 1 17.39 172 12.97 3.61 - - / Ar 0.71 22.56 84 15.76 -1.02 - - / K 2.2 45.94 337 4.34 0.5 2.3 0.93 /
Ca 1.8 26.2 1115 6.11 0.02 2.87 1.84 / Sc 1.6 15 1814 6.56 0.18 3.5 3.9 /
Ti 1.4 10.64 1941 6.83 0.08 4.33 4.85 / V 1.35 8.32 2183 6.75 0.53 4.3 5.31 /
Cr 1.4 7.23 2180 6.77 0.68 4.5 4.1 / Mn 1.4 7.35 1519 7.43 -0.52 4.1 2.92 /
Fe 1.4 7.09 1811 7.9 0.15 4.5 4.28 / Co 1.35 6.67 1768 7.88 0.66 5 4.39 /
Ni 1.35 6.59 1728 7.64 1.16 5.15 4.44 / Cu 1.35 7.11 1358 7.73 1.24 4.65 3.49 /
Zn 1.35 9.16 693 9.39 -0.62 4.33 1.35 / Ga 1.3 11.8 303 6 0.3 4.2 2.81 / Ge 1.25 13.63 1211 7.9 1.23 5 3.85 /
As 1.15 12.95 1090 9.79 0.8 3.75 2.96 / Se 1.15 16.42 494 9.75 2.02 5.9 2.46 /
Br 1.15 19.78 266 11.81 3.36 - - / Kr - 27.99 116 14 -1.02 - - / Rb 2.35 55.76 312 4.18 0.49 2.16 0.85 /
Sr 2 33.94 1050 5.69 0.05 2.59 1.72 / Y 1.8 19.88 1799 6.22 0.31 3.1 4.37 /
Zr 1.55 14.02 2128 6.63 0.43 4.05 6.25 / Nb 1.45 10.83 2750 6.76 0.92 4.3 7.57 /
Mo 1.45 9.38 2896 7.09 0.75 4.6 6.82 / Tc 1.35 8.63 2430 7.12 0.55 - 6.85 /
Ru 1.3 8.17 2607 7.36 1.05 4.71 6.74 / Rh 1.35 8.28 2237 7.46 1.14 4.98 5.75 /
Pd 1.4 8.56 1828 8.34 0.56 5.12 3.89 / Ag 1.6 10.27 1235 7.58 1.3 4.26 2.95 /
Cd 1.55 13 594 8.99 -0.72 4.22 1.16 / In 1.55 15.76 430 5.79 0.38 4.12 2.52 /
Sn 1.45 16.29 505 7.34 1.11 4.42 3.14 / Sb 1.45 18.19 904 8.61 1.05 4.55 2.75 /
Te 1.4 20.46 723 9.01 1.97 4.95 2.19 / I 1.4 25.72 387 10.45 3.06 - - / Xe - 35.92 161 12.13 -0.82 - - /
Cs 2.6 70.94 302 3.89 0.47 2.14 0.8 / Ba 2.15 38.16 1000 5.21 0.14 2.7 1.9 /
La 1.95 22.39 1193 5.58 0.56 3.5 4.47 / Ce 1.85 20.69 1068 5.54 0.6 2.9 4.32 /
Pr 1.85 20.8 1208 5.47 0.11 - 3.7 / Nd 1.85 20.59 1297 5.53 0.1 3.2 3.4 / Pm 1.85 20.23 1373 5.58 0.13 - - /
Sm 1.85 19.98 1345 5.64 0.16 2.7 2.14 / Eu 1.85 28.97 1099 5.67 0.12 - 1.86 /
Gd 1.8 19.9 1585 6.15 0.21 3.1 4.14 / Tb 1.75 19.3 1629 5.86 0.13 3 4.05 /
Dy 1.75 19.01 1680 5.94 0.02 - 3.04 / Ho 1.75 18.74 1734 6.02 0.34 - 3.14 /
Er 1.75 18.46 1802 6.11 0.31 - 3.29 / Tm 1.75 19.1 1818 6.18 1.03 - 2.42 /
Yb 1.75 24.84 1097 6.25 -0.02 - 1.6 / Lu 1.75 17.78 1925 5.43 0.24 3.3 4.43 /
Hf 1.55 13.44 2506 6.83 0.18 3.9 6.44 / Ta 1.45 10.85 3290 7.55 0.33 4.25 8.1 /
W 1.35 9.47 3695 7.86 0.82 4.55 8.9 / Re 1.35 8.86 3459 7.83 0.06 4.96 8.03 /
Os 1.3 8.42 3306 8.44 1.08 4.83 8.17 / Ir 1.35 8.52 2739 8.97 1.56 5.27 6.94 /
Pt 1.35 9.09 2041 8.96 2.13 5.65 5.84 / Au 1.35 10.21 1337 9.23 2.31 5.1 3.81 /
Hg 1.5 14.09 234 10.44 -0.52 4.49 0.67 / Tl 1.9 17.22 577 6.11 0.32 3.84 1.88 /
Pb 1.8 18.26 601 7.42 0.36 4.25 2.03 / Bi 1.6 21.31 544 7.29 0.94 4.22 2.18 / Po 1.9 22.97 527 8.42 1.41 - - /
At - - 575 9.32 2.42 - - / Rn - 50.5 202 10.75 -0.72 - - / Fr - - 300 4.07 0.49 - - /
Ra 2.15 41.09 973 5.28 0.1 - - / Ac 1.95 22.55 1323 5.38 0.35 - - / Th 1.8 19.8 2115 6.31 0.61 3.4 6.2 /
Pa 1.8 15.18 1841 5.89 0.55 - - / U 1.75 12.49 1405 6.19 0.31 3.63 5.55 / Np 1.75 11.59 910 6.27 0.48 - - /
Pu 1.75 12.29 912 6.03 -0.5 - - / Am 1.75 17.63 1449 5.97 0.1 - - / Cm - 18.05 1613 5.99 0.28 - - /
Bk - 16.84 1259 6.2 -1.72 - - / Cf - 16.5 1173 6.28 -1.01 - - / Es - 28.52 1133 6.37 -0.3 - - /
Fm - - 1800 6.5 0.35 - - / Md - - 1100 6.58 0.98 - - / No - - 1100 6.63 -2.33 - - /
Lr - - 1900 4.96 -0.31 - -
"""
_TABULATED = (
    "atomic_radius",
    "molar_volume",
    "melting_point",
    "ionisation_energy",
    "electron_affinity",
    "work_function",
    "cohesive_energy",
)
UNITS = {
    "column": "",
    "row": "",
    "electronegativity": "Pauling",
    "s_electrons": "",
    "p_electrons": "",
    "d_electrons": "",
    "d_filling": "",
    "atomic_radius": "Å",
    "molar_volume": "cm³/mol",
    "melting_point": "K",
    "ionisation_energy": "eV",
    "electron_affinity": "eV",
    "work_function": "eV",
    "cohesive_energy": "eV",
}
"""Unit of every property; numbers have none."""
PROPERTIES = tuple(UNITS)
"""Names of the columns of :func:`property_table`."""
_S_ELECTRONS = {"Pd": 0, **dict.fromkeys(("Cr", "Cu", "Nb", "Mo", "Ru", "Rh", "Ag", "Pt", "Au"), 1)}
"""Where the free atom's outermost s shell holds fewer than two."""


@lru_cache(maxsize=1)
def property_table() -> NDArray[np.float64]:
    """Properties of every element, of shape (103, n_properties), columns as in :data:`PROPERTIES`.

    Row ``i`` belongs to atomic number ``i + 1``. The array is read-only and holds no NaN.
    """
    tabulated = np.array([entry.split()[1:] for entry in _TABLE.split("/")])
    values = np.where(tabulated == "-", "nan", tabulated).astype(float)
    counted = np.array([_counted(number) for number in range(1, len(SYMBOLS) + 1)])
    table: NDArray[np.float64] = np.hstack([counted, np.column_stack([_filled(x) for x in values.T])])
    table.setflags(write=False)
    return table


def element_property(name: str) -> NDArray[np.float64]:
    """One property of every element, of shape (103,)."""
    column: NDArray[np.float64] = property_table()[:, PROPERTIES.index(name)]
    return column


def _counted(number: int) -> tuple[float, ...]:
    """What the place in the periodic table says: column, row, electronegativity, valence electrons."""
    symbol = SYMBOLS[number - 1]
    column, row = group_and_period(number)
    s = _S_ELECTRONS.get(symbol, min(column, 2))
    p = max(column - 12, 0)
    d = min(column - s, 10) if 3 <= column <= 12 else (10 if p and row >= 4 else 0)
    # Of the band, not of the atom: palladium's ten d electrons leave holes in the metal.
    filling = min(max((column - 2) / 10, 0.0), 1.0)
    return column, row, electronegativity(symbol), s, p, d, filling


def _filled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = ~np.isnan(values)
    weights = similarity()[:, known]
    estimate = weights @ values[known] / weights.sum(axis=1)
    return np.where(known, values, estimate)
