import numpy as np
import pytest
from ase.build import bulk, make_supercell
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.campaign import SurfaceSettings
from pipeline.structures.bulks import make_bulk
from pipeline.structures.context import bulk_context, site_environments, site_geometries
from pipeline.structures.library import library_bulk
from pipeline.structures.sites import enumerate_sites
from pipeline.structures.surfaces import enumerate_surfaces
from tests.pipeline.structures.crystals import from_library


def test_a_crystal_is_told_by_its_reduced_formula_density_and_nearest_bonds():
    context = bulk_context(bulk("CuAu", "cesiumchloride", a=3.1))
    assert context.composition == (("Au", 1), ("Cu", 1))
    assert context.volume_per_atom == pytest.approx(3.1**3 / 2)
    bonds = {(one, other): length for one, other, length in context.bonds}
    assert bonds == pytest.approx({("Au", "Au"): 3.1, ("Au", "Cu"): 3.1 * 3**0.5 / 2, ("Cu", "Cu"): 3.1})


@settings(max_examples=15, deadline=None)
@given(mpid=st.sampled_from(["mp-30", "mp-2", "mp-10010"]), seed=st.integers(0, 2**32 - 1))
def test_a_crystal_is_told_the_same_whatever_the_cell(mpid, seed):
    rng = np.random.default_rng(seed)
    atoms = library_bulk(mpid).atoms()
    cell = np.eye(3, dtype=int)
    cell[0, 1], cell[2, 0], cell[1, 1] = rng.integers(-1, 2), rng.integers(-1, 2), rng.integers(1, 3)
    other = make_supercell(atoms, cell)[rng.permutation(len(atoms) * cell[1, 1])]
    other.positions += rng.normal(size=3)
    expected, found = bulk_context(atoms), bulk_context(other)
    assert found.composition == expected.composition
    assert found.volume_per_atom == pytest.approx(expected.volume_per_atom)
    assert [b[:2] for b in found.bonds] == [b[:2] for b in expected.bonds]
    assert [b[2] for b in found.bonds] == pytest.approx([b[2] for b in expected.bonds])


def described(atoms, sites):
    places = np.array([site.position[:2] for site in sites])
    return np.array([geometry.values() for geometry in site_geometries(atoms, places)])


@pytest.fixture(scope="module")
def surfaces():
    chosen = SurfaceSettings(miller_indices=((1, 1, 1), (2, 1, 0)), max_atoms=200)
    found = [s for mpid in ("mp-30", "mp-10010") for s in enumerate_surfaces(from_library(mpid), chosen)]
    return [(surface, enumerate_sites(surface)) for surface in found]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.integers(0, 100), angle=st.floats(0.0, 6.28), seed=st.integers(0, 2**32 - 1))
def test_geometry_does_not_depend_on_how_a_surface_is_described(surfaces, which, angle, seed):
    surface, sites = surfaces[which % len(surfaces)]
    rng = np.random.default_rng(seed)
    turned = surface.atoms.copy()
    repeats = int(rng.integers(1, 3)), int(rng.integers(1, 3))
    turned = turned.repeat((*repeats, 1))
    turned = turned[rng.permutation(len(turned))]
    # Another basis of the same lattice, turned about the normal, mirrored or not, and shifted.
    cell = turned.cell.array.copy()
    cell[1] += int(rng.integers(-1, 2)) * cell[0]
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turn = turn @ np.diag([1.0, rng.choice([-1.0, 1.0])])
    shift = rng.normal(size=3)
    positions = turned.positions.copy()
    positions[:, :2] = positions[:, :2] @ turn
    cell[:, :2] = cell[:, :2] @ turn
    turned.set_cell(cell)
    turned.positions = positions + shift
    places = np.array([site.position[:2] for site in sites]) @ turn + shift[:2]
    found = np.array([geometry.values() for geometry in site_geometries(turned, places)])
    assert np.abs(found - described(surface.atoms, sites)).max() < 2.5e-3


def test_images_of_a_site_have_its_geometry(surfaces):
    for surface, sites in surfaces:
        for site in sites:
            places = np.array(site.images) @ surface.atoms.cell.array[:2, :2]
            values = np.array([geometry.values() for geometry in site_geometries(surface.atoms, places)])
            assert np.abs(values - values[0]).max() < 0.1


def test_a_deeper_slab_leaves_the_geometry_as_it_is():
    of_height = {}
    for height in (5.0, 16.0):
        chosen = SurfaceSettings(miller_indices=((1, 1, 1),), max_atoms=500, min_height_a=height)
        (surface,) = enumerate_surfaces(from_library("mp-30"), chosen)
        of_height[height] = described(surface.atoms, enumerate_sites(surface))
    assert np.abs(of_height[5.0] - of_height[16.0]).max() < 2.5e-3


def test_campaigns_know_the_geometry_of_every_site(surfaces):
    crystals = [from_library("mp-30"), from_library("mp-10010")]
    sites = [site for _, found in surfaces for site in found]
    environments = site_environments(crystals, [surface for surface, _ in surfaces], sites[::-1])
    assert list(environments) == [site.id for site in sites[::-1]]
    for surface, found in surfaces:
        values = np.array([environments[site.id].geometry.values() for site in found])
        assert np.array_equal(values, described(surface.atoms, found))


def test_stretching_a_crystal_changes_the_geometry_and_nothing_else():
    environments = []
    for a in (3.6, 3.8):
        crystal = make_bulk(bulk("Cu", "fcc", a=a), "x")
        found = enumerate_surfaces(crystal, SurfaceSettings(miller_indices=((1, 1, 1),), max_atoms=100))
        sites = [site for surface in found for site in enumerate_sites(surface)]
        environments.append(list(site_environments([crystal], found, sites).values()))
    for tight, wide in zip(*environments, strict=True):
        assert tight.canonical() == wide.canonical()
        assert np.abs(tight.geometry.values() - wide.geometry.values()).max() > 0.1
