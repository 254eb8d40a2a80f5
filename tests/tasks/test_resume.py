"""kill -9 of the driver, of mongod and of a worker: the next run goes on, nothing is computed twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.tasks.campaigns import command, environment, results, sabatier, start, starts
from tests.waiting import wait_for


def processes_of(home: Path, name: str) -> list[psutil.Process]:
    """Processes of a name with this home in their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.name() == name and str(home) in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def assert_complete(folder: Path) -> None:
    """The campaign is complete and every calculation has a valid result."""
    status = json.loads(sabatier("status", "--json", cwd=folder).stdout)
    assert status["complete"], status
    assert status["adsorption_energies"] + len([p for p in status["problems"] if p["code"]]) >= 8
    assert not [p for p in status["problems"] if p["code"] in {"CRASHED", "WORKER_LOST", "INVALID_RESULT"}]


@pytest.mark.parametrize("after", [1, 3, 6], ids=lambda n: f"after-{n}-results")
def test_a_killed_driver_is_resumed_without_computing_anything_twice(folder: Path, after: int) -> None:
    home = folder / "runs" / "tiny"
    driver = start("run", "tiny.yaml", cwd=folder)
    wait_for(lambda: len(results(home)) >= after, f"{after} results")
    os.killpg(driver.pid, signal.SIGKILL)  # the whole process group, as a closed terminal would
    driver.wait()
    done = sabatier("run", "tiny.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert_complete(folder)
    assert set(starts(home).values()) == {1}


def test_a_driver_killed_again_and_again_still_finishes(folder: Path) -> None:
    home = folder / "runs" / "tiny"
    for delay in (1.2, 1.7, 2.3, 3.1):
        driver = start("run", "tiny.yaml", cwd=folder)
        time.sleep(delay)
        driver.kill()
        driver.wait()
    done = sabatier("run", "tiny.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert_complete(folder)
    assert set(starts(home).values()) == {1}


def test_a_killed_mongod_is_restarted_under_a_running_driver(folder: Path) -> None:
    home = folder / "runs" / "tiny"
    driver = start("run", "tiny.yaml", cwd=folder)
    wait_for(lambda: len(results(home)) >= 2, "two results")
    (mongod,) = processes_of(home, "mongod")
    mongod.kill()
    assert driver.wait(timeout=240) == 0, (folder / "driver.out").read_text()
    assert_complete(folder)
    assert set(starts(home).values()) == {1}


def test_a_killed_worker_is_tried_again_and_everything_else_runs_once(folder: Path) -> None:
    home = folder / "runs" / "tiny"
    killed: list[str] = []

    def kill_one() -> bool:
        """Kill a worker that has begun to compute and has not left its result."""
        for runs in home.glob("jobs/*/attempt-1/runs.jsonl"):
            if (runs.parent / "result.json").exists():
                continue
            pid = json.loads(runs.read_text().splitlines()[-1])["pid"]
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed.append(runs.parent.parent.name)
            return True
        return False

    driver = start("run", "tiny.yaml", cwd=folder)
    wait_for(kill_one, "a worker at work")
    assert driver.wait(timeout=240) == 0, (folder / "driver.out").read_text()
    assert_complete(folder)
    counts = starts(home)
    again = {name for name, n in counts.items() if n > 1}
    assert again <= set(killed)
    lost = [r for r in results(home) if r["calculation_id"] in killed and r["attempt"] == 1]
    assert all(r["state"] == "DONE" or r["code"] == "WORKER_LOST" for r in lost)


def test_control_c_drains_and_says_how_to_go_on(folder: Path) -> None:
    home = folder / "runs" / "tiny"
    driver = start("run", "tiny.yaml", cwd=folder)
    wait_for(lambda: bool(starts(home)), "a first start")
    driver.send_signal(signal.SIGINT)
    assert driver.wait(timeout=240) == 130
    said = (folder / "driver.out").read_text()
    assert "stopping" in said
    assert "go on with: sabatier run tiny.yaml" in said
    assert "Traceback" not in said
    assert set(starts(home)) == {r["calculation_id"] for r in results(home)}, "what was running was finished"
    assert not processes_of(home, "mongod"), "the last to leave stops the server"
    assert sabatier("run", "tiny.yaml", cwd=folder).returncode == 0
    assert_complete(folder)
    assert set(starts(home).values()) == {1}


def test_drivers_of_one_home_share_the_work_and_one_may_be_killed(folder: Path) -> None:
    home = folder / "runs" / "tiny"
    drivers = [start("run", "tiny.yaml", cwd=folder)]
    wait_for(lambda: bool(starts(home)), "the first driver at work")
    drivers += [start("run", "tiny.yaml", cwd=folder) for _ in range(2)]
    said = folder / "driver.out"
    wait_for(lambda: said.read_text().count("working along with another") >= 2, "two more drivers")
    drivers[0].kill()
    assert [driver.wait(timeout=240) for driver in drivers[1:]] == [0, 0], said.read_text()
    drivers[0].wait()
    assert_complete(folder)
    assert set(starts(home).values()) == {1}


def test_runs_from_cron_bring_a_campaign_to_its_end(folder: Path) -> None:
    home = folder / "runs" / "tiny"
    said = []
    for _ in range(100):
        done = sabatier("run", "tiny.yaml", "--once", cwd=folder)
        assert done.returncode == 0, done.stderr
        said.append(done.stderr)
        if "is complete" in done.stderr:
            break
        time.sleep(0.5)
    assert "are under way" in said[0]
    assert "nothing was computed" in said[-1]
    assert_complete(folder)
    assert set(starts(home).values()) == {1}


def test_status_can_be_asked_while_a_driver_is_at_work(folder: Path) -> None:
    home = folder / "runs" / "tiny"
    driver = start("run", "tiny.yaml", cwd=folder)
    try:
        wait_for(lambda: len(results(home)) >= 1, "a first result")
        status = json.loads(sabatier("status", "--json", cwd=folder).stdout)
        assert not status["complete"]
        assert status["states"]
    finally:
        assert driver.wait(timeout=240) == 0


def test_damaged_predictions_do_not_stop_the_campaign(folder: Path) -> None:
    home = folder / "runs" / "tiny"
    driver = start("run", "tiny.yaml", cwd=folder)
    wait_for(lambda: len(results(home)) >= 2, "two results")
    driver.kill()
    driver.wait()
    (damaged,) = home.glob("predictions/round-000-H.npz")
    damaged.write_bytes(damaged.read_bytes()[:100])
    done = sabatier("run", "tiny.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert_complete(folder)


def test_a_reader_that_leaves_does_not_stop_the_driver(folder: Path) -> None:
    command_line = " ".join(command("run", "tiny.yaml")) + " | head -n 1"
    subprocess.run(["bash", "-c", command_line], cwd=folder, env=environment(), check=True, timeout=240)
    wait_for(lambda: not (processes_of(folder / "runs" / "tiny", "mongod")), "the driver's end", timeout=240)
    assert_complete(folder)


def test_luigid_can_schedule_the_campaign(folder: Path) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    central = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from luigi.cmdline import luigid; luigid()",
            "--address",
            "127.0.0.1",
            "--port",
            str(port),
        ],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:

        def answers() -> bool:
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", port)) == 0

        wait_for(answers, "luigid")
        driver = start("run", "tiny.yaml", "--luigid", f"127.0.0.1:{port}", cwd=folder)
        wait_for(lambda: len(results(folder / "runs" / "tiny")) >= 1, "a first result")
        driver.kill()  # the scheduler goes on counting its tasks as running for a while
        driver.wait()
        done = sabatier("run", "tiny.yaml", "--luigid", f"127.0.0.1:{port}", cwd=folder)
        assert done.returncode == 0, done.stderr
        assert_complete(folder)
    finally:
        central.terminate()
        central.wait()
