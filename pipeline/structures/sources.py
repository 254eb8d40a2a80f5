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

    import numpy.typing as npt
    from ase import Atoms

    Array = npt.NDArray[np.int_]

SUFFIXES = frozenset({".cif", ".vasp", ".poscar", ".contcar", ".xyz", ".extxyz", ".db"})
"""Files of a folder that are read; POSCAR* and CONTCAR* are read whatever their suffix."""
FORMATS = "CIF, POSCAR, extxyz, ASE db"
"""Formats as error messages list them."""
BOND = 1.5
"""Atoms closer than this times the sum of their covalent radii are connected. Metals, whose neighbours
lie up to 1.2 apart, stay whole; layers held by dispersion forces, beyond 1.8, come apart."""
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
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    try:
        file_format = filetype(str(path))
    except (UnknownFileTypeError, OSError) as error:
        raise StructureError(_unreadable(path, "")) from error
    if file_format not in ioformats:  # ASE falls back on the suffix, whatever it is
        raise StructureError(_unreadable(path, ""))
    try:
        frames = read(path, index=":", format=file_format)
    except Exception as error:  # every reader of ASE raises what it likes
        raise StructureError(_unreadable(path, file_format)) from error
    if not frames:
        message = f"{path}: holds no structure"
        raise StructureError(message)
    for number, atoms in enumerate(frames, start=1):
        name = path.name if len(frames) == 1 else f"{path.name}#{number}"
        check_crystal(atoms, f"{path}#{number}" if len(frames) > 1 else str(path))
        yield SourcedCrystal("file", name, atoms)


def _unreadable(path: Path, file_format: str) -> str:
    tried = f"cannot be read as {file_format}" if file_format else "is no structure file of a known format"
    return f"{path}: {tried}; allowed: {FORMATS}"


def check_crystal(atoms: Atoms, name: str) -> None:
    """Refuse what is no ordered three-dimensional crystal.

    Raises
    ------
    StructureError
        Naming ``name`` and what is wrong.
    """
    reason = (
        _cell_problem(atoms)
        or _occupancy_problem(atoms.info.get("occupancy"))
        or _overlap_problem(atoms)
        or _connection_problem(atoms)
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
    if not atoms.pbc.all():
        stated = " ".join("T" if periodic else "F" for periodic in atoms.pbc)
        return (
            f"is not periodic in all three directions (pbc {stated}); "
            "give the bulk crystal, no slab and no molecule"
        )
    return None


def _occupancy_problem(occupancy: dict[str, dict[str, float | str]] | None) -> str | None:
    """Partly occupied sites, as ASE notes them for CIF files; ``.`` and ``?`` are CIF for not stated."""
    for species in (occupancy or {}).values():
        shares = {s: share if isinstance(share, int | float) else 1.0 for s, share in species.items()}
        if len(shares) > 1 or min(shares.values()) < 0.999:
            shared = ", ".join(f"{symbol} {share:g}" for symbol, share in shares.items())
            return f"a site is partly occupied ({shared}); give an ordered structure"
    return None


def _connection_problem(atoms: Atoms) -> str | None:
    """A molecule in a box, a slab, or layers: no connected part of it goes on in three directions."""
    import vesin
    from ase.data import covalent_radii

    radii = covalent_radii[atoms.numbers]
    first, second, distances, shifts = vesin.ase_neighbor_list("ijdS", atoms, 2 * BOND * float(radii.max()))
    bonded = distances < BOND * (radii[first] + radii[second])
    directions = _extent(len(atoms), first[bonded], second[bonded], shifts[bonded])
    if directions == 3:
        return None
    return (
        f"its atoms connect in {directions} of three directions; "
        "give the bulk crystal, no molecule, no slab and no loose layers"
    )


def _extent(n_atoms: int, first: Array, second: Array, shifts: Array) -> int:
    """Count the independent directions in which the farthest-reaching connected part is periodic.

    Every atom of a part gets the cell in which a walk along the bonds finds it first; a bond that leads
    to the same atom in another cell gives a lattice vector of the part.

    Parameters
    ----------
    n_atoms
        Atoms in the cell.
    first, second
        Bonded atoms, shape (n_bonds,); every bond is listed in both directions.
    shifts
        Cell of the second atom relative to the first one's, shape (n_bonds, 3).
    """
    bonds: list[list[tuple[int, Array]]] = [[] for _ in range(n_atoms)]
    for i, j, shift in zip(first, second, shifts, strict=True):
        bonds[int(i)].append((int(j), shift))
    cells: dict[int, Array] = {}
    extent = 0
    for start in range(n_atoms):
        if start in cells:
            continue
        cells[start] = np.zeros(3, dtype=int)
        reached, vectors = [start], {(0, 0, 0)}
        for i in reached:
            for j, shift in bonds[i]:
                cell = cells[i] + shift
                if j not in cells:
                    cells[j] = cell
                    reached.append(j)
                else:
                    x, y, z = (cell - cells[j]).tolist()
                    vectors.add((x, y, z))
        extent = max(extent, int(np.linalg.matrix_rank(np.array(sorted(vectors)))))
    return extent


def _overlap_problem(atoms: Atoms) -> str | None:
    import vesin
    from ase.data import covalent_radii

    radii = covalent_radii[atoms.numbers]
    cutoff = 2 * OVERLAP * float(radii.max())
    first, second, distances = vesin.ase_neighbor_list("ijd", atoms, cutoff)
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
