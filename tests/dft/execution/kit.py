"""What the tests of the back-ends share: job directories, waiting, looking at processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase.build import molecule

from config.recipe import RecipeSettings
from dft.execution import Backend, JobPhase, JobRequest, JobStatus
from dft.execution.processes import read_process
from dft.jobs import RUNS_FILE, AtomsRecord, CalculationKind, JobSpec, read_claim, write_job
from tests.waiting import wait_for

ROOT = Path(__file__).parents[3]


class Jobs:
    """Makes job directories whose payload does as their label says (``tests.dft.payloads``)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.made: list[Path] = []

    def __call__(self, behaviour: str = "quick") -> Path:
        job_dir = self._folder / f"job-{len(self.made)}" / "attempt-1"
        spec = JobSpec(
            calculation_id=f"c{len(self.made)}",
            kind=CalculationKind.GAS,
            attempt=1,
            label=behaviour,
            recipe=RecipeSettings(engine="emt"),
            atoms=AtomsRecord.from_atoms(molecule("H2", vacuum=3.0)),
        )
        write_job(job_dir, spec)
        self.made.append(job_dir)
        return job_dir


def request(job_dir: Path, **changes: Any) -> JobRequest:
    return JobRequest(job_dir=job_dir, kind=CalculationKind.GAS, name="gas H2, a test", **changes)


@dataclass(frozen=True)
class Place:
    """A back-end under test, and how a job gets there."""

    name: str
    backend: Callable[[], Backend]
    """Each call is a driver started anew."""
    jobs: Jobs

    def submit(self, job_dir: Path, backend: Backend | None = None) -> str:
        """Submit a directory, as the second of a group of two where the back-end takes groups."""
        backend = backend or self.backend()
        others = [self.jobs("quick")] if backend.group_size(CalculationKind.GAS) > 1 else []
        return backend.submit([request(path) for path in [*others, job_dir]])[-1]


def phases(statuses: Mapping[str, JobStatus]) -> dict[str, JobPhase]:
    return {job_id: status.phase for job_id, status in statuses.items()}


def wait_phase(backend: Backend, job_ids: Iterable[str], phase: JobPhase) -> None:
    ids = list(job_ids)
    wait_for(lambda: set(phases(backend.poll(ids)).values()) == {phase}, phase, every=0.1)


def wait_gone(backend: Backend, *job_ids: str) -> None:
    wait_phase(backend, job_ids, JobPhase.GONE)


def wait_claimed(job_dir: Path) -> int:
    """Pid of the worker that has begun."""
    wait_for(lambda: read_claim(job_dir), "the claim")
    claim = read_claim(job_dir)
    assert claim is not None
    return int(claim["pid"])


def wait_child(job_dir: Path) -> int:
    """Pid of the child of a payload ``with_ranks``."""
    wait_for((job_dir / "child").exists, "the child")
    return int((job_dir / "child").read_text(encoding="utf-8"))


def n_runs(job_dir: Path) -> int:
    path = job_dir / RUNS_FILE
    return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0


def is_running(pid: int) -> bool:
    process = read_process(pid)
    return process is not None and process.is_alive
