"""The settings of a DFT recipe: everything that changes an energy, nothing that does not.

Named recipes are the YAML files in ``config/recipes``; a campaign picks one by name and may override
single fields. Energies of different recipes never mix: the recipe's :meth:`RecipeSettings.digest`
goes into the id of every calculation. How thick and wide a slab is belongs to the campaign's
``surfaces`` section. Units: eV, Å, eV/Å.
"""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

MAX_MESH = 50
"""Most k-points along a direction that a slab's mesh may have."""
LABELS = frozenset({"name", "description"})
"""Fields that say nothing about the calculation and never enter the digest."""
ALWAYS_IN_DIGEST = frozenset(
    {
        "engine",
        "xc",
        "cutoff_ev",
        "bulk_kpoint_density",
        "slab_kpoint_density",
        "smearing_ev",
        "gas_box_a",
        "dipole_correction",
        "spin",
        "fmax_ev_per_a",
        "max_steps",
        "scf_max_iterations",
        "scf_energy_ev_per_electron",
        "scf_density_e_per_electron",
        "eos_points",
        "eos_strain",
    }
)
"""Fields of the first release. Any later one enters the digest only where it differs from its default,
which means *as before*: so no finished calculation is repeated because the software grew."""


class StrictModel(BaseModel):
    """Base of every settings model: unknown keys are refused, instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class RecipeSettings(StrictModel):
    """Electronic structure and relaxation settings of one level of fidelity."""

    name: str = "custom"
    """Name of the recipe; does not enter the digest."""
    description: str = ""
    """What the recipe is for; does not enter the digest."""
    engine: Literal["gpaw", "emt"] = "gpaw"
    """Calculator: GPAW, or ASE's effective-medium potential, which only tests the plumbing."""
    xc: Literal["RPBE", "PBE", "BEEF-vdW"] = "RPBE"
    """Exchange-correlation functional."""
    cutoff_ev: float = Field(default=400.0, ge=150.0, le=2000.0)
    """Plane-wave cutoff, eV."""
    bulk_kpoint_density: float = Field(default=4.0, gt=0.0, le=20.0)
    """Bulk k-point density, points per Å⁻¹ of reciprocal cell, as ASE counts it; Γ-centred."""
    slab_kpoint_density: float = Field(default=3.0, gt=0.0, le=20.0)
    """In-plane k-point density of slabs and adslabs, points per Å⁻¹; one point along the normal."""
    slab_kpoint_mesh: tuple[int, int] | None = None
    """The same in-plane k-points for every slab and adslab, such as `[4, 4]`, whatever its size; instead of
    `slab_kpoint_density`."""
    smearing_ev: float = Field(default=0.1, gt=0.0, le=1.0)
    """Width of the Fermi-Dirac occupation of bulks and slabs, eV."""
    gas_box_a: float = Field(default=8.0, ge=4.0, le=30.0)
    """Edge of the box around a gas molecule, Å."""
    dipole_correction: bool = False
    """Dipole layer correction along the surface normal, for slabs and adslabs alike."""
    spin: Literal["auto", "never"] = "auto"
    """`auto`: spin-polarised where a structure holds Cr, Mn, Fe, Co or Ni, except adsorbates on a slab that
    came out without a moment, and for molecules with unpaired electrons."""
    fmax_ev_per_a: float = Field(default=0.05, gt=0.0, le=1.0)
    """Largest force left on a free atom, eV/Å."""
    max_steps: int = Field(default=200, ge=1, le=2000)
    """Relaxation steps before a calculation counts as not converged."""
    scf_max_iterations: int = Field(default=150, ge=10, le=2000)
    """SCF iterations before a step counts as not converged."""
    scf_energy_ev_per_electron: float = Field(default=0.0005, gt=0.0, le=0.1)
    """SCF convergence of the energy, eV per valence electron."""
    scf_density_e_per_electron: float = Field(default=1.0e-4, gt=0.0, le=0.1)
    """SCF convergence of the density, electrons per valence electron."""
    eos_points: int = Field(default=5, ge=4, le=21)
    """Volumes on the bulk equation of state."""
    eos_strain: float = Field(default=0.04, gt=0.0, le=0.2)
    """Largest linear strain on the equation of state."""

    @field_validator("slab_kpoint_mesh")
    @classmethod
    def _is_a_mesh(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not all(1 <= points <= MAX_MESH for points in value):
            message = f"got {list(value)}; allowed: 2 whole numbers, 1 to {MAX_MESH}"
            raise ValueError(message)
        return value

    def digest(self) -> str:
        """Hash of every setting that changes an energy (hex, 16 digits)."""
        payload = self.model_dump(mode="json", exclude=set(LABELS))
        for name, field in type(self).model_fields.items():
            if name in payload and name not in ALWAYS_IN_DIGEST and getattr(self, name) == field.default:
                del payload[name]
        text = json.dumps(payload, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
