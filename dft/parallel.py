"""One calculation on several MPI ranks, started from inside a worker.

The worker holds the claim and writes the result; the ranks only leave a draft of it. Whichever rank
ends first with something to say links the draft, so a rank that fails alone is heard too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from dft.codes import CalculationFailedError, FailureCode
from dft.jobs import JobResult, JobSpec, ResultState, read_job

DRAFT_FILE = "rank-result.json"
MPI_LOG_FILE = "mpi.txt"
LOG_TAIL_CHARACTERS = 1000
STOP_SECONDS = 10.0
"""Time that ``mpiexec`` gets to stop its ranks, s."""


def run_ranks(spec: JobSpec, folder: Path) -> JobResult:
    """Compute a job with ``mpiexec`` and return what the ranks found.

    Raises
    ------
    CalculationFailedError
        ``WORKER_LOST`` if the ranks ended without a word.
    """
    command = ["mpiexec", "-n", str(spec.cores), sys.executable, "-m", "dft.parallel", str(folder)]
    with (folder / MPI_LOG_FILE).open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=mpi_environment())
        try:
            process.wait()
        finally:
            _end(process)
    draft = folder / DRAFT_FILE
    if draft.exists():
        return JobResult.model_validate_json(draft.read_text(encoding="utf-8"))
    tail = (folder / MPI_LOG_FILE).read_text(encoding="utf-8", errors="replace")[-LOG_TAIL_CHARACTERS:]
    message = f"mpiexec ended with exit code {process.returncode} and no result\n{tail.strip()}"
    raise CalculationFailedError(FailureCode.WORKER_LOST, message)


def mpi_environment() -> dict[str, str]:
    """Environment of the ranks: GPAW on MPI, this package importable, no fight over cores."""
    root = str(Path(__file__).resolve().parents[1])
    environment = os.environ | {
        "GPAW_MPI_BACKEND": "cgpaw",
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        # Open MPI would bind the ranks of every job to the same first cores.
        "OMPI_MCA_hwloc_base_binding_policy": "none",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
    }
    if os.getuid() == 0:  # Open MPI refuses root, whom containers run as, unless told twice
        environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return environment


def _end(process: subprocess.Popen[bytes]) -> None:
    """Make sure that ``mpiexec`` and with it the ranks are gone."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_rank(folder: Path) -> None:
    """Be one rank of :func:`run_ranks`; a failing rank ends all of them."""
    from gpaw.mpi import world

    from dft.worker import compute, guarded

    spec = read_job(folder)
    result = guarded(spec, lambda: compute(spec, folder))
    failed = result.state is ResultState.FAILED
    if failed or world.rank == 0:
        _leave_draft(folder, result, world.rank)
    if failed:
        world.abort(1)


def _leave_draft(folder: Path, result: JobResult, rank: int) -> None:
    """Write the draft unless another rank has."""
    own = folder / f".{DRAFT_FILE}.{rank}"
    own.write_text(result.model_dump_json(), encoding="utf-8")
    try:
        os.link(own, folder / DRAFT_FILE)
    except FileExistsError:
        pass
    finally:
        own.unlink()


def main() -> None:
    """Entry point of ``python -m dft.parallel``, which only ``mpiexec`` calls."""
    parser = argparse.ArgumentParser(prog="python -m dft.parallel", description="One MPI rank of a job.")
    parser.add_argument("job_dir", type=Path)
    run_rank(parser.parse_args().job_dir)


if __name__ == "__main__":
    main()
