"""The files of a job directory: ``job.json`` in, ``result.json`` out.

One directory is one attempt at one calculation. The driver writes ``job.json``; the worker links
``claim`` (atomically: only one process ever runs an attempt), appends to ``runs.jsonl`` each time a
computation starts, and leaves ``result.json`` by write-then-rename. Whoever holds ``claim`` decides
the attempt's fate. Units: eV, Å, eV/Å, μB, seconds, MiB.
"""

from __future__ import annotations

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from config.recipe import RecipeSettings
from dft.codes import FailureCode

if TYPE_CHECKING:
    from ase import Atoms

JOB_FILE = "job.json"
RESULT_FILE = "result.json"
CLAIM_FILE = "claim"
RUNS_FILE = "runs.jsonl"
LOG_FILE = "gpaw.txt"
TRAJECTORY_FILE = "relax.traj"
SCHEMA_VERSION = 1


class CalculationKind(StrEnum):
    """What a calculation computes."""

    GAS = "gas"
    """Energy of a relaxed reference molecule."""
    BULK = "bulk"
    """Equation of state: equilibrium volume and energy."""
    SLAB = "slab"
    """Energy of the bare slab."""
    ADSLAB = "adslab"
    """Energy of the slab with an adsorbate."""


class ResultState(StrEnum):
    """How an attempt ended."""

    DONE = "DONE"
    FAILED = "FAILED"


class FileModel(BaseModel):
    """Base of what is written to job directories."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class AtomsRecord(FileModel):
    """A structure as plain numbers (Å, μB)."""

    numbers: tuple[int, ...]
    positions: tuple[tuple[float, float, float], ...]
    cell: tuple[tuple[float, float, float], ...]
    pbc: tuple[bool, bool, bool]
    fixed: tuple[int, ...] = ()
    """Indices of atoms held in place."""
    tags: tuple[int, ...] = ()
    """0 for adsorbate atoms, 1 for the top layer, counting downwards; empty when not a slab."""

    @classmethod
    def from_atoms(cls, atoms: Atoms) -> AtomsRecord:
        """Record an ASE structure with its fixed atoms and tags."""
        from ase.constraints import FixAtoms

        fixed: set[int] = set()
        for constraint in atoms.constraints:
            if isinstance(constraint, FixAtoms):
                fixed.update(int(i) for i in constraint.get_indices())
        return cls(
            numbers=tuple(int(z) for z in atoms.numbers),
            positions=tuple((float(x), float(y), float(z)) for x, y, z in atoms.positions),
            cell=tuple((float(x), float(y), float(z)) for x, y, z in atoms.cell.array),
            pbc=(bool(atoms.pbc[0]), bool(atoms.pbc[1]), bool(atoms.pbc[2])),
            fixed=tuple(sorted(fixed)),
            tags=tuple(int(t) for t in atoms.get_tags()),
        )

    def to_atoms(self) -> Atoms:
        """Rebuild the ASE structure, fixed atoms and tags included."""
        from ase import Atoms
        from ase.constraints import FixAtoms

        atoms = Atoms(
            numbers=list(self.numbers),
            positions=[list(p) for p in self.positions],
            cell=[list(v) for v in self.cell],
            pbc=self.pbc,
            tags=list(self.tags) or None,
        )
        if self.fixed:
            atoms.set_constraint(FixAtoms(indices=list(self.fixed)))
        return atoms


class JobSpec(FileModel):
    """What the worker is asked to compute (``job.json``)."""

    schema_version: int = SCHEMA_VERSION
    calculation_id: str
    kind: CalculationKind
    attempt: int = Field(ge=1)
    label: str
    """What a person calls it, such as ``adslab H on Cu(111) hollow``."""
    recipe: RecipeSettings
    atoms: AtomsRecord
    n_adsorbate_atoms: int = 0
    """The adsorbate's atoms are the last ones of ``atoms``; 0 when there is none."""
    cores: int = Field(default=1, ge=1)
    """MPI ranks to run with."""


class JobResult(FileModel):
    """What came of an attempt (``result.json``)."""

    schema_version: int = SCHEMA_VERSION
    calculation_id: str
    kind: CalculationKind
    attempt: int
    state: ResultState
    code: FailureCode | None = None
    message: str = ""
    energy: float | None = None
    """Total energy of the final structure, eV; null when failed. Bulk: at the equilibrium volume."""
    atoms: AtomsRecord | None = None
    """Final structure; for a bulk, the cell at its equilibrium volume."""
    fmax: float | None = None
    """Largest force on a free atom at the end, eV/Å."""
    n_steps: int = 0
    """Relaxation steps taken (bulk: volumes computed)."""
    magnetic_moment: float | None = None
    """Total magnetic moment, μB."""
    details: dict[str, Any] = Field(default_factory=dict)
    """Kind-specific figures (bulk: ``volumes``, ``energies``, ``linear_scale``, ``bulk_modulus_gpa``)."""
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_memory_mib: float = 0.0
    versions: dict[str, str] = Field(default_factory=dict)
    hostname: str = ""
    finished_at: str = ""
    """UTC, ISO 8601."""


def write_atomically(path: Path, text: str) -> None:
    """Write a whole file or none: to a temporary name, flushed to disk, then renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)


def write_job(job_dir: Path, spec: JobSpec) -> None:
    """Write ``job.json`` into a (new) job directory."""
    job_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(job_dir / JOB_FILE, spec.model_dump_json(indent=1))


def read_job(job_dir: Path) -> JobSpec:
    """Read ``job.json``."""
    return JobSpec.model_validate_json((job_dir / JOB_FILE).read_text(encoding="utf-8"))


def write_result(job_dir: Path, result: JobResult) -> None:
    """Write ``result.json`` whole or not at all."""
    write_atomically(job_dir / RESULT_FILE, result.model_dump_json(indent=1))


def read_result(job_dir: Path) -> JobResult | None:
    """Read ``result.json``; None when the attempt has not ended.

    Raises
    ------
    ValueError
        If the file is there but is no valid result.
    """
    path = job_dir / RESULT_FILE
    if not path.exists():
        return None
    return JobResult.model_validate_json(path.read_text(encoding="utf-8"))


def take_claim(job_dir: Path, owner: dict[str, Any]) -> bool:
    """Try to become the one process that decides this attempt.

    ``os.link`` fails if the name exists, atomically on local and network file systems alike, which
    ``O_EXCL`` is not on old NFS.

    Parameters
    ----------
    owner
        Written into the claim: ``pid``, ``host``, ``role`` (``worker`` or ``driver``).

    Returns
    -------
    bool
        True for exactly one caller per directory.
    """
    temporary = job_dir / f".claim.{os.uname().nodename}.{os.getpid()}"
    temporary.write_text(json.dumps(owner), encoding="utf-8")
    try:
        os.link(temporary, job_dir / CLAIM_FILE)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def read_claim(job_dir: Path) -> dict[str, Any] | None:
    """Who holds the claim; None when nobody does."""
    path = job_dir / CLAIM_FILE
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
