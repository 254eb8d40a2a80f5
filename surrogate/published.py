"""Published ΔE on close-packed pure metals: what ranks the sites of a campaign that has computed nothing.

One energy per metal, of the most stable site of fcc(111) at 1/4 monolayer. As a
:class:`~surrogate.transfer.Source` they reach every alloy: the Gaussian process trained on them knows how
alike elements are, and their level is corrected by the campaign's own first observations. Energies in eV.

References
----------
.. [1] J. K. Nørskov et al., J. Electrochem. Soc. 152, J23 (2005), Table I, doi:10.1149/1.1856988; RPBE.
.. [2] O. Mamun et al., Sci. Data 6, 76 (2019), doi:10.1038/s41597-019-0080-z; BEEF-vdW, lowest site of
   fcc(111), also of metals that crystallise otherwise.
.. [3] H. Falsig et al., Angew. Chem. Int. Ed. 47, 4835 (2008), doi:10.1002/anie.200801479, as CatMAP
   tabulates it (Medford et al., Catal. Lett. 145, 794 (2015)), less 2.74 eV of its CO(g); RPBE, read at
   second hand, site and coverage not told.
"""

from __future__ import annotations

from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from surrogate.sites import SiteEnvironment
from surrogate.transfer import Source

if TYPE_CHECKING:
    from collections.abc import Mapping

_NORSKOV = {"Ni": -0.51, "Cu": -0.05, "Pd": -0.38, "Ag": 0.27, "Pt": -0.33, "Au": 0.21}
_MAMUN = {
    **{"Sc": -1.00, "V": -1.00, "Fe": -0.96, "Zn": 0.55, "Ga": 0.65, "Zr": -0.99, "Nb": -0.94, "In": 0.86},
    **{"Sn": 0.46, "La": -0.69, "W": -0.88, "Bi": 0.94},
}
_FALSIG = {"Ni": -1.11, "Cu": -0.16, "Pd": -1.19, "Ag": 0.25, "Pt": -1.04, "Au": 0.30}
PURE_METALS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {"H": {**_NORSKOV, **_MAMUN}, "CO": _FALSIG}
)
"""Adsorbate -> metal -> ΔE, eV, counted from ½H2 [1]_ [2]_ and CO(g) [3]_."""
ENOUGH = 50
"""A campaign with so many observations of its own gains next to nothing from the table
(``docs/how-to/cold-start.md``)."""
NAME = "published pure metals"


def published(adsorbate: str, n_observations: int) -> list[Source]:
    """Return the table as a source; none where nothing is published, or observations are :data:`ENOUGH`.

    Parameters
    ----------
    adsorbate
        What stands for it in ids, so that a H counted from another reference is none of the table's.
    """
    return [_source(adsorbate)] if adsorbate in PURE_METALS and n_observations < ENOUGH else []


@cache
def _source(adsorbate: str) -> Source:
    """Make the source, one and the same each time: what was trained on it is then kept."""
    table = PURE_METALS[adsorbate]
    return Source(NAME, [_hollow(metal) for metal in table], np.array(list(table.values())), list(table))


def _hollow(metal: str) -> SiteEnvironment:
    """Describe the fcc hollow of fcc(111) as the enumeration of sites does."""
    return SiteEnvironment(
        first_shell=((metal, 3),),
        second_shell=((metal, 15),),
        neighbours=((metal, ((metal, 9),)),) * 3,
        beneath=(),
    )
