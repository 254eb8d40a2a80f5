"""The loop from the command line: rounds, results, and that nothing is ever computed twice."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import pytest

from tests.tasks.campaigns import results, sabatier, starts

KINDS = {"gas", "bulk", "slab", "adslab"}


def test_a_campaign_runs_all_rounds_and_writes_its_results(finished: Path) -> None:
    home = finished / "runs" / "tiny"
    status = json.loads(sabatier("status", "--json", cwd=finished).stdout)
    assert status["complete"]
    assert [r["chosen"] for r in status["rounds"]] == [4, 2, 2]
    assert all(r["closed"] for r in status["rounds"])
    assert {r["kind"] for r in results(home)} == KINDS
    names = {p.name for p in (home / "results").iterdir()}
    assert {
        "ranking-CO.csv",
        "ranking-H.csv",
        "observations.csv",
        "parity.png",
        "learning-curve.png",
    } <= names


def test_every_calculation_was_started_once(finished: Path) -> None:
    counts = starts(finished / "runs" / "tiny")
    assert counts
    assert set(counts.values()) == {1}


def test_a_complete_campaign_says_so_at_once_and_computes_nothing(finished: Path) -> None:
    before = starts(finished / "runs" / "tiny")
    begun = time.monotonic()
    again = sabatier("run", "tiny.yaml", cwd=finished)
    assert again.returncode == 0
    assert "is complete" in again.stderr
    assert starts(finished / "runs" / "tiny") == before
    assert time.monotonic() - begun < 20


def test_every_result_file_holds_what_outside_checks_rely_on(finished: Path) -> None:
    for result in results(finished / "runs" / "tiny"):
        assert result["calculation_id"].startswith("calc-")
        assert result["kind"] in KINDS
        assert result["state"] == "DONE"
        assert isinstance(result["energy"], float)
        assert result["cpu_seconds"] > 0
        assert {"python", "ase", "sabatier"} <= set(result["versions"])


def test_delta_e_is_recomputable_from_the_job_directories(finished: Path) -> None:
    """ΔE = E(adslab) − E(slab) − E(reference), from nothing but result files."""
    home = finished / "runs" / "tiny"
    energy = {r["calculation_id"]: r["energy"] for r in results(home)}
    with (home / "results" / "observations.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert rows
    for row in rows:
        shown = json.loads(sabatier("show", row["calculation_id"], "--json", cwd=finished).stdout)
        slab, *gases = shown["requires"]
        coefficients = {"H": [0.5], "CO": [1.0]}[row["adsorbate"]]
        reference = sum(c * energy[g] for c, g in zip(coefficients, gases, strict=True))
        expected = energy[row["calculation_id"]] - energy[slab] - reference
        assert float(row["delta_e_ev"]) == pytest.approx(expected, abs=1e-9)


def test_a_larger_budget_extends_a_complete_campaign(folder: Path) -> None:
    small = (
        (folder / "tiny.yaml")
        .read_text()
        .replace("rounds: 2", "rounds: 0")
        .replace("[mp-30, mp-2, mp-1018029]", "[mp-30]")
    )
    (folder / "tiny.yaml").write_text(small)
    assert sabatier("run", "tiny.yaml", cwd=folder).returncode == 0
    before = starts(folder / "runs" / "tiny")
    (folder / "tiny.yaml").write_text(small.replace("rounds: 0", "rounds: 1"))
    assert sabatier("run", "tiny.yaml", cwd=folder).returncode == 0
    after = starts(folder / "runs" / "tiny")
    assert len(after) > len(before)
    assert set(after.values()) == {1}


def test_the_same_seed_makes_the_same_choices(finished: Path, folder: Path) -> None:
    assert sabatier("run", "tiny.yaml", cwd=folder).returncode == 0
    first, second = (
        (p / "runs" / "tiny" / "results" / "observations.csv").read_text() for p in (finished, folder)
    )

    def chosen(text: str) -> list[tuple[str, str]]:
        return [(row["round"], row["calculation_id"]) for row in csv.DictReader(text.splitlines())]

    assert chosen(first) == chosen(second)


def test_a_lost_database_loses_no_result(folder: Path) -> None:
    """With the database gone, finished job directories are taken in again, not computed again."""
    import shutil

    assert sabatier("run", "tiny.yaml", cwd=folder).returncode == 0
    home = folder / "runs" / "tiny"
    before = starts(home)
    shutil.rmtree(home / "mongo")
    assert sabatier("run", "tiny.yaml", cwd=folder).returncode == 0
    assert starts(home) == before
