"""Runs on the compute node: turns a job directory into its ``result.json``.

Needs plain files, GPAW and, for more than one core, ``mpiexec``; no database, no network. Whatever
happens after the claim is taken ends in a result file, unless the process is killed outright. Units:
eV, Å, eV/Å, seconds, MiB.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import resource
import signal
import threading
import time
import traceback
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.errors import ExecutionError
from dft.codes import CalculationFailedError, FailureCode
from dft.jobs import (
    JOB_FILE,
    LOG_FILE,
    RUNS_FILE,
    AtomsRecord,
    CalculationKind,
    JobResult,
    JobSpec,
    ResultState,
    read_job,
    take_claim,
    write_result,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from ase import Atoms

MIN_CONTACT = 0.6
"""Atoms closer than this part of the sum of their covalent radii overlap. Real structures go down to 0.71
(V-V at 2.19 Å among those of GASpy); below about 0.3 Å GPAW gives energies without meaning."""
TRACEBACK_LINES = 8
DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE})
"""Say nothing about the calculation: another attempt may succeed."""
STOP_SIGNALS = {
    signal.SIGTERM: FailureCode.WORKER_LOST,
    signal.SIGINT: FailureCode.WORKER_LOST,
    signal.SIGUSR1: FailureCode.TIMEOUT,
    signal.SIGUSR2: FailureCode.TIMEOUT,
}
"""Signals that end an attempt. Slurm and submitit announce the time limit by a user signal."""


class _StoppedError(BaseException):
    """A signal asks the worker to stop; not an Exception, so that no library swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = STOP_SIGNALS[signal.Signals(number)]


def run_job(job_dir: str | Path) -> None:
    """Compute the job of a directory and leave ``result.json`` there.

    Returns without a trace when another process holds the directory's claim.

    Parameters
    ----------
    job_dir
        Folder with ``job.json``.

    Raises
    ------
    ExecutionError
        If ``job.json`` is missing or cannot be read; the claim is left alone.
    """
    folder = Path(job_dir)
    try:
        spec = read_job(folder)
    except (OSError, ValueError) as error:
        message = f"{folder} holds no usable {JOB_FILE}: {error}"
        raise ExecutionError(message) from error
    if not take_claim(folder, _identity() | {"role": "worker"}):
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with _stop_signals():
        _announce(folder, spec)
        started = time.monotonic(), _cpu_seconds()
        if spec.cores > 1:
            from dft.parallel import run_ranks

            result = guarded(spec, lambda: run_ranks(spec, folder))
        else:
            result = guarded(spec, lambda: compute(spec, folder))
        _ignore_stop_signals()
        write_result(folder, _with_cost(result, spec, *started))


def guarded(spec: JobSpec, work: Callable[[], JobResult]) -> JobResult:
    """Call ``work``; turn whatever it raises into a failed result."""
    try:
        return work()
    except CalculationFailedError as error:
        return _failed(spec, error.code, str(error))
    except MemoryError as error:
        return _failed(spec, FailureCode.OUT_OF_MEMORY, str(error) or "out of memory")
    except _StoppedError as stop:
        return _failed(spec, stop.code, f"stopped by {stop}")
    except Exception as error:
        return _failed(spec, *_classify(error))


def compute(spec: JobSpec, folder: Path) -> JobResult:
    """Run the calculation in this process (or, under MPI, in all ranks alike).

    Raises
    ------
    CalculationFailedError
        If the calculation cannot start or does not converge.
    """
    atoms = spec.atoms.to_atoms()
    check_elements(spec)
    check_contacts(atoms)
    if spec.kind is CalculationKind.BULK:
        return _compute_bulk(spec, atoms, folder)
    from dft.relaxation import relax

    relaxed = relax(spec.recipe, atoms, spec.kind, folder)
    return _done(
        spec,
        energy=relaxed.energy_ev,
        atoms=AtomsRecord.from_atoms(relaxed.atoms),
        fmax=relaxed.fmax_ev_per_a,
        n_steps=relaxed.n_steps,
        magnetic_moment=relaxed.magnetic_moment,
    )


def _compute_bulk(spec: JobSpec, atoms: Atoms, folder: Path) -> JobResult:
    from dft.bulk import equation_of_state

    equilibrium = equation_of_state(spec.recipe, atoms, folder / LOG_FILE)
    atoms.set_cell(atoms.cell * equilibrium.linear_scale, scale_atoms=True)
    return _done(
        spec,
        energy=equilibrium.energy_ev,
        atoms=AtomsRecord.from_atoms(atoms),
        n_steps=equilibrium.n_volumes,
        magnetic_moment=equilibrium.magnetic_moment,
        details={
            "volumes": list(equilibrium.volumes),
            "energies": list(equilibrium.energies),
            "linear_scale": equilibrium.linear_scale,
            "bulk_modulus_gpa": equilibrium.bulk_modulus_gpa,
        },
    )


def check_elements(spec: JobSpec) -> None:
    """Refuse elements that the recipe cannot compute.

    Raises
    ------
    CalculationFailedError
        ``MISSING_SETUP``.
    """
    from ase.data import chemical_symbols

    from dft.setups import unsupported_elements

    missing = unsupported_elements({chemical_symbols[z] for z in spec.atoms.numbers}, spec.recipe)
    if missing:
        flavour = f"no {spec.recipe.xc} setup" if spec.recipe.engine == "gpaw" else "no EMT parameters"
        message = f"{flavour} for {', '.join(missing)}"
        raise CalculationFailedError(FailureCode.MISSING_SETUP, message)


def check_contacts(atoms: Atoms) -> None:
    """Refuse overlapping atoms, periodic images included: GPAW would give them an energy silently.

    Raises
    ------
    CalculationFailedError
        ``ATOMS_TOO_CLOSE``, naming the closest pair.
    """
    from ase.data import covalent_radii
    from ase.neighborlist import neighbor_list

    radii = MIN_CONTACT * covalent_radii[atoms.numbers]
    first, second, distances = neighbor_list("ijd", atoms, radii)
    if len(distances):
        closest = int(distances.argmin())
        i, j = int(first[closest]), int(second[closest])
        message = (
            f"atoms {i} ({atoms[i].symbol}) and {j} ({atoms[j].symbol}) are {distances[closest]:.3f} Å "
            f"apart; at least {radii[i] + radii[j]:.3f} Å is wanted"
        )
        raise CalculationFailedError(FailureCode.ATOMS_TOO_CLOSE, message)


def _classify(error: Exception) -> tuple[FailureCode, str]:
    """Code and message of an unexpected error."""
    import gpaw

    if isinstance(error, gpaw.ConvergenceError):
        return FailureCode.SCF_NOT_CONVERGED, "the self-consistency cycle ran out of iterations"
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        return FailureCode.WORKER_LOST, f"the disk failed the worker: {error}"
    lines = "".join(traceback.format_exception(error)).strip().splitlines()
    return FailureCode.CRASHED, "\n".join(lines[-TRACEBACK_LINES:])


def _done(spec: JobSpec, **fields: Any) -> JobResult:
    return JobResult(
        calculation_id=spec.calculation_id,
        kind=spec.kind,
        attempt=spec.attempt,
        state=ResultState.DONE,
        **fields,
    )


def _failed(spec: JobSpec, code: FailureCode, message: str) -> JobResult:
    return JobResult(
        calculation_id=spec.calculation_id,
        kind=spec.kind,
        attempt=spec.attempt,
        state=ResultState.FAILED,
        code=code,
        message=message,
    )


def _with_cost(result: JobResult, spec: JobSpec, started_wall: float, started_cpu: float) -> JobResult:
    """Add what the attempt cost, where it ran and with what."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Under MPI the ranks are children; only the largest is known, and they are much alike.
    ranks = spec.cores * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if spec.cores > 1 else 0
    return result.model_copy(
        update={
            "cpu_seconds": _cpu_seconds() - started_cpu,
            "wall_seconds": time.monotonic() - started_wall,
            "peak_memory_mib": (own + ranks) / 1024,
            "versions": _versions(spec.recipe.engine),
            "hostname": os.uname().nodename,
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )


def _cpu_seconds() -> float:
    """CPU time of this process and its finished children, s."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _versions(engine: str) -> dict[str, str]:
    """Versions of what the energy depends on."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    def installed(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "not installed"

    names = ["sabatier", "ase", "numpy"]
    found = {"python": platform.python_version()}
    if engine == "gpaw":
        import gpaw

        names += ["gpaw", "gpaw-data"]
        found["libxc"] = gpaw.get_libraries()["libxc"]
    return found | {name: installed(name) for name in names}


def _identity() -> dict[str, Any]:
    """Pid, host and start of the own process, by which a reused pid can be told from it."""
    import psutil

    process = psutil.Process()
    return {"pid": process.pid, "host": os.uname().nodename, "create_time": process.create_time()}


def _announce(folder: Path, spec: JobSpec) -> None:
    """Note in ``runs.jsonl`` that a computation starts (one write, so that lines never mix)."""
    entry = {
        "calculation_id": spec.calculation_id,
        "attempt": spec.attempt,
        **_identity(),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with (folder / RUNS_FILE).open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(entry) + "\n")


@contextmanager
def _stop_signals() -> Iterator[None]:
    """Turn the stop signals into an exception (only the main thread may handle signals)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _stop) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, _frame: FrameType | None) -> None:
    _ignore_stop_signals()  # a second one must not break off the writing of the result
    raise _StoppedError(number)


def _ignore_stop_signals() -> None:
    if threading.current_thread() is threading.main_thread():
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def main() -> None:
    """Entry point of ``python -m dft.worker``."""
    parser = argparse.ArgumentParser(prog="python -m dft.worker", description="Compute one job directory.")
    parser.add_argument("job_dir", type=Path)
    run_job(parser.parse_args().job_dir)


if __name__ == "__main__":
    main()
