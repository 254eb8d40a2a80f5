"""Rankings: surfaces by how close their lowest adsorption energy comes to the target.

A surface is judged by its lowest-energy site (Tran and Ulissi 2018). With only some of its sites
computed, that minimum is an upper bound; it counts as confirmed when the surrogate predicts no lower
site. Surfaces without any DFT result are ranked by prediction and marked so. Units: eV.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from config.adsorbates import shipped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from config.adsorbates import AdsorbateSettings
    from pipeline.domain import Bulk, Observation, Site, Surface


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
    ensemble_std_ev: float | None
    """Standard deviation of DFT's ΔE over the functional's ensemble; None if it has none."""
    deviation_ev: float
    """ΔE minus target."""
    is_hit: bool
    """ΔE lies in the window."""
    is_confirmed: bool
    """It is DFT, and no site left to compute on the surface is predicted lower."""
    basis: Literal["dft", "predicted"]
    n_sites_computed: int
    n_sites: int
    calculation_id: str | None
    warning: str
    """What to look at before trusting a DFT result; empty when nothing."""


@dataclass(frozen=True)
class _Entry:
    site_id: str
    delta_e_ev: float
    std_ev: float | None
    calculation_id: str | None
    ensemble_std_ev: float | None = None
    warning: str = ""


def reaction_name(adsorbate: str, settings: AdsorbateSettings) -> str:
    """Name the reaction that an adsorbate's target stands for; the adsorbate where nobody names one."""
    return settings.reaction or str(shipped().get(adsorbate, {}).get("reaction", adsorbate))


def rank(
    adsorbate: str,
    target: AdsorbateSettings,
    *,
    bulks: Iterable[Bulk],
    surfaces: Iterable[Surface],
    sites: Iterable[Site],
    observations: Iterable[Observation],
    predictions: Mapping[str, tuple[float, float]],
    with_predicted: bool = False,
) -> list[RankedSurface]:
    """Rank surfaces for one adsorbate: those with DFT results first, then predicted ones.

    Parameters
    ----------
    observations
        Adsorption energies of this adsorbate.
    predictions
        Mean and standard deviation, eV, of the sites that may still be computed, by site id.
    with_predicted
        Add surfaces without any DFT result.
    """
    bulk_by_id = {bulk.id: bulk for bulk in bulks}
    board = _Board(adsorbate, target, defaultdict(list), defaultdict(list), defaultdict(list))
    for site in sites:
        board.sites[site.surface_id].append(site)
        if site.id in predictions:
            board.guesses[site.surface_id].append(_Entry(site.id, *predictions[site.id], None))
    for o in observations:
        entry = _Entry(o.site_id, o.delta_e_ev, None, o.calculation_id, o.ensemble_std_ev, o.warning)
        board.observed[o.surface_id].append(entry)
    listed = list(surfaces)
    measured = [(s, _lowest(board.observed[s.id])) for s in listed if board.observed[s.id]]
    predicted = [
        (s, _lowest(board.guesses[s.id])) for s in listed if not board.observed[s.id] and board.guesses[s.id]
    ]

    def closeness(item: tuple[Surface, _Entry]) -> tuple[float, str]:
        return abs(item[1].delta_e_ev - target.target_ev), item[0].id

    rows = sorted(measured, key=closeness) + (sorted(predicted, key=closeness) if with_predicted else [])
    return [
        _row(number, board, surface, entry, bulk_by_id[surface.bulk_id])
        for number, (surface, entry) in enumerate(rows, start=1)
    ]


@dataclass(frozen=True)
class _Board:
    """Everything known about the surfaces of one ranking, by surface id."""

    adsorbate: str
    target: AdsorbateSettings
    sites: defaultdict[str, list[Site]]
    observed: defaultdict[str, list[_Entry]]
    guesses: defaultdict[str, list[_Entry]]


def _lowest(entries: list[_Entry]) -> _Entry:
    return min(entries, key=lambda e: e.delta_e_ev)


def _row(number: int, board: _Board, surface: Surface, entry: _Entry, bulk: Bulk) -> RankedSurface:
    labels = {site.id: site.label for site in board.sites[surface.id]}
    computed = {e.site_id for e in board.observed[surface.id]}
    rest = [g for g in board.guesses[surface.id] if g.site_id not in computed]
    deviation_ev = entry.delta_e_ev - board.target.target_ev
    is_dft = entry.std_ev is None
    return RankedSurface(
        rank=number,
        adsorbate=board.adsorbate,
        surface_id=surface.id,
        surface=surface.label,
        bulk=bulk.formula,
        bulk_source=bulk.source_id,
        site_id=entry.site_id,
        site=labels.get(entry.site_id, entry.site_id),
        delta_e_ev=entry.delta_e_ev,
        std_ev=entry.std_ev,
        ensemble_std_ev=entry.ensemble_std_ev,
        deviation_ev=deviation_ev,
        is_hit=abs(deviation_ev) <= board.target.window_ev,
        is_confirmed=is_dft and all(g.delta_e_ev >= entry.delta_e_ev for g in rest),
        basis="dft" if is_dft else "predicted",
        n_sites_computed=len(computed),
        n_sites=len(board.sites[surface.id]),
        calculation_id=entry.calculation_id,
        warning=entry.warning,
    )
