"""What a campaign would compute and cost, before anything runs. Units: CPU-seconds, CPU-hours."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dft.jobs import CalculationKind
from pipeline.enumeration import cut_surfaces, find_sites, select_bulks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from config.campaign import CampaignSettings
    from pipeline.domain import Bulk, Calculation, Site, Surface
    from pipeline.properties import LeftOut

SECONDS_PER_HOUR = 3600.0
SURFACES_PRICED = 200
"""Slabs that are priced one by one; larger campaigns are priced from a sample of this many."""


@dataclass(frozen=True)
class Plan:
    """Everything a campaign could choose from, and the expected cost of its budget."""

    settings: CampaignSettings
    bulks: list[Bulk]
    surfaces: list[Surface]
    sites: list[Site]
    left_out: list[LeftOut] = field(default_factory=list)

    @property
    def n_candidates(self) -> int:
        """Sites times adsorbates."""
        return len(self.sites) * len(self.settings.adsorbates)

    def round_sizes(self) -> list[int]:
        """Adsorption energies per round, the seed round first."""
        left = min(self.settings.budget.calculations, self.n_candidates)
        sizes = []
        for number in range(self.settings.budget.rounds + 1):
            size = min(left, self.settings.seed_size if number == 0 else self.settings.batch_size)
            if size == 0:
                break
            sizes.append(size)
            left -= size
        return sizes


def make_plan(settings: CampaignSettings, base_dir: Path) -> Plan:
    """Enumerate a campaign without writing or computing anything.

    Raises
    ------
    ConfigError
        If the campaign is impossible; see :func:`pipeline.enumeration.select_bulks`.
    """
    bulks, left_out = select_bulks(settings, base_dir)
    surfaces = cut_surfaces(settings, bulks)
    return Plan(settings, bulks, surfaces, find_sites(surfaces), left_out)


def plan_document(plan: Plan) -> dict[str, Any]:
    """Counts and costs of a plan as plain JSON values."""
    sizes = plan.round_sizes()
    cost = _cost_document(plan, sum(sizes))
    budget = plan.settings.budget
    return {
        "campaign": plan.settings.name,
        "recipe": plan.settings.recipe.name,
        "bulks": len(plan.bulks),
        "surfaces": len(plan.surfaces),
        "sites": len(plan.sites),
        "candidates": plan.n_candidates,
        "adsorbates": list(plan.settings.adsorbates),
        "per_bulk": _per_bulk(plan),
        "left_out": [
            {"bulk": o.bulk.formula, "source": o.bulk.source_id, "reason": o.reason} for o in plan.left_out
        ],
        "rounds": [{"round": n, "adsorption_energies": size} for n, size in enumerate(sizes)],
        "adsorption_energies": sum(sizes),
        "budget": budget.model_dump(mode="json"),
        "least_hits_per_cpu_hour": plan.settings.acquisition.least_hits_per_cpu_hour,
        **cost,
        "exceeds_cpu_budget": cost["cpu_hours_estimated"] > budget.cpu_hours,
    }


def expected_cpu_seconds(
    calculation: Calculation,
    settings: CampaignSettings,
    bulks: Mapping[str, Bulk],
    surfaces: Mapping[str, Surface],
) -> float:
    """Expected cost of one calculation, from a structure near enough to its own to tell.

    Parameters
    ----------
    bulks, surfaces
        By id; those that the calculation is of are among them.
    """
    from dft.cost import cpu_seconds
    from dft.references import gas_atoms
    from pipeline.structures.bulks import primitive_cell
    from pipeline.structures.slabs import build_slab

    if calculation.gas is not None:
        atoms = gas_atoms(calculation.gas, settings.recipe.gas_box_a)
    elif calculation.kind is CalculationKind.BULK:
        atoms = primitive_cell(bulks[str(calculation.bulk_id)].atoms)
    else:
        atoms = build_slab(surfaces[str(calculation.surface_id)], 1.0, settings.surfaces)
    return cpu_seconds(settings.recipe, calculation.kind, atoms)


def _per_bulk(plan: Plan) -> list[dict[str, Any]]:
    surfaces = Counter(s.bulk_id for s in plan.surfaces)
    sites = Counter(s.bulk_id for s in plan.sites)
    return [
        {
            "id": b.id,
            "bulk": b.formula,
            "source": b.source_id,
            "atoms": len(b.atoms),
            "surfaces": surfaces[b.id],
            "sites": sites[b.id],
        }
        for b in plan.bulks
    ]


def _cost_document(plan: Plan, n_energies: int) -> dict[str, Any]:
    """Expected calculations and CPU-hours when the budget falls evenly on all sites.

    The surrogate will not choose evenly; the figure is for judging orders of magnitude.
    """
    from dft.cost import cpu_seconds
    from pipeline.structures.bulks import primitive_cell
    from pipeline.structures.slabs import build_slab

    recipe = plan.settings.recipe
    rng = np.random.default_rng(plan.settings.seed)
    sample = rng.permutation(len(plan.surfaces))[:SURFACES_PRICED]
    slabs = [build_slab(plan.surfaces[i], 1.0, plan.settings.surfaces) for i in sample]
    sites = Counter(s.surface_id for s in plan.sites)
    weights = np.array([sites[plan.surfaces[i].id] for i in sample], dtype=float)
    weights /= weights.sum()
    slab_cost = np.array([cpu_seconds(recipe, CalculationKind.SLAB, slab) for slab in slabs])
    adslab_cost = np.array([cpu_seconds(recipe, CalculationKind.ADSLAB, slab) for slab in slabs])
    bulk_cost = np.mean(
        [cpu_seconds(recipe, CalculationKind.BULK, primitive_cell(b.atoms)) for b in plan.bulks]
    )
    names = plan.settings.adsorbates
    gases = {molecule for name in names for molecule in plan.settings.species(name).reference}
    counts = {
        "gas": len(gases),
        "bulk": round(_expected_distinct([s.bulk_id for s in plan.sites], n_energies)),
        "slab": round(_expected_distinct([s.surface_id for s in plan.sites], n_energies)),
        "adslab": n_energies,
    }
    from dft.references import gas_atoms

    gas_cost = sum(
        cpu_seconds(recipe, CalculationKind.GAS, gas_atoms(g, recipe.gas_box_a)) for g in sorted(gases)
    )
    seconds = {
        "gas": gas_cost,
        "bulk": counts["bulk"] * float(bulk_cost),
        "slab": counts["slab"] * float(weights @ slab_cost),
        "adslab": counts["adslab"] * float(weights @ adslab_cost),
    }
    return {
        "calculations_estimated": counts,
        "cpu_hours_by_kind": {k: v / SECONDS_PER_HOUR for k, v in seconds.items()},
        "cpu_hours_estimated": sum(seconds.values()) / SECONDS_PER_HOUR,
    }


def _expected_distinct(owners: list[str], n: int) -> float:
    """Expected number of different owners among n sites drawn at random (with replacement)."""
    total = len(owners)
    return sum(1.0 - (1.0 - count / total) ** n for count in Counter(owners).values())
