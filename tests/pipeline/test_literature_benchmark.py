"""The literature benchmark as a campaign: reported, extended, gone on with, with and without its store."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import literature
from config.errors import ConfigError
from dft.jobs import read_job, read_result

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Runs = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a home in which H on Cu has been computed."""
    home = tmp_path_factory.mktemp("literature") / "home"
    table = literature.make_table("emt", "tiny", ["Cu"], ["H"], cores=1)
    with literature.opened(table, home) as campaign:
        literature.compute(campaign)
    return home


@pytest.fixture
def home(tmp_path: Path, finished: Path) -> Path:
    """Give a copy of its jobs, as of a home that was begun without a store."""
    shutil.copytree(finished / "jobs", tmp_path / "home" / "jobs")
    return tmp_path / "home"


@pytest.fixture
def table(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Runs:
    """Run the benchmark and return its last line."""

    def run(metals: str, *more: str) -> dict[str, Any]:
        argv = ["--home", str(home), "--recipe", "emt", "--size", "tiny", "--metals", metals]
        monkeypatch.setattr(sys, "argv", ["literature", *argv, "--adsorbates", "H", *more])
        literature.main()
        document: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return document

    return run


def attempts(home: Path) -> dict[str, list[str]]:
    return {p.name: sorted(a.name for a in p.iterdir()) for p in (home / "jobs").iterdir()}


def energy(home: Path) -> float:
    """ΔE as the result files of H on Cu give it, eV."""
    results = [read_result(p) for p in (home / "jobs").glob("*/attempt-1")]
    energies = {r.kind.value: r.energy for r in results if r is not None and r.energy is not None}
    return energies["adslab"] - energies["slab"] - 0.5 * energies["gas"]


def test_a_home_without_store_is_reported_and_nothing_is_computed(table: Runs, home: Path) -> None:
    before = attempts(home)
    silver, copper = table("Cu,Ag", "--report")["rows"]
    assert copper["delta_e_ev"] == pytest.approx(energy(home))
    assert (copper["metal"], copper["state"], copper["end_site"]) == ("Cu", "valid", copper["site"])
    assert silver["state"] == "not computed, 1 of 4 calculations there"
    assert table("Cu,Ag", "--plan")["calculations_left"] == 3
    assert attempts(home) == before


def test_more_rows_cost_only_what_is_new_and_a_worker_without_back_end_is_gone_on_with(
    table: Runs, home: Path
) -> None:
    expected = energy(home)
    (adslab,) = (p for p in (home / "jobs").glob("*/attempt-1") if read_job(p).kind == "adslab")
    (adslab / "result.json").unlink()
    claim = json.loads((adslab / "claim").read_text())
    (adslab / "claim").write_text(json.dumps(claim | {"job_id": None, "create_time": 0.0}))
    rows = {row["metal"]: row for row in table("Cu,Pd")["rows"]}
    assert rows["Cu"]["delta_e_ev"] == pytest.approx(expected)
    assert read_job(adslab.with_name("attempt-2")).restart_from == "attempt-1"
    assert rows["Pd"]["state"] in {"valid", "MIGRATED"}
    assert sorted(map(len, attempts(home).values())) == [1] * 6 + [2]


def test_another_recipe_belongs_into_another_home(table: Runs, home: Path) -> None:
    table("Cu", "--report")
    with pytest.raises(ConfigError, match="was started with other settings"):
        table("Cu", "--report", "--size", "small")
