"""One calculation on several MPI ranks, started from inside a worker.

The worker holds the claim and writes the result; the ranks only leave a draft of it. Whichever rank
ends first with something to say links the draft, so a rank that fails alone is heard too. What the
scheduler or a person says by a signal is the worker's business; ranks stop between two steps.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dft.codes import CalculationFailedError, FailureCode
from dft.guard import OUT_OF_MEMORY, guarded
from dft.jobs import (
    Heartbeat,
    JobResult,
    JobSpec,
    ResultState,
    read_heartbeat,
    read_job,
    write_heartbeat,
    write_once,
)
from dft.patience import patiently
from dft.watch import StoppedError, Watch, job_end

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DRAFT_FILE = "rank-result.json"
MPI_LOG_FILE = "mpi.txt"
LOG_TAIL_CHARACTERS = 1000
STOP_SECONDS = 10.0
"""Time that the launcher gets to stop its ranks, s."""
LAUNCHER_PREFIXES = ("PMI_", "PMIX_", "OMPI_", "I_MPI_", "SLURM_PMI")
"""What MPI launchers leave in the environment of the processes they start, and of all below."""
RANK_PREFIXES = (
    "PMI_",
    "PMIX_ID",
    "PMIX_NAMESPACE",
    "PMIX_RANK",
    "PMIX_SERVER_",
    "OMPI_APP_CTX",
    "OMPI_COMM_WORLD_",
    "OMPI_MCA_ess",
    "OMPI_MCA_orte_",
    "OMPI_UNIVERSE_SIZE",
    "SLURM_PMI",
)
"""Those that make a process one rank of something; the rest may be settings that the ranks need."""


def run_ranks(spec: JobSpec, folder: Path) -> JobResult:
    """Compute a job with its MPI launcher and return what the ranks found.

    Raises
    ------
    CalculationFailedError
        ``OUT_OF_MEMORY`` or ``WORKER_LOST`` if the ranks ended without a word; ``CRASHED`` if the
        launcher cannot be started.
    """
    launcher = shlex.split(spec.launcher.replace("{tasks}", str(spec.cores)))
    command = [*launcher, sys.executable, "-m", "dft.parallel", str(folder)]
    draft = folder / DRAFT_FILE
    draft.unlink(missing_ok=True)  # of ranks that failed before a correction
    with (folder / MPI_LOG_FILE).open("wb") as log, _scratch() as scratch:
        try:
            process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=mpi_environment(os.environ, scratch)
            )
        except OSError as error:
            message = f"the MPI launcher {spec.launcher!r} cannot be started: {error}"
            raise CalculationFailedError(FailureCode.CRASHED, message) from error
        try:
            process.wait()
        except StoppedError:
            if not draft.exists():
                raise
        finally:
            _end(process, folder)
    if draft.exists():
        return JobResult.model_validate_json(draft.read_text(encoding="utf-8"))
    said = (folder / MPI_LOG_FILE).read_text(encoding="utf-8", errors="replace")
    code = FailureCode.OUT_OF_MEMORY if OUT_OF_MEMORY.search(said) else FailureCode.WORKER_LOST
    message = f"{launcher[0]} ended with exit code {process.returncode} and no result"
    raise CalculationFailedError(code, f"{message}\n{said[-LOG_TAIL_CHARACTERS:].strip()}")


def mpi_environment(environment: Mapping[str, str], scratch: Path | None) -> dict[str, str]:
    """Environment of the ranks: GPAW on MPI, this package importable, no fight over cores.

    Parameters
    ----------
    environment
        That of the worker.
    scratch
        Where Open MPI keeps its shared memory; its own choice when left out.
    """
    root = str(Path(__file__).resolve().parents[1])
    own = {
        "GPAW_MPI_BACKEND": "cgpaw",
        "PYTHONPATH": os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")])),
        # Open MPI would bind the ranks of every job to the same first cores.
        "OMPI_MCA_hwloc_base_binding_policy": "none",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
    }
    if scratch is not None:
        folders = ("orte_tmpdir_base", "btl_vader_backing_directory", "btl_sm_backing_directory")
        own |= {f"OMPI_MCA_{name}": str(scratch) for name in folders}
    if os.getuid() == 0:  # Open MPI refuses root, whom containers run as, unless told twice
        own |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return {name: text for name, text in environment.items() if not name.startswith(RANK_PREFIXES)} | own


def leave_launcher() -> None:
    """Forget that a driver above was started by ``srun`` or ``mpiexec``: serial GPAW refuses to run so."""
    for name in [name for name in os.environ if name.startswith(LAUNCHER_PREFIXES)]:
        del os.environ[name]


@contextmanager
def _scratch() -> Iterator[Path | None]:
    """Folder in shared memory whose removal takes along what killed ranks left there.

    Only on a single node: the others would not have it.
    """
    memory = Path("/dev/shm")
    if not memory.is_dir() or os.environ.get("SLURM_JOB_NUM_NODES", "1") != "1":
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="sabatier-", dir=memory))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Make sure that the launcher and with it the ranks are gone; note what they had used."""
    if process.poll() is not None:
        return
    _note_cpu_seconds(process.pid, folder)
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _note_cpu_seconds(pid: int, folder: Path) -> None:
    """Write the CPU time of the ranks into the heartbeat: nobody waits for killed ranks."""
    import psutil

    used = 0.0
    with suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.Error):
                times = child.cpu_times()
                used += times.user + times.system
    last = read_heartbeat(folder) or Heartbeat(cpu_seconds=0.0, n_steps=0)
    with suppress(OSError):
        write_heartbeat(folder, last.model_copy(update={"cpu_seconds": max(used, last.cpu_seconds)}))


def run_rank(folder: Path) -> None:
    """Be one rank of :func:`run_ranks`; a failing rank ends all of them."""
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # schedulers may send them to every process of a job
    from gpaw.mpi import world

    from dft.worker import compute

    spec = read_job(folder)
    watch = Watch(folder, job_end())
    result = guarded(spec, lambda: compute(spec, folder, watch))
    watch.leave_heartbeat()  # ranks that a scheduler's daemon started are no children to be paid for
    is_failed = result.state is ResultState.FAILED
    if is_failed or world.rank == 0:
        _leave_draft(folder, result)
    if is_failed:
        world.abort(1)


def _leave_draft(folder: Path, result: JobResult) -> None:
    """Write the draft unless another rank has."""
    text = result.model_dump_json()
    patiently(lambda: write_once(folder / DRAFT_FILE, text), f"the result in {folder}")


def main() -> None:
    """Entry point of ``python -m dft.parallel``, which only an MPI launcher calls."""
    parser = argparse.ArgumentParser(prog="python -m dft.parallel", description="One MPI rank of a job.")
    parser.add_argument("job_dir", type=Path)
    run_rank(parser.parse_args().job_dir)


if __name__ == "__main__":
    main()
