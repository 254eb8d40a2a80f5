"""What candidates would cost, by what the campaign's own calculations have cost so far. Units: CPU-hours."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from dft.jobs import CalculationKind
from pipeline.domain import CalculationState
from pipeline.estimate import expected_cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from pipeline.campaign import Campaign
    from pipeline.domain import Calculation, Candidate

SECONDS_PER_HOUR = 3600.0
COMPUTED = frozenset({CalculationState.DONE, CalculationState.VALID, CalculationState.REJECTED})
"""States of a calculation that is paid for."""
ESTIMATES_WEIGHT = 1.0
"""So many calculations' worth of belief in the estimate as it is."""
SURFACES_PRICED = 500
"""Slabs that are built to be priced; the others are taken to cost their median."""


def expected_cpu_hours(campaign: Campaign, candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """Expected cost of each candidate: its adslab, and its slab and bulk where they are not computed yet.

    The estimate of :mod:`dft.cost` is corrected, for each kind of calculation, by the geometric mean of
    what finished ones have cost over what they were expected to.

    Returns
    -------
    ndarray
        CPU-hours, of shape (n_candidates,).
    """
    expected = _Expected(campaign)
    by_surface: dict[str, float] = {}
    hours = np.empty(len(candidates))
    for i, candidate in enumerate(candidates):
        surface_id = candidate.site.surface_id
        if surface_id not in by_surface:
            priced = len(by_surface) < SURFACES_PRICED
            by_surface[surface_id] = expected.of(candidate) if priced else np.nan
        hours[i] = by_surface[surface_id]
    known = np.isfinite(hours)
    if not known.all():
        hours[~known] = np.median(hours[known])
    return hours / SECONDS_PER_HOUR


class _Expected:
    """Corrected estimates for one campaign as it stands."""

    def __init__(self, campaign: Campaign) -> None:
        self._campaign = campaign
        self._bulks = {bulk.id: bulk for bulk in campaign.bulks}
        self._surfaces = {surface.id: surface for surface in campaign.surfaces}
        calculations = campaign.calculations()
        self._paid = {c.id for c in calculations if c.state in COMPUTED}
        self._factors = correction_factors(
            (c.kind, c.cpu_seconds, self._estimate(c)) for c in calculations if c.state in COMPUTED
        )

    def _estimate(self, calculation: Calculation) -> float:
        return expected_cpu_seconds(calculation, self._campaign.settings, self._bulks, self._surfaces)

    def of(self, candidate: Candidate) -> float:
        """CPU-seconds of everything that a candidate still needs."""
        surface = self._surfaces[candidate.site.surface_id]
        bulk = self._bulks[surface.bulk_id]
        needed = self._campaign.planner.calculations(candidate, surface, bulk)
        unpaid = [c for c in needed if c.id not in self._paid]
        return sum(self._factors.get(c.kind, 1.0) * self._estimate(c) for c in unpaid)


def correction_factors(
    finished: Iterable[tuple[CalculationKind, float, float]],
) -> Mapping[CalculationKind, float]:
    """How many times its estimate a calculation of each kind costs.

    Parameters
    ----------
    finished
        Kind, CPU-seconds spent and CPU-seconds expected of finished calculations; those that cost nothing,
        their result having been found elsewhere, do not count.
    """
    logs: dict[CalculationKind, list[float]] = defaultdict(list)
    for kind, spent, expected in finished:
        if spent > 0.0 and expected > 0.0:
            logs[kind].append(float(np.log(spent / expected)))
    return {kind: float(np.exp(sum(seen) / (len(seen) + ESTIMATES_WEIGHT))) for kind, seen in logs.items()}
