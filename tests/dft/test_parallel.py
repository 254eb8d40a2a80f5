from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ase.constraints import FixAtoms

from config.recipe import RecipeSettings
from dft.codes import FailureCode
from dft.jobs import (
    LOG_FILE,
    AtomsRecord,
    CalculationKind,
    JobResult,
    JobSpec,
    ResultState,
    cpu_seconds_so_far,
    read_job,
    read_result,
    write_job,
)
from dft.parallel import DRAFT_FILE, mpi_environment
from dft.references import gas_atoms
from dft.worker import run_job
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]


def prepare(folder: Path, recipe: RecipeSettings, **fields) -> Path:
    spec = JobSpec(
        calculation_id="calc-0123456789ab",
        kind=CalculationKind.GAS,
        attempt=1,
        label="gas H2",
        recipe=recipe,
        atoms=AtomsRecord.from_atoms(gas_atoms("H2", recipe.gas_box_a)),
        **fields,
    )
    write_job(folder, spec)
    return folder


def outcome(folder: Path) -> JobResult:
    result = read_result(folder)
    assert result is not None
    return result


def test_ranks_inherit_settings_of_mpi_but_not_that_the_worker_is_a_rank():
    outer = {
        "PMIX_RANK": "0",
        "PMI_SIZE": "1",
        "OMPI_COMM_WORLD_SIZE": "1",
        "OMPI_MCA_orte_local_daemon_uri": "x",
        "SLURM_PMIX_SERVER": "x",
        "OMPI_MCA_pml": "ucx",
        "I_MPI_ROOT": "/opt/intel",
        "SLURM_JOB_ID": "7",
    }
    inner = mpi_environment(outer, Path("/scratch"))
    assert {name for name in outer if name in inner} == {"OMPI_MCA_pml", "I_MPI_ROOT", "SLURM_JOB_ID"}
    assert inner["OMPI_MCA_orte_tmpdir_base"] == "/scratch"
    assert "OMPI_MCA_orte_tmpdir_base" not in mpi_environment(outer, None)


def test_a_launcher_that_is_not_there_is_named(tmp_path, emt_recipe):
    run_job(prepare(tmp_path, emt_recipe, cores=2, launcher="no-such-mpi -n {tasks}"))
    result = outcome(tmp_path)
    assert (result.state, result.code) == (ResultState.FAILED, FailureCode.CRASHED)
    assert result.message.startswith("the MPI launcher 'no-such-mpi -n {tasks}' cannot be started")


@pytest.mark.gpaw
@pytest.mark.parametrize("cores", [1, 2])
def test_a_worker_below_an_mpi_launcher_computes_as_any_other(tmp_path, cheap_recipe, cores):
    prepare(tmp_path, cheap_recipe, cores=cores)
    command = ["mpiexec", "-n", "1", sys.executable, "-m", "dft.worker", str(tmp_path)]
    environment = mpi_environment(os.environ, None)
    del environment["GPAW_MPI_BACKEND"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    assert outcome(tmp_path).code is None, outcome(tmp_path).message


@pytest.mark.gpaw
def test_ranks_without_memory_are_told_from_ranks_that_vanished(tmp_path):
    launcher = "mpiexec -n {tasks} prlimit --as=900000000"
    recipe = RecipeSettings(cutoff_ev=900.0, gas_box_a=18.0)
    run_job(prepare(tmp_path, recipe, cores=2, launcher=launcher))
    assert outcome(tmp_path).code is FailureCode.OUT_OF_MEMORY, outcome(tmp_path).message


@pytest.mark.gpaw
def test_stopped_ranks_are_paid_for_and_leave_no_shared_memory(tmp_path):
    before = set(Path("/dev/shm").glob("sabatier-*"))
    prepare(tmp_path, RecipeSettings(cutoff_ev=700.0, gas_box_a=9.0), cores=2)
    worker = subprocess.Popen([sys.executable, "-m", "dft.worker", str(tmp_path)], cwd=ROOT)
    log = tmp_path / LOG_FILE
    wait_for(lambda: log.exists() and "iter:" in log.read_text(errors="replace"), "GPAW at work", 120)
    assert set(Path("/dev/shm").glob("sabatier-*")) - before
    worker.send_signal(signal.SIGUSR2)
    assert worker.wait(60) == 0
    result = outcome(tmp_path)
    assert result.code is FailureCode.TIMEOUT
    assert result.cpu_seconds > 1.0
    assert result.cpu_seconds == cpu_seconds_so_far(tmp_path)
    assert not set(Path("/dev/shm").glob("sabatier-*")) - before


@pytest.mark.gpaw
def test_ranks_that_are_no_children_of_the_worker_are_paid_for(tmp_path, cheap_recipe):
    launcher = tmp_path / "launcher"  # as srun: a daemon starts the ranks, and the launcher only waits
    launcher.write_text(
        f'#!/bin/sh\nsetsid -f mpiexec -n "$@"\nuntil [ -e {tmp_path}/{DRAFT_FILE} ]; do sleep 0.1; done\n'
    )
    launcher.chmod(0o755)
    atoms = gas_atoms("H2", 6.0)
    atoms.set_constraint(FixAtoms([0, 1]))  # a single point: no step at whose end it would say what it cost
    spec = read_job(prepare(tmp_path, cheap_recipe, cores=2, launcher=f"{launcher} {{tasks}}"))
    write_job(tmp_path, spec.model_copy(update={"atoms": AtomsRecord.from_atoms(atoms)}))
    run_job(tmp_path)
    result = outcome(tmp_path)
    assert result.code is None, result.message
    assert result.cpu_seconds > 0.5
