from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from surrogate.element_properties import element_property
from surrogate.elements import atomic_number
from surrogate.features import SiteFeatures
from surrogate.geometry import (
    COLUMNS,
    DECIMALS,
    PROBE_A,
    REACH_A,
    SHELL_WIDTH_A,
    SHELLS_A,
    site_geometries,
    touching_heights,
)
from surrogate.models import AdsorptionSurrogate
from surrogate.sites import SiteEnvironment, SiteGeometry
from tests.surrogate.worlds import law, random_environments

COPPER = atomic_number("Cu")


def values_of(positions, symbols, radii=1.3):
    numbers = np.array([atomic_number(symbol) for symbol in symbols])
    (found,) = site_geometries(np.zeros((1, 2)), np.array(positions), numbers, np.full(len(numbers), radii))
    return dict(zip(COLUMNS, found.values(), strict=True))


def test_the_probe_rests_on_the_atom_that_it_meets_first():
    positions = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 1.0]])
    heights = touching_heights(np.array([[0.0, 0.0], [3.0, 0.0], [1.5, 0.0]]), positions, np.full(2, 1.3))
    assert heights == pytest.approx([1.3 + PROBE_A, 2.3 + PROBE_A, 1.0 + (4.0 - 2.25) ** 0.5])


def test_over_a_hole_the_probe_rests_between_the_atoms_at_its_rim():
    rim = np.array([[3.0, 0.0, 1.0], [-3.0, 0.0, 1.0], [0.0, 4.0, 2.0]])
    assert touching_heights(np.zeros((1, 2)), rim, np.full(3, 1.3)) == pytest.approx([1.0])


def test_one_atom_counts_in_the_shell_that_it_lies_in():
    # The probe's centre is 2 Å over the atom.
    found = values_of([[0.0, 0.0, 0.0]], ["Cu"])
    fading = (1.0 - (2.0 / REACH_A) ** 2) ** 2
    assert found["shell_2.0_atoms"] == pytest.approx(fading, abs=10.0**-DECIMALS)
    beside = np.exp(-0.5 * (0.5 / SHELL_WIDTH_A) ** 2) * fading
    assert found["shell_2.5_atoms"] == pytest.approx(beside, abs=10.0**-DECIMALS)
    table = element_property("electronegativity")
    standardised = (table[COPPER - 1] - table.mean()) / table.std()
    expected = standardised * fading
    assert found["shell_2.0_electronegativity"] == pytest.approx(expected, abs=10.0**-DECIMALS)


def test_the_element_below_counts_only_in_weighted_sums():
    under_copper, under_platinum = (
        values_of([[0.0, 0.0, 0.0], [0.0, 0.0, -2.5]], ["Cu", below]) for below in ("Cu", "Pt")
    )
    for name in COLUMNS:
        if name.endswith("atoms"):
            assert under_copper[name] == under_platinum[name]
    assert under_copper["shell_4.5_cohesive_energy"] < under_platinum["shell_4.5_cohesive_energy"] - 0.1


def test_numbers_survive_packing():
    values = np.linspace(-1.0, 1.0, len(COLUMNS), dtype=np.float32)
    assert np.array_equal(SiteGeometry.of(values).values(), values)
    assert SiteGeometry.of(values) == SiteGeometry.of(values.astype(float))


def test_what_is_known_stands_beside_what_is_not():
    values = np.arange(len(COLUMNS), dtype=np.float32)
    shells = ((("Cu", 1),), (("Cu", 9),))
    sites = [SiteEnvironment(*shells), SiteEnvironment(*shells, geometry=SiteGeometry.of(values))]
    features = SiteFeatures(["geometry"])
    matrix = features.transform(sites)
    assert np.isnan(matrix[0]).all()
    assert np.array_equal(matrix[1], values)
    assert features.get_feature_names_out() == list(COLUMNS)
    assert len(COLUMNS) % len(SHELLS_A) == 0


def test_sites_that_differ_in_geometry_alone_are_told_apart():
    """Energies that rest on a distance can only be learned if equal shells are not taken for equal sites."""
    rng = np.random.default_rng(0)
    heights = rng.uniform(-1.0, 1.0, 80)
    plain = random_environments(80)
    sites = [
        SiteEnvironment(e.first_shell, e.second_shell, geometry=SiteGeometry.of(np.full(len(COLUMNS), h)))
        for e, h in zip(plain, heights, strict=True)
    ]
    energies = law(plain) + 0.3 * heights
    surrogate = AdsorptionSurrogate("CO", "neural_network").fit(sites, energies, [str(i) for i in range(80)])
    low, high = (
        SiteEnvironment((("Cu", 3),), (("Cu", 9),), geometry=SiteGeometry.of(np.full(len(COLUMNS), h)))
        for h in (-0.8, 0.8)
    )
    mean, _ = surrogate.predict([low, high])
    assert mean[1] - mean[0] > 0.2


def test_geometry_that_few_observations_have_sways_no_prediction():
    plain = random_environments(60)
    values = np.linspace(0.0, 1.0, len(COLUMNS))
    sites = [replace(e, geometry=SiteGeometry.of(i * values)) for i, e in enumerate(plain[:5])] + plain[5:]
    surrogate = AdsorptionSurrogate("CO", "neural_network").fit(sites, law(plain))
    with_geometry = [replace(e, geometry=SiteGeometry.of(values)) for e in plain]
    assert np.array_equal(surrogate.predict(with_geometry)[0], surrogate.predict(plain)[0])
