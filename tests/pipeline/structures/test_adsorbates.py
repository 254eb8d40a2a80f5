"""Adsorbates on slabs: in touch, through the right atom, and with nothing overlapping."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.data import covalent_radii
from ase.geometry import get_distances

from config.adsorbates import AdsorbateSettings, Species, presets, species
from config.campaign import BulkSelection, SurfaceSettings
from dft.geometry import binding_ratio
from dft.validation import longest_bond_ratio
from dft.worker import check_contacts
from pipeline.structures.adsorbates import clearance, place
from pipeline.structures.bulks import load_bulks
from pipeline.structures.sites import enumerate_sites
from pipeline.structures.slabs import build_slab
from pipeline.structures.surfaces import enumerate_surfaces

NARROW = SurfaceSettings(
    miller_indices=((1, 1, 1), (1, 1, 0), (2, 1, 0)), min_height_a=4.0, min_lateral_a=4.0, vacuum_a=10.0
)
METHYL = AdsorbateSettings(
    target_ev=0.0,
    atoms=("H", "C", "H", "H"),
    positions_a=((1.03, 0.0, 0.36), (0.0, 0.0, 0.0), (-0.515, 0.892, 0.36), (-0.515, -0.892, 0.36)),
    binding_atom=1,
    reference={"CH4": 1.0, "H2": -0.5},
)
ROUNDING_A = 1.0e-6


@pytest.fixture(scope="module")
def places():
    """Every site of close-packed and stepped faces of Cu and CuPd."""
    bulks = load_bulks(BulkSelection(ids=("mp-30", "mp-1018029"), with_pure_elements=False), Path())
    surfaces = [s for bulk in bulks for s in enumerate_surfaces(bulk, NARROW)]
    return [(s, build_slab(s, 1.01, NARROW), site) for s in surfaces for site in enumerate_sites(s)]


@pytest.mark.parametrize("name", [*presets(), "CH3"])
def test_it_touches_through_its_binding_atom_and_overlaps_nothing(places, name):
    adsorbate = species("CH3", METHYL) if name == "CH3" else presets()[name]
    n = len(adsorbate.symbols)
    assert len(places) > 20
    for surface, slab, site in places:
        covered = place(slab, surface, site, adsorbate, 1.01)
        check_contacts(covered)
        first = len(slab)
        assert tuple(covered.symbols[first:]) == adsorbate.symbols
        ratios = [binding_ratio(covered, n, index) for index in range(first, len(covered))]
        assert 0.99 < ratios[0] < 1.3
        assert ratios[0] < min(ratios) + 0.15  # a COOH in a narrow hollow touches with its oxygens first
        assert longest_bond_ratio(covered, covered, n) < 1.2
        above = covered.positions[first:, 2] - slab.positions[:, 2].max()
        assert np.all(above[1:] > above[0] - ROUNDING_A)


@pytest.mark.parametrize("name", ["OH", "OOH", "CHO", "COOH"])
def test_its_shape_is_that_of_its_preset_whatever_the_turn(places, name):
    adsorbate = presets()[name]
    wanted = _distances(np.array(adsorbate.positions))
    for surface, slab, site in places[::7]:
        covered = place(slab, surface, site, adsorbate, 1.01)
        assert _distances(covered.positions[len(slab) :]) == pytest.approx(wanted)


def test_a_bent_one_is_turned_to_where_it_has_most_room(places):
    bent = presets()["OOH"]
    gained = []
    for surface, slab, site in places[::5]:
        free = _room(slab, surface, site, bent)
        for degrees in (0.0, 75.0, 195.0):
            held = Species(bent.name, bent.symbols, bent.positions, degrees, bent.reference)
            gained.append(free - _room(slab, surface, site, held))
    assert min(gained) > -2.0e-3
    assert max(gained) > 0.1


def test_a_turn_that_is_asked_for_is_taken(places):
    surface, slab, site = places[0]
    bent = presets()["OH"]
    for degrees in (0.0, 90.0):
        held = Species(bent.name, bent.symbols, bent.positions, degrees, bent.reference)
        oxygen, hydrogen = place(slab, surface, site, held, 1.01).positions[-2:]
        angle = np.degrees(np.arctan2(*(hydrogen - oxygen)[1::-1]))
        assert angle == pytest.approx(degrees)


def test_noise_does_not_choose_the_turn(places):
    rng = np.random.default_rng(4)
    surface, slab, site = places[0]
    wanted = place(slab, surface, site, presets()["COOH"], 1.01).positions
    for _ in range(5):
        shaken = slab.copy()
        shaken.positions += rng.normal(0.0, 1.0e-6, shaken.positions.shape)
        found = place(shaken, surface, site, presets()["COOH"], 1.01).positions
        assert found == pytest.approx(wanted, abs=1.0e-4)


def test_another_atom_that_hangs_lower_is_kept_off_the_slab(places):
    """A molecule whose settings put it head first stays outside of the slab."""
    wrong = AdsorbateSettings(target_ev=0.0, orientation=(0.0, 0.0, -1.0))
    adsorbate = species("CO", wrong)
    for surface, slab, site in places[::3]:
        check_contacts(place(slab, surface, site, adsorbate, 1.01))


def _room(slab, surface, site, adsorbate):
    covered = place(slab, surface, site, adsorbate, 1.01)
    return clearance(slab, adsorbate.symbols, covered.positions[len(slab) :])


def _distances(positions):
    return np.linalg.norm(positions[:, None] - positions[None], axis=2)


def test_clearance_is_the_nearest_distance_that_ase_finds(places):
    surface, slab, site = places[3]
    adsorbate = presets()["CHO"]
    covered = place(slab, surface, site, adsorbate, 1.01)
    n = len(slab)
    _, distances = get_distances(
        covered.positions[n + 1 :], covered.positions[:n], cell=covered.cell, pbc=(True, True, False)
    )
    radii = covalent_radii[covered.numbers]
    nearest = (distances / (radii[n + 1 :, None] + radii[None, :n])).min()
    assert clearance(slab, adsorbate.symbols, covered.positions[n:]) <= nearest + ROUNDING_A
