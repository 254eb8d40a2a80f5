"""Element properties that describe a site, and how alike two elements are.

Electronegativities are on the Pauling scale, as tabulated by the CRC Handbook of Chemistry and Physics
(values of Pauling, revised by Allred 1961, J. Inorg. Nucl. Chem. 17, 215). Helium, neon and argon have
none; Pm, Eu, Tb and Yb carry the usual estimates between their neighbours.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

_ELECTRONEGATIVITIES = """
H 2.20 He - Li 0.98 Be 1.57 B 2.04 C 2.55 N 3.04 O 3.44 F 3.98 Ne - Na 0.93 Mg 1.31 Al 1.61 Si 1.90 P 2.19
S 2.58 Cl 3.16 Ar - K 0.82 Ca 1.00 Sc 1.36 Ti 1.54 V 1.63 Cr 1.66 Mn 1.55 Fe 1.83 Co 1.88 Ni 1.91 Cu 1.90
Zn 1.65 Ga 1.81 Ge 2.01 As 2.18 Se 2.55 Br 2.96 Kr 3.00 Rb 0.82 Sr 0.95 Y 1.22 Zr 1.33 Nb 1.60 Mo 2.16
Tc 1.90 Ru 2.20 Rh 2.28 Pd 2.20 Ag 1.93 Cd 1.69 In 1.78 Sn 1.96 Sb 2.05 Te 2.10 I 2.66 Xe 2.60 Cs 0.79
Ba 0.89 La 1.10 Ce 1.12 Pr 1.13 Nd 1.14 Pm 1.13 Sm 1.17 Eu 1.20 Gd 1.20 Tb 1.10 Dy 1.22 Ho 1.23 Er 1.24
Tm 1.25 Yb 1.10 Lu 1.27 Hf 1.30 Ta 1.50 W 2.36 Re 1.90 Os 2.20 Ir 2.20 Pt 2.28 Au 2.54 Hg 2.00 Tl 1.62
Pb 2.33 Bi 2.02 Po 2.00 At 2.20 Rn 2.20 Fr 0.70 Ra 0.90 Ac 1.10 Th 1.30 Pa 1.50 U 1.38 Np 1.36 Pu 1.28
Am 1.30 Cm 1.30 Bk 1.30 Cf 1.30 Es 1.30 Fm 1.30 Md 1.30 No 1.30 Lr 1.30
"""
_WORDS = _ELECTRONEGATIVITIES.split()
SYMBOLS: tuple[str, ...] = tuple(_WORDS[0::2])
"""Symbols by atomic number; ``SYMBOLS[0]`` is hydrogen."""
_PAULING = {symbol: None if x == "-" else float(x) for symbol, x in zip(SYMBOLS, _WORDS[1::2], strict=True)}
_KNOWN = [x for x in _PAULING.values() if x is not None]
_UNKNOWN_ELECTRONEGATIVITY = sum(_KNOWN) / len(_KNOWN)
_NUMBERS = {symbol: z for z, symbol in enumerate(SYMBOLS, start=1)}
_NOBLE_GASES = (0, 2, 10, 18, 36, 54, 86)

_GROUP_SCALE = 3.0
_PERIOD_SCALE = 3.0
_ELECTRONEGATIVITY_SCALE = 1.0
_OWN_SHARE = 0.2
"""Share of an element's character that none of its neighbours in the periodic table has."""


def atomic_number(symbol: str) -> int:
    """Atomic number of an element.

    Raises
    ------
    ValueError
        If the symbol is no element up to lawrencium.
    """
    try:
        return _NUMBERS[symbol]
    except KeyError:
        message = f"{symbol!r} is not a chemical element up to Lr"
        raise ValueError(message) from None


def electronegativity(symbol: str) -> float:
    """Pauling electronegativity; the mean of all elements where none is tabulated (He, Ne, Ar)."""
    atomic_number(symbol)
    value = _PAULING[symbol]
    return _UNKNOWN_ELECTRONEGATIVITY if value is None else value


def group_and_period(number: int) -> tuple[int, int]:
    """Column (1 to 18) and row of the periodic table; lanthanides and actinides count as column 3."""
    period = next(i for i, noble in enumerate((*_NOBLE_GASES[1:], 118), start=1) if number <= noble)
    position = number - _NOBLE_GASES[period - 1]
    length = _NOBLE_GASES[period] - _NOBLE_GASES[period - 1] if period < 7 else 32
    if position <= 2 and number != 2:
        return position, period
    from_right = length - position
    return max(18 - from_right, 3), period


@lru_cache(maxsize=1)
def similarity() -> NDArray[np.float64]:
    """How alike elements are: a covariance with ones on its diagonal, of shape (103, 103).

    A Gaussian of the distance in the periodic table (column, row) and in electronegativity, with a share
    that every element has to itself, so that even perfect neighbours may differ. Row and column ``i`` belong
    to atomic number ``i + 1``. The array is read-only.
    """
    places = np.array([group_and_period(z) for z in range(1, len(SYMBOLS) + 1)], dtype=float)
    x = np.array([electronegativity(symbol) for symbol in SYMBOLS])
    scaled = np.column_stack(
        [places[:, 0] / _GROUP_SCALE, places[:, 1] / _PERIOD_SCALE, x / _ELECTRONEGATIVITY_SCALE]
    )
    squared = ((scaled[:, None, :] - scaled[None, :, :]) ** 2).sum(axis=2)
    result: NDArray[np.float64] = (1.0 - _OWN_SHARE) * np.exp(-0.5 * squared) + _OWN_SHARE * np.eye(
        len(SYMBOLS)
    )
    result.setflags(write=False)
    return result


def counts_by_element(shells: Sequence[Iterable[tuple[str, int]]]) -> NDArray[np.float64]:
    """How many atoms of each element every shell holds, of shape (n_shells, 103)."""
    counts = np.zeros((len(shells), len(SYMBOLS)))
    for row, shell in enumerate(shells):
        for symbol, count in shell:
            counts[row, atomic_number(symbol) - 1] += count
    return counts


def fractions(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale each row of counts to sum to one; rows of an empty shell stay zero."""
    shares: NDArray[np.float64] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    return shares
