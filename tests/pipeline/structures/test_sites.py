from collections import Counter

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from config.adsorbates import presets
from config.campaign import SurfaceSettings
from pipeline.structures.adsorbates import place, site_images
from pipeline.structures.bulks import make_bulk
from pipeline.structures.sites import enumerate_sites
from pipeline.structures.slabs import build_slab
from pipeline.structures.surfaces import enumerate_surfaces
from tests.pipeline.structures.crystals import LIBRARY, from_library, redescribed

LOW = SurfaceSettings(max_miller_index=1, max_atoms=1000)


def surface_of(mpid: str, miller: tuple[int, int, int], **options):
    chosen = SurfaceSettings(miller_indices=(miller,), max_atoms=1000, **options)
    return enumerate_surfaces(from_library(mpid), chosen)[0]


def described(sites):
    return sorted((s.id, s.label, s.kind, s.first_shell, s.second_shell, len(s.images)) for s in sites)


@pytest.mark.parametrize(
    ("mpid", "miller", "expected"),
    [
        # Standard high-symmetry sites of low-index faces, as in any surface-science text
        ("mp-30", (1, 1, 1), {"top": [1], "bridge": [2], "hollow": [3, 3]}),
        ("mp-134", (1, 1, 1), {"top": [1], "bridge": [2], "hollow": [3, 3]}),
        ("mp-30", (1, 0, 0), {"top": [1], "bridge": [2], "hollow": [4]}),
        ("mp-2", (1, 0, 0), {"top": [1], "bridge": [2], "hollow": [4]}),
        ("mp-30", (1, 1, 0), {"top": [1], "bridge": [2, 2], "hollow": [4]}),
        ("mp-13", (1, 1, 0), {"top": [1], "bridge": [2, 2], "hollow": [3]}),
        ("mp-13", (1, 0, 0), {"top": [1], "bridge": [2], "hollow": [4]}),
        ("mp-91", (1, 1, 0), {"top": [1], "bridge": [2, 2], "hollow": [3]}),
        ("mp-33", (0, 0, 1), {"top": [1], "bridge": [2], "hollow": [3, 3]}),
        ("mp-79", (0, 0, 1), {"top": [1], "bridge": [2], "hollow": [3, 3]}),
    ],
)
def test_sites_of_low_index_faces(mpid, miller, expected):
    sites = enumerate_sites(surface_of(mpid, miller))
    found: dict[str, list[int]] = {}
    for site in sites:
        found.setdefault(site.kind, []).append(sum(n for _, n in site.first_shell))
    assert found == expected


@pytest.mark.parametrize("a", [3.2, 3.6, 4.05, 5.0])
def test_sites_do_not_depend_on_the_lattice_constant(a):
    counts = Counter()
    for surface in enumerate_surfaces(make_bulk(bulk("Cu", "fcc", a=a), "x"), LOW):
        counts.update((surface.label, s.kind) for s in enumerate_sites(surface))
    assert counts == {
        ("Cu(100)", "top"): 1, ("Cu(100)", "bridge"): 1, ("Cu(100)", "hollow"): 1,
        ("Cu(110)", "top"): 1, ("Cu(110)", "bridge"): 2, ("Cu(110)", "hollow"): 1,
        ("Cu(111)", "top"): 1, ("Cu(111)", "bridge"): 1, ("Cu(111)", "hollow"): 2,
    }  # fmt: skip


def test_hollows_of_close_packed_faces_are_numbered_hcp_first():
    for mpid, miller in (("mp-30", (1, 1, 1)), ("mp-134", (1, 1, 1)), ("mp-33", (0, 0, 1))):
        surface = surface_of(mpid, miller)
        hcp, fcc = [s for s in enumerate_sites(surface) if s.kind == "hollow"]
        second = surface.atoms[surface.atoms.get_tags() == 2]
        scaled = second.cell.scaled_positions(second.positions)[0, :2]
        offset = np.array(hcp.images[0]) - scaled
        assert np.allclose(offset - np.round(offset), 0, atol=1e-3)
        assert hcp.label.endswith("#1")
        assert fcc.label.endswith("#2")


def test_shells_of_cu_111():
    """12-fold coordination: a top atom has 6 neighbours in its layer and 3 below."""
    sites = {s.label.removeprefix("Cu(111) "): s for s in enumerate_sites(surface_of("mp-30", (1, 1, 1)))}
    assert sites["top Cu"].second_shell == (("Cu", 9),)
    assert sites["bridge Cu2"].second_shell == (("Cu", 13),)
    assert len(sites["bridge Cu2"].images) == 3


def test_alloy_sites_name_their_atoms():
    sites = enumerate_sites(surface_of(LIBRARY["L1_2 Ni3Al"], (1, 1, 1)))
    shells = Counter((s.kind, s.first_shell) for s in sites)
    assert shells == {
        ("top", (("Al", 1),)): 1,
        ("top", (("Ni", 1),)): 1,
        ("bridge", (("Al", 1), ("Ni", 1))): 1,
        ("bridge", (("Ni", 2),)): 2,  # over an fcc pair of Al-free and Al-holding hollows
        ("hollow", (("Al", 1), ("Ni", 2))): 2,
        ("hollow", (("Ni", 3),)): 2,
    }


@pytest.mark.parametrize("mpid", LIBRARY.values(), ids=LIBRARY)
@settings(max_examples=3, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_sites_do_not_depend_on_the_description(mpid, seed):
    one = from_library(mpid)
    other = make_bulk(redescribed(one.atoms, seed), "other")
    expected = {s.id: described(enumerate_sites(s)) for s in enumerate_surfaces(one, LOW)}
    found = {s.id: described(enumerate_sites(s)) for s in enumerate_surfaces(other, LOW)}
    assert found == expected


@pytest.mark.parametrize("height", [2.0, 5.0, 14.0])
def test_site_ids_do_not_depend_on_the_slab_height(height):
    for mpid in (LIBRARY["fcc Cu"], LIBRARY["L1_2 Ni3Al"]):
        one = described(enumerate_sites(surface_of(mpid, (1, 1, 1))))
        assert described(enumerate_sites(surface_of(mpid, (1, 1, 1), min_height_a=height))) == one


def test_sites_survive_storage_of_their_surface():
    from dataclasses import replace

    from dft.jobs import AtomsRecord

    surface = surface_of(LIBRARY["L1_2 Ni3Al"], (1, 1, 0))
    stored = AtomsRecord.model_validate_json(AtomsRecord.from_atoms(surface.atoms).model_dump_json())
    assert enumerate_sites(replace(surface, atoms=stored.to_atoms())) == enumerate_sites(surface)


@pytest.mark.parametrize("name", ["fcc Cu", "bcc Fe", "hcp Ru", "B2 NiAl", "L1_2 Ni3Al"])
def test_flat_faces_obey_eulers_formula(name):
    """tops - bridges + hollows = 0 on a torus, copies counted (Morse theory)."""
    sign = {"top": 1, "bridge": -1, "hollow": 1}
    for surface in enumerate_surfaces(from_library(LIBRARY[name]), LOW):
        if surface.miller in {(1, 0, 0), (1, 1, 0), (0, 0, 1)} and name != "hcp Ru":
            assert sum(sign[s.kind] * len(s.images) for s in enumerate_sites(surface)) == 0


class TestPlace:
    @pytest.mark.parametrize("mpid", LIBRARY.values(), ids=LIBRARY)
    @pytest.mark.parametrize("adsorbate", ["CO", "H"])
    def test_binding_atom_touches_the_slab(self, mpid, adsorbate):
        from ase.data import atomic_numbers, covalent_radii

        symbol = presets()[adsorbate].symbols[0]
        for surface in enumerate_surfaces(from_library(mpid), LOW):
            slab = build_slab(surface, 1.01, LOW)
            for site in enumerate_sites(surface):
                covered = place(slab, surface, site, presets()[adsorbate], 1.01)
                n_slab = len(slab)
                distances = covered.get_distances(n_slab, range(n_slab), mic=True)
                ratios = distances / (covalent_radii[slab.numbers] + covalent_radii[atomic_numbers[symbol]])
                assert 0.99 < ratios.min() < 1.6, site.label

    def test_first_shell_atoms_are_the_nearest(self):
        surface = surface_of("mp-30", (1, 1, 1))
        slab = build_slab(surface, 1.0, LOW)
        for site in enumerate_sites(surface):
            covered = place(slab, surface, site, presets()["H"], 1.0)
            distances = np.sort(covered.get_distances(len(slab), range(len(slab)), mic=True))
            n = sum(count for _, count in site.first_shell)
            assert np.ptp(distances[:n]) < 0.01
            assert distances[n] > distances[0] + 0.3

    def test_adsorbate_is_last_upright_and_free(self):
        surface = surface_of("mp-30", (1, 1, 1))
        slab = build_slab(surface, 1.0, LOW)
        covered = place(slab, surface, enumerate_sites(surface)[0], presets()["CO"], 1.0)
        assert covered.get_chemical_symbols()[-2:] == ["C", "O"]
        assert list(covered.get_tags()[-2:]) == [0, 0]
        assert covered.positions[-1, 2] - covered.positions[-2, 2] == pytest.approx(1.16)
        assert np.allclose(covered.positions[-1, :2], covered.positions[-2, :2])
        assert list(covered.constraints[0].index) == list(slab.constraints[0].index)
        assert len(slab) == len(covered) - 2

    def test_every_image_is_an_equivalent_place(self):
        surface = surface_of(LIBRARY["L1_2 Ni3Al"], (1, 0, 0))
        slab = build_slab(surface, 1.02, LOW)
        sites = enumerate_sites(surface)
        images = site_images(surface, sites, slab)
        n_cells = (slab.get_tags() == 1).sum() // (surface.atoms.get_tags() == 1).sum()
        assert len(images) == n_cells * sum(len(s.images) for s in sites)
        assert len({(round(x, 4), round(y, 4)) for _, (x, y) in images}) == len(images)
        for site in sites:
            environments = set()
            for site_id, (x, y) in images:
                if site_id == site.id:
                    point = [*(np.array([x, y]) @ slab.cell.array[:2, :2]), slab.positions[:, 2].max() + 1.5]
                    probe = slab.copy()
                    probe.append("H")
                    probe.positions[-1] = point
                    distances = probe.get_distances(len(slab), range(len(slab)), mic=True)
                    environments.add(tuple(np.round(np.sort(distances)[:6], 2)))
            assert len(environments) == 1


def test_an_hcp_hollow_has_an_atom_straight_below_and_an_fcc_hollow_none():
    sites = enumerate_sites(surface_of("mp-30", (1, 1, 1)))
    assert [s.beneath for s in sites if s.kind == "hollow"] == [(("Cu", 1),), ()]
    assert [s.beneath for s in sites if s.kind != "hollow"] == [(), ()]
    (fourfold,) = [s for s in enumerate_sites(surface_of("mp-30", (1, 0, 0))) if s.kind == "hollow"]
    assert fourfold.beneath == (("Cu", 1),)


@pytest.mark.parametrize(("miller", "coordination"), [((1, 1, 1), 9), ((1, 0, 0), 8)])
def test_every_atom_of_the_first_shell_is_told_with_its_own_neighbours(miller, coordination):
    # Coordination of surface atoms of fcc, as in any surface-science text
    for site in enumerate_sites(surface_of("mp-30", miller)):
        assert sum(n for _, n in site.first_shell) == len(site.neighbours)
        assert set(site.neighbours) == {("Cu", (("Cu", coordination),))}
