"""The benchmark of the validation: on a small file made here, and on GASpy's structures where they are."""

from __future__ import annotations

import gzip
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ase.build import add_adsorbate, fcc111
from ase.constraints import FixAtoms
from ase.io import write

from benchmarks import validation

if TYPE_CHECKING:
    from ase import Atoms


def frame(height: float, delta_e_ev: float = -0.2) -> Atoms:
    """H over the fcc hollow of Cu(111), as GASpy's file describes it."""
    atoms = fcc111("Cu", (2, 2, 3), a=3.61, vacuum=6.0, periodic=True)
    atoms.set_constraint(FixAtoms([atom.index for atom in atoms if atom.tag == 3]))
    add_adsorbate(atoms, "H", height, "fcc")
    atoms.info = {
        "E_ads_eV": delta_e_ev,
        "mpid": "mp-30",
        "miller": np.array([1, 1, 1]),
        "coordination": "Cu-Cu-Cu",
        "max_surface_movement": 0.1,
    }
    return atoms


def run(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", ["validation", "--data", str(folder)])
    assert validation.main() == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return result


def test_every_fate_that_a_final_structure_shows_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [frame(0.95), frame(3.5), frame(-1.1), frame(0.95, 17.9)]
    with gzip.open(tmp_path / validation.FILE, "wt") as handle:
        write(handle, frames, format="extxyz", columns=["symbols", "positions", "move_mask"])
    result = run(tmp_path, capsys, monkeypatch)
    assert [odd["verdict"] for odd in result["odd"]] == ["DESORBED", "ABSORBED", "ENERGY_OUT_OF_RANGE"]
    assert result["agrees_elements"] == result["agrees_site"] == 1.0


@pytest.mark.parametrize("turn", ["upside down", "tilted"])
def test_the_way_a_cell_is_turned_changes_nothing(turn: str) -> None:
    straight = frame(0.95)
    turned = straight.copy()
    if turn == "tilted":
        turned.rotate(20, "x", rotate_cell=True)
    else:
        turned.set_cell(turned.cell.array * [[1], [1], [-1]])
        turned.positions[:, 2] *= -1
        turned.set_cell(turned.cell.array * [[1], [-1], [1]])
        turned.positions[:, 1] *= -1
    one, other = validation.examine(0, straight), validation.examine(0, turned)
    assert other["verdict"] == one["verdict"] == "accepted"
    assert other["cover_ratio"] == pytest.approx(one["cover_ratio"], abs=1e-6)
    assert other["site_distance_a"] == pytest.approx(one["site_distance_a"], abs=1e-6)


def test_without_the_data_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["validation", "--data", str(tmp_path)])
    assert validation.main() == 2
    assert validation.FILE in capsys.readouterr().err


@pytest.mark.skipif(
    "SABATIER_REFERENCE_DATA" not in os.environ, reason="SABATIER_REFERENCE_DATA names no folder"
)
def test_nearly_all_published_hydrogen_adslabs_pass_and_those_that_do_not_bind_weakly(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """515 relaxed H adslabs of GASpy: what is odd among them was looked at one by one."""
    result = run(Path(os.environ["SABATIER_REFERENCE_DATA"]), capsys, monkeypatch)
    assert result["verdicts"] == {"accepted": 499, "ABSORBED": 12, "DESORBED": 3, "ENERGY_OUT_OF_RANGE": 1}
    assert min(odd["delta_e_ev"] for odd in result["odd"]) > 0.0
    assert result["agrees_kind"] > 0.8
