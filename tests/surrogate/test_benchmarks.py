"""The benchmarks of the surrogate on small made-up data folders, and without one."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.baselines import median_references
from benchmarks.reference_data import data_files, load
from surrogate.elements import atomic_number
from surrogate.sites import SiteEnvironment
from tests.surrogate.miniature import write_gaspy, write_mamun

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    write_gaspy(path)
    write_mamun(path)
    return path


def file_of(folder, name):
    (file,) = (file for file in data_files(folder) if file.name == name)
    return file


def run(name, *arguments):
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{name}.py"), *arguments],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["accuracy", "replay", "warm_start"])
def test_says_that_it_cannot_run_without_the_data(name, tmp_path):
    done = run(name, "--data", str(tmp_path))
    assert done.returncode == 2
    assert "gaspy_co_sites.csv.gz" in done.stderr


def test_geometry_says_what_it_cannot_rebuild(folder, tmp_path):
    """The made-up rows lie on no crystal of the library whose sites they could be."""
    for data, sets, missing in (
        (tmp_path, "gaspy_co", "gaspy_co_sites.csv.gz"),
        (folder, "mamun_h", "mamun_h"),
        (folder, "gaspy_h", "fewer than"),
    ):
        done = run("geometry", "--data", str(data), "--keep", str(tmp_path / "kept"), "--sets", sets)
        assert done.returncode == 2
        assert missing in done.stderr


@pytest.mark.parametrize(("name", "option"), [("accuracy", "--models"), ("replay", "--strategies")])
def test_a_name_that_is_none_is_refused_with_those_that_are(name, option, folder):
    done = run(name, "--data", str(folder), option, "magic")
    assert done.returncode == 2
    assert "unknown" in done.stderr
    assert "gaussian_process" in done.stderr


def test_accuracy_prints_figures_of_every_set_and_model(folder):
    options = ("--curve", "10,1000", "--repeats", "1", "--predictions", "500")
    done = run("accuracy", "--data", str(folder), *options)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])["results"]
    assert set(results) == {"gaspy_co", "gaspy_h", "mamun_h"}
    for of_set in results.values():
        for model in ("default", "plain_trees"):
            assert 0.0 < of_set[model]["mae_ev"] < 0.5
            curve = of_set[model]["curve"]
            assert list(curve) == ["10", "all"]  # no set has a thousand rows
            assert 10 < curve["all"]["n_train"] < 60
            assert of_set[model]["predictions"]["n"] == 500


def test_any_file_with_the_columns_of_a_set_is_read_under_its_own_name(folder, tmp_path):
    text = gzip.decompress((folder / "gaspy_co_sites.csv.gz").read_bytes()).decode()
    (tmp_path / "theirs.csv").write_text(text)
    (tmp_path / "notes.csv").write_text("formula,comment\nCu,a metal\n")
    (file,) = data_files(tmp_path)
    assert (file.name, file.kind) == ("theirs", "gaspy_co")
    assert load(file).environments == load(file_of(folder, "gaspy_co")).environments
    options = ("--curve", "10", "--repeats", "1", "--predictions", "0", "--models", "plain_trees", "--json")
    for place in (tmp_path, tmp_path / "theirs.csv"):
        done = run("accuracy", "--data", str(place), *options)
        assert done.returncode == 0, done.stderr
        assert list(json.loads(done.stdout)["results"]) == ["theirs"]


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (
            lambda rows: ["energy", *rows[1:]],
            "lacks columns of a data set of that kind: gaspy_co: coordination",
        ),
        (lambda rows: [*rows[:2], rows[2].rsplit(",", 1)[0] + ",strong"], "line 3: could not convert string"),
        (lambda rows: [*rows[:2], rows[2].rsplit(",", 2)[0]], "line 3: "),
        (lambda rows: rows[:1], "holds no adsorption energy"),
    ],
    ids=["columns", "energy", "cut off", "empty"],
)
def test_a_file_that_cannot_be_read_is_named_with_what_is_wrong(folder, tmp_path, break_it, said):
    rows = gzip.decompress((folder / "gaspy_co_sites.csv.gz").read_bytes()).decode().splitlines()
    (tmp_path / "theirs.csv").write_text("\n".join(break_it(rows)) + "\n")
    done = run("accuracy", "--data", str(tmp_path / "theirs.csv"))
    assert done.returncode == 2
    assert "theirs.csv" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_replay_counts_the_hits_of_every_strategy(folder):
    strategies = ("random", "gaspy", "sabatier", "sabatier-surfaces", "sabatier-explores")
    options = ("--labels", "20,40", "--seeds", "2", "--seed-size", "10", "--batch", "10")
    chosen = ("--sets", "gaspy_co", "--strategies", ",".join(strategies))
    done = run("replay", "--data", str(folder), *chosen, *options)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout.splitlines()[-1])["results"].values()
    assert set(found) == set(strategies)
    assert found["gaspy"]["chosen"]["n"] == 2 * (40 - 10)
    assert "chosen" not in found["random"]
    assert found["random"]["hits_vs_random"] == {"20": 1.0, "40": 1.0}
    assert found["sabatier"]["hits"]["40"]["mean"] >= found["random"]["hits"]["40"]["mean"]


def test_warm_start_compares_every_case_with_and_without_its_source(folder):
    options = ("--labels", "0,10,1000", "--repeats", "1", "--model", "gaussian_process")
    done = run("warm_start", "--data", str(folder), *options)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])["results"]
    assert {"mamun_to_gaspy_h", "relevelled_co", "gaspy_h_to_co_as_many"} <= set(results)
    for name, curve in results.items():
        assert set(curve) == ({"10"} if name.endswith("as_many") else {"0", "10"})
        assert all(figures["mae_ev"] > 0 and figures["without_mae_ev"] > 0 for figures in curve.values())
    old = results["relevelled_co"]["0"]
    assert old["mae_ev"] < old["without_mae_ev"]


def test_neighbours_of_gaspy_sites_are_read_atom_by_atom(folder):
    data = load(file_of(folder, "gaspy_co"))
    site = data.environments[0]
    assert len(site.neighbours) == sum(n for _, n in site.first_shell)
    assert sum(n for _, n in site.second_shell) == sum(n for _, shell in site.neighbours for _, n in shell)
    assert site.miller == (1, 1, 1)


def test_close_packed_faces_are_rebuilt_from_their_prototypes(folder):
    data = load(file_of(folder, "mamun_h"))
    assert not [e for e in data.environments if not e.neighbours]  # rows of two H are left out
    for site in data.environments:
        # An atom of a close-packed face has 6 neighbours beside and 3 below it.
        assert {sum(n for _, n in shell) for _, shell in site.neighbours} == {9}
    # Cu3Pd(111): Pd atoms do not touch; below an hcp hollow of three Cu lies Pd, below one with Pd lies Cu;
    # below a bridge what its row says.
    of_alloy = [e for e, bulk in zip(data.environments, data.bulks, strict=True) if bulk == "Cu9Pd3"]
    assert {shell for e in of_alloy for s, shell in e.neighbours if s == "Pd"} == {(("Cu", 9),)}
    below = {e.first_shell: e.beneath for e in of_alloy if e.beneath}
    hollows = {(("Cu", 3),): (("Pd", 1),), (("Cu", 2), ("Pd", 1)): (("Cu", 1),)}
    assert below == {**hollows, (("Cu", 2),): (("Cu", 1),)}


def test_an_element_is_described_by_the_median_of_the_sites_that_bind_through_it_alone():
    sites = [SiteEnvironment(((s, n),), ()) for s, n in (("Cu", 1), ("Cu", 3), ("Cu", 2), ("Pd", 3))]
    sites.append(SiteEnvironment((("Cu", 1), ("Al", 2)), ()))
    references = median_references(sites, np.array([0.1, 0.2, 0.9, -0.5, 5.0]))
    by_symbol = {s: references[atomic_number(s) - 1] for s in ("Cu", "Pd", "Al", "Au")}
    assert by_symbol == {"Cu": 0.2, "Pd": -0.5, "Al": 5.0, "Au": 0.2}


def test_cold_start_says_that_it_cannot_run_without_the_structures(tmp_path):
    done = run("cold_start", "--data", str(tmp_path))
    assert done.returncode == 2
    assert "gaspy_h_structures.extxyz.gz" in done.stderr


def test_cold_start_ranks_from_zero_labels_with_the_published_metals_only(folder):
    options = ("--sets", "gaspy_co", "--strategies", "constant,elements+metals", "--labels", "0,20")
    done = run("cold_start", "--data", str(folder), *options, "--seeds", "1")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout.splitlines()[-1])["results"].values()
    assert found["constant"]["0"]["rank"]["mean"] == 0.0
    assert abs(found["elements+metals"]["0"]["rank"]["mean"]) > 0.0
    assert set(found["constant"]["labels_to_hits"]) == {"5", "10", "20"}


def test_small_sets_are_looked_at_as_far_as_they_reach(folder, tmp_path):
    text = gzip.decompress((folder / "gaspy_co_sites.csv.gz").read_bytes()).decode()
    head, *rows = text.splitlines()
    of_four_bulks = [row for row in rows if row.startswith(("mp-0,", "mp-1,", "mp-2,", "mp-3,"))]
    (tmp_path / "theirs.csv").write_text("\n".join([head, *of_four_bulks]) + "\n")
    accuracy = ("--curve", "10", "--repeats", "1", "--predictions", "0", "--models", "gaussian_process")
    of_cold_start = ("--sets", "theirs", "--strategies", "constant", "--seeds", "1", "--labels", "0,10,1000")
    replay = ("--strategies", "random,sabatier", "--seeds", "1")
    found = {}
    for name, options in (("accuracy", accuracy), ("replay", replay), ("cold_start", of_cold_start)):
        done = run(name, "--data", str(tmp_path), *options)
        assert done.returncode == 0, done.stderr
        found[name] = json.loads(done.stdout.splitlines()[-1])["results"]["theirs"]
    assert list(found["accuracy"]["gaussian_process"]["curve"]) == ["10"]
    assert found["replay"]["sabatier"]["chosen"] == {"n": 0}
    assert list(found["cold_start"]["constant"]) == ["0", "10", "labels_to_hits"]
