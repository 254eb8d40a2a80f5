import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fragments import debye_temperature
from config.errors import StructureError
from pipeline.structures.library import library_bulk
from surrogate.connectivity import crystal_connections
from surrogate.fragment_properties import PROPERTIES, element_properties
from surrogate.fragments import (
    crystal_descriptors,
    descriptor_names,
    path_counts,
    site_descriptor_names,
    site_descriptors,
)
from tests.pipeline.structures.crystals import LIBRARY, redescribed

NOISE_A = 1e-6
TOLERANCE = 1e-4


def described(atoms):
    return dict(zip(descriptor_names(), crystal_descriptors([atoms])[0], strict=True))


def property_of(symbol, name):
    return element_properties()[Atoms(symbol).numbers[0] - 1, PROPERTIES.index(name)]


def test_every_descriptor_has_a_name_of_its_own():
    assert len(set(descriptor_names())) == crystal_descriptors([bulk("Cu")]).shape[1]
    assert len(set(site_descriptor_names())) == len(site_descriptor_names())


@settings(max_examples=25, deadline=None)
@given(mpid=st.sampled_from(sorted(LIBRARY.values())), seed=st.integers(0, 2**32 - 1))
def test_a_crystal_is_described_the_same_whatever_the_cell(mpid, seed):
    atoms = library_bulk(mpid).atoms()
    expected = crystal_descriptors([atoms])[0]
    found = crystal_descriptors([redescribed(atoms, seed, NOISE_A)])[0]
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_another_crystal_is_described_differently():
    cu3au, cuau = (library_bulk(mpid).atoms() for mpid in ("mp-2258", "mp-522"))
    assert not np.allclose(*crystal_descriptors([cu3au, cuau]), equal_nan=True)


def test_caesium_chloride_is_described_as_worked_out_by_hand():
    a = 2.9
    found = described(bulk("NiTi", "cesiumchloride", a=a))
    x = "electronegativity"
    ni, ti = property_of("Ni", x), property_of("Ti", x)
    # Eight unlike neighbours at a 3^(1/2) / 2. Like ones at a: Ti are within the radii of Ti, Ni are not.
    unlike, like = 8, 6
    mean_difference = 2 * unlike * abs(ni - ti) / (2 * unlike + like)
    assert found[f"paths: {x}: difference along 1"] == pytest.approx(mean_difference)
    transfer = unlike * abs(ni - ti) / (0.75 * a**2)
    assert found[f"shells: {x}: transfer, mean"] == pytest.approx(transfer)
    around_ti = (unlike * ni + like * ti) / (unlike + like)
    excess = np.array([ni - ti, ti - around_ti])
    assert found[f"shells: {x}: excess over neighbours, spread"] == pytest.approx(excess.std())
    assert found["geometry: coordination number: least"] == unlike
    assert found["geometry: coordination number: greatest"] == unlike + like
    assert found[f"composition: {x}: mean"] == pytest.approx((ni + ti) / 2)
    assert found["lattice: volume per atom"] == pytest.approx(a**3 / 2)
    assert found["lattice: space group"] == 221


def test_paths_are_those_found_by_walking():
    """Walk from every atom to the copies of its neighbours, and never straight back."""
    atoms = library_bulk("mp-2593").atoms()
    found = crystal_connections(atoms.numbers.astype(np.int64), atoms.cell.array, atoms.positions)
    n = len(atoms)
    counts = path_counts(found.first, found.second, n)
    ends = [[] for _ in range(n)]
    for i, j in zip(found.first, found.second, strict=True):
        ends[i].append(j)
    walks = {(i, j) for i in range(n) for j in range(n)}
    two = dict.fromkeys(walks, 0)
    for i in range(n):
        for k in ends[i]:
            for j in ends[k]:
                two[i, j] += 1
        two[i, i] -= len(ends[i])  # straight back
    assert {pair: counts[1][pair] for pair in walks} == two
    np.testing.assert_allclose(counts[2].sum(axis=1), 12 * 11 * 11)


def test_an_element_without_properties_is_refused_by_name():
    with pytest.raises(StructureError, match="no properties are tabulated of Am"):
        crystal_descriptors([bulk("Am", "fcc", a=4.9)])


def slab_and_site(seed=None):
    """Give a stepped CuPd slab and a place on it, in another description if a seed is given."""
    base = Atoms(
        "CuPdCuPdPd",
        positions=[[0, 0, 0], [1.9, 1.9, 0.1], [1.9, 0, 1.9], [0, 1.9, 1.8], [0.1, 0.2, 3.7]],
        cell=[3.8, 3.8, 15.0],
        pbc=(True, True, False),
    )
    site = np.array([1.0, 1.2, 5.0])
    if seed is None:
        return base, site
    rng = np.random.default_rng(seed)
    atoms = base.repeat((int(rng.integers(1, 3)), int(rng.integers(1, 3)), 1))
    shear = np.eye(3)
    shear[0, 1] = rng.integers(-1, 2)
    atoms.set_cell(shear @ atoms.cell.array)  # another basis of the same lattice
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    if rng.random() < 0.5:
        turn = turn @ np.diag([1.0, -1.0, 1.0])
    shift = rng.normal(size=3) * 4
    atoms.set_cell(atoms.cell.array @ turn.T)
    atoms.positions = atoms.positions @ turn.T + shift
    across = rng.integers(-2, 3, size=2) @ base.cell.array[:2]
    return atoms[rng.permutation(len(atoms))], (site + across) @ turn.T + shift


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_site_is_described_the_same_whatever_the_cell_of_its_surface(seed):
    expected = site_descriptors(*slab_and_site())
    found = site_descriptors(*slab_and_site(seed))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_the_height_given_for_a_site_does_not_matter_and_its_place_does():
    surface, site = slab_and_site()
    expected = site_descriptors(surface, site)
    np.testing.assert_allclose(site_descriptors(surface, [site[0], site[1], -1.0]), expected)
    assert not np.allclose(site_descriptors(surface, [site[0] + 1.0, site[1], 0.0]), expected, equal_nan=True)


def test_the_benchmark_prints_its_figures_and_what_it_lacks():
    script = Path(__file__).parents[2] / "benchmarks" / "fragments.py"
    arguments = ["--sets", "formation_energy,bulk_modulus", "--limit", "80"]
    done = subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "bulk_modulus: left out, as --data holds no elastic_tensor.csv" in done.stderr
    (name, found), *others = json.loads(done.stdout.splitlines()[-1])["results"].items()
    assert (name, found["n"], others) == ("formation_energy", 80, [])
    assert found["mae_ratio"] == pytest.approx(found["mae"] / found["mae_composition"])


def test_copper_has_its_debye_temperature():
    """From moduli of 140 and 48 GPa; Kittel, Introduction to Solid State Physics, has 343 K."""
    assert debye_temperature(bulk("Cu", a=3.61), 140.0, 48.0) == pytest.approx(343, rel=0.04)
