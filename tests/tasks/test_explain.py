"""``sabatier explain``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.tasks.campaigns import sabatier

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_ranked_can_be_explained_by_the_beginning_of_its_id(finished: Path) -> None:
    ranked = json.loads(sabatier("rank", "-a", "H", "--json", cwd=finished).stdout)
    row = ranked["rankings"][0]["surfaces"][0]
    ids = [row["surface_id"][:-1], row["site_id"][:-1], row["calculation_id"][:-1]]
    done = sabatier("explain", *ids, "-a", "H", "--json", "--plot", "why.png", cwd=finished)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["sites"]
    assert [(t["adsorbate"], t["site_id"]) for t in told] == [("H", row["site_id"])] * 3
    for t in told:
        total = sum(c["contribution_ev"] for c in t["contributions"])
        assert t["predicted_ev"] == pytest.approx(t["typical_ev"] + total)
        assert t["differs_from_kept_ev"] == pytest.approx(0.0, abs=1e-9)
    assert (finished / "why.png").read_bytes().startswith(b"\x89PNG")


def test_without_ids_the_first_of_the_ranking_is_explained_to_people(finished: Path) -> None:
    done = sabatier("explain", cwd=finished)
    assert done.returncode == 0, done.stderr
    assert "against the typical site" in done.stdout
    assert "one atom exchanged" in done.stdout
    assert done.stdout.count("predicted") == 2  # CO and H


def test_the_whole_and_the_map_in_one_document(finished: Path) -> None:
    done = sabatier("explain", "--global", "-a", "CO", "--map", "map.svg", "--json", cwd=finished)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["sites"] == []
    (survey,), (places,) = document["surrogates"], document["maps"]
    assert {row["element"] for row in survey["binding_elements"]} == {"Cu", "Pd"}
    assert len(places["points"]) == places["n_points"]
    assert (finished / "map.svg").is_file()
    told = sabatier("explain", "--global", "-a", "CO", cwd=finished)
    assert "what matters" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing-has-this-id"], "no bulk, surface, site or calculation"),
        (["tiny"], "sabatier explain -c tiny"),
        (["--map", "map.doc"], ".png, .svg, .pdf"),
        (["--map", "dir.png", "-a", "H"], "--map dir.png: cannot be written: it is a folder"),
        (["--map", "map.png"], "choose with -a"),
        (["--map", "map.png", "-a", "H", "--plot", "x.png"], "give ids or --global"),
        (["site-1", "--map", "x.png", "-a", "H", "--plot", "x.png"], "a file of its own"),
        (["site-1", "--global", "-a", "H", "--plot", "x.png"], "leave out the ids or --global"),
    ],
)
def test_a_mistake_is_named(finished: Path, arguments: list[str], told: str) -> None:
    (finished / "dir.png").mkdir(exist_ok=True)
    done = sabatier("explain", *arguments, cwd=finished)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
