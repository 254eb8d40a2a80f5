"""The files of a job directory: ``job.json`` in, ``result.json`` out.

One directory is one attempt at one calculation. The driver writes ``job.json``; the worker links
``claim`` (atomically: only one process ever runs an attempt), appends to ``runs.jsonl`` each time a
computation starts, and leaves ``result.json`` whole or not at all. Whoever holds ``claim`` decides
whether the attempt runs, and the first ``result.json`` stays: a driver that gave an attempt up has
closed it, and what a worker brings later goes to ``late-result.json``. Units: eV, Å, eV/Å, μB, seconds,
MiB.
"""

from __future__ import annotations

import json
import os
import threading
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from config.recipe import RecipeSettings
from dft.codes import FailureCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ase import Atoms

JOB_FILE = "job.json"
RESULT_FILE = "result.json"
LATE_RESULT_FILE = "late-result.json"
"""What a worker brought after its attempt had been given up."""
CLAIM_FILE = "claim"
RUNS_FILE = "runs.jsonl"
LOG_FILE = "gpaw.txt"
TRAJECTORY_FILE = "relax.traj"
HEARTBEAT_FILE = "heartbeat.json"
"""How far a worker had come when last heard of."""
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
    moments: tuple[float, ...] = ()
    """Magnetic moments, μB: of a start, where they are known; of a result, those it ended with."""

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
            moments=tuple(map(float, atoms.get_initial_magnetic_moments()))
            if atoms.has("initial_magmoms")
            else (),
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
            magmoms=list(self.moments) or None,
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
    launcher: str = "mpiexec -n {tasks}"
    """How the ranks are started when there are several."""
    restart_from: str | None = None
    """Folder of an earlier attempt, beside this one, whose work is gone on with: ``attempt-1``. ``atoms``
    is the original start all the same; what is left in the folder is used as far as it is sound."""


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
    """Kind-specific figures (bulk: ``volumes``, ``energies``, ``linear_scale``, ``bulk_modulus_gpa``; the
    others, with BEEF-vdW: ``beef_contributions_ev``), and
    of an attempt that went on from another: ``restarted_from``, ``steps_before``; ``corrections``,
    ``second_start``."""
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_memory_mib: float = 0.0
    versions: dict[str, str] = Field(default_factory=dict)
    setups: dict[str, str] = Field(default_factory=dict)
    """Element -> file of its PAW setup and the MD5 of its content, as GPAW's log gives it."""
    hostname: str = ""
    finished_at: str = ""
    """UTC, ISO 8601."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file or none: to a temporary name, flushed to disk, then renamed."""
    with replacing(path) as temporary:
        _write_to_disk(temporary, content)


def write_once(path: Path, text: str) -> bool:
    """Write a whole file unless there is one already; True for exactly one caller.

    ``os.link`` fails if the name exists, atomically on local and network file systems alike, which
    ``O_EXCL`` is not on old NFS.
    """
    temporary = path.with_name(f".{path.name}.{_own_name()}")
    try:
        _write_to_disk(temporary, text)
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _write_to_disk(path: Path, content: str | bytes) -> None:
    with path.open("wb") as handle:
        handle.write(content.encode() if isinstance(content, str) else content)
        handle.flush()
        os.fsync(handle.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Name a temporary file that takes the place of ``path`` when the block ends well.

    The name is this thread's own, so that drivers on several hosts may write the same file.
    """
    temporary = path.with_name(f".{path.name}.{_own_name()}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _own_name() -> str:
    """Tell this thread from all others on all hosts."""
    return f"{os.uname().nodename}.{os.getpid()}.{threading.get_ident()}"


def write_job(job_dir: Path, spec: JobSpec) -> None:
    """Write ``job.json`` into a (new) job directory."""
    job_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(job_dir / JOB_FILE, spec.model_dump_json(indent=1))


def read_job(job_dir: Path) -> JobSpec:
    """Read ``job.json``."""
    return JobSpec.model_validate_json((job_dir / JOB_FILE).read_text(encoding="utf-8"))


def write_result(job_dir: Path, result: JobResult) -> bool:
    """Write ``result.json`` whole or not at all, unless the attempt has one: the first one stays.

    Returns
    -------
    bool
        False if the attempt was closed before; the result is then in ``late-result.json``.
    """
    text = result.model_dump_json(indent=1)
    is_first = write_once(job_dir / RESULT_FILE, text)
    if not is_first:
        write_atomically(job_dir / LATE_RESULT_FILE, text)
    return is_first


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


class Heartbeat(FileModel):
    """How far a worker has come (``heartbeat.json``)."""

    cpu_seconds: float
    """CPU time of the attempt so far, all ranks together."""
    n_steps: int
    """Relaxation steps (bulk: volumes) behind it, those of earlier attempts included."""
    steps_before: int = 0
    """Those of earlier attempts."""
    restarted_from: str | None = None
    """Folder of the earlier attempt that is gone on with."""

    def history(self) -> dict[str, Any]:
        """What the result's ``details`` say of an attempt that went on from another; empty for others."""
        if self.restarted_from is None:
            return {}
        return {"restarted_from": self.restarted_from, "steps_before": self.steps_before}


def write_heartbeat(job_dir: Path, heartbeat: Heartbeat) -> None:
    """Replace ``heartbeat.json``; it is not worth waiting for the disk."""
    with replacing(job_dir / HEARTBEAT_FILE) as temporary:
        temporary.write_text(heartbeat.model_dump_json(), encoding="utf-8")


def read_heartbeat(job_dir: Path) -> Heartbeat | None:
    """Read ``heartbeat.json``; None when there is none that can be read."""
    try:
        return Heartbeat.model_validate_json((job_dir / HEARTBEAT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def cpu_seconds_so_far(job_dir: Path) -> float:
    """CPU seconds that a worker had used when last heard of; 0 when it never was."""
    heartbeat = read_heartbeat(job_dir)
    return heartbeat.cpu_seconds if heartbeat else 0.0


def take_claim(job_dir: Path, owner: dict[str, Any]) -> bool:
    """Try to become the one process that decides this attempt.

    Parameters
    ----------
    owner
        Written into the claim: ``role`` (``worker`` or ``driver``), ``pid``, ``host``, and a worker's
        ``job_id``, if it knows it.

    Returns
    -------
    bool
        True for exactly one caller per directory.
    """
    return write_once(job_dir / CLAIM_FILE, json.dumps(owner))


def read_claim(job_dir: Path) -> dict[str, Any] | None:
    """Who holds the claim; None when nobody does."""
    path = job_dir / CLAIM_FILE
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
