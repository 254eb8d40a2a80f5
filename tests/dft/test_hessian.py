from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, fcc100, fcc111, molecule
from ase.constraints import FixAtoms
from ase.optimize import BFGS
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from dft.calculator import SYMMETRY_TOLERANCE_A
from dft.hessian import model_hessian, next_positions
from dft.jobs import CalculationKind
from dft.relaxation import relax

EV_PER_A2 = 1 / 16.0218
"""One N/m in eV/Å²."""


def hydrogen_in_a_hollow(metal: str = "Pd", a: float = 3.95) -> Atoms:
    slab = fcc100(metal, (2, 2, 3), a=a, vacuum=5.0)
    slab.pbc = (True, True, False)
    slab.set_constraint(FixAtoms(range(8)))
    add_adsorbate(slab, "H", 0.4, "hollow")
    return slab


def block(hessian: np.ndarray, i: int, j: int) -> np.ndarray:
    return hessian[3 * i : 3 * i + 3, 3 * j : 3 * j + 3]


def test_it_is_symmetric_and_positive_definite():
    hessian = model_hessian(hydrogen_in_a_hollow())
    assert np.allclose(hessian, hessian.T)
    assert np.linalg.eigvalsh(hessian).min() > 0.1


@settings(max_examples=25, deadline=None)
@given(
    shift=st.tuples(*[st.floats(-5, 5)] * 3),
    angle=st.floats(0, 360),
    seed=st.integers(0, 2**16),
)
def test_it_turns_with_the_structure_and_follows_the_order_of_its_atoms(shift, angle, seed):
    atoms = hydrogen_in_a_hollow()
    atoms.rattle(0.1, seed=seed)
    order = np.random.default_rng(seed).permutation(len(atoms))
    turn = Rotation.from_euler("zyx", [angle, angle / 2, 11.0], degrees=True).as_matrix()
    moved = atoms[order]
    moved.set_constraint()
    moved.set_cell(atoms.cell.array @ turn.T)
    moved.positions = moved.positions @ turn.T + shift
    moved.set_constraint(FixAtoms(np.flatnonzero(np.isin(order, range(8)))))
    before, after = model_hessian(atoms), model_hessian(moved)
    for i, k in enumerate(order):
        for j, m in enumerate(order):
            assert np.allclose(block(after, i, j), turn @ block(before, k, m) @ turn.T, atol=1e-8)


def test_equal_bonds_resist_equally():
    atoms = hydrogen_in_a_hollow()
    own = block(model_hessian(atoms), len(atoms) - 1, len(atoms) - 1)
    assert own[0, 0] == pytest.approx(own[1, 1], rel=1e-6)
    assert np.allclose(own - np.diag(np.diag(own)), 0.0, atol=1e-8)


def test_bonds_are_never_cut_off_so_sharply_that_noise_breaks_a_symmetry():
    # Al-Pd at every length there is, where a hard end of a bond would make a jump.
    changes = []
    for length in np.arange(2.0, 6.0, 0.01):
        pair = [Atoms("PdAl", [(0, 0, 0), (0, 0, x)]) for x in (length, length + SYMMETRY_TOLERANCE_A)]
        one, other = (model_hessian(atoms) for atoms in pair)
        changes.append(np.abs(one - other).max() / np.abs(one).max())
    assert max(changes) < 10 * SYMMETRY_TOLERANCE_A


def test_held_atoms_neither_move_nor_pull():
    atoms = hydrogen_in_a_hollow()
    hessian = model_hessian(atoms)
    held, free = slice(0, 24), slice(24, None)
    assert np.all(hessian[held, free] == 0)
    assert np.all(hessian[held, held] == np.diag(np.diag(hessian[held, held])))


@pytest.mark.parametrize(
    ("name", "newton_per_metre"),
    # K. P. Huber and G. Herzberg, Constants of Diatomic Molecules (1979): from the harmonic wave numbers.
    [("H2", 575.0), ("CO", 1902.0), ("N2", 2295.0)],
)
def test_molecules_stretch_about_as_hard_as_measured(name, newton_per_metre):
    atoms = molecule(name)
    stretch = -block(model_hessian(atoms), 0, 1)[2, 2]
    assert 0.4 < stretch / (newton_per_metre * EV_PER_A2) < 1.6


def rattled_slab() -> Atoms:
    slab = fcc111("Cu", (2, 1, 3), a=3.6, vacuum=5.0)
    slab.pbc = True
    slab.rattle(0.1, seed=3)
    slab.set_constraint(FixAtoms([0, 1]))
    add_adsorbate(slab, "O", 1.6, "fcc")
    return slab


def test_a_relaxation_takes_fewer_steps_than_from_a_uniform_guess(emt_recipe, tmp_path):
    from ase.calculators.emt import EMT

    recipe = emt_recipe.model_copy(update={"fmax_ev_per_a": 0.03})
    ours = relax(recipe, rattled_slab(), CalculationKind.ADSLAB, tmp_path)
    plain = rattled_slab()
    plain.calc = EMT()
    optimiser = BFGS(plain, logfile=None)
    assert optimiser.run(fmax=recipe.fmax_ev_per_a, steps=200)
    assert ours.energy_ev == pytest.approx(plain.get_potential_energy(), abs=0.005)
    assert ours.n_steps < 0.8 * optimiser.nsteps


# --- steps


def frame(atoms: Atoms, forces: np.ndarray) -> Atoms:
    from ase.calculators.singlepoint import SinglePointCalculator

    copy: Atoms = atoms.copy()
    copy.calc = SinglePointCalculator(copy, energy=0.0, forces=forces)
    return copy


def test_a_spring_that_has_been_seen_is_followed_to_its_end():
    # One atom on a spring of 5 eV/Å² along z, far from what the model thinks of it.
    slab = hydrogen_in_a_hollow()
    frames = []
    for height in (0.30, 0.25):
        atoms = slab.copy()
        atoms.set_constraint(FixAtoms(range(len(atoms) - 1)))
        atoms.positions[-1, 2] += height
        forces = np.zeros((len(atoms), 3))
        forces[-1, 2] = -5.0 * height
        frames.append(frame(atoms, forces))
    assert next_positions(frames, 1.0)[-1, 2] == pytest.approx(slab.positions[-1, 2], abs=1e-9)


def test_steps_go_downhill_even_where_the_energy_is_not_convex():
    atoms = hydrogen_in_a_hollow()
    forces = np.zeros((len(atoms), 3))
    forces[-1, 0] = 0.2
    further = atoms.copy()
    further.positions[-1, 0] += 0.1
    frames = [frame(atoms, forces), frame(further, 3 * forces)]  # the farther, the harder it is pushed on
    assert next_positions(frames)[-1, 0] > further.positions[-1, 0] + 0.01


def test_no_atom_moves_farther_than_allowed_and_held_ones_stay():
    atoms = hydrogen_in_a_hollow()
    forces = np.zeros((len(atoms), 3))
    forces[-1, 2] = 50.0
    moved = next_positions([frame(atoms, forces)], 0.05) - atoms.positions
    assert np.linalg.norm(moved, axis=1).max() == pytest.approx(0.05)
    assert np.all(moved[:8] == 0)
