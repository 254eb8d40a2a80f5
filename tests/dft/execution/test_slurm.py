"""What only a scheduler can show, on a real Slurm; the scripts it is given; what it is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from config.errors import BackendUnavailableError, ExecutionError
from config.execution import SlurmExecution
from dft.codes import FailureCode
from dft.execution import Backend, JobPhase
from dft.execution.base import shown_id
from dft.execution.scheduler import SchedulerBackend
from dft.jobs import CLAIM_FILE, read_claim, read_result, take_claim
from tests.dft.execution.conftest import LongRun, on_slurm
from tests.dft.execution.kit import (
    Jobs,
    is_running,
    n_runs,
    phases,
    request,
    wait_child,
    wait_claimed,
    wait_gone,
    wait_phase,
)
from tests.slurm import Cluster
from tests.waiting import wait_for

on_real_slurm = pytest.mark.slurm


def script(*names: str, memory_factor: float = 1.0, **settings: Any) -> str:
    group = [request(Path(f"/home/me/{name}"), memory_factor=memory_factor) for name in names or ("a",)]
    return SchedulerBackend(SlurmExecution(backend="slurm", **settings)).script_text(group, "H2.1234")


def header(text: str) -> dict[str, str]:
    lines = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")]
    return dict(line.partition("=")[::2] for line in lines)


# Scripts ------------------------------------------------------------------------------------------------


def test_the_script_asks_for_what_the_settings_say() -> None:
    text = script(
        partition="xeon40",
        account="catalysis",
        qos="long",
        constraint="a&b",
        walltime_minutes=90.5,
        nodes=2,
        tasks=80,
        cpus_per_task=2,
        memory_gb=100.0,
        gpus=1,
        options={"exclude": "n[1-4]", "exclusive": True, "reservation": False, "comment": "two words"},
        warning_seconds=300,
    )
    assert header(text) == {
        "partition": "xeon40",
        "account": "catalysis",
        "qos": "long",
        "constraint": "a&b",
        "time": "91",
        "nodes": "2",
        "ntasks": "80",
        "cpus-per-task": "2",
        "mem": "100000M",
        "gres": "gpu:1",
        "exclude": "n[1-4]",
        "exclusive": "",
        "comment": '"two words"',
        "job-name": "H2.1234",
        "output": "job.out",
        "no-requeue": "",
        "open-mode": "append",
        "signal": "B:USR2@300",
    }
    assert 'export OMP_NUM_THREADS="2"' in text


def test_kinds_ask_for_their_own_resources() -> None:
    asked = header(script(partition="cpu", tasks=40, kinds={"gas": {"tasks": 8, "walltime_minutes": 30}}))
    assert (asked["partition"], asked["ntasks"], asked["time"]) == ("cpu", "8", "30")


def test_set_up_lines_come_before_the_worker_and_the_shell_becomes_it() -> None:
    lines = script(setup=("module load gpaw", "source venv/bin/activate"), python="/opt/python").splitlines()
    assert lines[0] == "#!/bin/bash"
    assert lines.index("module load gpaw") < lines.index("source venv/bin/activate") < len(lines) - 1
    assert lines[-1] == "exec /opt/python -m dft.worker /home/me/a"


def test_the_script_is_valid_shell_for_any_directory(tmp_path: Path) -> None:
    for pack in ("single", "array", "bundle"):
        text = script("it's $HOME", "b c", pack=pack) if pack != "single" else script("it's $HOME")
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)


@pytest.mark.parametrize(("memory_gb", "memory"), [(2.0, "4000M"), (None, "0")])
def test_a_job_that_ran_out_of_memory_asks_for_more(memory_gb: float | None, memory: str) -> None:
    assert header(script(memory_gb=memory_gb, memory_factor=2.0))["mem"] == memory


def test_a_bundle_asks_for_what_its_members_need_side_by_side() -> None:
    asked = header(script("a", "b", "c", pack="bundle", bundle_width=2, tasks=4, memory_gb=1.0))
    assert (asked["ntasks"], asked["mem"]) == ("8", "2000M")


def test_no_more_room_is_asked_for_than_the_bundle_has_members() -> None:
    assert header(script("a", "b", pack="bundle", bundle_width=40))["ntasks"] == "2"


def test_the_warning_leaves_half_of_a_short_time_limit() -> None:
    assert header(script(walltime_minutes=2, warning_seconds=119))["signal"] == "B:USR2@60"


# How jobs end -------------------------------------------------------------------------------------------


@on_real_slurm
def test_a_submitted_script_is_the_one_that_plan_shows(slurm: Cluster, jobs: Jobs) -> None:
    backend, job_dir = on_slurm(), jobs("quick")
    wait_gone(backend, *backend.submit([request(job_dir)]))
    submitted = (job_dir / "job.sh").read_text(encoding="utf-8")
    name = header(submitted)["job-name"]
    assert name.startswith("gas.H2.a.test.")
    assert submitted == backend.script_text([request(job_dir)], name)


@on_real_slurm
def test_a_refusal_is_told_in_slurms_own_words(slurm: Cluster, jobs: Jobs) -> None:
    job_dir = jobs("quick")
    for settings, words in (
        ({"partition": "nowhere"}, "Invalid partition name"),
        ({"memory_gb": 1e6}, "configuration is not available"),
        ({"options": {"frobnicate": True}}, "sbatch"),
    ):
        with pytest.raises(ExecutionError, match=words) as refusal:
            on_slurm(**settings).submit([request(job_dir)])
        assert not isinstance(refusal.value, BackendUnavailableError)
    assert on_slurm().find(job_dir) is None


@on_real_slurm
def test_a_waiting_job_tells_why_and_is_found_and_revoked(slurm: Cluster, jobs: Jobs) -> None:
    backend, job_dir = on_slurm(options={"begin": "now+3"}), jobs("quick")
    job_id = backend.submit([request(job_dir)])[0]
    status = backend.poll([job_id])[job_id]
    assert (status.phase, status.native, status.reason) == (JobPhase.PENDING, "PENDING", "BeginTime")
    assert backend.find(job_dir) == job_id
    assert take_claim(job_dir, {"role": "driver"})
    wait_gone(backend, job_id)
    assert n_runs(job_dir) == 0


@on_real_slurm
def test_a_job_that_slurm_never_heard_of_is_gone(slurm: Cluster, jobs: Jobs) -> None:
    backend = on_slurm()
    unknown = ["999999~0badb007", "999999_3~0badb007", "999998~0badb007+2"]
    assert set(phases(backend.poll(unknown)).values()) == {JobPhase.GONE}
    backend.cancel(unknown)


@on_real_slurm
def test_a_number_that_slurm_has_given_to_another_job_is_not_the_job(slurm: Cluster, jobs: Jobs) -> None:
    backend, job_dir = on_slurm(), jobs("endless")
    job_id = backend.submit([request(job_dir)])[0]
    stranger = f"{job_id.partition('~')[0]}~0badb007"
    assert backend.poll([stranger])[stranger].phase is JobPhase.GONE
    backend.cancel([stranger])
    assert backend.poll([job_id])[job_id].phase is not JobPhase.GONE


@on_real_slurm
def test_a_job_that_took_too_much_memory_is_told_from_a_crash(slurm: Cluster, jobs: Jobs) -> None:
    for pack in ("single", "array"):
        backend, job_dirs = on_slurm(pack=pack, memory_gb=0.2), [jobs("greedy"), jobs("quick")]
        group = [request(job_dir) for job_dir in job_dirs[: 1 if pack == "single" else 2]]
        job_id = backend.submit(group)[0]
        wait_gone(backend, job_id)
        assert backend.poll([job_id])[job_id].ended_as is FailureCode.OUT_OF_MEMORY


@pytest.mark.provokes(FailureCode.PREEMPTED)
@on_real_slurm
def test_a_preempted_job_is_told_as_such(slurm: Cluster, jobs: Jobs) -> None:
    low = on_slurm(partition="scavenge", options={"nodelist": "n4"}, tasks=2)
    job_id = low.submit([request(jobs("endless"))])[0]
    wait_phase(low, [job_id], JobPhase.RUNNING)
    high = on_slurm(options={"nodelist": "n4"}, tasks=2)
    better_id = high.submit([request(jobs("quick"))])[0]
    wait_gone(high, job_id, better_id)
    assert low.poll([job_id])[job_id].ended_as is FailureCode.PREEMPTED


@pytest.mark.provokes(FailureCode.NODE_FAIL)
@on_real_slurm
def test_a_job_whose_node_failed_is_told_as_such_and_never_runs_again(
    slurm: Cluster, long_runs: dict[tuple[str, str], LongRun]
) -> None:
    backend, run = on_slurm(), long_runs["endless", "n3"]
    worker = wait_claimed(run.job_dir)
    slurm.do("kill-node", "n3")
    assert not is_running(worker)
    # Slurm itself would take up to a minute to miss the node, or, once the node is back, the job.
    subprocess.run(["scontrol", "update", "nodename=n3", "state=down", "reason=dead"], check=True)
    wait_gone(backend, run.job_id)
    assert backend.poll([run.job_id])[run.job_id].ended_as is FailureCode.NODE_FAIL
    slurm.do("restart-node", "n3")
    # Refused where the node has come back by itself.
    subprocess.run(["scontrol", "update", "nodename=n3", "state=resume"], check=False, capture_output=True)
    wait_for(lambda: _node_state("n3") == "idle", "the node")
    assert backend.find(run.job_dir) is None
    assert n_runs(run.job_dir) == 1


def _node_state(node: str) -> str:
    asked = subprocess.run(
        ["sinfo", "-h", "-n", node, "-p", "main", "-o", "%t"], check=True, capture_output=True, text=True
    )
    return asked.stdout.strip()


@on_real_slurm
def test_a_node_whose_daemon_is_replaced_keeps_its_jobs(slurm: Cluster, jobs: Jobs) -> None:
    backend, job_dir = on_slurm(options={"nodelist": "n4"}), jobs("slow")
    job_id = backend.submit([request(job_dir)])[0]
    wait_claimed(job_dir)
    slurm.do("restart-node", "n4")
    wait_gone(backend, job_id)
    assert read_result(job_dir)


@on_real_slurm
def test_an_absent_controller_is_no_end_of_jobs(
    slurm: Cluster, jobs: Jobs, long_runs: dict[tuple[str, str], LongRun]
) -> None:
    backend, run = on_slurm(), long_runs["endless", "n2"]
    wait_claimed(run.job_dir)
    # What it has not written down yet, it forgets: that the job has begun.
    state, claim = slurm.path / "state" / "job_state", run.job_dir / CLAIM_FILE
    wait_for(lambda: state.stat().st_mtime > claim.stat().st_mtime, "the controller's memory")
    slurm.do("kill-controller")
    errors = _all_questions(backend, run.job_id, run.job_dir, other=jobs("quick"))
    slurm.do("restart-controller")
    assert [type(error) for error in errors] == 4 * [BackendUnavailableError], errors
    # The first answer after the restart is the truth already.
    assert phases(backend.poll([run.job_id])) == {run.job_id: JobPhase.RUNNING}


def _all_questions(backend: Backend, job_id: str, job_dir: Path, other: Path) -> list[Exception | None]:
    """Ask everything at once, as each waits for Slurm's own time-out; return what was raised."""
    questions = (
        lambda: backend.poll([job_id]),
        lambda: backend.cancel([job_id]),
        lambda: backend.find(job_dir),
        lambda: backend.submit([request(other)]),
    )
    raised: list[Exception | None] = [None] * len(questions)

    def ask(number: int) -> None:
        try:
            questions[number]()
        except Exception as error:
            raised[number] = error

    threads = [threading.Thread(target=ask, args=[number]) for number in range(len(questions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


@on_real_slurm
def test_what_a_killed_controller_forgot_is_gone_and_computes_once_in_the_end(
    slurm: Cluster, jobs: Jobs
) -> None:
    backend, job_dirs = on_slurm(), [jobs("quick") for _ in range(4)]
    job_ids = [backend.submit([request(job_dir)])[0] for job_dir in job_dirs]
    slurm.do("restart-controller")
    wait_gone(backend, *job_ids)
    again = [job_dir for job_dir in job_dirs if not (job_dir / "claim").exists()]
    wait_gone(backend, *(backend.submit([request(job_dir)])[0] for job_dir in again))
    assert [n_runs(job_dir) for job_dir in job_dirs] == [1, 1, 1, 1]


def test_a_host_without_slurm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ExecutionError, match=rf"cannot run squeue on {os.uname().nodename}"):
        on_slurm().poll(["1~0badb007"])


# What is asked ------------------------------------------------------------------------------------------


@on_real_slurm
def test_one_squeue_tells_of_all_jobs(
    slurm: Cluster, jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = on_slurm(options={"hold": True}, pack="array")
    job_ids = backend.submit([request(jobs("quick")) for _ in range(20)])
    job_ids += on_slurm(options={"hold": True}).submit([request(jobs("quick"))])
    calls = tmp_path / "calls"
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("squeue", "sacct", "scontrol", "sinfo"):
        path = folder / tool
        path.write_text(f'#!/bin/sh\necho "$*" >> {calls}\nexec {shutil.which(tool)} "$@"\n')
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    assert set(phases(backend.poll(job_ids)).values()) == {JobPhase.PENDING}
    assert len(calls.read_text(encoding="utf-8").splitlines()) == 1
    backend.cancel(job_ids)
    wait_gone(backend, *job_ids)


@on_real_slurm
def test_the_scheduler_never_learns_the_credentials(
    slurm: Cluster, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SABATIER_MONGODB_URI", "mongodb://me:opensesame@db/")
    backend = on_slurm(options={"hold": True})
    job_id = backend.submit([request(jobs("quick"))])[0]
    shown = subprocess.run(
        ["scontrol", "show", "job", shown_id(job_id)], capture_output=True, check=True
    ).stdout
    assert b"opensesame" not in shown
    kept = [path for path in (slurm.path / "state").rglob("*") if path.is_file()]
    assert any(path.name == "environment" for path in kept)
    assert not [path for path in kept if b"opensesame" in path.read_bytes()]


# Bundles ------------------------------------------------------------------------------------------------


@on_real_slurm
def test_members_of_a_bundle_wait_run_and_end_on_their_own(slurm: Cluster, jobs: Jobs) -> None:
    backend = on_slurm(pack="bundle", bundle_width=1)
    job_dirs = [jobs("quick"), jobs("endless"), jobs("quick"), jobs("quick")]
    first, second, third, fourth = ids = backend.submit([request(job_dir) for job_dir in job_dirs])
    wait_claimed(job_dirs[1])
    wait_phase(backend, [second], JobPhase.RUNNING)
    assert phases(backend.poll(ids)) == {
        first: JobPhase.GONE,
        second: JobPhase.RUNNING,
        third: JobPhase.PENDING,
        fourth: JobPhase.PENDING,
    }
    assert [backend.find(job_dir) for job_dir in job_dirs] == [None, second, third, fourth]
    backend.cancel([third])
    backend.cancel([second])
    wait_gone(backend, *ids)
    assert [n_runs(job_dir) for job_dir in job_dirs] == [1, 1, 0, 1]


@on_real_slurm
def test_members_cancelled_before_their_bundle_starts_never_compute(slurm: Cluster, jobs: Jobs) -> None:
    backend = on_slurm(pack="bundle", bundle_width=2, options={"begin": "now+2"})
    job_dirs = [jobs("quick"), jobs("quick")]
    ids = backend.submit([request(job_dir) for job_dir in job_dirs])
    backend.cancel(ids[:1])
    wait_gone(backend, *ids)
    assert [n_runs(job_dir) for job_dir in job_dirs] == [0, 1]


# Time limits: jobs of a minute that were submitted with the first test that needed Slurm --------------------


@on_real_slurm
@pytest.mark.parametrize("pack", ["single", "array", "bundle"])
def test_the_warning_before_the_time_limit_reaches_the_worker(
    pack: str, slurm: Cluster, long_runs: dict[tuple[str, str], LongRun]
) -> None:
    run = long_runs[pack, "obedient"]
    wait_for((run.job_dir / "result.json").exists, "the warning")
    result = read_result(run.job_dir)
    assert result is not None
    assert result.code == "TIMEOUT"
    claim = read_claim(run.job_dir)
    assert claim is not None
    assert claim["job_id"] == run.job_id


@on_real_slurm
def test_a_job_past_its_time_limit_ends_with_all_its_processes(
    slurm: Cluster, long_runs: dict[tuple[str, str], LongRun]
) -> None:
    run = long_runs["bundle", "with_ranks"]
    child = wait_child(run.job_dir)
    wait_gone(on_slurm(), *(run.job_id for key, run in long_runs.items() if key[0] != "endless"))
    assert not is_running(child)
