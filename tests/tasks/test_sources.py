"""Old energies in a campaign: checked by ``plan`` and ``run``, shown by ``status``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from tasks.cli.main import app
from tests.tasks.campaigns import TINY, completed, sabatier

if TYPE_CHECKING:
    from pathlib import Path

SMALL = (
    TINY.replace("[mp-30, mp-2, mp-1018029]", "[mp-30], with_pure_elements: false")
    .replace("{calculations: 8, rounds: 2, cpu_hours: 10}", "{calculations: 2, rounds: 1, cpu_hours: 10}")
    .replace("seed_size: 4\nbatch_size: 2", "seed_size: 1\nbatch_size: 1")
)
SOURCES = "surrogate:\n  sources:\n    - {file: old.csv, name: old PBE data, adsorbate: H}\n"
HEADER = "mpid,miller,coordination,energy_ev"
ROWS = ("mp-30,111,Cu-Cu-Cu,-0.15", "mp-2,111,Pd-Pd-Pd,-0.55", "mp-2,111,Pd,0.05", "mp-2,111,,0.3")


def write(folder: Path, *rows: str) -> None:
    (folder / "old.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (folder / "tiny.yaml").write_text(SMALL + SOURCES)


def test_a_bad_file_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    write(tmp_path, *ROWS[:2], "mp-2,111,Pd,strong")
    for verb in ("plan", "run"):
        done = sabatier(verb, "tiny.yaml", cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert "line 4, energy_ev: got 'strong'; allowed: a number, in eV" in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_plan_tells_that_the_pretrained_potential_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.yaml").write_text(SMALL + "surrogate: {pretrained: diep}\n")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    done = CliRunner().invoke(app, ["plan", str(tmp_path / "tiny.yaml"), "--json"])
    assert done.exit_code == 0
    assert "'sabatier run' will refuse this here: surrogate.pretrained" in done.stderr
    assert json.loads(done.stdout)["bulks"] == 1


def test_what_was_learned_of_old_data_is_shown(tmp_path: Path) -> None:
    write(tmp_path, *ROWS)
    planned = json.loads(sabatier("plan", "tiny.yaml", "--json", cwd=tmp_path).stdout)
    (source,) = planned["sources"]
    assert source["energies"] == {"H": 3}
    assert source["left_out"] == ["line 5: coordination is empty"]
    completed(tmp_path, "tiny.yaml", SMALL + SOURCES)
    shown = sabatier("status", "tiny", cwd=tmp_path).stdout
    (line,) = (line for line in shown.splitlines() if "old PBE data" in line)
    assert "H from old PBE data: 3 energies, level " in line
    assert " ± " in line
    models = json.loads(sabatier("status", "tiny", "--json", cwd=tmp_path).stdout)["models"]
    learned = [model["sources"] for model in models if model["adsorbate"] == "H"]
    assert all(0.0 < sources[0]["weight"] < 1.0 for sources in learned)
    of_co = [source["name"] for m in models if m["adsorbate"] == "CO" for source in m["sources"]]
    assert "old PBE data" not in of_co
