"""Runs on the compute node: turns a job directory into its ``result.json``.

Needs plain files, GPAW and, for more than one core, an MPI launcher; no database, no network. Whatever
happens after the claim is taken ends in a result file, unless the process is killed outright; then
the next attempt goes on from what is in the directory. Units: eV, Å, eV/Å, seconds, MiB.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.errors import ExecutionError
from dft import ensemble, recovery, second_start
from dft.codes import CalculationFailedError, FailureCode
from dft.execution.base import JOB_ID_VARIABLE
from dft.guard import done, guarded
from dft.jobs import (
    JOB_FILE,
    RUNS_FILE,
    AtomsRecord,
    CalculationKind,
    JobResult,
    JobSpec,
    ResultState,
    read_heartbeat,
    read_job,
    take_claim,
    write_result,
)
from dft.ladders import MAX_CORRECTIONS
from dft.parallel import leave_launcher, run_ranks
from dft.patience import patiently
from dft.restart import earlier_attempts, forget_densities
from dft.watch import Watch, cpu_seconds, job_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms

MIN_CONTACT = 0.6
"""Atoms closer than this part of the sum of their covalent radii overlap. Real structures go down to 0.71
(V-V at 2.19 Å among those of GASpy); below about 0.3 Å GPAW gives energies without meaning."""
RESERVE_BYTES = 32 << 20
"""Address space kept back so that a worker without memory can still write its result."""
EXIT_CLAIM_LOST = 3
"""Exit code of a worker that found its attempt taken by another process."""


def run_job(job_dir: str | Path) -> bool:
    """Compute the job of a directory and leave ``result.json`` there.

    A calculation that fails, or is stopped, leaves a result too.

    Parameters
    ----------
    job_dir
        Folder with ``job.json``.

    Returns
    -------
    bool
        False, without a trace, if another process holds the directory's claim.

    Raises
    ------
    ExecutionError
        If ``job.json`` is missing or cannot be read; the claim is left alone.
    OSError
        If the directory has vanished, or its disk stayed full, when the result was to be written; it is
        in the job's output then.
    """
    folder = Path(job_dir)
    try:
        spec = read_job(folder)
    except (OSError, ValueError) as error:
        message = f"{folder} holds no usable {JOB_FILE}: {error}"
        raise ExecutionError(message) from error
    started = time.monotonic(), cpu_seconds()
    watch = Watch(folder, job_end())
    with watch.heeding_signals():
        if not take_claim(folder, _identity() | {"role": "worker"}):
            return False
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        reserve = bytearray(RESERVE_BYTES)
        _say(f"{spec.label}, attempt {spec.attempt}, on {os.uname().nodename} with {spec.cores} ranks")
        result = guarded(spec, lambda: _attempt(spec, folder, watch))
        del reserve
        _deliver(folder, _with_cost(result, spec, folder, *started))
        _say(f"{result.state} {result.code or ''}".strip())
        if result.state is ResultState.DONE:
            forget_densities([folder, *earlier_attempts(spec, folder)])
    return True


def _say(text: str) -> None:
    """Print to the job's output, for whoever reads it; a full disk there is no harm."""
    with suppress(OSError):
        print(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}", flush=True)


def _attempt(spec: JobSpec, folder: Path, watch: Watch) -> JobResult:
    with watch.stopping_at_once():
        _announce(folder, spec)
        earlier = earlier_attempts(spec, folder)
        recovery.inherit(folder, earlier)
        second_start.inherit(folder, earlier)
        if spec.cores > 1:
            return _recovering(spec, folder, watch, lambda: run_ranks(spec, folder))
        leave_launcher()
        return _recovering(spec, folder, watch, lambda: compute(spec, folder, watch))


def _recovering(spec: JobSpec, folder: Path, watch: Watch, work: Callable[[], JobResult]) -> JobResult:
    """Compute, and again with one correction more as long as a ladder has one against the failure.

    A second start that fails is not corrected: there is a first.

    Raises
    ------
    StoppedError
        When the watch says so; the correction is noted by then, for the next attempt.
    """
    for _ in range(MAX_CORRECTIONS):  # counted here, too: the record may be on a disk that is not read
        result = guarded(spec, work)
        if second_start.read_first(folder) is not None:
            return second_start.settled(folder, result, spec)
        correction = recovery.next_correction(result, folder, is_magnetic=lambda: _is_magnetic(spec))
        if correction is None:
            return result
        recovery.take(folder, correction, result, cpu_seconds())
        _say(f"{result.code}: {correction.name}, which {correction.says}")
        watch.heed()
    return second_start.settled(folder, guarded(spec, work), spec)


def _is_magnetic(spec: JobSpec) -> bool:
    """Whether the calculation has moments to start from."""
    from dft.relaxation import set_initial_moments

    atoms = spec.atoms.to_atoms()
    set_initial_moments(spec.recipe, atoms)
    return bool(atoms.get_initial_magnetic_moments().any())


def _deliver(folder: Path, result: JobResult) -> None:
    """Write the result, whatever it takes. One that comes late is kept aside, and no error."""
    try:
        patiently(lambda: write_result(folder, result), f"the result in {folder}")
    except OSError:
        print(f"the result that could not be written to {folder}:\n{result.model_dump_json()}", flush=True)
        raise


def compute(spec: JobSpec, folder: Path, watch: Watch) -> JobResult:
    """Run the calculation in this process (or, under MPI, in all ranks alike).

    Returns
    -------
    JobResult
        Of the last start; :func:`dft.second_start.settled` chooses between two.

    Raises
    ------
    CalculationFailedError
        If the calculation cannot start or does not converge.
    StoppedError
        If the watch says so.
    """
    atoms = spec.atoms.to_atoms()
    check_elements(spec)
    check_contacts(atoms)
    if spec.kind is CalculationKind.BULK:
        return _compute_bulk(spec, atoms, folder, watch)
    folders, remedy = _state(spec, folder)
    begun = second_start.begun(folders)
    if folder not in begun:
        first = _relaxed(spec, atoms, folder, watch, folders, remedy)
        if not second_start.is_due(first, remedy):
            return first
        second_start.begin(folder, first)
    else:
        first = begun[folder]
    return _relaxed(spec, second_start.start(first).to_atoms(), folder, watch, list(begun), remedy)


def _relaxed(
    spec: JobSpec, atoms: Atoms, folder: Path, watch: Watch, earlier: list[Path], remedy: recovery.Remedy
) -> JobResult:
    from dft.relaxation import relax

    relaxed = relax(spec.recipe, atoms, spec.kind, folder, watch, earlier, remedy)
    return done(
        spec,
        energy=relaxed.energy_ev,
        atoms=AtomsRecord.from_atoms(relaxed.atoms),
        fmax=relaxed.fmax_ev_per_a,
        n_steps=relaxed.n_steps,
        magnetic_moment=relaxed.magnetic_moment,
        details=watch.details()
        | ensemble.as_details(relaxed.beef_contributions_ev)
        | ({"given_up": "desorbing"} if relaxed.is_given_up else {}),
    )


def _state(spec: JobSpec, folder: Path) -> tuple[list[Path], recovery.Remedy]:
    """Where to go on from, and the corrections in force; all ranks get what the first one read."""
    from ase.parallel import broadcast, world

    remedy = recovery.remedy_of(recovery.read_taken(folder)) if world.rank == 0 else None
    return [folder, *earlier_attempts(spec, folder)], broadcast(remedy)


def _compute_bulk(spec: JobSpec, atoms: Atoms, folder: Path, watch: Watch) -> JobResult:
    from dft.bulk import equation_of_state

    equilibrium = equation_of_state(spec.recipe, atoms, folder, watch, *_state(spec, folder))
    atoms.set_cell(atoms.cell * equilibrium.linear_scale, scale_atoms=True)
    return done(
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
            **watch.details(),
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


def _with_cost(
    result: JobResult, spec: JobSpec, folder: Path, started_wall: float, started_cpu: float
) -> JobResult:
    """Add what the attempt cost, how far it came, where it ran and with what."""
    heartbeat = read_heartbeat(folder)
    used = cpu_seconds() - started_cpu
    update: dict[str, Any] = {}
    if heartbeat is not None:
        # Ranks that were killed, or that run on other nodes, are no children that were waited for.
        used = max(used, heartbeat.cpu_seconds)
        if result.state is ResultState.FAILED:
            update = {"n_steps": heartbeat.n_steps, "details": heartbeat.history()}
    if tried := recovery.told(folder):
        update["details"] = update.get("details", result.details) | {"corrections": tried}
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Under MPI the ranks are children; only the largest is known, and they are much alike.
    ranks = spec.cores * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if spec.cores > 1 else 0
    return result.model_copy(
        update=update
        | {
            "cpu_seconds": used,
            "wall_seconds": time.monotonic() - started_wall,
            "peak_memory_mib": (own + ranks) / 1024,
            "versions": _versions(spec.recipe.engine),
            "setups": _setups(spec),
            "hostname": os.uname().nodename,
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )


def _setups(spec: JobSpec) -> dict[str, str]:
    """Setups that the energy depends on; none if they cannot be read."""
    from ase.data import chemical_symbols

    from dft.setups import fingerprints

    if spec.recipe.engine != "gpaw":
        return {}
    # Memory, the disk or GPAW itself may be what failed; the result is written all the same.
    with suppress(Exception):
        return fingerprints({chemical_symbols[z] for z in spec.atoms.numbers}, spec.recipe.xc)
    return {}


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
        names += ["gpaw", "gpaw-data"]
        with suppress(ImportError, MemoryError):  # as after a calculation that failed of just that
            import gpaw

            found["libxc"] = gpaw.get_libraries()["libxc"]
    return found | {name: installed(name) for name in names}


def _identity() -> dict[str, Any]:
    """Which job this is; pid, host and start of the own process, to tell it from one of the same pid."""
    import psutil

    process = psutil.Process()
    return {
        "job_id": os.environ.get(JOB_ID_VARIABLE),
        "pid": process.pid,
        "host": os.uname().nodename,
        "create_time": process.create_time(),
    }


def _announce(folder: Path, spec: JobSpec) -> None:
    """Note in ``runs.jsonl`` that a computation starts (one write, so that lines never mix)."""
    entry = {
        "calculation_id": spec.calculation_id,
        "attempt": spec.attempt,
        **_identity(),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }

    def append() -> None:
        with (folder / RUNS_FILE).open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(entry) + "\n")

    patiently(append, f"the start of the computation in {folder}")


def main() -> None:
    """Entry point of ``python -m dft.worker``.

    Exits with 0 when a result was written, a failed one included; 3 when another process has the attempt;
    1 when the directory cannot be used.
    """
    parser = argparse.ArgumentParser(prog="python -m dft.worker", description="Compute one job directory.")
    parser.add_argument("job_dir", type=Path)
    try:
        is_ours = run_job(parser.parse_args().job_dir)
    except (ExecutionError, OSError) as error:
        sys.exit(f"sabatier: {error}")
    sys.exit(0 if is_ours else EXIT_CLAIM_LOST)


if __name__ == "__main__":
    main()
