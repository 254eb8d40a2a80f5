from __future__ import annotations

from ase.data import atomic_numbers

from dft.magnetism import initial_moments


def test_nonmagnetic_structures_get_no_moments():
    assert initial_moments([atomic_numbers[s] for s in ("Cu", "Pd", "H")]) is None


def test_every_magnetic_element_starts_with_a_moment_and_others_with_none():
    for symbol in ("Cr", "Mn", "Fe", "Co", "Ni"):
        moments = initial_moments([atomic_numbers[symbol], atomic_numbers["Cu"]])
        assert moments is not None
        assert moments[0] > 0.5
        assert moments[1] == 0.0
