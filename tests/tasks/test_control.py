"""``cancel``, ``pause``, ``resume``, ``retry``, ``rerun``, ``status`` as a person uses them, for real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.tasks.campaigns import TINY, command, environment, results, sabatier, start, starts
from tests.waiting import wait_for


def status(folder: Path, *arguments: str) -> dict[str, Any]:
    done = sabatier("status", "--json", *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def listed(folder: Path, **wanted: str) -> list[dict[str, Any]]:
    """Calculations of a campaign with these values."""
    every = status(folder, "--all")["calculations"]
    return [c for c in every if all(c[k] == v for k, v in wanted.items())]


@pytest.fixture
def begun(folder: Path) -> Path:
    """Give a folder in which the tiny campaign has begun and no driver is at work."""
    done = sabatier("run", "tiny.yaml", "--once", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def done_before(finished: Path, tmp_path: Path) -> Path:
    """Give a copy of the finished campaign, to be changed."""
    shutil.copytree(finished / "runs", tmp_path / "runs", ignore=shutil.ignore_patterns("*.sock", "*.lock"))
    shutil.copy(finished / "tiny.yaml", tmp_path)
    return tmp_path


def test_a_paused_campaign_starts_nothing_until_it_is_resumed(begun: Path) -> None:
    said = sabatier("pause", cwd=begun)
    assert said.returncode == 0, said.stderr
    assert "nothing new is started" in said.stdout
    waited = sabatier("run", "tiny.yaml", cwd=begun)  # takes in what was under way, and ends
    assert waited.returncode == 0, waited.stderr
    assert "paused" in waited.stderr
    document = status(begun)
    assert document["paused"]
    assert not document["running"]
    before = starts(begun / "runs" / "tiny")
    assert "paused" in sabatier("status", cwd=begun).stdout
    resumed = sabatier("resume", cwd=begun)
    assert "goes on" in resumed.stdout
    assert "no driver is at work" in resumed.stderr
    assert sabatier("run", "tiny.yaml", cwd=begun).returncode == 0
    assert status(begun)["complete"]
    assert sum(starts(begun / "runs" / "tiny").values()) > sum(before.values())


def test_what_is_stopped_now_goes_on_later(begun: Path) -> None:
    stopped = sabatier("pause", "--now", "--yes", "--json", cwd=begun)
    assert stopped.returncode == 0, stopped.stderr
    paused = {c["id"] for c in json.loads(stopped.stdout)["changed"]}
    assert {c["id"] for c in listed(begun, state="PAUSED")} == paused
    assert all(r["is_result_waiting"] for r in status(begun)["running"]), "what had ended is left alone"
    resumed = sabatier("resume", "--json", cwd=begun)
    assert {c["id"] for c in json.loads(resumed.stdout)["changed"]} == paused
    assert sabatier("run", "tiny.yaml", cwd=begun).returncode == 0
    assert status(begun)["complete"]
    assert {r["calculation_id"] for r in results(begun / "runs" / "tiny") if r["state"] == "DONE"} >= paused


def test_cancelling_many_asks_and_without_a_terminal_refuses(begun: Path) -> None:
    before = listed(begun)
    refused = sabatier("cancel", "--kind", "adslab", cwd=begun)
    assert refused.returncode == 2
    assert "nothing was changed" in refused.stderr
    assert "--yes" in refused.stderr
    foretold = sabatier("cancel", "--kind", "adslab", "--dry-run", "--json", cwd=begun)
    assert len(json.loads(foretold.stdout)["would_change"]) == 4
    assert {c["id"] for c in listed(begun, state="CANCELLED")} == set()
    assert {c["id"] for c in before} == {c["id"] for c in listed(begun)}


@pytest.mark.parametrize(("answer", "cancelled"), [("n", 0), ("y", 4)])
def test_a_person_at_a_terminal_is_asked(begun: Path, answer: str, cancelled: int) -> None:
    keyboard, terminal = os.openpty()
    os.write(keyboard, f"{answer}\n".encode())
    try:
        asked = subprocess.run(
            command("cancel", "--kind", "adslab"),
            cwd=begun,
            env=environment(),
            stdin=terminal,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert "cancel these 4 calculations" in asked.stderr
    assert ("nothing was changed" in asked.stderr) == (cancelled == 0)
    assert len(listed(begun, state="CANCELLED")) == cancelled


def test_the_loss_of_a_prerequisite_is_told_and_undone_by_retry(begun: Path) -> None:
    (slab, *_) = listed(begun, kind="slab")
    told = sabatier("cancel", slab["id"], cwd=begun)
    assert told.returncode == 0, told.stderr
    assert "that need it will fail" in told.stderr
    sabatier("run", "tiny.yaml", "--once", cwd=begun)
    lost = [c for c in listed(begun, state="FAILED") if c["code"] == "DEPENDENCY_FAILED"]
    assert lost
    refused = sabatier("retry", lost[0]["id"], cwd=begun)
    assert refused.returncode == 2
    assert "retry that one" in refused.stderr
    again = sabatier("retry", slab["id"], cwd=begun)
    assert again.returncode == 0, again.stderr
    assert slab["id"] in again.stdout
    assert sabatier("run", "tiny.yaml", cwd=begun).returncode == 0
    states = {c["id"]: c["state"] for c in listed(begun)}
    assert states[slab["id"]] == "VALID"
    assert all(states[c["id"]] in {"VALID", "REJECTED"} for c in lost)


def test_a_calculation_cancelled_under_a_driver_stays_cancelled_and_the_rest_is_done(folder: Path) -> None:
    home = folder / "runs" / "tiny"
    driver = start("run", "tiny.yaml", cwd=folder)
    waiting: list[dict[str, Any]] = []

    def some_wait() -> bool:
        waiting[:] = that_wait(folder) if home.exists() else []
        return bool(waiting)

    wait_for(some_wait, "adslabs that wait")
    target = waiting[-1]["id"]  # the last of them: its turn does not come before it is cancelled
    done = sabatier("cancel", target, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert driver.wait(timeout=240) == 0, (folder / "driver.out").read_text()
    (row,) = [c for c in listed(folder) if c["id"] == target]
    assert row["state"] == "CANCELLED"
    assert set(starts(home).values()) == {1}
    document = status(folder)
    assert document["complete"]
    assert not document["drivers"]


def that_wait(folder: Path) -> list[dict[str, Any]]:
    """Adslabs that nothing has been done for; none while the campaign has not begun."""
    done = sabatier("status", "--json", "--kind", "adslab", cwd=folder)
    rows = json.loads(done.stdout)["calculations"] if done.returncode == 0 else []
    return [c for c in rows if c["state"] == "PLANNED"]


def test_a_rerun_computes_a_finished_campaign_anew_and_finds_the_same(done_before: Path) -> None:
    before = {r["calculation_id"]: r["energy"] for r in results(done_before / "runs" / "tiny")}
    (slab, *_) = listed(done_before, kind="slab", state="VALID")
    refused = sabatier("rerun", slab["id"], cwd=done_before)
    assert refused.returncode == 2
    assert "--dependents" in refused.stderr
    again = sabatier("rerun", slab["id"], "--dependents", "--yes", "--json", cwd=done_before)
    assert again.returncode == 0, again.stderr
    changed = {c["id"] for c in json.loads(again.stdout)["changed"]}
    assert slab["id"] in changed
    assert len(changed) > 1
    energies = status(done_before)["adsorption_energies"]
    assert energies < 8
    done = sabatier("run", "tiny.yaml", cwd=done_before)
    assert done.returncode == 0, done.stderr
    assert status(done_before)["complete"]
    second = {r["calculation_id"]: r for r in results(done_before / "runs" / "tiny") if r["attempt"] == 2}
    assert set(second) == changed
    assert all(r["energy"] == pytest.approx(before[i], abs=1e-6) for i, r in second.items())


def test_what_failed_is_retried_after_the_campaign_was_complete(begun: Path) -> None:
    adslabs = [c["id"] for c in listed(begun, kind="adslab")]
    assert sabatier("cancel", *adslabs[:2], cwd=begun).returncode == 0
    assert sabatier("run", "tiny.yaml", cwd=begun).returncode == 0
    assert status(begun)["complete"]
    assert sabatier("retry", "--state", "cancelled", "--yes", cwd=begun).returncode == 0
    assert not status(begun)["complete"], "something is left to do"
    assert sabatier("run", "tiny.yaml", cwd=begun).returncode == 0
    assert {c["id"] for c in listed(begun) if c["state"] in {"VALID", "REJECTED"}} >= set(adslabs)


CARELESS = [
    (["cancel"], "cancel which calculations?"),
    (["rerun", "--state", "RUNNING"], "unknown state for rerun 'RUNNING'"),
    (["retry", "--state", "FAILLED"], "did you mean 'FAILED'?"),
    (["cancel", "--kind", "slap"], "did you mean 'slab'?"),
    (["retry", "--code", "TIMEOUTS"], "did you mean 'TIMEOUT'?"),
    (["cancel", "--adsorbate", "O"], "unknown adsorbate 'O'"),
    (["cancel", "--bulk", "Pt"], "no bulk 'Pt'"),
    (["cancel", "bulk-"], "not a calculation"),
    (["cancel", "calc-"], "ambiguous"),
    (["pause", "tiny"], "'sabatier pause --campaign tiny'"),
    (["cancel", "nonsense"], "no calculation has the id"),
    (["cancel", "calc-1", "--all"], "not both"),
    (["pause", "--now", "--all"], "--now is for the whole campaign"),
    (["status", "--state", "done?"], "unknown state"),
    (["status", "--watch", "--json"], "--watch"),
]


@pytest.mark.parametrize(
    ("arguments", "said"), CARELESS, ids=lambda v: "-".join(v) if isinstance(v, list) else ""
)
def test_a_careless_user_gets_one_line_and_nothing_is_changed(
    finished: Path, arguments: list[str], said: str
) -> None:
    done = sabatier(*arguments, cwd=finished)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_cancelling_what_is_finished_changes_nothing(finished: Path) -> None:
    (gas, *_) = listed(finished, kind="gas")
    done = sabatier("cancel", gas["id"], cwd=finished)
    assert done.returncode == 2
    assert "it is finished" in done.stderr
    assert listed(finished, kind="gas", state="VALID")


def test_a_choice_that_meets_nothing_says_so(finished: Path) -> None:
    done = sabatier("cancel", "--all", cwd=finished)
    assert (done.returncode, done.stdout) == (0, "no calculation to cancel\n")


def test_status_lists_what_is_asked_for(finished: Path) -> None:
    rows = status(finished, "--kind", "gas", "--state", "valid")["calculations"]
    assert {(r["kind"], r["state"]) for r in rows} == {("gas", "VALID")}
    shown = sabatier("status", "--kind", "gas", cwd=finished).stdout
    assert all(r["id"] in shown for r in rows)


def test_plan_prints_the_scripts_that_would_be_submitted(tmp_path: Path) -> None:
    slurm = (
        "execution: {backend: slurm, partition: main, account: chem, setup: [module load gpaw], "
        "kinds: {adslab: {walltime_minutes: 600}}}"
    )
    (tmp_path / "tiny.yaml").write_text(TINY.replace("execution: {backend: local, cores: 2}", slurm))
    done = sabatier("plan", "tiny.yaml", "--script", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("#!/bin/bash") == 2
    for line in ("#SBATCH --partition=main", "#SBATCH --account=chem", "module load gpaw", "-m dft.worker"):
        assert done.stdout.count(line) == 2
    assert done.stdout.count("#SBATCH --time=600") == 1
    document = json.loads(sabatier("plan", "tiny.yaml", "--json", cwd=tmp_path).stdout)
    assert [s["kinds"] for s in document["job_scripts"]] == [["gas", "bulk", "slab"], ["adslab"]]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.yaml"]
