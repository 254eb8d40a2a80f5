"""Crystals from outside the library: structure files and the Materials Project. Units: Å."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from config.errors import ConfigError, MissingExtraError, StructureError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ase import Atoms

SUFFIXES = frozenset({".cif", ".vasp", ".poscar", ".contcar", ".xyz", ".extxyz", ".db"})
"""Files of a folder that are read; POSCAR* and CONTCAR* are read whatever their suffix."""
OVERLAP = 0.5
"""Atoms closer than this times the sum of their covalent radii overlap. Compressed intermetallics stay
above 0.7."""
_KEY_VARIABLE = "MP_API_KEY"


@dataclass(frozen=True)
class SourcedCrystal:
    """A structure and where it came from."""

    source: str
    """``library``, ``file`` or ``materials_project``."""
    source_id: str
    atoms: Atoms


def crystals_from_files(names: Sequence[str], base_dir: Path) -> list[SourcedCrystal]:
    """Read structure files and folders of them.

    Parameters
    ----------
    names
        Files or folders, relative to ``base_dir``.

    Raises
    ------
    StructureError
        If a file cannot be read or holds something that is no bulk crystal; the message names the file.
    """
    return [crystal for name in names for path in _paths(base_dir / name) for crystal in _read(path)]


def _paths(path: Path) -> list[Path]:
    """Return the file itself, or the structure files of a folder and those below it."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        message = f"{path}: no such file or folder"
        raise StructureError(message)
    found = sorted(p for p in path.rglob("*") if p.is_file() and _is_structure_file(p))
    if not found:
        message = f"{path}: the folder holds no structure files ({', '.join(sorted(SUFFIXES))}, POSCAR*)"
        raise StructureError(message)
    return found


def _is_structure_file(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES or path.name.upper().startswith(("POSCAR", "CONTCAR"))


def _read(path: Path) -> Iterator[SourcedCrystal]:
    """Read every structure of a file."""
    from ase.io import read

    try:
        frames = read(path, index=":")
    except Exception as error:  # every reader of ASE raises what it likes
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        message = f"{path}: cannot be read as a structure ({reason})"
        raise StructureError(message) from error
    if not frames:
        message = f"{path}: holds no structure"
        raise StructureError(message)
    for number, atoms in enumerate(frames, start=1):
        name = path.name if len(frames) == 1 else f"{path.name}#{number}"
        check_crystal(atoms, f"{path}#{number}" if len(frames) > 1 else str(path))
        yield SourcedCrystal("file", name, atoms)


def check_crystal(atoms: Atoms, name: str) -> None:
    """Refuse what is no ordered three-dimensional crystal.

    Raises
    ------
    StructureError
        Naming ``name`` and what is wrong.
    """
    reason = (
        _cell_problem(atoms) or _occupancy_problem(atoms.info.get("occupancy")) or _overlap_problem(atoms)
    )
    if reason:
        message = f"{name}: {reason}"
        raise StructureError(message)


def _cell_problem(atoms: Atoms) -> str | None:
    if len(atoms) == 0:
        return "holds no atoms"
    if (atoms.numbers < 1).any():
        return "holds atoms of unknown element (X)"
    if not (np.isfinite(atoms.cell.array).all() and np.isfinite(atoms.positions).all()):
        return "holds numbers that are not finite"
    if atoms.cell.rank < 3 or atoms.cell.volume < 1.0:
        return "has no three-dimensional unit cell"
    if atoms.pbc.any() and not atoms.pbc.all():
        return "is not periodic in all three directions; give the bulk crystal, not a slab"
    return None


def _occupancy_problem(occupancy: dict[str, dict[str, float]] | None) -> str | None:
    """Partly occupied sites, as ASE notes them for CIF files."""
    for species in (occupancy or {}).values():
        if len(species) > 1 or min(species.values()) < 0.999:
            shared = ", ".join(f"{symbol} {share:g}" for symbol, share in species.items())
            return f"a site is partly occupied ({shared}); give an ordered structure"
    return None


def _overlap_problem(atoms: Atoms) -> str | None:
    import vesin
    from ase.data import covalent_radii

    periodic = atoms.copy()
    periodic.pbc = True
    radii = covalent_radii[atoms.numbers]
    cutoff = 2 * OVERLAP * float(radii.max())
    first, second, distances = vesin.ase_neighbor_list("ijd", periodic, cutoff)
    excess = distances - OVERLAP * (radii[first] + radii[second])
    if not len(excess) or excess.min() >= 0:
        return None
    worst = int(np.argmin(excess))
    i, j = int(first[worst]), int(second[worst])
    pair = f"{atoms.symbols[i]} (atom {i + 1}) and {atoms.symbols[j]} (atom {j + 1})"
    return f"{pair} overlap: {distances[worst]:.2f} Å apart"


def crystals_from_materials_project(ids: Iterable[str]) -> list[SourcedCrystal]:
    """Download crystals through mp-api.

    Raises
    ------
    MissingExtraError
        If mp-api is not installed.
    ConfigError
        If there is no key, the service refuses, or an id does not exist.
    StructureError
        If a structure is disordered.
    """
    wanted = list(dict.fromkeys(ids))
    if not wanted:
        return []
    try:
        from mp_api.client import MPRester
    except ImportError as error:
        message = "bulks.materials_project needs the extra 'mp': pip install 'sabatier[mp]'"
        raise MissingExtraError(message) from error
    key = os.environ.get(_KEY_VARIABLE)
    if not key:
        message = (
            f"bulks.materials_project needs an API key: set the environment variable {_KEY_VARIABLE} "
            "(keys: https://next-gen.materialsproject.org/api)"
        )
        raise ConfigError(message)
    try:
        with MPRester(key, mute_progress_bars=True) as client:
            found = {mpid: _download(client, mpid) for mpid in wanted}
    except Exception as error:  # requests, validation and MPRestError alike
        message = f"bulks.materials_project: the Materials Project did not answer the request ({error})"
        raise ConfigError(message) from error
    missing = [mpid for mpid, structure in found.items() if structure is None]
    if missing:
        message = f"bulks.materials_project: no such material: {', '.join(missing)}"
        raise ConfigError(message)
    return [_converted(mpid, structure) for mpid, structure in found.items()]


def _download(client: Any, mpid: str) -> Any:
    """Pymatgen structure of one material; one query per id, as answers may spell the id another way."""
    documents = client.materials.summary.search(material_ids=[mpid], fields=["material_id", "structure"])
    return documents[0].structure if documents else None


def _converted(mpid: str, structure: Any) -> SourcedCrystal:
    from pymatgen.io.ase import AseAtomsAdaptor

    if not structure.is_ordered:
        message = f"{mpid}: a site is partly occupied; give an ordered structure"
        raise StructureError(message)
    atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
    check_crystal(atoms, mpid)
    return SourcedCrystal("materials_project", mpid, atoms)
