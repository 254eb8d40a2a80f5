"""Asynchronous campaigns from the command line: killed, shared by two drivers, run pass by pass."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.tasks.campaigns import TINY, results, sabatier, start, starts
from tests.waiting import wait_for

BUDGET = 12
ASYNC = (
    TINY.replace("name: tiny", "name: tiny\nmode: async")
    .replace("calculations: 8", f"calculations: {BUDGET}")
    .replace("[[1, 1, 1]]", "[[1, 1, 1], [1, 0, 0]]")
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with an asynchronous ``tiny.yaml``."""
    (tmp_path / "tiny.yaml").write_text(ASYNC)
    return tmp_path


def status_of(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(sabatier("status", "--json", cwd=folder).stdout)
    return document


def assert_complete(folder: Path) -> None:
    """The budget is spent to the last adsorption energy, each of them computed once."""
    status = status_of(folder)
    assert status["complete"], status
    assert f"budget of {BUDGET} adsorption energies" in status["reason"]
    chosen = [r["chosen"] for r in status["rounds"]]
    lost = [p for p in status["problems"] if p["code"] == "DEPENDENCY_FAILED"]
    assert sum(chosen) - len(lost) == BUDGET
    assert chosen[0] == 4
    assert max(chosen[1:]) <= 2, "never more than there is room for"
    assert all(r["closed"] for r in status["rounds"])
    assert set(starts(folder / "runs" / "tiny").values()) == {1}


def test_an_asynchronous_campaign_is_watched_ranked_and_exported_like_any(folder: Path) -> None:
    done = sabatier("run", "tiny.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr + done.stdout
    assert_complete(folder)
    assert "None" not in done.stdout, done.stdout
    ranked = json.loads(sabatier("rank", "--predicted", "--json", cwd=folder).stdout)
    assert {r["adsorbate"] for r in ranked["rankings"]} == {"CO", "H"}
    assert sabatier("export", "--output", "out.csv", cwd=folder).returncode == 0
    again = sabatier("run", "tiny.yaml", cwd=folder)
    assert "is complete" in again.stderr
    more = ASYNC.replace(f"calculations: {BUDGET}", f"calculations: {BUDGET + 1}")
    (folder / "tiny.yaml").write_text(more)
    assert sabatier("run", "tiny.yaml", cwd=folder).returncode == 0
    assert sum(r["chosen"] for r in status_of(folder)["rounds"]) == BUDGET + 1


@pytest.mark.parametrize("after", [2, 8, 14], ids=lambda n: f"after-{n}-results")
def test_a_killed_driver_is_resumed_without_computing_anything_twice(folder: Path, after: int) -> None:
    home = folder / "runs" / "tiny"
    driver = start("run", "tiny.yaml", cwd=folder)
    wait_for(lambda: len(results(home)) >= after, f"{after} results")
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    done = sabatier("run", "tiny.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert_complete(folder)


def test_two_drivers_share_a_campaign_and_one_may_die_or_sleep(folder: Path) -> None:
    home = folder / "runs" / "tiny"
    first = start("run", "tiny.yaml", cwd=folder)
    wait_for(lambda: len(results(home)) >= 2, "two results")
    second = start("run", "tiny.yaml", cwd=folder)
    wait_for(lambda: len(results(home)) >= 8, "eight results")
    first.send_signal(signal.SIGSTOP)
    time.sleep(1.0)
    first.send_signal(signal.SIGCONT)
    wait_for(lambda: len(results(home)) >= 10, "ten results")
    first.kill()
    first.wait()
    assert second.wait(timeout=240) == 0, (folder / "driver.out").read_text()
    assert_complete(folder)


def test_short_runs_one_after_the_other_complete_a_campaign(folder: Path) -> None:
    for _ in range(60):
        done = sabatier("run", "--once", "tiny.yaml", cwd=folder)
        assert done.returncode == 0, done.stderr
        if "the next run goes on" not in done.stderr:
            break
    assert_complete(folder)


def test_control_c_drains_and_the_next_run_goes_on(folder: Path) -> None:
    home = folder / "runs" / "tiny"
    driver = start("run", "tiny.yaml", cwd=folder)
    wait_for(lambda: len(results(home)) >= 6, "six results")
    driver.send_signal(signal.SIGINT)
    assert driver.wait(timeout=240) == 130
    assert set(starts(home)) == {r["calculation_id"] for r in results(home)}, "what was running was finished"
    assert not status_of(folder)["complete"]
    assert sabatier("run", "tiny.yaml", cwd=folder).returncode == 0
    assert_complete(folder)
