"""Adsorption energies of published data sets, as sites that the surrogate can read.

The files are not part of this project (see the README beside them): ``gaspy_co_sites.csv.gz`` and
``gaspy_h_sites.csv.gz`` (Tran and Ulissi 2018; VASP, RPBE; coordination of the relaxed geometry, which
flatters every model alike), ``mamun2019_h.csv.gz`` (Mamun et al., Sci. Data 6, 76 (2019); Quantum ESPRESSO,
BEEF-vdW). Crystals come from the built-in library where it holds them; the geometry of GASpy's sites too, on
request (:mod:`benchmarks.rebuilt_sites`). Units: eV, Å.
"""

from __future__ import annotations

import csv
import gzip
import re
import sys
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.rebuilt_sites import Face, rebuilt
from pipeline.structures.context import bulk_context
from pipeline.structures.library import library
from surrogate.sites import BulkContext, Shell, SiteEnvironment, shell_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Row = Mapping[str, str]

OUTLIER_EV = 5.0
"""Energies beyond are no adsorption energies."""


@dataclass(frozen=True)
class Labelled:
    """Sites with their ΔE; arrays of shape (n_sites,)."""

    name: str
    adsorbate: str
    environments: list[SiteEnvironment]
    delta_e: NDArray[np.float64]
    bulks: NDArray[np.str_]
    """What folds are grouped by: the crystal, or for rebuilt prototypes the composition."""
    surfaces: NDArray[np.int64]
    """Equal for sites of one surface."""

    def __len__(self) -> int:
        return len(self.delta_e)

    def take(self, rows: NDArray[np.int64]) -> tuple[list[SiteEnvironment], NDArray[np.float64]]:
        """Environments and ΔE of some rows."""
        return [self.environments[i] for i in rows], self.delta_e[rows]

    def part(self, rows: NDArray[np.int64]) -> Labelled:
        """Some rows as a set of their own; surfaces are numbered anew."""
        surfaces = np.unique(self.surfaces[rows], return_inverse=True)[1].astype(np.int64)
        environments, energies = self.take(rows)
        return Labelled(self.name, self.adsorbate, environments, energies, self.bulks[rows], surfaces)

    def of_bulks(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number the bulks of some rows."""
        numbers: NDArray[np.int64] = np.unique(self.bulks[rows], return_inverse=True)[1].astype(np.int64)
        return numbers


def load_all(folder: Path, geometry: Path | None = None) -> dict[str, Labelled]:
    """Read every data set that a folder holds, in the order of :data:`READERS`."""
    return {name: load(folder, name, geometry) for name in READERS if (folder / READERS[name].file).is_file()}


def load(folder: Path, name: str, geometry: Path | None = None) -> Labelled:
    """Read one data set of :data:`READERS` from a folder.

    Parameters
    ----------
    geometry
        Folder to keep rebuilt geometries in, which take two CPU-minutes to make; None leaves them out.
    """
    reader = READERS[name]
    with gzip.open(folder / reader.file, "rt", encoding="utf-8") as handle:
        kept = [row for row in csv.DictReader(handle) if abs(float(row["energy_eV"])) < OUTLIER_EV]
    sites = [(row, site) for row in kept if (site := reader.site(row)) is not None]
    environments = [site for _, site in sites]
    if geometry is not None and reader.face is not None:
        found = rebuilt([reader.face(row) for row, _ in sites], environments, geometry)
        environments = [replace(e, geometry=g) for e, g in zip(environments, found, strict=True)]
    surfaces: dict[tuple[str, ...], int] = {}
    return Labelled(
        name=name,
        adsorbate=reader.adsorbate,
        environments=environments,
        delta_e=np.array([float(row["energy_eV"]) for row, _ in sites]),
        bulks=np.array([row[reader.bulk] for row, _ in sites]),
        surfaces=np.array(
            [surfaces.setdefault(reader.surface(row), len(surfaces)) for row, _ in sites], dtype=np.int64
        ),
    )


def demand(folder: Path, names: Sequence[str] = (), geometry: Path | None = None) -> dict[str, Labelled]:
    """Read data sets as :func:`load` does, or end the program with 2 and say what is missing."""
    unknown = set(names) - set(READERS)
    if unknown:
        sys.exit(_said(f"unknown data set {', '.join(sorted(unknown))}; known: {', '.join(READERS)}"))
    missing = [READERS[name].file for name in names if not (folder / READERS[name].file).is_file()]
    found = {} if missing else load_all(folder, geometry)
    if missing or not found:
        wanted = ", ".join(missing or [reader.file for reader in READERS.values()])
        sys.exit(_said(f"cannot run: {folder} lacks {wanted}"))
    return {name: data for name, data in found.items() if not names or name in names}


def listed(text: str) -> list[str]:
    """Names on a command line, parted by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _said(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


# GASpy


def _gaspy_co(row: Row) -> SiteEnvironment | None:
    if not row["coordination"]:
        return None
    # `Cu:Al-Al|Al:Cu-Cu` lists the neighbours of each first-shell atom.
    parts = [part.partition(":") for part in row["neighborcoord"].split("|") if part]
    neighbours = tuple(sorted((symbol, shell_of(_symbols(shell))) for symbol, _, shell in parts))
    return SiteEnvironment(
        first_shell=shell_of(_symbols(row["coordination"])),
        second_shell=shell_of(s for _, _, shell in parts for s in _symbols(shell)),
        neighbours=neighbours,
        bulk=_library_context(row["mpid"]),
        miller=(int(row["h"]), int(row["k"]), int(row["l"])),
    )


def _gaspy_h(row: Row) -> SiteEnvironment | None:
    if not row["coordination"]:
        return None
    known = _library_context(row["mpid"])
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
def _library_context(mpid: str) -> BulkContext | None:
    found = library().get(mpid)
    return None if found is None else bulk_context(found.atoms())


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
    face: Callable[[Row], Face | None] | None = None
    """Surface to rebuild; None where no crystal is published."""

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
        _gaspy_co_face,
    ),
    "gaspy_h": Reader(
        "gaspy_h_sites.csv.gz",
        "H",
        "mpid",
        ("mpid", "miller_class", "shift", "top"),
        _gaspy_h,
        _gaspy_h_face,
    ),
    "mamun_h": Reader("mamun2019_h.csv.gz", "H", "slab_composition", ("slab_composition", "facet"), _mamun),
}
