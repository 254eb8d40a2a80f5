"""From sites to candidates, and from a candidate to the calculations that answer it.

The bare slab, the bulk and the gas are shared: their ids do not depend on the site, so that one
calculation serves every candidate that needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dft.jobs import CalculationKind
from pipeline.domain import Calculation, Candidate
from pipeline.structures.ids import calculation_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from config.campaign import CampaignSettings
    from pipeline.domain import Bulk, Site, Surface


@dataclass(frozen=True)
class Planner:
    """Spells out the calculations behind candidates at one campaign's recipe and slab settings."""

    settings: CampaignSettings

    @cached_property
    def _keys(self) -> dict[str, str]:
        """What stands for each adsorbate in ids."""
        return {name: self.settings.species(name).key for name in self.settings.adsorbates}

    def candidates(self, sites: Iterable[Site]) -> list[Candidate]:
        """Every site with every adsorbate of the campaign."""
        return [
            Candidate(site, adsorbate, self._adslab_id(site, adsorbate))
            for site in sites
            for adsorbate in self.settings.adsorbates
        ]

    def calculations(self, candidate: Candidate, surface: Surface, bulk: Bulk) -> list[Calculation]:
        """List the calculations that a candidate needs, prerequisites first, the adslab last."""
        reference = self.settings.species(candidate.adsorbate).reference
        gases = [self.gas(molecule) for molecule in reference]
        bulk_calculation = self.bulk(bulk)
        slab = self.slab(surface, bulk_calculation)
        return [*gases, bulk_calculation, slab, self._adslab(candidate, gases, slab)]

    def gas(self, molecule: str) -> Calculation:
        """Plan the reference energy of a molecule."""
        recipe = self.settings.recipe.digest()
        return Calculation(
            id=calculation_id(CalculationKind.GAS, molecule, recipe_digest=recipe),
            kind=CalculationKind.GAS,
            label=f"gas {molecule}",
            gas=molecule,
            recipe_digest=recipe,
        )

    def bulk(self, bulk: Bulk) -> Calculation:
        """Plan a bulk's equation of state."""
        recipe = self.settings.recipe.digest()
        return Calculation(
            id=calculation_id(CalculationKind.BULK, bulk.id, recipe_digest=recipe),
            kind=CalculationKind.BULK,
            label=f"bulk {bulk.formula} ({bulk.source_id})",
            bulk_id=bulk.id,
            recipe_digest=recipe,
        )

    def slab(self, surface: Surface, bulk_calculation: Calculation) -> Calculation:
        """Plan the bare slab of a surface."""
        recipe = self.settings.recipe.digest()
        return Calculation(
            id=calculation_id(
                CalculationKind.SLAB, surface.id, recipe_digest=recipe, surfaces=self.settings.surfaces
            ),
            kind=CalculationKind.SLAB,
            label=f"slab {surface.label}",
            bulk_id=surface.bulk_id,
            surface_id=surface.id,
            requires=(bulk_calculation.id,),
            recipe_digest=recipe,
        )

    def _adslab_id(self, site: Site, adsorbate: str) -> str:
        return calculation_id(
            CalculationKind.ADSLAB,
            site.surface_id,
            site.id,
            self._keys[adsorbate],
            recipe_digest=self.settings.recipe.digest(),
            surfaces=self.settings.surfaces,
        )

    def _adslab(self, candidate: Candidate, gases: list[Calculation], slab: Calculation) -> Calculation:
        site = candidate.site
        return Calculation(
            id=candidate.calculation_id,
            kind=CalculationKind.ADSLAB,
            label=f"{candidate.adsorbate} on {site.label}",
            bulk_id=site.bulk_id,
            surface_id=site.surface_id,
            site_id=site.id,
            adsorbate=candidate.adsorbate,
            requires=(slab.id, *(gas.id for gas in gases)),
            recipe_digest=self.settings.recipe.digest(),
        )
