import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from config.campaign import SurfaceSettings
from dft.jobs import CalculationKind
from pipeline.structures.crystal import standardize, symmetry
from pipeline.structures.ids import bulk_id, calculation_id
from pipeline.structures.library import library, library_bulk
from tests.pipeline.structures.crystals import LIBRARY, redescribed

SAMPLE = [*LIBRARY.values(), *np.random.default_rng(7).choice(sorted(library()), 12)]


@pytest.mark.parametrize("mpid", SAMPLE)
@settings(max_examples=6, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_bulk_id_does_not_depend_on_the_description(mpid, seed):
    atoms = library_bulk(str(mpid)).atoms()
    assert bulk_id(redescribed(atoms, seed)) == bulk_id(atoms)


def test_bulk_id_tells_phases_and_lattices_apart():
    crystals = [
        bulk("Cu", "fcc", a=3.6),
        bulk("Cu", "fcc", a=3.7),
        bulk("Cu", "bcc", a=2.87),
        bulk("Cu", "hcp", a=2.55, c=4.16),
        bulk("Pd", "fcc", a=3.6),
        bulk("CuPd", "cesiumchloride", a=3.0),
        Atoms("CuPd", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[2.7, 2.7, 3.7], pbc=True),
    ]
    assert len({bulk_id(c) for c in crystals}) == len(crystals)


@pytest.mark.parametrize("a", [3.52, 3.6, 3.61, 3.615, 3.89, 3.9, 3.92, 3.95, 4.0, 4.05, 4.08, 4.09, 4.1])
def test_tidy_lattice_constants_do_not_lie_on_a_grid_line(a):
    ids = {bulk_id(bulk("Cu", "fcc", a=a + noise)) for noise in (-2e-4, 0.0, 2e-4)}
    assert len(ids) == 1


def test_mirror_images_are_one_crystal():
    # beta-Mn prototype: space group P4_132, its mirror image P4_332
    mn = library_bulk("mp-542909").atoms()
    mirrored = mn.copy()
    mirrored.set_scaled_positions(-mn.get_scaled_positions())
    assert bulk_id(mirrored) == bulk_id(mn)


def test_polar_crystal_has_one_orientation():
    # Zincblende, turned upside down by swapping the roles of +z and -z.
    crystal = bulk("GaSb", "zincblende", a=6.1)
    turned = crystal.copy()
    turned.set_scaled_positions(-crystal.get_scaled_positions())
    one, other = standardize(crystal), standardize(turned)
    vectors = [{tuple(np.round(v, 3)) for v in _bonds(atoms)} for atoms in (one, other)]
    assert vectors[0] == vectors[1]


def _bonds(atoms):
    import vesin

    first, vectors = vesin.ase_neighbor_list("iD", atoms, 2.8)
    return vectors[atoms.numbers[first] == 31]


def test_space_groups_of_prototypes():
    # Textbook: fcc 225, bcc 229, hcp 194, B2 221, L1_2 221, L1_0 123
    found = {name: symmetry(standardize(library_bulk(mpid).atoms())).number for name, mpid in LIBRARY.items()}
    assert found["fcc Cu"] == 225
    assert found["bcc Fe"] == 229
    assert found["hcp Ru"] == 194
    assert found["B2 NiAl"] == 221
    assert found["L1_2 Ni3Al"] == 221


class TestCalculationId:
    surfaces = SurfaceSettings()

    def adslab(self, **changes):
        given = {"recipe_digest": "r", "surfaces": self.surfaces, **changes}
        return calculation_id(CalculationKind.ADSLAB, "surf-1", "site-1", "H", **given)

    def test_depends_on_what_changes_the_energy(self):
        ids = [
            self.adslab(),
            self.adslab(recipe_digest="s"),
            self.adslab(surfaces=SurfaceSettings(min_height_a=8.0)),
            self.adslab(surfaces=SurfaceSettings(vacuum_a=8.0)),
            self.adslab(surfaces=SurfaceSettings(min_lateral_a=8.0)),
            self.adslab(surfaces=SurfaceSettings(free_depth_a=8.0)),
            calculation_id(CalculationKind.SLAB, "surf-1", recipe_digest="r", surfaces=self.surfaces),
            calculation_id(CalculationKind.BULK, "bulk-1", recipe_digest="r"),
            calculation_id(CalculationKind.GAS, "H2", recipe_digest="r"),
        ]
        assert len(set(ids)) == len(ids)
        assert all(i.startswith("calc-") and len(i) == 17 for i in ids)

    def test_does_not_depend_on_what_only_selects_surfaces(self):
        assert self.adslab(surfaces=SurfaceSettings(max_miller_index=1, max_atoms=7)) == self.adslab()

    def test_refuses_arguments_of_another_kind(self):
        with pytest.raises(ValueError, match="keyed by molecule"):
            calculation_id(CalculationKind.GAS, "H2", recipe_digest="r", surfaces=self.surfaces)
        with pytest.raises(ValueError, match="surface id, site id, adsorbate"):
            calculation_id(CalculationKind.ADSLAB, "surf-1", recipe_digest="r", surfaces=self.surfaces)
