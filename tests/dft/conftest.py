"""Recipes and structures so cheap that real GPAW runs in seconds."""

from __future__ import annotations

import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111
from ase.constraints import FixAtoms

from config.recipe import RecipeSettings


@pytest.fixture
def emt_recipe() -> RecipeSettings:
    return RecipeSettings(engine="emt", fmax_ev_per_a=0.05)


@pytest.fixture
def cheap_recipe() -> RecipeSettings:
    """Real GPAW at settings that give no useful energy but a quick one."""
    return RecipeSettings(
        cutoff_ev=200.0,
        bulk_kpoint_density=1.0,
        slab_kpoint_density=0.4,
        smearing_ev=0.2,
        gas_box_a=5.0,
        fmax_ev_per_a=0.2,
        max_steps=20,
        eos_points=4,
    )


@pytest.fixture
def aluminium() -> Atoms:
    return bulk("Al", a=4.05)


@pytest.fixture
def hydrogen_on_aluminium() -> Atoms:
    """Two layers of Al(111), held fixed, with H in the hollow."""
    slab = fcc111("Al", (1, 1, 2), a=4.05, vacuum=3.5)
    slab.pbc = True
    slab.set_constraint(FixAtoms(range(len(slab))))
    add_adsorbate(slab, "H", 0.8, "fcc")
    return slab
