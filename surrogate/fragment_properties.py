"""Properties of the elements by which the nodes of a crystal's graph are labelled.

Isayev et al., Nature Communications 8 (2017) 15679, doi:10.1038/ncomms15679, label atoms with general,
measured and derived properties; those of them that libraries in use here tabulate are in :data:`PROPERTIES`.
Sources, read once and checked against them by the tests:

- masses, Pauling electronegativities, electron affinities, ionisation energies, Slater's atomic radii, van
  der Waals radii, molar volumes, thermal conductivities, melting and boiling points: the periodic table of
  pymatgen (Ong et al., Comput. Mater. Sci. 68 (2013) 314, doi:10.1016/j.commatsci.2012.10.028);
- covalent radii: Cordero et al., Dalton Trans. (2008) 2832, doi:10.1039/b801115j, as in ASE;
- volume per atom and bulk modulus of the element's crystal: WIEN2k with PBE, Lejaeghere et al., Crit. Rev.
  Solid State Mater. Sci. 39 (2014) 1, doi:10.1080/10408436.2013.772503, as in ASE's collection ``dcdft``.

The enthalpies of atomisation, fusion and vaporisation, the heat capacity and the polarisability of the
paper's list have no such source; melting and boiling points stand in for the former.

An entry that is not known (``-``) is the mean of those of the elements in the same column of the periodic
table. Units: eV, Å, Å³, cm³/mol, W/(m K), K, GPa, unified atomic mass units.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from surrogate.elements import SYMBOLS, group_and_period

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

HEAVIEST = 94
"""Atomic number of the last element that has properties, Pu."""
RYDBERG_EV = 13.605693
"""Ionisation energy of hydrogen with a nucleus of infinite mass, eV (CODATA 2018)."""
TABULATED = (
    "atomic mass", "electronegativity", "electron affinity", "first ionisation energy",
    "second ionisation energy", "third ionisation energy", "covalent radius", "atomic radius",
    "van der Waals radius", "molar volume", "thermal conductivity", "melting point", "boiling point",
    "elemental bulk modulus", "elemental volume per atom",
)  # fmt: skip
"""Columns of the table below."""
DERIVED = ("group", "period", "valence electrons", "chemical hardness", "effective charge")
"""What follows from the others and from the place in the periodic table."""
PROPERTIES = (*DERIVED, *TABULATED)
"""Names of all properties, in the order of :func:`element_properties`."""
_TABLE = """
H 1.00794 2.2 0.7542 13.5984 - - 0.31 0.25 1.1 11.42 0.1805 14.01 20.28 10.284 17.388
He 4.0026 - -0.52 24.5874 54.4178 - 0.28 - 1.4 21 0.1513 0.95 4.22 0.847 17.771
Li 6.941 0.98 0.61805 5.39171 75.6401 122.454 1.28 1.45 1.82 13.02 85 453.69 1615 13.839 20.219
Be 9.01218 1.57 -0.52 9.3227 18.2111 153.896 0.96 1.05 1.53 4.85 190 1560 2742 122.9 7.9099
B 10.811 2.04 0.27972 8.29802 25.1548 37.9306 0.84 0.85 1.92 4.39 27 2349 4200 237.29 7.2405
C 12.0107 2.55 1.2621 11.2603 24.3832 47.8878 0.76 0.7 1.7 5.29 140 3800 4300 208.99 11.637
N 14.0067 3.04 -0.07 14.5341 29.6013 47.4453 0.71 0.65 1.55 13.54 0.02583 63.05 77.36 54.219 28.885
O 15.9994 3.44 1.4611 13.6181 35.1211 54.9355 0.66 0.6 1.52 17.36 0.02658 54.8 90.2 51.378 18.559
F 18.9984 3.98 3.4012 17.4228 34.9708 62.708 0.57 0.5 1.47 11.2 0.0277 53.53 85.03 34.325 19.167
Ne 20.1797 - -1.22 21.5645 40.963 63.4233 0.58 - 1.54 13.23 0.0491 24.56 27.07 1.406 24.249
Na 22.9898 0.93 0.54793 5.13908 47.2864 71.62 1.66 1.8 2.27 23.78 140 370.87 1156 7.472 37.469
Mg 24.305 1.31 -0.42 7.64624 15.0353 80.1436 1.41 1.5 1.73 14 160 923 1363 35.933 22.936
Al 26.9815 1.61 0.43284 5.98577 18.8285 28.4476 1.21 1.25 1.84 10 235 933.47 2792 78.077 16.48
Si 28.0855 1.9 1.3895 8.15168 16.3458 33.493 1.11 1.1 2.1 12.06 150 1687 3173 88.545 20.453
P 30.9738 2.19 0.74661 10.4867 19.7695 30.2026 1.07 1 1.8 17.02 0.236 317.3 550 68.208 21.471
S 32.065 2.58 2.0771 10.36 23.3379 34.86 1.05 1 1.8 15.53 0.205 388.36 717.87 83.407 17.184
Cl 35.453 3.16 3.6127 12.9676 23.8136 39.8 1.02 1 1.75 17.39 0.0089 171.6 239.11 19.081 38.889
Ar 39.948 - -1.02 15.7596 27.6297 40.735 1.06 0.71 1.88 22.56 0.01772 83.8 87.3 0.743 52.385
K 39.0983 0.82 0.50146 4.34066 31.625 45.8031 2.03 2.2 2.75 45.94 100 336.53 1032 3.574 73.679
Ca 40.078 1 0.024551 6.11316 11.8717 50.9132 1.76 1.8 2.31 26.2 200 1115 1757 17.114 42.199
Sc 44.9559 1.36 0.17938 6.56149 12.7998 24.7568 1.7 1.6 2.15 15 16 1814 3103 54.393 24.62
Ti 47.867 1.54 0.075545 6.82812 13.5755 27.4917 1.6 1.4 2.11 10.64 22 1941 3560 112.21 17.39
V 50.9415 1.63 0.52766 6.74619 14.634 29.3111 1.53 1.35 2.07 8.32 31 2183 3680 181.67 13.452
Cr 51.9961 1.66 0.67593 6.76651 16.4863 30.959 1.39 1.4 2.06 7.23 94 2180 2944 183.9 11.773
Mn 54.938 1.55 -0.52 7.43404 15.64 33.668 1.39 1.4 2.05 7.35 7.8 1519 2334 118.63 11.447
Fe 55.845 1.83 0.15324 7.90247 16.1992 30.651 1.32 1.4 2.04 7.09 80 1811 3134 197.65 11.344
Co 58.9332 1.88 0.66226 7.88101 17.0844 33.5 1.26 1.35 2 6.67 100 1768 3200 217.29 10.86
Ni 58.6934 1.91 1.1572 7.63988 18.1688 35.187 1.24 1.35 1.97 6.59 91 1728 3186 200.37 10.888
Cu 63.546 1.9 1.2358 7.72638 20.2924 36.841 1.32 1.35 1.96 7.11 400 1357.77 3200 141.34 11.951
Zn 65.409 1.65 -0.62 9.3942 17.9644 39.7233 1.22 1.35 2.01 9.16 120 692.68 1180 74.78 15.182
Ga 69.723 1.81 0.30117 5.9993 20.5151 30.7258 1.22 1.3 1.87 11.8 29 302.91 2477 49.223 20.307
Ge 72.64 2.01 1.2327 7.89944 15.9346 34.0576 1.2 1.25 2.11 13.63 60 1211.4 3093 59.128 23.915
As 74.9216 2.18 0.80449 9.78855 18.5892 28.349 1.19 1.15 1.85 12.95 50 1090 887 68.285 22.589
Se 78.96 2.55 2.0206 9.75239 21.196 31.697 1.2 1.15 1.9 16.42 0.52 494 958 47.07 29.744
Br 79.904 2.96 3.3636 11.8138 21.591 34.871 1.2 1.15 1.85 19.78 0.12 265.8 332 22.415 39.447
Kr 83.798 3 -1.02 13.9996 24.3598 35.838 1.16 - 2.02 27.99 0.00943 115.79 119.93 0.671 65.658
Rb 85.4678 0.82 0.48592 4.17713 27.2895 39.247 2.2 2.35 3.03 55.76 58 312.46 961 2.787 90.809
Sr 87.62 0.95 0.052066 5.69487 11.0303 42.8835 1.95 2 2.49 33.94 35 1050 1655 11.256 54.527
Y 88.9059 1.22 0.31129 6.21726 12.2236 20.5244 1.9 1.8 2.32 19.88 17 1799 3609 41.593 32.844
Zr 91.224 1.33 0.43329 6.63413 13.13 23.17 1.75 1.55 2.23 14.02 23 2128 4682 93.684 23.385
Nb 92.9064 1.6 0.91741 6.75885 14.32 25.04 1.64 1.45 2.18 10.83 54 2750 5017 171.27 18.137
Mo 95.94 2.16 0.74724 7.09243 16.16 27.13 1.54 1.45 2.17 9.38 139 2896 4912 258.93 15.786
Tc 98 1.9 0.552 7.11938 15.26 29.55 1.47 1.35 2.16 8.63 51 2430 4538 299.15 14.437
Ru 101.07 2.2 1.0463 7.3605 16.76 28.47 1.46 1.3 2.13 8.17 120 2607 4423 312.5 13.762
Rh 102.906 2.28 1.1429 7.4589 18.08 31.06 1.42 1.35 2.1 8.28 150 2237 3968 257.82 14.04
Pd 106.42 2.2 0.56214 8.33684 19.43 32.93 1.39 1.4 2.1 8.56 72 1828.05 3236 168.63 15.31
Ag 107.868 1.93 1.3045 7.57623 21.4844 34.8 1.45 1.6 2.11 10.27 430 1234.93 2435 90.148 17.847
Cd 112.411 1.69 -0.72 8.99382 16.9083 37.468 1.44 1.55 2.18 13 97 594.22 1040 46.403 22.629
In 114.818 1.78 0.38393 5.78636 18.8704 28.0441 1.42 1.55 1.93 15.76 82 429.75 2345 34.937 27.471
Sn 118.71 1.96 1.1121 7.34392 14.6331 30.506 1.39 1.45 2.17 16.29 67 505.08 2875 36.03 36.817
Sb 121.76 2.05 1.0474 8.60839 16.626 25.3235 1.39 1.45 2.06 18.19 24 903.78 1860 50.367 31.73
Te 127.6 2.1 1.9709 9.00981 18.6 27.84 1.38 1.4 2.06 20.46 3 722.66 1261 44.787 34.977
I 126.904 2.66 3.059 10.4513 19.1313 29.57 1.39 1.4 1.98 25.72 0.449 386.85 457.4 18.654 50.233
Xe 131.293 2.6 -0.82 12.1298 20.975 31.05 1.4 - 2.16 35.92 0.00565 161.4 165.1 0.548 86.681
Cs 132.905 0.79 0.4716 3.89391 23.1575 33.195 2.44 2.6 3.43 70.94 36 301.59 944 1.982 117.08
Ba 137.327 0.89 0.14463 5.21166 10.0038 35.8438 2.15 2.15 2.68 38.16 18 1000 2143 8.677 63.14
La 138.905 1.1 0.55755 5.5769 11.185 19.1773 2.07 1.95 2.43 22.39 13 1193 3743 - -
Ce 140.116 1.12 0.60016 5.5386 10.956 20.1974 2.04 1.85 2.42 20.69 11 1068 3633 - -
Pr 140.908 1.13 0.10923 5.4702 10.631 21.6237 2.03 1.85 2.4 20.8 13 1208 3563 - -
Nd 144.242 1.14 0.097493 5.525 10.783 22.09 2.01 1.85 2.39 20.59 17 1297 3373 - -
Pm 145 1.13 0.129 5.58187 10.938 22.44 1.99 1.85 2.38 20.23 15 1373 3273 - -
Sm 150.36 1.17 0.162 5.64371 11.078 23.55 1.98 1.85 2.36 19.98 13 1345 2076 - -
Eu 151.964 1.2 0.11613 5.67038 11.24 24.84 1.98 1.85 2.35 28.97 14 1099 1800 - -
Gd 157.25 1.2 0.2123 6.1498 12.076 20.54 1.96 1.8 2.34 19.9 11 1585 3523 - -
Tb 158.925 1.1 0.13132 5.8638 11.513 21.82 1.94 1.75 2.33 19.3 11 1629 3503 - -
Dy 162.5 1.22 0.0153 5.93905 11.647 22.89 1.92 1.75 2.31 19.01 11 1680 2840 - -
Ho 164.93 1.23 0.338 6.0215 11.781 22.79 1.92 1.75 2.3 18.74 16 1734 2993 - -
Er 167.259 1.24 0.312 6.1077 11.916 22.7 1.89 1.75 2.29 18.46 15 1802 3141 - -
Tm 168.934 1.25 1.0292 6.18431 12.065 23.66 1.9 1.75 2.27 19.1 17 1818 2223 - -
Yb 173.04 1.1 -0.02 6.25416 12.1792 25.053 1.87 1.75 2.26 24.84 39 1097 1469 - -
Lu 174.967 1.27 0.23887 5.42587 14.13 20.9594 1.87 1.75 2.24 17.78 16 1925 3675 46.384 29.054
Hf 178.49 1.3 0.17807 6.82507 14.61 22.55 1.75 1.55 2.23 13.44 23 2506 4876 107 22.532
Ta 180.948 1.5 0.32886 7.54957 16.2 23.1 1.7 1.45 2.22 10.85 57 3290 5731 195.15 18.286
W 183.84 2.36 0.8165 7.86403 16.37 26 1.62 1.35 2.18 9.47 170 3695 5828 301.62 16.139
Re 186.207 1.9 0.060397 7.83352 16.6 27 1.51 1.35 2.16 8.86 48 3459 5869 362.85 14.958
Os 190.23 2.2 1.0777 8.43823 17 25 1.44 1.3 2.16 8.42 88 3306 5285 397.26 14.28
Ir 192.217 2.2 1.5641 8.96702 17 28 1.41 1.35 2.13 8.52 150 2739 4701 347.68 14.5
Pt 195.084 2.28 2.1251 8.95883 18.56 29 1.36 1.35 2.13 9.09 72 2041.4 4098 248.71 15.642
Au 196.967 2.54 2.3086 9.22555 20.203 30 1.36 1.35 2.14 10.21 320 1337.33 3129 139.11 17.974
Hg 200.59 2 -0.52 10.4375 18.7569 34.49 1.32 1.5 2.23 14.09 8.3 234.32 629.88 8.204 29.522
Tl 204.383 1.62 0.32005 6.10829 20.4283 29.852 1.45 1.9 1.96 17.22 46 577 1746 26.865 31.39
Pb 207.2 2.33 0.35672 7.41668 15.0325 31.9373 1.46 1.8 2.02 18.26 35 600.61 2022 39.544 32.003
Bi 208.98 2.02 0.94236 7.28552 16.703 25.5708 1.48 1.6 2.07 21.31 8 544.4 1837 42.63 36.905
Po 210 2 1.407 8.41807 19.3 27.3 1.4 1.9 1.97 22.97 20 527 1235 45.458 37.587
At 210 2.2 2.4158 9.31751 17.88 26.58 1.5 - 2.02 - 2 575 - - -
Rn 220 2.2 -0.72 10.7485 21.4 29.4 1.5 - 2.2 50.5 0.00361 202 211.3 0.564 92.685
Fr 223 0.7 0.486 4.07274 22.4 33.5 2.6 - 3.48 - - 300 - - -
Ra 226 0.9 0.1 5.27842 10.1472 31 2.21 2.15 2.83 41.09 19 973 2010 - -
Ac 227 1.1 0.35 5.38023 11.75 17.431 2.15 1.95 2.47 22.55 12 1323 3573 - -
Th 232.038 1.3 0.6077 6.3067 12.1 18.32 2.06 1.8 2.45 19.8 54 2115 5093 - -
Pa 231.036 1.5 0.55 5.89 11.9 18.6 2 1.8 2.43 15.18 47 1841 - - -
U 238.029 1.38 0.31498 6.19405 11.6 19.8 1.96 1.75 2.41 12.49 27 1405.3 4200 - -
Np 237 1.36 0.48 6.26554 11.5 19.7 1.9 1.75 2.39 11.59 6 910 4273 - -
Pu 244 1.28 -0.5 6.02576 11.5 21.1 1.87 1.75 2.43 12.29 6 912.5 3503 - -
"""


@lru_cache(maxsize=1)
def element_properties() -> Array:
    """Properties of every element, of shape (94, 20): rows by atomic number less one, columns as named.

    Derived: the valence electrons are the column's number, less ten from boron's column on; the chemical
    hardness is (I - A) / 2 after Parr and Pearson, doi:10.1021/ja00364a005, with first ionisation energy I
    and electron affinity A; the effective charge is that of a hydrogen-like ion with the same ionisation
    energy, n (I / Ry)^(1/2) with the period n. Thermal conductivities, which span five orders of magnitude,
    are decadic logarithms. The array is read-only.
    """
    words = [line.split() for line in _TABLE.split("\n") if line]
    table = np.array([[np.nan if word == "-" else float(word) for word in row[1:]] for row in words])
    places = np.array([group_and_period(z) for z in range(1, HEAVIEST + 1)], dtype=float)
    column = {name: i for i, name in enumerate(TABULATED)}
    table[:, column["thermal conductivity"]] = np.log10(table[:, column["thermal conductivity"]])
    table = _without_gaps(table, places[:, 0])
    ionisation = table[:, column["first ionisation energy"]]
    derived = (
        places[:, 0],
        places[:, 1],
        np.where(places[:, 0] > 12, places[:, 0] - 10, places[:, 0]),
        (ionisation - table[:, column["electron affinity"]]) / 2,
        places[:, 1] * np.sqrt(ionisation / RYDBERG_EV),
    )
    result: Array = np.column_stack([*derived, table])
    result.setflags(write=False)
    return result


@lru_cache(maxsize=1)
def covalent_radii() -> Array:
    """Cordero's covalent radii by atomic number less one, Å, of shape (94,); read-only."""
    radii: Array = element_properties()[:, PROPERTIES.index("covalent radius")]
    return radii


def unlabelled(symbols: set[str]) -> list[str]:
    """Those of some elements that have no properties, sorted."""
    return sorted(symbols - set(SYMBOLS[:HEAVIEST]))


def _without_gaps(table: Array, groups: Array) -> Array:
    """Fill each gap with the mean of the entries that the same column of the periodic table has."""
    filled = table.copy()
    for row, column in np.argwhere(np.isnan(table)):
        filled[row, column] = np.nanmean(table[groups == groups[row], column])
    return filled
