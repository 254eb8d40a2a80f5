"""Rankings: surfaces by how close their lowest adsorption energy comes to the target.

A surface is judged by its lowest-energy site (Tran and Ulissi 2018). With only some of its sites
computed, that minimum is an upper bound, which the column of sites computed lets a reader see. Surfaces
without any DFT result are ranked by prediction and marked so. Units: eV.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from config.campaign import AdsorbateSettings
    from pipeline.domain import Bulk, Observation, Site, Surface

REACTIONS = {"CO": "CO2 reduction", "H": "H2 evolution"}
"""Reaction that an adsorbate's target stands for when the campaign does not name one."""


@dataclass(frozen=True)
class RankedSurface:
    """One row of a ranking."""

    rank: int
    adsorbate: str
    surface_id: str
    surface: str
    bulk: str
    bulk_source: str
    site_id: str
    site: str
    """Label of the lowest-energy site."""
    delta_e_ev: float
    std_ev: float | None
    """Standard deviation of a prediction; None for DFT."""
    deviation_ev: float
    """ΔE minus target."""
    is_hit: bool
    basis: Literal["dft", "predicted"]
    n_sites_computed: int
    n_sites: int
    calculation_id: str | None


@dataclass(frozen=True)
class _Entry:
    site_id: str
    delta_e_ev: float
    std_ev: float | None
    calculation_id: str | None


def reaction_name(adsorbate: str, settings: AdsorbateSettings) -> str:
    """Name the reaction that an adsorbate's target stands for."""
    return settings.reaction or REACTIONS.get(adsorbate, adsorbate)


def rank(
    adsorbate: str,
    target: AdsorbateSettings,
    *,
    bulks: Iterable[Bulk],
    surfaces: Iterable[Surface],
    sites: Iterable[Site],
    observations: Iterable[Observation],
    predictions: Mapping[str, tuple[float, float]] | None = None,
) -> list[RankedSurface]:
    """Rank surfaces for one adsorbate: those with DFT results first, then predicted ones.

    Parameters
    ----------
    observations
        Adsorption energies of this adsorbate.
    predictions
        Mean and standard deviation by site id, eV; None leaves surfaces without DFT out.
    """
    bulk_by_id = {bulk.id: bulk for bulk in bulks}
    sites_of: dict[str, list[Site]] = defaultdict(list)
    for site in sites:
        sites_of[site.surface_id].append(site)
    observed: dict[str, list[_Entry]] = defaultdict(list)
    for o in observations:
        observed[o.surface_id].append(_Entry(o.site_id, o.delta_e_ev, None, o.calculation_id))
    measured, predicted = [], []
    for surface in surfaces:
        if surface.id in observed:
            measured.append((surface, min(observed[surface.id], key=lambda e: e.delta_e_ev)))
        elif predictions is not None:
            guesses = [
                _Entry(s.id, *predictions[s.id], None) for s in sites_of[surface.id] if s.id in predictions
            ]
            if guesses:
                predicted.append((surface, min(guesses, key=lambda e: e.delta_e_ev)))

    def closeness(item: tuple[Surface, _Entry]) -> tuple[float, str]:
        return abs(item[1].delta_e_ev - target.target_ev), item[0].id

    rows = sorted(measured, key=closeness) + sorted(predicted, key=closeness)
    return [
        _row(number, adsorbate, target, surface, entry, bulk_by_id[surface.bulk_id], sites_of, observed)
        for number, (surface, entry) in enumerate(rows, start=1)
    ]


def _row(
    number: int,
    adsorbate: str,
    target: AdsorbateSettings,
    surface: Surface,
    entry: _Entry,
    bulk: Bulk,
    sites_of: Mapping[str, list[Site]],
    observed: Mapping[str, list[_Entry]],
) -> RankedSurface:
    labels = {site.id: site.label for site in sites_of[surface.id]}
    deviation_ev = entry.delta_e_ev - target.target_ev
    return RankedSurface(
        rank=number,
        adsorbate=adsorbate,
        surface_id=surface.id,
        surface=surface.label,
        bulk=bulk.formula,
        bulk_source=bulk.source_id,
        site_id=entry.site_id,
        site=labels.get(entry.site_id, entry.site_id),
        delta_e_ev=entry.delta_e_ev,
        std_ev=entry.std_ev,
        deviation_ev=deviation_ev,
        is_hit=abs(deviation_ev) <= target.window_ev,
        basis="dft" if entry.std_ev is None else "predicted",
        n_sites_computed=len({e.site_id for e in observed.get(surface.id, [])}),
        n_sites=len(sites_of[surface.id]),
        calculation_id=entry.calculation_id,
    )
