"""The bulks of a campaign: from the library, from files, from the Materials Project.

Every bulk is brought into its canonical conventional cell, whatever its source, so that the same crystal
is one bulk with one id. Units: Å.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from config.errors import ConfigError, StructureError
from pipeline.domain import Bulk
from pipeline.structures.crystal import primitive as primitive_cell
from pipeline.structures.crystal import standardize
from pipeline.structures.ids import standard_bulk_id
from pipeline.structures.library import library, library_bulk, pure_metals
from pipeline.structures.sources import (
    SourcedCrystal,
    crystals_from_files,
    crystals_from_materials_project,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

    from config.campaign import BulkSelection
    from pipeline.structures.library import LibraryBulk

SHAPE_TOLERANCE = 0.005
"""Relative difference of axes or angles up to which two sources mean the same crystal."""

__all__ = ["load_bulks", "make_bulk", "primitive_cell"]


def load_bulks(selection: BulkSelection, base_dir: Path) -> list[Bulk]:
    """Load the selected bulks.

    Parameters
    ----------
    selection
        Sources add up; a crystal that several of them hold is taken from the library, then from files, then
        from the Materials Project.
    base_dir
        Folder that file names are relative to.

    Returns
    -------
    list of Bulk
        Ordered by number of elements, formula and id.

    Raises
    ------
    ConfigError
        If a library id is unknown, a filter leaves nothing, or the Materials Project cannot be used.
    StructureError
        If a structure is unusable.
    MissingExtraError
        If mp-api is needed and not installed.
    """
    chosen = {mpid: library_bulk(mpid) for mpid in selection.ids}
    if selection.elements:
        chosen |= {bulk.id: bulk for bulk in _of_elements(selection)}
    crystals = [
        *_from_library(chosen.values()),
        *crystals_from_files(selection.files, base_dir),
        *crystals_from_materials_project(selection.materials_project),
    ]
    if selection.with_pure_elements:
        occurring = {symbol for crystal in crystals for symbol in crystal.atoms.get_chemical_symbols()}
        metals = (bulk for element, bulk in pure_metals().items() if element in occurring)
        crystals += _from_library(metals)
    bulks: dict[str, Bulk] = {}
    for crystal in crystals:
        bulk = make_bulk(crystal.atoms, crystal.source_id, crystal.source)
        if bulk.source != "library" and bulk.id in bulks:
            _refuse_variant(bulks[bulk.id], bulk)
        bulks.setdefault(bulk.id, bulk)
    return sorted(bulks.values(), key=lambda bulk: (len(bulk.elements), bulk.formula, bulk.id))


def make_bulk(atoms: Atoms, source_id: str, source: str = "file") -> Bulk:
    """Make a bulk of any cell of a crystal.

    Raises
    ------
    StructureError
        If no symmetry can be found; the message names ``source_id``.
    """
    try:
        standard = standardize(atoms)
        identity = standard_bulk_id(standard)
    except StructureError as error:
        message = f"{source_id}: {error}"
        raise StructureError(message) from error
    return Bulk(
        id=identity,
        source_id=source_id,
        formula=standard.get_chemical_formula(mode="hill", empirical=True),
        elements=tuple(sorted(set(standard.get_chemical_symbols()))),
        atoms=standard,
        source=source,
    )


def _refuse_variant(known: Bulk, bulk: Bulk) -> None:
    """Do not drop a strained variant of a crystal silently: ids only tell polymorphs apart.

    Raises
    ------
    StructureError
        If the two have one id and differ in shape by more than :data:`SHAPE_TOLERANCE`.
    """
    if np.abs(_shape(known) - _shape(bulk)).max() > SHAPE_TOLERANCE:
        message = (
            f"{bulk.source_id} and {known.source_id} are variants of one crystal ({bulk.formula}), too alike "
            "for Sabatier to tell apart; leave one out, or give each a campaign and a store of its own"
        )
        raise StructureError(message)


def _shape(bulk: Bulk) -> NDArray[np.float64]:
    """Axes in units of the cell's size, and angles in units of a right angle."""
    cell = bulk.atoms.cell
    shape: NDArray[np.float64] = np.r_[cell.lengths() / cell.volume ** (1 / 3), cell.angles() / 90.0]
    return shape


def _from_library(entries: Iterable[LibraryBulk]) -> list[SourcedCrystal]:
    return [SourcedCrystal("library", entry.id, entry.atoms()) for entry in entries]


def _of_elements(selection: BulkSelection) -> list[LibraryBulk]:
    """Library bulks that pass the filters.

    Raises
    ------
    ConfigError
        Naming the filter that leaves nothing.
    """
    filters: dict[str, Callable[[LibraryBulk], bool]] = {
        f"made only of {', '.join(selection.elements)} (bulks.elements)": lambda bulk: (
            bulk.elements <= set(selection.elements)
        ),
        f"of at most {selection.max_components} elements (bulks.max_components)": lambda bulk: (
            len(bulk.elements) <= selection.max_components
        ),
        f"of at most {selection.max_atoms} atoms (bulks.max_atoms)": lambda bulk: (
            len(bulk.numbers) <= selection.max_atoms
        ),
    }
    left = list(library().values())
    passed = []
    for name, is_wanted in filters.items():
        left = [bulk for bulk in left if is_wanted(bulk)]
        passed.append(name)
        if not left:
            message = f"the built-in library holds no bulk {' and '.join(passed)}"
            raise ConfigError(message)
    return left
