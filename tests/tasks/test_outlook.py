"""What a user is told of the surrogate: its promises, how they turned out, and surfaces that hit for all."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import pytest

from pipeline.store.records import SEED_ROUND
from tests.tasks.campaigns import sabatier

if TYPE_CHECKING:
    from pathlib import Path


def test_status_tells_what_was_promised_and_how_predictions_turned_out(finished: Path) -> None:
    document = json.loads(sabatier("status", "--json", cwd=finished).stdout)
    assert document["prospects"]["round"] == 2
    assert {p["goal"] for p in document["prospects"]["goals"]} == {"CO", "H"}
    n_after_seed = 0
    for of_one in document["drift"]:
        n_after_seed += sum(r["n"] for r in of_one["rounds"] if r["first_round"] != SEED_ROUND)
    assert n_after_seed == sum(d["recent"]["n"] for d in document["drift"]) > 0
    shown = sabatier("status", cwd=finished).stdout
    assert "more are expected among the candidates left" in shown
    assert "within the stated 90 %" in shown


def test_a_table_by_round_is_kept_with_the_results(finished: Path) -> None:
    with (finished / "runs" / "tiny" / "results" / "drift.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    document = json.loads(sabatier("status", "--json", cwd=finished).stdout)
    told = [
        (d["adsorbate"], str(r["first_round"]), r["mae_ev"]) for d in document["drift"] for r in d["rounds"]
    ]
    assert [(r["adsorbate"], r["first_round"], pytest.approx(float(r["mae_ev"]))) for r in rows] == told


def test_a_calculation_says_why_it_was_chosen(finished: Path) -> None:
    document = json.loads(sabatier("rank", "--json", cwd=finished).stdout)
    identifier = document["rankings"][0]["surfaces"][0]["calculation_id"]
    shown = json.loads(sabatier("show", identifier, "--json", cwd=finished).stdout)
    assert shown["chosen"][0]["reason"] in {"seed", "promise", "filling"}


def test_surfaces_are_ranked_for_all_adsorbates_at_once(finished: Path) -> None:
    document = json.loads(sabatier("rank", "--all", "--json", cwd=finished).stdout)
    assert set(document["targets"]) == {"CO", "H"}
    chances = [s["probability"] for s in document["surfaces"]]
    assert chances == sorted(chances, reverse=True)
    assert document["surfaces"]
    table = sabatier("rank", "--all", cwd=finished).stdout
    assert "ΔE(CO) / eV" in table
    assert "hit for all" in table
    refused = sabatier("rank", "--all", "-a", "H", cwd=finished)
    assert refused.returncode == 2
    assert "leave --adsorbate out" in refused.stderr
