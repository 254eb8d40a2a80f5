"""Surfaces by how likely they are to be hits for every adsorbate of a campaign at once.

For each adsorbate the lowest ΔE known decides, or the lowest predicted where nothing is computed
(:mod:`pipeline.ranking`). The joint probability is the product over the adsorbates of
:func:`surrogate.surfaces.surface_hit_probability`: what is computed counts with what the sites left may still
change. Errors of different adsorbates' surrogates are taken as independent. Units: eV.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.learning import latest_predictions
from pipeline.pools import gather_pools
from pipeline.results import ranking

if TYPE_CHECKING:
    from pipeline.campaign import Campaign
    from pipeline.domain import Bulk, Surface
    from pipeline.ranking import RankedSurface


@dataclass(frozen=True)
class Verdict:
    """What is known of a surface for one adsorbate."""

    adsorbate: str
    delta_e_ev: float
    """Lowest on the surface."""
    std_ev: float | None
    """Standard deviation of a prediction; None for DFT."""
    basis: str
    """``dft`` or ``predicted``."""
    is_hit: bool
    is_confirmed: bool
    """It is DFT, and no site left to compute is predicted lower."""
    probability: float
    """That the lowest ΔE is a hit when all sites are computed."""


@dataclass(frozen=True)
class JointSurface:
    """One row of a joint ranking."""

    rank: int
    surface_id: str
    surface: str
    bulk: str
    bulk_source: str
    probability: float
    """That the surface is a hit for every adsorbate."""
    is_hit: bool
    """By DFT, for every adsorbate."""
    is_confirmed: bool
    """No site left to compute is predicted to change that."""
    verdicts: tuple[Verdict, ...]
    """By adsorbate, in the campaign's order; of which nothing is known or predicted is left out."""


def joint_ranking(campaign: Campaign, *, with_predicted: bool) -> list[JointSurface]:
    """Rank surfaces by their probability to be hits for every adsorbate, the likeliest first.

    Parameters
    ----------
    with_predicted
        Add surfaces without any DFT result.
    """
    names = list(campaign.settings.adsorbates)
    latest = {name: latest_predictions(campaign, name) for name in names}
    pools = gather_pools(campaign, {name: found for name, found in latest.items() if found is not None})
    probability = {name: pool.surface_probability for name, pool in pools.items()}
    rows = {name: {r.surface_id: r for r in ranking(campaign, name, with_predicted=True)} for name in names}
    bulks = {bulk.id: bulk for bulk in campaign.bulks}
    found = []
    for number, surface in enumerate(campaign.surfaces):
        verdicts = [
            _verdict(name, rows[name][surface.id], float(probability[name][number]))
            for name in names
            if surface.id in rows[name] and name in probability
        ]
        if verdicts and (with_predicted or any(v.basis == "dft" for v in verdicts)):
            found.append(
                _row(surface, bulks[surface.bulk_id], verdicts, is_complete=len(verdicts) == len(names))
            )
    found.sort(key=lambda r: (-r.probability, not r.is_hit, r.surface, r.surface_id))
    return [replace(row, rank=rank) for rank, row in enumerate(found, start=1)]


def _verdict(adsorbate: str, row: RankedSurface, probability: float) -> Verdict:
    return Verdict(
        adsorbate, row.delta_e_ev, row.std_ev, row.basis, row.is_hit, row.is_confirmed, probability
    )


def _row(surface: Surface, bulk: Bulk, verdicts: list[Verdict], *, is_complete: bool) -> JointSurface:
    """Put verdicts together; without one for every adsorbate, the surface cannot be a hit for all."""
    is_hit = is_complete and all(v.basis == "dft" and v.is_hit for v in verdicts)
    return JointSurface(
        rank=0,
        surface_id=surface.id,
        surface=surface.label,
        bulk=bulk.formula,
        bulk_source=bulk.source_id,
        probability=float(np.prod([v.probability for v in verdicts])) if is_complete else 0.0,
        is_hit=is_hit,
        is_confirmed=is_hit and all(v.is_confirmed for v in verdicts),
        verdicts=tuple(verdicts),
    )
