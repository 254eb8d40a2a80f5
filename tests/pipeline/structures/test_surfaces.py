import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.campaign import SurfaceSettings
from pipeline.structures.bulks import make_bulk
from pipeline.structures.crystal import symmetry
from pipeline.structures.slabs import build_slab
from pipeline.structures.surfaces import distinct_facets, enumerate_surfaces
from tests.pipeline.structures.crystals import LIBRARY, from_library, redescribed

LOW = SurfaceSettings(max_miller_index=1, max_atoms=1000)


def facets(name: str, **options) -> list[tuple[int, int, int]]:
    group = symmetry(from_library(LIBRARY[name]).atoms)
    return list(distinct_facets(group, SurfaceSettings(**options)))


class TestFacets:
    def test_cubic(self):
        low = [(1, 0, 0), (1, 1, 0), (1, 1, 1)]
        assert facets("fcc Cu", max_miller_index=1) == low
        assert facets("fcc Cu") == [*low, (2, 1, 0), (2, 1, 1), (2, 2, 1)]
        # (310), (311), (320), (321), (322), (331), (332) come with index 3
        assert len(facets("fcc Cu", max_miller_index=3)) == 13

    def test_hexagonal_basal_and_prism_differ(self):
        found = facets("hcp Ru", max_miller_index=1)
        assert found == [(0, 0, 1), (1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1)]

    def test_listed_facets_are_matched_up_to_symmetry_and_multiples(self):
        listed = ((0, 0, -1), (2, 2, 2), (-1, 1, 1), (1, 2, 0))
        assert facets("fcc Cu", miller_indices=listed) == [(1, 0, 0), (1, 1, 1), (2, 1, 0)]

    def test_polar_crystal_has_two_sides(self):
        from ase.build import bulk

        group = symmetry(make_bulk(bulk("GaSb", "zincblende", a=6.1), "x").atoms)
        found = distinct_facets(group, SurfaceSettings(max_miller_index=1))
        assert found[1, 1, 1] == {"top": (1, 1, 1), "bottom": (-1, -1, -1)}
        assert set(found[1, 0, 0]) == {"top"}


class TestTerminations:
    @pytest.mark.parametrize(
        ("name", "n_terminations"),
        [
            # Terminations per facet by inspection of the layer sequences
            ("fcc Cu", {(1, 0, 0): 1, (1, 1, 0): 1, (1, 1, 1): 1}),
            ("bcc Fe", {(1, 0, 0): 1, (1, 1, 0): 1, (1, 1, 1): 1}),
            ("B2 NiAl", {(1, 0, 0): 2, (1, 1, 0): 1, (1, 1, 1): 2}),
            ("L1_2 Ni3Al", {(1, 0, 0): 2, (1, 1, 0): 2, (1, 1, 1): 1}),
            ("hcp Ru", {(0, 0, 1): 1, (1, 0, 0): 2, (1, 0, 1): 2, (1, 1, 0): 1, (1, 1, 1): 1}),
        ],
    )
    def test_of_prototypes(self, name, n_terminations):
        surfaces = enumerate_surfaces(from_library(LIBRARY[name]), LOW)
        counted = {miller: sum(s.miller == miller for s in surfaces) for miller in n_terminations}
        assert counted == n_terminations
        assert len(surfaces) == sum(n_terminations.values())

    @pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")
    @pytest.mark.parametrize("name", ["fcc Cu", "bcc Fe", "hcp Ru", "B2 NiAl", "L1_2 Ni3Al"])
    def test_agree_with_pymatgen(self, name):
        """Pymatgen matches structures of slabs; here planes are grouped by symmetry: same surfaces.

        Its slabs are stoichiometric, so that both ends of one slab may be surfaces here.
        """
        from pymatgen.core.surface import generate_all_slabs
        from pymatgen.io.ase import AseAtomsAdaptor

        bulk = from_library(LIBRARY[name])
        structure = AseAtomsAdaptor.get_structure(bulk.atoms)
        slabs = generate_all_slabs(structure, 1, 8.0, 10.0, symmetrize=False)
        ends = {
            (tuple(sorted(map(abs, slab.miller_index))), frozenset(elements))
            for slab in slabs
            for elements in _ends(slab)
        }
        surfaces = enumerate_surfaces(bulk, LOW)
        tops = {
            (
                tuple(sorted(map(abs, s.miller))),
                frozenset(s.atoms[s.atoms.get_tags() == 1].get_chemical_symbols()),
            )
            for s in surfaces
        }
        assert tops == ends
        if bulk.is_element:
            assert len(surfaces) == len(slabs)

    def test_labels_are_unique_and_say_what_is_on_top(self):
        surfaces = enumerate_surfaces(from_library(LIBRARY["B2 NiAl"]), LOW)
        labels = [s.label for s in surfaces]
        assert labels == [
            "AlNi(100) Al-terminated",
            "AlNi(100) Ni-terminated",
            "AlNi(110)",
            "AlNi(111) Al-terminated",
            "AlNi(111) Ni-terminated",
        ]
        for surface in surfaces:
            tops = set(surface.atoms[surface.atoms.get_tags() == 1].get_chemical_symbols())
            named = surface.label.removesuffix("-terminated").split()[1:]
            assert not named or tops == set(named)


def _ends(slab):
    """Elements of the outermost planes of a pymatgen slab."""
    heights = slab.cart_coords @ slab.normal
    for extreme in (heights.max(), heights.min()):
        yield {site.specie.symbol for site, h in zip(slab, heights, strict=True) if abs(h - extreme) < 0.1}


@pytest.mark.parametrize("mpid", LIBRARY.values(), ids=LIBRARY)
@settings(max_examples=4, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_ids_and_labels_do_not_depend_on_the_description(mpid, seed):
    bulk = from_library(mpid)
    other = make_bulk(redescribed(bulk.atoms, seed), "other")
    expected = {s.id: (s.label, s.side, s.miller) for s in enumerate_surfaces(bulk, LOW)}
    found = {s.id: (s.label, s.side, s.miller) for s in enumerate_surfaces(other, LOW)}
    assert found == expected


def test_ids_do_not_depend_on_slab_settings():
    bulk = from_library(LIBRARY["L1_2 Ni3Al"])
    changed = LOW.model_copy(update={"min_height_a": 14.0, "min_lateral_a": 2.0, "vacuum_a": 5.0})
    assert [s.id for s in enumerate_surfaces(bulk, LOW)] == [s.id for s in enumerate_surfaces(bulk, changed)]


def test_ids_are_unique_over_the_sample():
    ids = [s.id for mpid in LIBRARY.values() for s in enumerate_surfaces(from_library(mpid), LOW)]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("mpid", LIBRARY.values(), ids=LIBRARY)
def test_surface_is_a_piece_of_the_bulk(mpid):
    """In the middle of a slab every atom sees the bulk's neighbours."""
    import vesin

    bulk = from_library(mpid)
    first, distances = vesin.ase_neighbor_list("id", bulk.atoms, 3.5)
    known = {tuple(np.round(np.sort(distances[first == i]), 4)) for i in range(len(bulk.atoms))}
    settings = LOW.model_copy(update={"min_height_a": 12.0})
    for surface in enumerate_surfaces(bulk, settings):
        atoms = surface.atoms
        first, distances = vesin.ase_neighbor_list("id", atoms, 3.5)
        heights = atoms.positions[:, 2]
        for i in np.flatnonzero((heights > 3.51) & (heights < heights.max() - 3.51)):
            shells = np.sort(distances[first == i])
            assert any(len(k) == len(shells) and np.allclose(k, shells, atol=1e-3) for k in known)


@pytest.mark.parametrize("mpid", LIBRARY.values(), ids=LIBRARY)
def test_surface_cell_is_primitive_upright_and_reduced(mpid):
    bulk = from_library(mpid)
    volume_per_atom = bulk.atoms.cell.volume / len(bulk.atoms)
    for surface in enumerate_surfaces(bulk, LOW):
        a, b, c = surface.atoms.cell.array
        assert np.allclose([a[1], a[2], b[2], c[0], c[1]], 0.0)
        assert a[0] > 0
        assert b[1] > 0
        assert np.linalg.norm(a) <= np.linalg.norm(b) + 1e-3
        assert 59.9 < surface.atoms.cell.angles()[2] < 120.1
        tags, heights = surface.atoms.get_tags(), surface.atoms.positions[:, 2]
        tops = [heights[tags == t].max() for t in range(1, tags.max() + 1)]
        assert tops == sorted(tops, reverse=True)
        layer = surface.atoms[tags == 1]
        assert len(layer) * volume_per_atom < a[0] * b[1] * heights.max()


def test_max_atoms_leaves_out_large_slabs():
    bulk = from_library(LIBRARY["L1_2 Ni3Al"])
    chosen = SurfaceSettings(max_miller_index=2, max_atoms=30)
    small = enumerate_surfaces(bulk, chosen)
    assert small
    assert all(len(build_slab(s, 1.0, chosen)) <= 30 for s in small)
    every = enumerate_surfaces(bulk, SurfaceSettings(max_miller_index=2, max_atoms=1000))
    left_out = [s for s in every if s.id not in {t.id for t in small}]
    assert all(len(build_slab(s, 1.0, chosen)) > 30 for s in left_out)
    assert left_out
