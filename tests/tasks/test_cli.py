"""Every command: what it prints, its exit code, and how it answers a careless user."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from rich.console import Console

from config.adsorbates import AdsorbateSettings
from pipeline.ranking import RankedSurface
from tasks.checks import check_place, check_profiles, check_slurm
from tasks.cli.common import PIPED_WIDTH, guarded, stdout
from tasks.cli.live import _PlainLines, progress_display
from tasks.cli.reference import render_reference
from tasks.cli.tables import ranking_table
from tests.tasks.campaigns import ROOT, TINY, command, environment, sabatier

COMMANDS = (
    *("init", "doctor", "plan", "run", "status", "rank", "explain", "show", "logs", "export"),
    *("cancel", "pause", "resume", "retry", "rerun", "converge", "store", "properties"),
)


def test_help_lists_every_command() -> None:
    shown = sabatier("--help", cwd=Path()).stdout
    assert all(name in shown for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    done = sabatier(name, "--help", cwd=Path())
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_help_loads_no_heavy_package(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv=['sabatier','--help']\n"
        "from tasks.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "known={'gpaw','pymatgen','sklearn','scipy','matplotlib','mongoengine','luigi','numpy'}\n"
        "heavy=known & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), check=True, stdout=subprocess.DEVNULL
    )


def test_init_writes_a_campaign_that_can_be_planned(tmp_path: Path) -> None:
    assert sabatier("init", "mine", cwd=tmp_path).returncode == 0
    planned = sabatier("plan", "mine.yaml", "--json", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["campaign"] == "mine"


def test_init_does_not_overwrite(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("precious")
    refused = sabatier("init", "mine", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert (tmp_path / "mine.yaml").read_text() == "precious"


def test_plan_counts_and_prices_without_leaving_anything_behind(folder: Path) -> None:
    planned = sabatier("plan", "tiny.yaml", "--json", cwd=folder)
    assert planned.returncode == 0, planned.stderr
    document = json.loads(planned.stdout)
    assert document["bulks"] == 3
    assert document["candidates"] == 2 * document["sites"]
    assert [r["adsorption_energies"] for r in document["rounds"]] == [4, 2, 2]
    assert document["cpu_hours_estimated"] > 0
    assert sorted(p.name for p in folder.iterdir()) == ["tiny.yaml"]


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["rank"], ["rank", "--predicted"], ["plan", "tiny.yaml"], ["doctor"]],
    ids="-".join,
)
def test_json_is_one_document_and_nothing_else(finished: Path, arguments: list[str]) -> None:
    done = sabatier(*arguments, "--json", cwd=finished)
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), dict)


def test_rankings_are_sorted_by_distance_from_the_target(finished: Path) -> None:
    document = json.loads(sabatier("rank", "--json", cwd=finished).stdout)
    assert {r["adsorbate"] for r in document["rankings"]} == {"CO", "H"}
    for ranking in document["rankings"]:
        gaps = [abs(s["deviation_ev"]) for s in ranking["surfaces"]]
        assert gaps == sorted(gaps)
        for s in ranking["surfaces"]:
            assert s["deviation_ev"] == pytest.approx(s["delta_e_ev"] - ranking["target_ev"])
            assert s["is_hit"] == (abs(s["deviation_ev"]) <= ranking["window_ev"])


def test_anything_can_be_shown_by_the_beginning_of_its_id(finished: Path) -> None:
    document = json.loads(sabatier("rank", "--json", cwd=finished).stdout)
    row = document["rankings"][0]["surfaces"][0]
    for identifier in (row["surface_id"], row["site_id"], row["calculation_id"]):
        shown = json.loads(sabatier("show", identifier[:-1], "--json", cwd=finished).stdout)
        assert shown["id"] == identifier
        assert sabatier("show", identifier, cwd=finished).returncode == 0


def test_logs_of_a_calculation_can_be_read(finished: Path) -> None:
    document = json.loads(sabatier("rank", "--json", cwd=finished).stdout)
    done = sabatier("logs", document["rankings"][0]["surfaces"][0]["calculation_id"], cwd=finished)
    assert done.returncode == 0, done.stderr
    assert "==>" in done.stdout


@pytest.mark.parametrize("file_format", ["csv", "json", "extxyz", "db"])
def test_exports_hold_every_adsorption_energy(finished: Path, file_format: str) -> None:
    done = sabatier("export", "--output", f"out.{file_format}", cwd=finished)
    assert done.returncode == 0, done.stderr
    named = sabatier("export", "--format", file_format, "--output", "named", cwd=finished)
    assert named.returncode == 0, named.stderr
    if file_format != "db":
        assert (finished / "named").read_bytes() == (finished / f"out.{file_format}").read_bytes()
    path = finished / f"out.{file_format}"
    expected = json.loads(sabatier("status", "--json", cwd=finished).stdout)["adsorption_energies"]
    if file_format == "csv":
        count = len(path.read_text().splitlines()) - 1
    elif file_format == "json":
        count = len(json.loads(path.read_text())["rows"])
    else:
        from ase.io import read

        count = len(read(path, ":"))
    assert count == expected > 0


@pytest.mark.parametrize("arguments", [["rank"], ["rank", "--json"], ["status"]], ids=" ".join)
def test_a_reader_that_goes_away_is_no_failure(finished: Path, arguments: list[str]) -> None:
    """As in ``sabatier rank | head``."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            command(*arguments),
            cwd=finished,
            env=environment(),
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_ascii_terminal_gets_question_marks_not_a_traceback(finished: Path) -> None:
    ascii_only = {**environment(), "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        command("rank"), cwd=finished, env=ascii_only, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "?E(CO)" in done.stdout


def test_an_adsorbate_in_lower_case_is_recognised(finished: Path) -> None:
    done = sabatier("rank", "--adsorbate", "h", cwd=finished)
    assert done.returncode == 2
    assert "did you mean 'H'?" in done.stderr


def test_an_export_into_a_folder_is_refused(finished: Path) -> None:
    done = sabatier("export", "--output", ".", cwd=finished)
    assert done.returncode == 2
    assert done.stderr == "error: --output .: cannot be written: it is a folder; give the name of a file\n"


def test_an_export_takes_the_place_of_no_device(finished: Path) -> None:
    os.mkfifo(pipe := finished / "pipe")
    done = sabatier("export", "--output", "pipe", cwd=finished)
    assert done.returncode == 2
    assert "--output pipe: cannot be written: it is no ordinary file" in done.stderr
    assert pipe.is_fifo()
    pipe.unlink()


def test_an_import_that_ctrl_c_breaks_is_an_interruption(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt as cause:  # as pybind11 does it
            message = "initialization failed"
            raise ImportError(message) from cause

    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(typer.Exit) as ended:
            guarded(broken)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.exit_code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_bulk_can_be_shown_by_its_source(finished: Path) -> None:
    shown = json.loads(sabatier("show", "mp-30", "--json", cwd=finished).stdout)
    assert shown["source_id"] == "mp-30"


def test_logs_show_what_the_batch_system_wrote_and_say_when_there_is_nothing(finished: Path) -> None:
    document = json.loads(sabatier("rank", "--json", cwd=finished).stdout)
    identifier = document["rankings"][0]["surfaces"][0]["calculation_id"]
    (job_dir,) = finished.glob(f"runs/tiny/jobs/{identifier}/attempt-1")
    (job_dir / "slurm.out").write_text("said by the scheduler\n")
    assert "said by the scheduler" in sabatier("logs", identifier, cwd=finished).stdout
    kept = {p: p.read_bytes() for p in job_dir.rglob("*") if p.suffix in {".txt", ".log", ".out", ".err"}}
    for path in kept:
        path.write_bytes(b"")
    told = sabatier("logs", identifier, cwd=finished).stdout
    for path, content in kept.items():
        path.write_bytes(content)
    assert "holds no log yet" in told


def test_one_more_ctrl_c_at_the_very_end_gives_no_traceback(tmp_path: Path) -> None:
    code = (
        "import atexit, os, signal\n"
        "from tasks.cli.common import guarded\n"
        "import typer\n"
        "def ctrl_c(): os.kill(os.getpid(), signal.SIGINT)\n"
        "atexit.register(ctrl_c)\n"
        "try: guarded(ctrl_c)\n"
        "except typer.Exit as end: ctrl_c(); raise SystemExit(end.exit_code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, b"interrupted\n")


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_ranking_keeps_what_matters_whole(width: int) -> None:
    rows = [
        RankedSurface(
            rank, "CO", "surf", "Al12Cu4Pd(2-11) bottom", "bulk", source, "site", "x hollow Al2CuPd|Al4 #12",
            -0.66, 0.12, None, 0.01, True, False, "predicted", 1, 12, None, "",
        )
        for rank, source in ((9, "mp-1018029"), (10, "a_long_name_of_a_file.cif"))
    ]  # fmt: skip
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(ranking_table("CO", AdsorbateSettings(target_ev=-0.67), rows, width))
    shown = console.export_text()
    assert "…" not in shown
    assert shown.count("-0.66 ± 0.12 +0.01 hit?") == 2
    assert shown.count("pred.") == 2
    assert shown.count("1/12") == (2 if width == 80 else 0)
    assert ("mp-1018029" in shown) == (width == 80)


def test_a_piped_table_is_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert stdout().width == PIPED_WIDTH
    monkeypatch.setenv("COLUMNS", "70")
    assert stdout().width == 70


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich take any stream for a terminal
    with progress_display(SimpleNamespace(name="tiny")) as show:
        assert isinstance(show.__self__, _PlainLines)


CARELESS = [
    (["run", "tiny.yml"], "tiny.yml"),
    (["run", "dmeo"], "demo"),
    (["run", "tiny.yaml", "--luigid", "nonsense"], "HOST:PORT"),
    (["run", "tiny.yaml", "--luigid", "127.0.0.1:1"], "luigid"),
    (["status"], "no campaign has been run here yet"),
    (["status", "--home", "nowhere"], "no campaign in nowhere"),
    (["rank", "tiny.yaml"], "no campaign in"),
    (["show", "calc-000"], "which campaign?"),
    (["export", "--format", "xlsx"], "csv, json, extxyz, db"),
    (["export", "--format", "CSV"], "did you mean 'csv'?"),
    (["status", "--home", "x" * 300], "File name too long"),
    (["frobnicate"], "No such command"),
    (["plan"], "Missing argument"),
]


@pytest.mark.parametrize(
    ("arguments", "told"), CARELESS, ids=lambda v: "-".join(v) if isinstance(v, list) else ""
)
def test_a_mistake_gets_one_clear_message_and_exit_code_2(
    folder: Path, arguments: list[str], told: str
) -> None:
    done = sabatier(*arguments, cwd=folder)
    assert done.returncode == 2, done.stdout + done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not (folder / "runs" / "tiny" / "jobs").exists()


BAD_CAMPAIGNS = [
    ("batch_size: 2", "batchsize: 2", "batch_size"),
    ("calculations: 8", "calculations: -8", "calculations"),
    ("recipe: emt", "recipe: emtt", "emt"),
    ("[mp-30, mp-2, mp-1018029]", "[mp-99999999]", "mp-99999999"),
    ("[mp-30, mp-2, mp-1018029]", "[]", "bulks"),
    ("{CO: {}, H: {}}", "{CO: {}, Hydrogen: {}}", "Hydrogen"),
    ("{CO: {}, H: {}}", "{}", "adsorbates"),
    ("recipe: emt", "recipe: {base: emt, engine: gpaw, xc: LDAA}", "LDAA"),
]


@pytest.mark.parametrize(("good", "bad", "told"), BAD_CAMPAIGNS)
def test_an_impossible_campaign_is_refused_before_anything_is_written(
    folder: Path, good: str, bad: str, told: str
) -> None:
    assert good in TINY
    (folder / "tiny.yaml").write_text(TINY.replace(good, bad))
    for name in ("plan", "run"):
        done = sabatier(name, "tiny.yaml", cwd=folder)
        assert done.returncode == 2, done.stdout + done.stderr
        assert told in done.stderr
        assert "Traceback" not in done.stderr
    assert not (folder / "runs").exists()


def test_more_ranks_than_cores_are_refused_before_anything_is_written(folder: Path) -> None:
    (folder / "tiny.yaml").write_text(TINY.replace("cores: 2", "cores_per_calculation: 512"))
    done = sabatier("run", "tiny.yaml", cwd=folder)
    assert done.returncode == 2
    assert "execution.cores_per_calculation is 512" in done.stderr
    assert not (folder / "runs").exists()


def test_a_campaign_that_converges_nothing_fails_without_eating_its_budget(folder: Path) -> None:
    """Two relaxation steps are too few for any molecule; what depends on it is not chosen again."""
    broken = TINY.replace("recipe: emt", "recipe: {base: emt, fmax_ev_per_a: 1.0e-6, max_steps: 2}")
    (folder / "tiny.yaml").write_text(broken)
    done = sabatier("run", "tiny.yaml", cwd=folder)
    assert done.returncode == 1
    assert "no adsorption energy was obtained" in done.stderr
    status = json.loads(sabatier("status", "--json", cwd=folder).stdout)
    assert len(status["rounds"]) == 1
    assert {p["code"] for p in status["problems"]} == {"RELAXATION_NOT_CONVERGED", "DEPENDENCY_FAILED"}
    # what was tried against it is told wherever a person looks
    failed = next(p for p in status["problems"] if p["code"] == "RELAXATION_NOT_CONVERGED")
    shown = json.loads(sabatier("show", failed["id"], "--json", cwd=folder).stdout)
    for corrections in (failed["corrections"], shown["attempts"][0]["corrections"]):
        assert [c["correction"] for c in corrections] == ["small-steps"]
    assert "tried small-steps" in sabatier("status", cwd=folder).stdout
    assert "small-steps" in sabatier("show", failed["id"], cwd=folder).stdout
    assert "RELAXATION_NOT_CONVERGED after 2 steps" in sabatier("logs", failed["id"], cwd=folder).stdout


def test_a_spent_cpu_budget_is_an_end_that_can_be_extended(folder: Path) -> None:
    (folder / "tiny.yaml").write_text(TINY.replace("cpu_hours: 10", "cpu_hours: 1.0e-7"))
    done = sabatier("run", "tiny.yaml", cwd=folder)
    assert "CPU-hours is spent" in done.stderr
    (folder / "tiny.yaml").write_text(TINY)
    assert sabatier("run", "tiny.yaml", cwd=folder).returncode == 0
    assert json.loads(sabatier("status", "--json", cwd=folder).stdout)["complete"]


def test_an_element_without_a_setup_is_refused_before_anything_is_written(folder: Path) -> None:
    """GPAW ships no RPBE setups of the lanthanides."""
    from ase.build import bulk
    from ase.io import write

    write(folder / "La.cif", bulk("La", "fcc", a=5.3))
    (folder / "tiny.yaml").write_text(
        TINY.replace("recipe: emt", "recipe: demo").replace(
            "ids: [mp-30, mp-2, mp-1018029]", "files: [La.cif]"
        )
    )
    done = sabatier("run", "tiny.yaml", cwd=folder)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "element La" in done.stderr
    assert "La.cif" in done.stderr
    assert not (folder / "runs").exists()


def test_another_campaign_in_the_same_home_is_refused(finished: Path) -> None:
    changed = TINY.replace("recipe: emt", "recipe: {base: emt, fmax_ev_per_a: 0.2}")
    (finished / "changed.yaml").write_text(changed)
    done = sabatier("run", "changed.yaml", cwd=finished)
    assert done.returncode == 2
    assert "recipe.fmax_ev_per_a was 0.05, is 0.2" in done.stderr


def test_the_reference_of_commands_is_up_to_date() -> None:
    reference = ROOT / "docs" / "reference" / "cli.md"
    assert reference.read_text(encoding="utf-8") == render_reference(), (
        "run: python -m tasks.cli.reference > docs/reference/cli.md"
    )


@pytest.mark.parametrize("command_line", [["run", "tiny.yaml"], ["status"], ["store", "info"]])
def test_a_file_given_as_home_is_called_a_file(tmp_path: Path, command_line: list[str]) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    done = sabatier(*command_line, "--home", "tiny.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --home tiny.yaml is a file; it takes the folder")
    assert len(done.stderr.splitlines()) == 1


def test_doctor_names_a_broken_profile_and_a_slurm_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "profiles.yaml"
    monkeypatch.setenv("SABATIER_PROFILES", str(file))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [f.ok for f in check_profiles()] == [True]
    assert check_slurm() == []  # nobody wants one
    file.write_text("big: {backend: slurm}\n")
    (found,) = check_slurm()
    assert (found.ok, found.required) == (False, True)
    assert "sbatch" in found.detail
    file.write_text("big: {backend: slurm, partitoin: a}\n")
    (profiles,) = check_profiles()
    assert not profiles.ok
    assert "big.partitoin" in profiles.detail


@pytest.mark.parametrize(
    ("code", "said"), [("echo 12 main", "jobs of yours: 1"), ("echo away >&2; exit 1", "away")]
)
def test_doctor_tells_what_slurm_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    for name in ("sbatch", "squeue", "scancel"):
        tool = tmp_path / name
        tool.write_text(f"#!/bin/sh\n{code}\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = check_slurm()
    assert found.ok == ("jobs" in said)
    assert said in found.detail


def test_doctor_notes_a_network_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text("1 0 0:1 / / rw - nfs4 server:/home rw\n")
    monkeypatch.setattr("pipeline.store.placement.MOUNTS", mounts)
    (found,) = check_place()
    assert (found.ok, found.required) == (False, False)
    assert "nfs4" in found.detail
