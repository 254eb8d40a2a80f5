from __future__ import annotations

import numpy as np
import pytest

from surrogate.elements import SYMBOLS, atomic_number, electronegativity, group_and_period, similarity


def test_symbols_are_those_of_ase():
    from ase.data import chemical_symbols

    assert list(SYMBOLS) == chemical_symbols[1:104]


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("H", (1, 1)),
        ("He", (18, 1)),
        ("Be", (2, 2)),
        ("Al", (13, 3)),
        ("Cu", (11, 4)),
        ("Pd", (10, 5)),
        ("Ce", (3, 6)),
        ("Hf", (4, 6)),
        ("Pt", (10, 6)),
        ("U", (3, 7)),
        ("Lr", (3, 7)),
    ],
)
def test_places_are_those_of_the_periodic_table(symbol, expected):
    assert group_and_period(atomic_number(symbol)) == expected


def test_every_element_has_a_finite_electronegativity():
    values = np.array([electronegativity(symbol) for symbol in SYMBOLS])
    assert np.all((values >= 0.7) & (values <= 3.98))


def test_unknown_symbol_is_named():
    with pytest.raises(ValueError, match="'Xx'"):
        atomic_number("Xx")


def test_similarity_is_a_correlation_in_which_chemists_would_recognise_families():
    matrix = similarity()
    assert np.allclose(np.diag(matrix), 1.0)
    assert np.linalg.eigvalsh(matrix).min() > 0.1

    def between(left, right):
        return matrix[atomic_number(left) - 1, atomic_number(right) - 1]

    assert between("Ni", "Pd") > between("Ni", "Al") > between("Pt", "K")
