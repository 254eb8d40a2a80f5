"""Energies of a pretrained potential: where the adsorbate sits, what is no adsorption energy, real ones."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.build import add_adsorbate, fcc111
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from benchmarks.literature_values import SOURCES
from dft import pretrained
from dft.start import seated

if TYPE_CHECKING:
    from ase import Atoms

needs_the_extra = pytest.mark.skipif(
    find_spec("diep") is None or find_spec("torch") is None, reason="the extra 'mlip' is not installed"
)


def covered(
    metal: str, adsorbate: str = "H", height: float = 1.0, a: float | None = None
) -> tuple[Atoms, Atoms]:
    """Slab and adslab as the pipeline makes them: tags 1 and more for the slab, 0 for the adsorbate."""
    slab = fcc111(metal, (2, 2, 3), a=a, vacuum=6.0)
    adslab = slab.copy()
    add_adsorbate(adslab, adsorbate, height, "fcc")
    tags = adslab.get_tags()
    tags[len(slab) :] = 0
    adslab.set_tags(tags)
    return slab, adslab


def test_the_energy_is_that_of_the_seated_adsorbate_less_slab_and_reference() -> None:
    slab, adslab = covered("Cu")
    bare = pretrained.energy(slab, EMT())
    by_hand = pretrained.energy(seated(adslab), EMT()) - bare - 1.0
    assert pretrained.adsorption_energy(adslab, EMT(), bare, 1.0) == pytest.approx(by_hand)


def test_where_no_bond_length_is_known_the_adsorbate_is_relaxed_and_the_slab_is_not() -> None:
    slab, adslab = covered("Cu", "N", height=2.0)
    before = adslab.positions.copy()
    settled = pretrained._settled(adslab, EMT())
    assert np.array_equal(settled.positions[: len(slab)], before[: len(slab)])
    assert settled.get_potential_energy() < pretrained.energy(adslab, EMT()) - 0.1
    assert np.array_equal(adslab.positions, before)


def test_what_is_far_from_any_adsorption_energy_is_none() -> None:
    slab, adslab = covered("Cu")
    bare = pretrained.energy(slab, EMT())
    assert pretrained.adsorption_energy(adslab, EMT(), bare, -100.0) is None


def test_elements_that_a_potential_does_not_know_are_told() -> None:
    calculator = LennardJones()
    assert pretrained.unknown_elements(calculator, ["Cu", "Po"]) == []
    calculator.element_types = ("H", "Cu")
    assert pretrained.unknown_elements(calculator, ["Po", "Cu", "Fr"]) == ["Fr", "Po"]


def test_a_reference_is_the_sum_of_its_molecules() -> None:
    assert pretrained.reference_energy({"CH4": 1.0, "H2": -0.5}, {"CH4": -24.0, "H2": -7.0}) == -20.5


@needs_the_extra
@pytest.mark.filterwarnings("ignore")
def test_hydrogen_on_close_packed_metals_ranks_as_published() -> None:
    """Lattice constants in Å: of the built-in library (RPBE), rounded."""
    lattice = {"Ni": 3.54, "Cu": 3.68, "Pd": 3.98, "Ag": 4.21, "Pt": 3.99, "Au": 4.20}
    calculator = pretrained.load()
    half = pretrained.reference_energy({"H2": 0.5}, {"H2": pretrained.gas_energy("H2", calculator)})
    found = {}
    for metal, a in lattice.items():
        slab, adslab = covered(metal, a=a)
        found[metal] = pretrained.adsorption_energy(
            adslab, calculator, pretrained.energy(slab, calculator), half
        )
    off = np.array([found[metal] - SOURCES["norskov2005"].values["H"][metal] for metal in lattice])
    assert np.abs(off - np.median(off)).max() < 0.15
