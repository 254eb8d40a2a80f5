"""Geometry of rows that name a surface as GASpy does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.geometry import found, measure, without_geometry
from benchmarks.rebuilt_sites import Face, rebuilt
from benchmarks.reference_data import Labelled
from config.campaign import SurfaceSettings
from pipeline.structures.context import site_environments
from pipeline.structures.sites import enumerate_sites
from pipeline.structures.surfaces import enumerate_surfaces
from surrogate.geometry import COLUMNS
from surrogate.sites import SiteGeometry
from tests.pipeline.structures.crystals import from_library
from tests.surrogate.worlds import law, random_environments

# pymatgen calls spglib the old way.
pytestmark = pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")

COPPER, NICKEL_ALUMINIDE = "mp-30", "mp-1487"
TOLERANCE = 2.5e-3
"""Sums are rounded to three decimals."""


def of_campaign(mpid, miller):
    """Sites as a campaign describes them."""
    crystal = from_library(mpid)
    found = enumerate_surfaces(crystal, SurfaceSettings(miller_indices=(miller,), max_atoms=200))
    sites = [site for surface in found for site in enumerate_sites(surface)]
    return list(site_environments([crystal], found, sites).values())


def values(geometries):
    return [None if geometry is None else geometry.values() for geometry in geometries]


@pytest.mark.parametrize("shift", [0.25, 0.75])
def test_a_rebuilt_site_has_the_geometry_that_a_campaign_knows(shift, tmp_path):
    """CsCl-type (100): one cut, nickel on one side of it and aluminium on the other."""
    sites = of_campaign(NICKEL_ALUMINIDE, (1, 0, 0))
    assert {element for site in sites for element, _ in site.first_shell} == {"Ni", "Al"}
    bare = [replace(site, geometry=None) for site in sites]
    upper, lower = (
        values(rebuilt([Face(NICKEL_ALUMINIDE, (1, 0, 0), shift, top)] * len(bare), bare, tmp_path))
        for top in (True, False)
    )
    for site, one, other in zip(sites, upper, lower, strict=True):
        assert (one is None) != (other is None)
        rebuilt_one = other if one is None else one
        assert np.abs(rebuilt_one - site.geometry.values()).max() < TOLERANCE


def test_shifts_tell_which_side_is_which(tmp_path):
    (nickel,) = [s for s in of_campaign(NICKEL_ALUMINIDE, (1, 0, 0)) if s.first_shell == (("Ni", 1),)]
    faces = [Face(NICKEL_ALUMINIDE, (1, 0, 0), shift, True) for shift in (0.25, 0.75)]
    assert [g is None for g in rebuilt(faces, [nickel, nickel], tmp_path)].count(True) == 1


def test_sites_that_fit_a_row_equally_are_averaged(tmp_path):
    """Both hollows of fcc(111) have the same neighbours."""
    hollows = [s for s in of_campaign(COPPER, (1, 1, 1)) if s.first_shell == (("Cu", 3),)]
    assert len(hollows) == 2
    assert hollows[0].neighbours == hollows[1].neighbours
    one, other = values(site.geometry for site in hollows)
    assert np.abs(one - other).max() > 0.1
    (mean,) = values(rebuilt([Face(COPPER, (1, 1, 1), 1 / 6, True)], hollows[:1], tmp_path))
    assert np.abs(mean - (one + other) / 2).max() < TOLERANCE


def test_rows_that_cannot_be_rebuilt_have_no_geometry(tmp_path):
    (top,) = [s for s in of_campaign(COPPER, (1, 1, 1)) if s.first_shell == (("Cu", 1),)]
    other = replace(top, first_shell=(("Au", 1),))
    face = Face(COPPER, (1, 1, 1), 1 / 6, True)
    geometries = rebuilt([None, face._replace(mpid="mp-0"), face, face], [top, top, other, top], tmp_path)
    assert [geometry is None for geometry in geometries] == [True, True, True, False]


def test_what_was_rebuilt_is_kept_and_read_again(tmp_path):
    (top,) = [s for s in of_campaign(COPPER, (1, 1, 1)) if s.first_shell == (("Cu", 1),)]
    face = Face(COPPER, (1, 1, 1), 1 / 6, True)
    first = rebuilt([face], [top], tmp_path)
    (kept,) = tmp_path.iterdir()
    np.save(kept, 2.0 * np.load(kept))
    (again,) = values(rebuilt([face], [top], tmp_path))
    assert np.allclose(again, 2.0 * first[0].values())
    assert rebuilt([face._replace(is_top=False)], [top], tmp_path) == first
    assert len(list(tmp_path.iterdir())) == 2


def test_both_figures_are_of_the_rows_that_have_a_geometry():
    environments = random_environments(30)
    sites = [
        replace(e, geometry=SiteGeometry.of(np.zeros(len(COLUMNS)))) if i % 3 else e
        for i, e in enumerate(environments)
    ]
    bulks = np.array([f"mp-{i % 10}" for i in range(30)])
    data = Labelled("made_up", "CO", sites, law(environments), bulks, np.arange(30))
    figures = measure(data, [10], 1)
    assert (figures["n"], figures["n_found"], figures["n_bulks"]) == (30, 20, 10)
    for key in ("with", "without"):
        assert 0.0 < figures[key]["mae_ev"] < 1.0
        assert set(figures[key]["curve"]) == {"10"}
    known = found(data)
    assert known.delta_e.tolist() == [e for i, e in enumerate(data.delta_e) if i % 3]
    assert [e.geometry for e in without_geometry(known).environments] == [None] * 20
