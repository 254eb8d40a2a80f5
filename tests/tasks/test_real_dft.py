"""The closed loop in miniature on real GPAW, with a worker killed while it computes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.tasks.campaigns import results, sabatier, start, starts
from tests.waiting import wait_for

MINIATURE = """
name: miniature
bulks: {ids: [mp-134]}
surfaces:
  {miller_indices: [[1, 1, 1]], min_height_a: 2.0, min_lateral_a: 2.0, vacuum_a: 6.0, free_depth_a: 0.0}
adsorbates: {H: {}}
recipe:
  base: demo
  cutoff_ev: 200.0
  bulk_kpoint_density: 1.5
  slab_kpoint_density: 0.8
  gas_box_a: 5.0
  fmax_ev_per_a: 0.3
budget: {calculations: 3, rounds: 1, cpu_hours: 1}
seed_size: 2
batch_size: 1
execution: {backend: local, cores: 2}
"""


@pytest.mark.gpaw
def test_real_dft_closes_the_loop_even_if_a_worker_is_killed(tmp_path: Path) -> None:
    (tmp_path / "miniature.yaml").write_text(MINIATURE)
    home = tmp_path / "runs" / "miniature"
    driver = start("run", "miniature.yaml", cwd=tmp_path)
    killed: list[str] = []

    def kill_an_adslab() -> bool:
        for job in home.glob("jobs/*/attempt-1/job.json"):
            log = job.with_name("gpaw.txt")
            if '"adslab"' not in job.read_text() or not log.exists() or job.with_name("result.json").exists():
                continue
            pid = json.loads(job.with_name("runs.jsonl").read_text())["pid"]
            os.kill(pid, signal.SIGKILL)
            killed.append(job.parent.parent.name)
            return True
        return False

    wait_for(kill_an_adslab, "GPAW at work on an adslab", timeout=240)
    assert driver.wait(timeout=300) == 0, (tmp_path / "driver.out").read_text()

    counts = starts(home)
    assert counts.pop(killed[0]) == 2
    assert set(counts.values()) == {1}
    ended = {(r["calculation_id"], r["attempt"]): r for r in results(home)}
    assert ended[killed[0], 1]["code"] == "WORKER_LOST"
    assert ended[killed[0], 1]["energy"] is None
    assert ended[killed[0], 2]["state"] == "DONE"
    assert all("gpaw" in r["versions"] for r in ended.values() if r["state"] == "DONE")

    status = json.loads(sabatier("status", "--json", cwd=tmp_path).stdout)
    assert status["complete"]
    assert [r["chosen"] for r in status["rounds"]] == [2, 1]
    rows = json.loads(sabatier("rank", "--json", cwd=tmp_path).stdout)["rankings"][0]["surfaces"]
    assert -2.0 < rows[0]["delta_e_ev"] < 2.0
