"""The structure that a calculation starts from, built when everything it requires is known.

Slabs are cut at the reference lattice and scaled to the bulk's equilibrium at the recipe; adslabs
start from the relaxed bare slab, so that the slab's own relaxation is paid for once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from config.errors import StoreError
from dft.jobs import AtomsRecord, CalculationKind, JobSpec
from pipeline.structures.adsorbates import place
from pipeline.structures.slabs import build_slab

if TYPE_CHECKING:
    from ase import Atoms

    from config.campaign import CampaignSettings
    from pipeline.domain import Calculation, Surface
    from pipeline.store.repository import Store


_T = TypeVar("_T")


@dataclass(frozen=True)
class Materialiser:
    """Turns planned calculations into job specifications."""

    store: Store
    settings: CampaignSettings

    def job_spec(self, calculation: Calculation, attempt: int) -> JobSpec:
        """Build the specification of one attempt.

        Raises
        ------
        StoreError
            If the store lacks something that the calculation requires.
        """
        builders = {
            CalculationKind.GAS: self._gas,
            CalculationKind.BULK: self._bulk,
            CalculationKind.SLAB: self._slab,
            CalculationKind.ADSLAB: self._adslab,
        }
        atoms = builders[calculation.kind](calculation)
        if calculation.kind in {CalculationKind.BULK, CalculationKind.SLAB}:
            # What a structure file says of moments is not in the id.
            atoms.set_initial_magnetic_moments(None)
        adsorbate = self.settings.species(calculation.adsorbate) if calculation.adsorbate else None
        return JobSpec(
            calculation_id=calculation.id,
            kind=calculation.kind,
            attempt=attempt,
            label=calculation.label,
            recipe=self.settings.recipe,
            atoms=AtomsRecord.from_atoms(atoms),
            n_adsorbate_atoms=len(adsorbate.symbols) if adsorbate else 0,
            cores=self.settings.execution.tasks_for(calculation.kind.value),
            launcher=self.settings.execution.mpi_launcher,
        )

    def _gas(self, calculation: Calculation) -> Atoms:
        from dft.references import gas_atoms

        assert calculation.gas is not None
        return gas_atoms(calculation.gas, self.settings.recipe.gas_box_a)

    def _bulk(self, calculation: Calculation) -> Atoms:
        from pipeline.structures.bulks import primitive_cell

        assert calculation.bulk_id is not None
        bulk = self.store.bulk(self.settings.name, calculation.bulk_id)
        return primitive_cell(_found(bulk, calculation.bulk_id).atoms)

    def _slab(self, calculation: Calculation) -> Atoms:
        assert calculation.surface_id is not None
        surface = self.surface(calculation.surface_id)
        return build_slab(surface, self.linear_scale(calculation), self.settings.surfaces)

    def _adslab(self, calculation: Calculation) -> Atoms:
        assert calculation.surface_id is not None
        assert calculation.site_id is not None
        assert calculation.adsorbate is not None
        scale = self.linear_scale(self._requirement(calculation, CalculationKind.SLAB))
        return place(
            self.relaxed_slab(calculation),
            self.surface(calculation.surface_id),
            _found(self.store.site(self.settings.name, calculation.site_id), calculation.site_id),
            self.settings.species(calculation.adsorbate),
            scale,
        )

    def surface(self, surface_id: str) -> Surface:
        """Return a surface of the campaign.

        Raises
        ------
        StoreError
            If the store lacks it.
        """
        return _found(self.store.surface(self.settings.name, surface_id), surface_id)

    def relaxed_slab(self, adslab: Calculation) -> Atoms:
        """Return the relaxed bare slab that an adslab stands on."""
        return self.final_atoms(self._requirement(adslab, CalculationKind.SLAB).id)

    def final_atoms(self, calculation_id: str) -> Atoms:
        """Return the structure that a finished calculation ended with.

        Raises
        ------
        StoreError
            If the store lacks its result.
        """
        result = _found(self.store.result(calculation_id), calculation_id)
        return _found(result.atoms, calculation_id).to_atoms()

    def linear_scale(self, slab: Calculation) -> float:
        """Equilibrium over reference lattice of the bulk that a slab is cut from.

        Taken from the volume per atom and this campaign's own reference: bulks of one id may come from
        sources whose lattices differ by up to 0.5 %, and the equilibrium may have been computed for
        another campaign.
        """
        assert slab.bulk_id is not None
        equilibrium = self.final_atoms(self._requirement(slab, CalculationKind.BULK).id)
        reference = _found(self.store.bulk(self.settings.name, slab.bulk_id), slab.bulk_id).atoms
        ratio = equilibrium.cell.volume / len(equilibrium) * len(reference) / reference.cell.volume
        return float(ratio ** (1 / 3))

    def _requirement(self, calculation: Calculation, kind: CalculationKind) -> Calculation:
        required = self.store.calculations(ids=calculation.requires, kinds=[kind])
        return _found(next(iter(required), None), f"{kind} of {calculation.label}")


def _found(value: _T | None, what: str) -> _T:
    """Insist on something that an earlier stage has stored."""
    if value is None:
        message = (
            f"the store lacks {what}, which an earlier stage has written; was it restored from an old copy?"
        )
        raise StoreError(message)
    return value
