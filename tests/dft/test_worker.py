from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from config.errors import ExecutionError
from config.recipe import RecipeSettings
from dft.codes import FailureCode
from dft.jobs import (
    LOG_FILE,
    RESULT_FILE,
    RUNS_FILE,
    AtomsRecord,
    CalculationKind,
    JobResult,
    JobSpec,
    ResultState,
    read_claim,
    read_result,
    take_claim,
    write_job,
)
from dft.references import gas_atoms
from dft.worker import EXIT_CLAIM_LOST, MIN_CONTACT, run_job
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]


def prepare(folder: Path, atoms: Atoms, kind: str, recipe: RecipeSettings, cores: int = 1) -> JobSpec:
    spec = JobSpec(
        calculation_id="calc-0123456789ab",
        kind=CalculationKind(kind),
        attempt=1,
        label=f"{kind} {atoms.symbols}",
        recipe=recipe,
        atoms=AtomsRecord.from_atoms(atoms),
        cores=cores,
    )
    write_job(folder, spec)
    return spec


def run(folder: Path, atoms: Atoms, kind: str, recipe: RecipeSettings, cores: int = 1) -> JobResult:
    prepare(folder, atoms, kind, recipe, cores)
    run_job(folder)
    result = read_result(folder)
    assert result is not None
    return result


def start_worker(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "dft.worker", str(folder)], cwd=ROOT)


def scf_has_begun(folder: Path) -> bool:
    log = folder / LOG_FILE
    return log.exists() and "iter:" in log.read_text(errors="replace")


# --- plumbing, with EMT


@pytest.mark.parametrize("kind", ["gas", "slab", "adslab"])
def test_every_kind_ends_with_an_energy_and_its_cost(tmp_path, emt_recipe, hydrogen_on_aluminium, kind):
    atoms = {
        "gas": gas_atoms("H2", 6.0),
        "slab": hydrogen_on_aluminium[:2],
        "adslab": hydrogen_on_aluminium,
    }[kind]
    result = run(tmp_path, atoms, kind, emt_recipe)
    assert (result.state, result.code, result.message) == (ResultState.DONE, None, "")
    assert result.energy is not None
    assert result.atoms is not None
    assert result.atoms.numbers == tuple(atoms.numbers)
    assert result.cpu_seconds > 0
    assert result.peak_memory_mib > 10
    assert {"python", "ase", "numpy", "sabatier"} <= set(result.versions)
    assert result.finished_at.endswith("+00:00")


def test_bulk_result_is_the_given_cell_at_its_equilibrium_volume(tmp_path, emt_recipe):
    crystal = bulk("Cu", a=3.65, cubic=True)
    result = run(tmp_path, crystal, "bulk", emt_recipe)
    assert result.atoms is not None
    scale = result.details["linear_scale"]
    assert result.atoms.to_atoms().get_volume() == pytest.approx(crystal.get_volume() * scale**3)
    assert len(result.details["volumes"]) == len(result.details["energies"]) == emt_recipe.eos_points
    assert result.details["bulk_modulus_gpa"] > 50
    assert result.energy == pytest.approx(min(result.details["energies"]), abs=0.05)


def test_claim_and_run_record_name_the_process(tmp_path, emt_recipe):
    run(tmp_path, gas_atoms("H2", 6.0), "gas", emt_recipe)
    claim = read_claim(tmp_path)
    assert claim is not None
    assert (claim["role"], claim["pid"], claim["host"]) == ("worker", os.getpid(), os.uname().nodename)
    assert claim["create_time"] == pytest.approx(psutil.Process().create_time())
    (line,) = (tmp_path / RUNS_FILE).read_text().splitlines()
    assert json.loads(line).items() >= {"calculation_id": "calc-0123456789ab", "attempt": 1}.items()


def test_a_lost_claim_leaves_no_trace(tmp_path, emt_recipe):
    prepare(tmp_path, gas_atoms("H2", 6.0), "gas", emt_recipe)
    take_claim(tmp_path, {"role": "driver"})
    run_job(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["claim", "job.json"]


def test_two_workers_on_one_directory_compute_once(tmp_path, emt_recipe):
    prepare(tmp_path, gas_atoms("H2", 6.0), "gas", emt_recipe)
    workers = [start_worker(tmp_path) for _ in range(2)]
    assert sorted(worker.wait(60) for worker in workers) == [0, EXIT_CLAIM_LOST]
    assert len((tmp_path / RUNS_FILE).read_text().splitlines()) == 1
    assert (tmp_path / RESULT_FILE).exists()


def test_signal_handlers_are_put_back(tmp_path, emt_recipe):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR2)
    run(tmp_path, gas_atoms("H2", 6.0), "gas", emt_recipe)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR2)) == before


# --- failures


@pytest.mark.parametrize("text", [None, "{", '{"kind": "gas"}'])
def test_a_directory_without_usable_job_is_refused_by_name(tmp_path, text):
    if text is not None:
        (tmp_path / "job.json").write_text(text)
    with pytest.raises(ExecutionError, match=str(tmp_path)):
        run_job(tmp_path)
    assert read_claim(tmp_path) is None


@pytest.mark.provokes(FailureCode.ATOMS_TOO_CLOSE)
def test_overlapping_atoms_are_refused_before_anything_runs(tmp_path, cheap_recipe):
    result = run(tmp_path, Atoms("H2", [[0, 0, 0], [0, 0, 0.2]], cell=[5] * 3, pbc=True), "gas", cheap_recipe)
    assert (result.state, result.code) == (ResultState.FAILED, FailureCode.ATOMS_TOO_CLOSE)
    assert "0.200 Å" in result.message
    assert result.energy is None
    assert not (tmp_path / LOG_FILE).exists()


def test_overlap_with_a_periodic_image_is_refused(tmp_path, cheap_recipe):
    result = run(tmp_path, Atoms("Cu", cell=[1.0, 8, 8], pbc=True), "gas", cheap_recipe)
    assert result.code is FailureCode.ATOMS_TOO_CLOSE


@pytest.mark.parametrize("name", ["CO", "H2", "N2", "F2", "C2H2", "LiF"])
def test_real_bonds_are_never_taken_for_an_overlap(name):
    from dft.worker import check_contacts

    check_contacts(molecule(name, cell=[9] * 3, pbc=True))
    assert MIN_CONTACT > 0.5  # and 0.3 Å is an overlap for any pair, even H-H at 0.37 Å


@pytest.mark.provokes(FailureCode.MISSING_SETUP)
def test_an_element_without_setup_is_named(tmp_path):
    result = run(tmp_path, bulk("La", "fcc", a=5.3), "bulk", RecipeSettings())
    assert (result.code, result.message) == (FailureCode.MISSING_SETUP, "no RPBE setup for La")


def test_an_element_without_emt_parameters_is_named(tmp_path, emt_recipe):
    result = run(tmp_path, bulk("W"), "bulk", emt_recipe)
    assert (result.code, result.message) == (FailureCode.MISSING_SETUP, "no EMT parameters for W")


def test_an_equation_of_state_out_of_reach_carries_its_code(tmp_path, emt_recipe):
    assert run(tmp_path, bulk("Cu", a=7.0), "bulk", emt_recipe).code is FailureCode.EOS_NOT_BRACKETED


def test_a_relaxation_out_of_steps_carries_its_code(tmp_path, emt_recipe, hydrogen_on_aluminium):
    recipe = emt_recipe.model_copy(update={"max_steps": 1, "fmax_ev_per_a": 0.001})
    result = run(tmp_path, hydrogen_on_aluminium, "adslab", recipe)
    assert result.code is FailureCode.RELAXATION_NOT_CONVERGED


@pytest.mark.provokes(FailureCode.OUT_OF_MEMORY)
@pytest.mark.gpaw
def test_running_out_of_memory_carries_its_code(tmp_path):
    recipe = RecipeSettings(cutoff_ev=1000.0)
    prepare(tmp_path, gas_atoms("H2", 18.0), "gas", recipe)
    code = (
        "import resource, sys; from dft.worker import run_job\n"
        "resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20)); run_job(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=True, timeout=240)
    result = read_result(tmp_path)
    assert result is not None
    assert result.code is FailureCode.OUT_OF_MEMORY


@pytest.mark.provokes(FailureCode.CRASHED)
def test_anything_else_is_a_crash_with_the_end_of_its_traceback(tmp_path, emt_recipe):
    (tmp_path / "relax.traj").mkdir(parents=True)  # the trajectory cannot be written
    result = run(tmp_path, gas_atoms("H2", 6.0), "gas", emt_recipe)
    assert result.code is FailureCode.CRASHED
    assert "IsADirectoryError" in result.message


def test_without_a_gpaw_that_can_be_imported_there_is_a_result_all_the_same(tmp_path, monkeypatch):
    """As on a node whose libraries are missing, or without the memory to load them."""
    monkeypatch.setitem(sys.modules, "gpaw", None)
    result = run(tmp_path, bulk("W"), "bulk", RecipeSettings())  # whose setup no other test has read
    assert result.code is FailureCode.CRASHED
    assert "gpaw" in result.message
    assert result.setups == {}


@pytest.mark.provokes(FailureCode.TIMEOUT)
@pytest.mark.gpaw
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGUSR2, FailureCode.TIMEOUT), (signal.SIGTERM, FailureCode.WORKER_LOST)],
)
def test_a_stop_signal_ends_in_a_result(tmp_path, number, code):
    prepare(tmp_path, gas_atoms("CO", 9.0), "gas", RecipeSettings(cutoff_ev=600.0))
    worker = start_worker(tmp_path)
    wait_for(lambda: scf_has_begun(tmp_path), "GPAW at work")
    worker.send_signal(number)
    assert worker.wait(30) == 0
    result = read_result(tmp_path)
    assert result is not None
    assert (result.state, result.code) == (ResultState.FAILED, code)
    assert result.cpu_seconds > 0


@pytest.mark.gpaw
def test_a_killed_worker_leaves_its_claim_and_no_result(tmp_path):
    prepare(tmp_path, gas_atoms("CO", 9.0), "gas", RecipeSettings(cutoff_ev=600.0))
    worker = start_worker(tmp_path)
    wait_for(lambda: scf_has_begun(tmp_path), "GPAW at work")
    worker.kill()
    worker.wait(30)
    assert read_result(tmp_path) is None
    claim = read_claim(tmp_path)
    assert claim is not None
    assert claim["pid"] == worker.pid


# --- several ranks


@pytest.mark.gpaw
def test_two_ranks_find_the_energy_of_one(tmp_path, cheap_recipe, hydrogen_on_aluminium):
    one = run(tmp_path / "one", hydrogen_on_aluminium, "adslab", cheap_recipe)
    two = run(tmp_path / "two", hydrogen_on_aluminium, "adslab", cheap_recipe, cores=2)
    assert two.code is None, two.message
    assert two.energy == pytest.approx(one.energy, abs=1e-4)
    assert re.search(r"^cores: +2$", (tmp_path / "two" / LOG_FILE).read_text(), re.MULTILINE)
    assert two.cpu_seconds > 1.0  # the ranks', not only the launcher's
    assert len((tmp_path / "two" / RUNS_FILE).read_text().splitlines()) == 1


@pytest.mark.gpaw
def test_a_failure_in_the_ranks_carries_its_code(tmp_path, cheap_recipe):
    recipe = cheap_recipe.model_copy(
        update={
            "scf_max_iterations": 10,
            "scf_density_e_per_electron": 1e-18,
            "scf_energy_ev_per_electron": 1e-18,
        }
    )
    result = run(tmp_path, gas_atoms("H2", 5.0), "gas", recipe, cores=2)
    assert result.code is FailureCode.SCF_NOT_CONVERGED


@pytest.mark.provokes(FailureCode.WORKER_LOST)
@pytest.mark.gpaw
def test_ranks_that_vanish_are_reported_as_lost(tmp_path):
    prepare(tmp_path, gas_atoms("CO", 9.0), "gas", RecipeSettings(cutoff_ev=600.0), cores=2)
    worker = start_worker(tmp_path)
    wait_for(lambda: scf_has_begun(tmp_path), "GPAW at work")
    for process in psutil.Process(worker.pid).children(recursive=True):
        if "dft.parallel" in process.cmdline() and "-n" not in process.cmdline():
            process.kill()
    assert worker.wait(60) == 0
    result = read_result(tmp_path)
    assert result is not None
    assert result.code is FailureCode.WORKER_LOST


@pytest.mark.gpaw
def test_stopping_a_parallel_worker_ends_its_ranks(tmp_path):
    prepare(tmp_path, gas_atoms("CO", 9.0), "gas", RecipeSettings(cutoff_ev=600.0), cores=2)
    worker = start_worker(tmp_path)
    wait_for(lambda: scf_has_begun(tmp_path), "GPAW at work")
    ranks = psutil.Process(worker.pid).children(recursive=True)
    worker.send_signal(signal.SIGUSR2)
    assert worker.wait(60) == 0
    result = read_result(tmp_path)
    assert result is not None
    assert result.code is FailureCode.TIMEOUT
    assert psutil.wait_procs(ranks, timeout=10)[1] == []
