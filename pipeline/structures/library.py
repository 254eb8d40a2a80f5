"""The built-in library: intermetallic bulks of OC20 by Materials Project id.

Where the data come from and under which licence: ``data/ATTRIBUTION``. Units: Å, eV.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import TYPE_CHECKING

from config.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ase import Atoms

FILE_NAME = "oc20_bulks.json.gz"
AMBIENT = {
    "Cd": "mp-94", "Co": "mp-54", "Fe": "mp-13", "Ga": "mp-142", "Ni": "mp-23", "Pd": "mp-2", "Ru": "mp-33",
    "Sn": "mp-84", "Ta": "mp-50", "Ti": "mp-46", "Tl": "mp-82", "V": "mp-146",
}  # fmt: skip
"""Metals whose structure at ambient conditions is not the library's lowest energy: OC20 is not
spin-polarised (Fe, Co, Ni), lists a phase twice (Pd, Ru, Ni), or RPBE prefers another phase by little."""


@dataclass(frozen=True)
class LibraryBulk:
    """A bulk as the library holds it: a primitive cell relaxed with VASP and RPBE."""

    id: str
    numbers: tuple[int, ...]
    cell: tuple[tuple[float, ...], ...]
    scaled_positions: tuple[tuple[float, ...], ...]
    energy_per_atom: float
    """eV, VASP."""

    @cached_property
    def elements(self) -> frozenset[str]:
        """Symbols of its elements."""
        from ase.data import chemical_symbols

        return frozenset(chemical_symbols[z] for z in self.numbers)

    def atoms(self) -> Atoms:
        """Build the structure."""
        from ase import Atoms

        return Atoms(self.numbers, cell=self.cell, scaled_positions=self.scaled_positions, pbc=True)


@cache
def library() -> Mapping[str, LibraryBulk]:
    """Every bulk of the library by Materials Project id."""
    packed = (files("pipeline.structures") / "data" / FILE_NAME).read_bytes()
    return {
        entry["id"]: LibraryBulk(
            id=entry["id"],
            numbers=tuple(entry["numbers"]),
            cell=tuple(map(tuple, entry["cell"])),
            scaled_positions=tuple(map(tuple, entry["scaled"])),
            energy_per_atom=entry["energy_per_atom"],
        )
        for entry in json.loads(gzip.decompress(packed))
    }


def library_bulk(mpid: str) -> LibraryBulk:
    """Look a bulk up.

    Raises
    ------
    ConfigError
        If the library does not hold it; the message names the nearest ids.
    """
    from rapidfuzz.process import extract

    found = library().get(mpid)
    if found is None:
        nearest = ", ".join(name for name, _, _ in extract(mpid, library().keys(), limit=3))
        message = (
            f"bulks.ids: {mpid!r} is not in the built-in library of {len(library())} intermetallic bulks "
            f"(nearest: {nearest}); other crystals come in through bulks.files or bulks.materials_project"
        )
        raise ConfigError(message)
    return found


@cache
def pure_metals() -> Mapping[str, LibraryBulk]:
    """Elemental bulk of every element of the library: as at ambient conditions."""
    metals = {element: library()[mpid] for element, mpid in AMBIENT.items()}
    elemental = [bulk for bulk in library().values() if len(bulk.elements) == 1]
    for bulk in sorted(elemental, key=lambda bulk: bulk.energy_per_atom):
        (element,) = bulk.elements
        metals.setdefault(element, bulk)
    return metals
