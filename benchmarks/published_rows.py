"""Rows of published data sets, as sites that the surrogate can read. Units: eV, Å.

GASpy (Tran and Ulissi 2018; VASP, RPBE; coordination of the relaxed geometry, which flatters every model
alike) and Mamun et al., Sci. Data 6, 76 (2019; Quantum ESPRESSO, BEEF-vdW). Crystals come from the built-in
library where it holds them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from benchmarks.rebuilt_sites import Face
from pipeline.structures.context import library_crystal
from pipeline.structures.library import library
from surrogate.sites import BulkContext, Shell, SiteEnvironment, shell_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Row = Mapping[str, str]


# GASpy


def gaspy_site(coordination: str, neighborcoord: str) -> SiteEnvironment:
    """Read a site's shells: ``Al-Cu`` and ``Cu:Al-Al|Al:Cu-Cu``, the neighbours of each first-shell atom."""
    parts = [part.partition(":") for part in neighborcoord.split("|") if part]
    return SiteEnvironment(
        first_shell=shell_of(_symbols(coordination)),
        second_shell=shell_of(s for _, _, shell in parts for s in _symbols(shell)),
        neighbours=tuple(sorted((symbol, shell_of(_symbols(shell))) for symbol, _, shell in parts)),
    )


def known_crystal(mpid: str) -> BulkContext | None:
    """What the built-in library knows of a crystal."""
    return library_crystal(mpid) if mpid in library() else None


def _gaspy_co(row: Row) -> SiteEnvironment | None:
    if not row["coordination"]:
        return None
    site = gaspy_site(row["coordination"], row["neighborcoord"])
    miller = int(row["h"]), int(row["k"]), int(row["l"])
    return replace(site, bulk=known_crystal(row["mpid"]), miller=miller)


def _gaspy_h(row: Row) -> SiteEnvironment | None:
    if not row["coordination"]:
        return None
    known = known_crystal(row["mpid"])
    return SiteEnvironment(
        first_shell=shell_of(_symbols(row["coordination"])),
        second_shell=shell_of(_symbols(row["outer8"])),
        bulk=known or BulkContext(_composition(row["formula"])),
    )


MILLER_OF_CLASS = {
    1: (1, 0, 0), 2: (1, 1, 1), 3: (1, 0, 2), 5: (1, 1, 0), 6: (2, 2, 1), 7: (0, 0, 1), 8: (2, 1, 1),
    9: (2, 1, 0), 10: (0, 1, 0), 11: (1, 0, -1), 12: (1, 0, 1), 14: (2, 1, 2), 15: (1, 1, 2),
    16: (1, 2, 0), 17: (0, 1, 1),
}  # fmt: skip
"""Faces behind the numbers in the rows of H, told by the whole structures that are published of some rows;
6, 14 and 16 by the shifts, which fall between atomic planes of these faces. Rarer ones are not known."""


def _gaspy_co_face(row: Row) -> Face:
    miller = (int(row["h"]), int(row["k"]), int(row["l"]))
    return Face(row["mpid"], miller, float(row["shift"]), row["top"] == "1")


def _gaspy_h_face(row: Row) -> Face | None:
    miller = MILLER_OF_CLASS.get(int(row["miller_class"]))
    # Here 0 is the upper side, as the whole structures show.
    return None if miller is None else Face(row["mpid"], miller, float(row["shift"]), row["top"] == "0")


def _symbols(joined: str) -> list[str]:
    return [symbol for symbol in joined.split("-") if symbol]


@cache
def _composition(formula: str) -> Shell:
    from pymatgen.core import Composition

    reduced = Composition(formula).reduced_composition
    return tuple(sorted((element.symbol, int(n)) for element, n in reduced.items()))


# Mamun: close-packed faces of X12 (fcc), X9Y3 (L1_2) and X6Y6 (L1_0), three layers of 2x2

LAYERS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "A": {"A": ("AAAAAA", "AAA")},
    "A3B": {"A": ("AAAABB", "AAB"), "B": ("AAAAAA", "AAA")},
    "AB": {"A": ("AABBBB", "ABB"), "B": ("BBAAAA", "BAA")},
}
"""Prototype -> atom of the top layer -> its neighbours in the layer and in the one below."""
BELOW_HCP: Mapping[str, Mapping[str, str]] = {
    "A": {"AAA": "A"},
    "A3B": {"AAA": "B", "AAB": "A"},
    "AB": {"AAB": "B", "ABB": "A"},
}
"""Prototype -> first shell of a hollow -> atom of the second layer straight below, at an hcp hollow."""


def _mamun(row: Row) -> SiteEnvironment | None:
    """Rebuild a site; rows of two H (2H*) and sites without letters are left out: they name no one site."""
    kind, _, rest = row["site"].partition("|")
    if not row["equation"].startswith("0.5") or not rest:
        return None
    elements = re.findall(r"([A-Z][a-z]?)(\d*)", row["surface_composition"])
    names = dict(zip("AB", (symbol for symbol, _ in elements), strict=False))
    prototype = "A" if len(elements) == 1 else ("A3B" if elements[0][1] == "3" else "AB")
    letters, _, stacking = rest.partition("|")
    atoms = letters.replace("_", "")
    around = {atom: "".join(LAYERS[prototype][atom]) for atom in set(atoms)}
    beneath = None
    if kind.startswith("hollow"):
        below = BELOW_HCP[prototype].get(atoms) if stacking == "HCP" else ""
        beneath = None if below is None else shell_of(names[b] for b in below)
    elif kind.startswith("bridge"):
        # The letter after the bridge's own: the atom of the second layer under the hcp hollow beside it.
        # A3B has as many A_A|A as A_A|B.
        beneath = shell_of(names[b] for b in stacking)
    return SiteEnvironment(
        first_shell=shell_of(names[a] for a in atoms),
        second_shell=shell_of(names[b] for a in atoms for b in around[a]),
        neighbours=tuple(sorted((names[a], shell_of(names[b] for b in around[a])) for a in atoms)),
        beneath=beneath,
        bulk=BulkContext(_composition(row["surface_composition"])),
        miller=_miller(row["facet"]),
    )


def _miller(facet: str) -> tuple[int, int, int]:
    h, k, l = (int(index) for index in facet)  # noqa: E741
    return h, k, l


@dataclass(frozen=True)
class Reader:
    """How a file is read."""

    file: str
    adsorbate: str
    bulk: str
    """Column that folds are grouped by."""
    surface_columns: tuple[str, ...]
    site: Callable[[Row], SiteEnvironment | None]
    site_columns: tuple[str, ...]
    """What ``site`` reads, besides the others."""
    face: Callable[[Row], Face | None] | None = None
    """Surface to rebuild; None where no crystal is published."""

    @property
    def columns(self) -> set[str]:
        """What a file has to have."""
        return {"energy_eV", self.bulk, *self.surface_columns, *self.site_columns}

    def surface(self, row: Row) -> tuple[str, ...]:
        """What sites of one surface have in common."""
        return tuple(_plain(row[column]) for column in self.surface_columns)


def _plain(value: str) -> str:
    """Round a number: shifts differ in the tenth digit."""
    return f"{float(value):.2f}" if re.fullmatch(r"-?\d+\.\d+(e-?\d+)?", value) else value


READERS: Mapping[str, Reader] = {
    "gaspy_co": Reader(
        "gaspy_co_sites.csv.gz",
        "CO",
        "mpid",
        ("mpid", "h", "k", "l", "shift", "top"),
        _gaspy_co,
        ("coordination", "neighborcoord"),
        _gaspy_co_face,
    ),
    "gaspy_h": Reader(
        "gaspy_h_sites.csv.gz",
        "H",
        "mpid",
        ("mpid", "miller_class", "shift", "top"),
        _gaspy_h,
        ("coordination", "outer8", "formula"),
        _gaspy_h_face,
    ),
    "mamun_h": Reader(
        "mamun2019_h.csv.gz",
        "H",
        "slab_composition",
        ("slab_composition", "facet"),
        _mamun,
        ("surface_composition", "site", "equation"),
    ),
}
