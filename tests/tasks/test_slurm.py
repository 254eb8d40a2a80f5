"""The closed loop on a real Slurm: real GPAW through the queue, walltime, memory, a controller that dies."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.slurm import Cluster
from tests.tasks.campaigns import TINY, results, sabatier, start, starts
from tests.tasks.test_real_dft import MINIATURE
from tests.tasks.test_resume import assert_complete
from tests.waiting import wait_for

pytestmark = pytest.mark.slurm

ON_SLURM = """execution:
  backend: slurm
  poll_seconds: 1
  walltime_minutes: 10
  memory_gb: 1
  warning_seconds: 30
"""


def on_slurm(text: str, more: str = "") -> str:
    """A campaign's text with its calculations on the cluster."""
    lines = [line for line in text.splitlines() if not line.startswith("execution:")]
    return "\n".join(lines) + "\n" + ON_SLURM + more


def run_to_its_end(folder: Path, more: str = "") -> None:
    """Run a small campaign on the cluster; insist that it is complete afterwards."""
    (folder / "tiny.yaml").write_text(on_slurm(TINY, more))
    done = sabatier("run", "tiny.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert_complete(folder)


@pytest.mark.gpaw
def test_real_dft_closes_the_loop_on_slurm_though_the_driver_is_killed(
    slurm_cluster: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "miniature.yaml").write_text(on_slurm(MINIATURE, "  kinds: {gas: {walltime_minutes: 5}}\n"))
    home = tmp_path / "runs" / "miniature"
    driver = start("run", "miniature.yaml", cwd=tmp_path)
    wait_for(lambda: len(starts(home)) >= 2, "GPAW at work on the nodes", timeout=240)
    driver.kill()
    driver.wait()
    status = json.loads(sabatier("status", "--json", cwd=tmp_path).stdout)
    assert status["running"], "the jobs go on without a driver"
    done = sabatier("run", "miniature.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ended = results(home)
    assert set(starts(home).values()) == {1}
    assert {r["state"] for r in ended} == {"DONE"}
    assert all("gpaw" in r["versions"] for r in ended)
    status = json.loads(sabatier("status", "--json", cwd=tmp_path).stdout)
    assert status["complete"]
    assert [r["chosen"] for r in status["rounds"]] == [2, 1]


@pytest.mark.parametrize("pack", ["array", "bundle"])
def test_packed_calculations_bring_a_campaign_to_its_end(
    slurm_cluster: Cluster, tmp_path: Path, pack: str
) -> None:
    width = "  bundle_width: 2\n" if pack == "bundle" else ""
    run_to_its_end(tmp_path, f"  pack: {pack}\n  pack_size: 4\n{width}")
    assert set(starts(tmp_path / "runs" / "tiny").values()) == {1}


def test_a_dead_controller_is_waited_for(slurm_cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(on_slurm(TINY))
    home = tmp_path / "runs" / "tiny"
    driver = start("run", "tiny.yaml", cwd=tmp_path)
    try:
        wait_for(lambda: len(results(home)) >= 2, "two results")
        slurm_cluster.do("kill-controller")
        wait_for(
            lambda: "keeps asking" in (tmp_path / "driver.out").read_text(), "the driver's word", timeout=240
        )
        assert driver.poll() is None
    finally:
        slurm_cluster.do("restart-controller")
    assert driver.wait(timeout=240) == 0, (tmp_path / "driver.out").read_text()
    assert_complete(tmp_path)
    assert set(starts(home).values()) == {1}


def test_a_refused_submission_names_what_slurm_said_and_loses_nothing(
    slurm_cluster: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(on_slurm(TINY, "  partition: nowhere\n"))
    refused = sabatier("run", "tiny.yaml", cwd=tmp_path)
    assert refused.returncode == 1
    assert "nvalid partition" in refused.stderr
    assert "Traceback" not in refused.stderr
    run_to_its_end(tmp_path)


def test_jobs_that_never_begin_stop_the_driver_with_what_they_printed(
    slurm_cluster: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(on_slurm(TINY, "  python: /nowhere/python\n"))
    stopped = sabatier("run", "tiny.yaml", cwd=tmp_path)
    assert stopped.returncode == 1
    assert "ended before their worker began" in stopped.stderr
    assert "/nowhere/python" in stopped.stderr
    assert "No such file" in stopped.stderr
    run_to_its_end(tmp_path)


def test_a_drained_driver_waits_for_the_queue(slurm_cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(on_slurm(TINY))
    home = tmp_path / "runs" / "tiny"
    driver = start("run", "tiny.yaml", cwd=tmp_path)
    wait_for(lambda: bool(starts(home)), "a first start")
    driver.send_signal(signal.SIGINT)
    assert driver.wait(timeout=240) == 130
    assert set(starts(home)) == {r["calculation_id"] for r in results(home)}
    listed = subprocess.run(
        ["squeue", "--noheader", "--format=%Z"], capture_output=True, text=True, check=True
    )
    assert str(tmp_path) not in listed.stdout
