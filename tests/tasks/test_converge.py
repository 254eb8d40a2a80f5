"""``sabatier converge`` through the command line: killed and resumed, extended, misused, and on real GPAW."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from config.loader import load_campaign, parse_campaign
from pipeline.home import CampaignHome
from tasks.cli.common import find_home
from tests.tasks.campaigns import results, sabatier, start, starts
from tests.waiting import wait_for

START = """
name: start
bulks: {ids: [mp-30]}
surfaces: {min_height_a: 4.0, min_lateral_a: 2.0, vacuum_a: 8.0, free_depth_a: 0.0}
adsorbates: {H: {}}
recipe: emt
execution: {backend: local, cores: 2}
"""
STUDY = ("converge", "mp-30", "--recipe", "start.yaml", "--layers", "3,4,5", "--vacuum", "10")
HOME = Path("runs") / "converge-mp-30-111-H-start"
N_CALCULATIONS = 10
"""A gas, a bulk, and slab and adslab at four settings."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with ``start.yaml``."""
    (tmp_path / "start.yaml").write_text(START)
    return tmp_path


def converge(folder: Path, *more: str) -> dict[str, Any]:
    """Run the study to its end and return its document."""
    done = sabatier(*STUDY, *more, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def assert_energies_follow_from_the_files(home: Path, document: dict[str, Any]) -> None:
    """ΔE of each point is what the result files of its own calculations give."""
    energies = {r["calculation_id"]: r["energy"] for r in results(home)}
    specs = [json.loads(p.read_text()) for p in home.glob("jobs/*/attempt-1/job.json")]
    digests = {s["calculation_id"]: (s["recipe"]["cutoff_ev"], s["atoms"]["cell"]) for s in specs}
    gases = {digests[s["calculation_id"]][0]: s["calculation_id"] for s in specs if s["kind"] == "gas"}
    slabs = {str(digests[s["calculation_id"]]): s["calculation_id"] for s in specs if s["kind"] == "slab"}
    for point in (p for s in document["series"] for p in s["points"]):
        adslab = point["calculation_id"]
        slab, gas = slabs[str(digests[adslab])], gases[digests[adslab][0]]
        expected = energies[adslab] - energies[slab] - 0.5 * energies[gas]
        assert point["delta_e_ev"] == pytest.approx(expected)


def test_a_killed_study_goes_on_and_computes_nothing_twice(folder: Path) -> None:
    home = folder / HOME
    driver = start(*STUDY, cwd=folder)
    wait_for(lambda: len(results(home)) >= 3, "three results")
    driver.kill()
    driver.wait()
    assert len(results(home)) < N_CALCULATIONS
    document = converge(folder)
    counts = starts(home)
    assert len(counts) == N_CALCULATIONS
    assert set(counts.values()) == {1}
    assert [[p["label"] for p in s["points"]] for s in document["series"]] == [
        ["3 layers", "4 layers", "5 layers"],
        ["8 Å", "10 Å"],
    ]
    assert_energies_follow_from_the_files(home, document)

    assert converge(folder) == {**document, "files": document["files"]}
    assert starts(home) == counts, "what is finished is only read"

    wider = converge(folder, "--supercell", "2")
    assert len(starts(home)) == N_CALCULATIONS + 2
    assert set(starts(home).values()) == {1}
    assert wider["series"][:2] == document["series"]
    shown = sabatier("status", "--json", cwd=folder)
    assert json.loads(shown.stdout)["complete"], "other commands know the study's home"
    for name in ("convergence.png", "convergence.json", "recipe.yaml"):
        assert (home / "results" / name).stat().st_size > 0


def test_control_c_finishes_what_runs_and_says_how_to_go_on(folder: Path) -> None:
    home = folder / HOME
    driver = start(*STUDY, cwd=folder)
    wait_for(lambda: bool(starts(home)), "a first start")
    driver.send_signal(signal.SIGINT)
    assert driver.wait(timeout=60) == 130
    said = (folder / "driver.out").read_text()
    assert "go on with: sabatier converge mp-30 --recipe start.yaml --layers 3,4,5 --vacuum 10" in said
    assert "Traceback" not in said
    assert set(starts(home)) == {r["calculation_id"] for r in results(home)}
    done = sabatier(*STUDY, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert set(starts(home).values()) == {1}
    assert "within 0.05 eV of 5 layers" in done.stdout
    assert "for a campaign file:" in done.stdout


def test_a_second_process_joins_and_says_so(folder: Path) -> None:
    first = start(*STUDY, cwd=folder)
    wait_for(lambda: bool(starts(folder / HOME)), "a first start")
    second = sabatier(*STUDY, "--json", cwd=folder)
    assert first.wait(timeout=60) == second.returncode == 0
    assert f"working along with another driver: process {first.pid}" in second.stderr
    assert json.loads(second.stdout)["calculations_left"] == 0
    assert set(starts(folder / HOME).values()) == {1}


def test_what_is_to_be_computed_again_waits_for_the_study_not_for_a_campaign(folder: Path) -> None:
    point = converge(folder)["series"][0]["points"][-1]
    rerun = sabatier("rerun", point["calculation_id"], "--campaign", HOME.name, cwd=folder)
    assert "no driver is at work: 'sabatier converge' starts one" in rerun.stderr
    assert "'sabatier converge' starts one" in sabatier("status", HOME.name, cwd=folder).stdout
    fewer = sabatier("converge", "mp-30", "--recipe", "start.yaml", "--vacuum", "10", cwd=folder)
    assert "2/2 adsorption energies" in fewer.stdout, "those of the series that are asked for"
    assert converge(folder)["calculations_left"] == 0
    counts = starts(folder / HOME)
    assert counts.pop(point["calculation_id"]) == 2
    assert set(counts.values()) == {1}


def test_a_study_whose_hours_are_spent_says_what_is_left_and_goes_on(folder: Path) -> None:
    # Some hours are spent before: what has just been spent is only looked up now and then.
    part = sabatier("converge", "mp-30", "--recipe", "start.yaml", "--layers", "3,4", cwd=folder)
    assert part.returncode == 0, part.stderr
    done = sabatier(*STUDY, "--cpu-hours", "0.00001", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert "raise --cpu-hours to go on" in done.stderr
    assert document["calculations_left"] > 0
    assert not document["recommended"]["meets"]
    whole = converge(folder)
    assert whole["calculations_left"] == 0
    assert whole["recommended"]["meets"]
    assert set(starts(folder / HOME).values()) == {1}


def test_a_plan_lists_all_calculations_and_leaves_nothing_behind(folder: Path) -> None:
    planned = sabatier(*STUDY, "--plan", "--json", cwd=folder)
    assert planned.returncode == 0, planned.stderr
    document = json.loads(planned.stdout)
    assert len({c["id"] for c in document["calculations"]}) == N_CALCULATIONS
    assert document["cpu_hours_estimated"] == document["cpu_hours_left_estimated"] > 0
    assert sorted(p.name for p in folder.iterdir()) == ["start.yaml"]
    assert "H on Cu(111) hollow Cu3 #1, layers 5" in sabatier(*STUDY, "--plan", cwd=folder).stdout


def test_a_plan_refuses_the_home_of_another_campaign_as_a_run_does(folder: Path) -> None:
    CampaignHome(folder / "other").adopt(load_campaign("emt"))
    before = (folder / "other" / "campaign.json").read_bytes()
    planned, run = (sabatier(*STUDY, "--home", "other", *more, cwd=folder) for more in (["--plan"], []))
    assert planned.returncode == run.returncode == 2
    assert planned.stderr == run.stderr
    assert "holds campaign 'emt', which was started with other settings" in planned.stderr
    assert (folder / "other" / "campaign.json").read_bytes() == before


def test_a_structure_file_will_do(folder: Path) -> None:
    from ase.build import bulk
    from ase.io import write

    write(folder / "my copper.cif", bulk("Cu", a=3.7, cubic=True))
    arguments = ("converge", "my copper.cif", "--recipe", "emt", "--only", "vacuum", "--plan", "--json")
    planned = sabatier(*arguments, cwd=folder)
    assert planned.returncode == 0, planned.stderr
    document = json.loads(planned.stdout)
    assert document["study"] == "converge-my-copper-111-H-emt"
    assert {c["kind"] for c in document["calculations"]} == {"gas", "bulk", "slab", "adslab"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["mp-99999999"], "mp-99999999"),
        (["nowhere.cif"], "nowhere.cif"),
        (["mp-30", "--recipe", "demmo"], "--recipe 'demmo'"),
        (["mp-30", "--recipe", "emt", "--miller", "0 0 0"], "--miller '0 0 0'"),
        (["mp-30", "--recipe", "emt", "--adsorbate", "Xx"], "Xx"),
        (["mp-30", "--recipe", "emt", "--site", "hole"], "--site 'hole'"),
        (["mp-30", "--recipe", "emt", "--surface", "surf-0"], "--surface 'surf-0'"),
        (["mp-30", "--recipe", "emt", "--only", "cutof"], "did you mean 'cutoff'?"),
        (["mp-30", "--recipe", "emt", "--only", "cutoff", "--layers", "3"], "--layers is given"),
        (["mp-30", "--recipe", "emt", "--cutoff", "many"], "--cutoff 'many'"),
        (["mp-30", "--recipe", "emt", "--cutoff", "50"], "--cutoff 50"),
        (["mp-30", "--recipe", "emt", "--cutoff", "nan"], "--cutoff nan"),
        (["mp-30", "--recipe", "emt", "--layers", "2.5"], "--layers 2.5"),
        (["mp-30", "--recipe", "emt", "--layers", "nan"], "--layers nan"),
        (["mp-30", "--recipe", "emt", "--supercell", "inf"], "--supercell inf"),
        (["mp-30", "--recipe", "emt", "--miller", "211", "--layers", "2"], "--layers 2: is 0.8 Å high"),
        (["mp-30", "--recipe", "emt", "--layers", "1000"], "--layers 1000"),
        (["mp-30", "--recipe", "emt", "--kpoints", "3"], "--kpoints: all values"),
        (["mp-30", "--recipe", "emt", "--profile", "nowhere"], "no profile 'nowhere'"),
        (["mp-13", "--recipe", "emt"], "EMT has no parameters"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_refused_in_one_line(folder: Path, arguments: list[str], expected: str) -> None:
    done = sabatier("converge", *arguments, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.strip()]) == 1 or "profile" in done.stderr
    assert sorted(p.name for p in folder.iterdir()) == ["start.yaml"]


SMALL = START.replace("mp-30", "mp-134").replace(
    "recipe: emt",
    "recipe: {base: demo, cutoff_ev: 200.0, bulk_kpoint_density: 1.5, slab_kpoint_density: 0.8, "
    "gas_box_a: 5.0, fmax_ev_per_a: 0.3}",
)


@pytest.mark.gpaw
def test_real_gpaw_converges_with_the_cutoff(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    arguments = ("converge", "mp-134", "--recipe", "small.yaml", "--cutoff", "250,300", "--json")
    done = sabatier(*arguments, cwd=tmp_path, timeout=500)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    (series,) = document["series"]
    assert [p["label"] for p in series["points"]] == ["200 eV", "250 eV", "300 eV"]
    errors = [p["error_ev"] for p in series["points"]]
    assert errors[-1] == 0.0
    assert abs(errors[0]) > abs(errors[1]) > 0.0
    home = tmp_path / "runs" / "converge-mp-134-111-H-start"
    assert len(results(home)) == 12
    assert all("gpaw" in r["versions"] for r in results(home))
    assert_energies_follow_from_the_files(home, document)
    text = f"name: mine\nbulks: {{ids: [mp-134]}}\nadsorbates: {{H: {{}}}}\n{document['yaml']}"
    cutoff = document["recommended"]["settings"]["cutoff"]
    assert f"{parse_campaign(text, 'mine', Path()).recipe.cutoff_ev:g} eV" == cutoff


def test_the_campaign_that_goes_without_saying_is_no_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("screen", HOME.name):
        (Path("runs") / name).mkdir(parents=True)
        (Path("runs") / name / "campaign.json").touch()
    assert find_home(None, None) == Path("runs") / "screen"
    assert find_home(HOME.name, None) == HOME
