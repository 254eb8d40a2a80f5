"""``sabatier properties`` from a table to a campaign that is screened."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pipeline.structures.library import library
from tests.tasks.campaigns import TINY, sabatier

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a table of volumes and the model learned from it."""
    folder = tmp_path_factory.mktemp("trained")
    chosen = [b for b in library().values() if len(b.numbers) <= 4][::40]
    rows = [f"{b.id},{b.atoms().get_volume() / len(b.numbers)}" for b in chosen]
    (folder / "table.csv").write_text("\n".join(["id,volume", *rows]))
    done = sabatier("properties", "train", "table.csv", "-t", "volume", "-o", "v.skops", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert f"learned from {len(chosen)} crystals" in done.stdout
    assert "predicted for chemical systems not seen" in done.stdout
    assert "mae" in done.stdout
    return folder


def test_a_campaigns_bulks_are_predicted_and_screened(trained: Path) -> None:
    done = sabatier("properties", "predict", "v.skops", "--bulks", "demo", "--json", cwd=trained)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["predictions"]
    assert {row["formula"] for row in rows} >= {"Cu", "Pd", "CuPd"}
    assert all(row["value"] > 0 and row["std"] > 0 for row in rows)
    bulks = "bulks: {ids: [mp-1018029, mp-863750], with_pure_elements: false, screen: [%s]}"
    screens = "{model: v.skops, max: %r}"
    (trained / "c.yaml").write_text(TINY.replace("bulks: {ids: [mp-30, mp-2, mp-1018029]}", bulks % ""))
    predicted = sabatier("properties", "predict", "v.skops", "--bulks", "c.yaml", "--json", cwd=trained)
    small, large = sorted(json.loads(predicted.stdout)["predictions"], key=lambda row: row["value"])
    limit = bulks % (screens % ((small["value"] + large["value"]) / 2))
    (trained / "c.yaml").write_text(TINY.replace("bulks: {ids: [mp-30, mp-2, mp-1018029]}", limit))
    planned = sabatier("plan", "c.yaml", "--json", cwd=trained)
    assert planned.returncode == 0, planned.stderr
    document = json.loads(planned.stdout)
    assert [row["source"] for row in document["left_out"]] == [large["crystal"]]
    assert [row["source"] for row in document["per_bulk"]] == [small["crystal"]]


def test_a_person_is_shown_a_table(trained: Path) -> None:
    shown = sabatier("properties", "predict", "v.skops", "--bulks", "demo", cwd=trained)
    assert shown.returncode == 0, shown.stderr
    assert "volume" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "table.csv", "-t", "gap", "-o", "x.skops"], "has no column 'gap'"),
        (["train", "none.csv", "-t", "gap", "-o", "x.skops"], "cannot be read as a CSV table"),
        (["train", "table.csv", "-t", "volume", "-o", "x", "--structures", "no"], "no: no such folder"),
        (
            ["train", "table.csv", "-t", "volume", "-o", "no/x"],
            "--out no/x: cannot be written: there is no folder",
        ),
        (["train", "table.csv", "-t", "volume", "-o", "table.csv"], "is the table that is learned from"),
        (["predict", "v.skops"], "give structure files"),
        (["predict", "table.csv", "--bulks", "demo"], "is no property model"),
        (["predict", "v.skops", "table.csv"], "cannot be read as a structure"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(trained: Path, arguments: list[str], told: str) -> None:
    done = sabatier("properties", *arguments, cwd=trained)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
