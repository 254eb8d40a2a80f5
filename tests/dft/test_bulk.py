from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.filters import StrainFilter
from ase.optimize import BFGS

from config.recipe import RecipeSettings
from dft.bulk import MAX_SHIFTS, equation_of_state, find_minimum, primitive_cell, strain_scale
from dft.codes import CalculationFailedError, FailureCode


def test_lattice_constant_is_where_the_stress_vanishes(emt_recipe, tmp_path):
    found = equation_of_state(emt_recipe, bulk("Cu", a=3.7), tmp_path)
    relaxed = bulk("Cu", a=3.7)
    relaxed.calc = EMT()
    BFGS(StrainFilter(relaxed), logfile=None).run(fmax=1e-4)
    assert found.linear_scale * 3.7 == pytest.approx(relaxed.cell.lengths()[0] * np.sqrt(2), abs=0.003)
    assert found.energy_ev == pytest.approx(relaxed.get_potential_energy(), abs=1e-3)
    assert found.magnetic_moment is None


def test_result_does_not_depend_on_the_choice_of_cell(emt_recipe, tmp_path):
    primitive, conventional = bulk("Pd", a=3.9), bulk("Pd", a=3.9, cubic=True)
    one = equation_of_state(emt_recipe, primitive, tmp_path)
    four = equation_of_state(emt_recipe, conventional, tmp_path)
    assert four.linear_scale == pytest.approx(one.linear_scale, abs=1e-9)
    assert four.energy_ev == pytest.approx(4 * one.energy_ev, abs=1e-6)
    assert np.allclose(four.volumes, 4 * np.array(one.volumes))


@pytest.mark.parametrize("a", [3.4, 3.85])
def test_a_distant_minimum_is_found_by_moving_the_window(emt_recipe, tmp_path, a):
    # EMT's copper has 3.59 Å, outside ±4 % of both.
    found = equation_of_state(emt_recipe, bulk("Cu", a=a), tmp_path)
    assert found.linear_scale * a == pytest.approx(3.59, abs=0.01)
    assert found.n_volumes > emt_recipe.eos_points


def test_a_minimum_out_of_reach_fails_with_its_code(emt_recipe, tmp_path):
    with pytest.raises(CalculationFailedError) as caught:
        equation_of_state(emt_recipe, bulk("Cu", a=4.6), tmp_path)
    assert caught.value.code is FailureCode.EOS_NOT_BRACKETED


def test_an_energy_without_minimum_stops_after_the_allowed_moves():
    asked = set()

    def falling(index):
        asked.add(index)
        return 10.0 + index, -float(index)

    with pytest.raises(CalculationFailedError):
        find_minimum(5, falling)
    assert len(asked) <= 5 + 2 * MAX_SHIFTS


def test_window_spans_the_strain_of_the_recipe():
    recipe = RecipeSettings(eos_points=5, eos_strain=0.04)
    scales = [strain_scale(recipe, i) for i in range(5)]
    assert scales == pytest.approx([0.96, 0.98, 1.0, 1.02, 1.04])


def test_primitive_cell_keeps_the_volume_per_atom():
    cell = primitive_cell(bulk("NaCl", "rocksalt", a=5.6, cubic=True))
    assert len(cell) == 2
    assert cell.get_volume() == pytest.approx(5.6**3 / 4)


@pytest.mark.gpaw
def test_gpaw_finds_the_lattice_constant_of_aluminium(tmp_path, aluminium):
    recipe = RecipeSettings(xc="PBE", cutoff_ev=250.0, bulk_kpoint_density=2.6, smearing_ev=0.2, eos_points=5)
    found = equation_of_state(recipe, aluminium, tmp_path)
    # PBE: 4.04 Å and 78 GPa (Haas, Tran and Blaha, Phys. Rev. B 79 (2009) 085104); few k-points here.
    assert found.linear_scale * 4.05 == pytest.approx(4.04, abs=0.04)
    assert found.bulk_modulus_gpa == pytest.approx(78, abs=12)
