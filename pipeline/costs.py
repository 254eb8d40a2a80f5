"""What candidates would cost, by what the campaign's own calculations have cost so far. Units: CPU-hours."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dft.jobs import CalculationKind
from pipeline.domain import CalculationState
from pipeline.estimate import SECONDS_PER_HOUR, expected_cpu_seconds
from surrogate.sites import representatives

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from pipeline.campaign import Campaign
    from pipeline.domain import Bulk, Calculation, Candidate, Surface

COMPUTED = frozenset({CalculationState.DONE, CalculationState.VALID, CalculationState.REJECTED})
"""States of a calculation that is paid for."""
ESTIMATES_WEIGHT = 1.0
"""So many calculations' worth of belief in the estimate as it is."""
SAMPLE = 300
"""Finished calculations of each kind that correct the estimate."""
SURFACES_PRICED = 500
"""Slabs that are built to be priced at a time; the others are taken to cost their median."""
_ESTIMATES: dict[str, float] = {}
"""CPU-seconds by calculation, whose id stands for everything that the estimate rests on."""


class CandidateCosts:
    """Expected cost of candidates as a campaign stands when it is first asked for.

    The estimate of :mod:`dft.cost` is corrected, for each kind of calculation, by the geometric mean of
    what finished ones have cost over what they were expected to.
    """

    def __init__(self, campaign: Campaign) -> None:
        self._campaign = campaign
        self._known: dict[tuple[str, str], float] = {}

    def cpu_hours(self, candidates: Sequence[Candidate]) -> NDArray[np.float64]:
        """Cost of each candidate: its adslab, and its slab and bulk where they are not computed yet.

        The first :data:`SURFACES_PRICED` surfaces are priced, so candidates that matter come first.

        Returns
        -------
        ndarray
            CPU-hours, of shape (n_candidates,).
        """
        rows, places = representatives((c.site.surface_id, c.adsorbate) for c in candidates)
        priced = np.array([self._of(candidates[i]) for i in rows[:SURFACES_PRICED]])
        is_priced = places < len(priced)
        seconds = np.empty(len(candidates))
        seconds[is_priced] = priced[places[is_priced]]
        if not is_priced.all():
            seconds[~is_priced] = np.median(seconds[is_priced])
        return seconds / SECONDS_PER_HOUR

    @cached_property
    def _bulks(self) -> dict[str, Bulk]:
        return {bulk.id: bulk for bulk in self._campaign.bulks}

    @cached_property
    def _surfaces(self) -> dict[str, Surface]:
        return {surface.id: surface for surface in self._campaign.surfaces}

    @cached_property
    def _computed(self) -> dict[str, Calculation]:
        return {c.id: c for c in self._campaign.calculations() if c.state in COMPUTED}

    @cached_property
    def _factors(self) -> Mapping[CalculationKind, float]:
        # By their ids, which are hashes: as good as drawn at random.
        by_id = sorted(self._computed.values(), key=lambda c: c.id)
        sample = [c for kind in CalculationKind for c in [c for c in by_id if c.kind is kind][:SAMPLE]]
        return correction_factors((c.kind, c.cpu_seconds, self._estimate(c)) for c in sample)

    def _estimate(self, calculation: Calculation) -> float:
        # Its slab is built for it, which takes 15 ms, and an asynchronous campaign asks after every result.
        if calculation.id not in _ESTIMATES:
            _ESTIMATES[calculation.id] = expected_cpu_seconds(
                calculation, self._campaign.settings, self._bulks, self._surfaces
            )
        return _ESTIMATES[calculation.id]

    def _of(self, candidate: Candidate) -> float:
        """CPU-seconds of everything that a candidate still needs; equal for the sites of a surface."""
        key = candidate.site.surface_id, candidate.adsorbate
        if key not in self._known:
            surface = self._surfaces[candidate.site.surface_id]
            bulk = self._bulks[surface.bulk_id]
            needed = self._campaign.planner.calculations(candidate, surface, bulk)
            unpaid = [c for c in needed if c.id not in self._computed]
            self._known[key] = sum(self._factors.get(c.kind, 1.0) * self._estimate(c) for c in unpaid)
        return self._known[key]


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
