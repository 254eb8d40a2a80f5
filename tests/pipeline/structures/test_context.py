import numpy as np
import pytest
from ase.build import bulk, make_supercell
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.structures.context import bulk_context
from pipeline.structures.library import library_bulk


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
