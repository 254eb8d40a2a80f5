"""Adsorption energies of published data sets, as sites that the surrogate can read.

The files are not part of this project (see the README beside them): ``gaspy_co_sites.csv.gz``,
``gaspy_h_sites.csv.gz``, ``mamun2019_h.csv.gz``, and any other CSV file, compressed or not, with the columns
of one of these (:mod:`benchmarks.published_rows`): a set under its own name. The geometry of GASpy's sites is
rebuilt on request (:mod:`benchmarks.rebuilt_sites`). Units: eV, Å.
"""

from __future__ import annotations

import csv
import gzip
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

import numpy as np

from benchmarks.published_rows import READERS
from benchmarks.rebuilt_sites import rebuilt
from surrogate.sites import distinct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from benchmarks.published_rows import Reader, Row
    from surrogate.sites import SiteEnvironment

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


class DataFile(NamedTuple):
    """A file with energies, and how its rows are read."""

    path: Path
    kind: str
    """Key of :data:`READERS`."""

    @property
    def name(self) -> str:
        """What the set is called: its kind if the file is called as that is, else as the file."""
        is_usual = self.path.name == READERS[self.kind].file
        return self.kind if is_usual else self.path.name.removesuffix(".gz").removesuffix(".csv")

    @property
    def reader(self) -> Reader:
        """How its rows are read."""
        return READERS[self.kind]


def data_files(place: Path) -> list[DataFile]:
    """Files of a folder, or the one file, with the columns of a data set; usual names first."""
    paths = [place] if place.is_file() else [*place.glob("*.csv"), *place.glob("*.csv.gz")]
    files = [DataFile(path, kind) for path in sorted(paths) if (kind := _kind(path)) is not None]
    order = list(READERS)
    return sorted(files, key=lambda file: (order.index(file.kind), file.name != file.kind, file.name))


def _kind(path: Path) -> str | None:
    with _opened(path) as handle:
        columns = set(next(csv.reader(handle), []))
    return next((kind for kind, reader in READERS.items() if columns >= reader.columns), None)


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def load(file: DataFile, geometry: Path | None = None) -> Labelled:
    """Read one data set.

    Parameters
    ----------
    geometry
        Folder to keep rebuilt geometries in, which take two CPU-minutes to make; None leaves them out.

    Raises
    ------
    ValueError
        If a row cannot be read, or rows are of several adsorbates.
    """
    reader = file.reader
    with _opened(file.path) as handle:
        read = [_read(file, number, row) for number, row in enumerate(csv.DictReader(handle), start=2)]
    sites = [
        (row, energy, site) for row, energy, site in read if abs(energy) < OUTLIER_EV and site is not None
    ]
    if not sites:
        raise ValueError(f"{file.path} holds no adsorption energy")
    adsorbates = sorted({row.get("adsorbate") or reader.adsorbate for row, *_ in sites})
    if len(adsorbates) > 1:
        raise ValueError(f"{file.path} holds several adsorbates: {', '.join(adsorbates)}; one each, please")
    environments = [site for *_, site in sites]
    if geometry is not None and reader.face is not None:
        found = rebuilt([reader.face(row) for row, *_ in sites], environments, geometry)
        environments = [replace(e, geometry=g) for e, g in zip(environments, found, strict=True)]
    return Labelled(
        name=file.name,
        adsorbate=adsorbates[0],
        environments=environments,
        delta_e=np.array([energy for _, energy, _ in sites]),
        bulks=np.array([row[reader.bulk] for row, *_ in sites]),
        surfaces=distinct(reader.surface(row) for row, *_ in sites)[1],
    )


def _read(file: DataFile, number: int, row: Row) -> tuple[Row, float, SiteEnvironment | None]:
    try:
        return row, float(row["energy_eV"]), file.reader.site(row)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{file.path}, line {number}: {error}") from error


def demand(place: Path, names: Sequence[str] = (), geometry: Path | None = None) -> dict[str, Labelled]:
    """Read the data sets of a folder or file, or end the program with 2 and say what is missing or wrong.

    Parameters
    ----------
    names
        Those that are wanted; all that are there if empty.
    """
    try:
        files = data_files(place)
        chosen = {file.name: load(file, geometry) for file in _named(place, files, names)}
    except (ValueError, OSError, EOFError, csv.Error) as error:
        sys.exit(_said(f"cannot run: {error}"))
    return chosen


def _named(place: Path, files: list[DataFile], names: Sequence[str]) -> list[DataFile]:
    known = {file.name for file in files}
    if unknown := set(names) - known - set(READERS):
        raise ValueError(
            f"unknown data set {', '.join(sorted(unknown))}; known: {', '.join(sorted({*READERS, *known}))}"
        )
    missing = [name for name in names if name not in known]
    if missing or not files:
        if place.is_file():
            columns = "; ".join(f"{kind}: {', '.join(sorted(r.columns))}" for kind, r in READERS.items())
            raise ValueError(f"{place} lacks columns of a data set of that kind: {columns}")
        wanted = [READERS[name].file for name in missing or READERS]
        raise ValueError(f"{place} lacks {', '.join(wanted)}")
    return [file for file in files if not names or file.name in names]


def listed(text: str) -> list[str]:
    """Names on a command line, parted by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def numbers(text: str) -> list[int]:
    """Whole numbers on a command line, parted by commas."""
    return [int(number) for number in listed(text)]


def _said(message: str) -> int:
    print(message, file=sys.stderr)
    return 2
