import pytest

from surrogate.words import in_words


@pytest.mark.parametrize(
    ("name", "unit", "said"),
    [
        ("first_mean_electronegativity", "", "mean electronegativity of the first shell"),
        ("second_std_work_function", "eV", "spread of work function over the second shell / eV"),
        ("first_atoms", "", "atoms in the first shell"),
        ("strong_coordination", "", "coordination of the most cohesive binding atom"),
        ("weak_neighbours_column", "", "column of the neighbours of the least cohesive binding atom"),
        ("coordination_min", "", "least coordination of a binding atom"),
        ("miller_least", "", "miller least"),
    ],
)
def test_a_feature_is_told_in_the_fields_words(name, unit, said):
    assert in_words(name, unit) == said
