"""What a round's choice promises, and what is left to be found: new hits, by the predicted probabilities.

With ``acquisition.goal: each``, a candidate that may decide the fate of its surface counts with the
probability that its ΔE lies in the window, times that of its calculation to give an energy. With ``all``,
each surface counts once, with the probability that its lowest ΔE of every adsorbate lies in the window.
Surfaces that are known to be hits are no new ones, and do not count. Units: CPU-hours.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.ends import NothingLeft
from pipeline.store.records import Prospect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pipeline.campaign import Campaign
    from pipeline.costs import CandidateCosts
    from pipeline.pools import Pool

ALL = "all"
"""Goal of surfaces that are hits for every adsorbate."""


def prospects(
    campaign: Campaign,
    pools: Mapping[str, Pool],
    chosen: Mapping[str, NDArray[np.int64]],
    costs: CandidateCosts,
) -> tuple[Prospect, ...]:
    """Tell what a choice promises.

    Parameters
    ----------
    chosen
        Indices into each adsorbate's pool.
    """
    candidates = {name: [pools[name].candidates[i] for i in indices] for name, indices in chosen.items()}
    hours = {name: float(costs.cpu_hours(c).sum()) if c else 0.0 for name, c in candidates.items()}
    if campaign.settings.acquisition.goal == ALL:
        return (_for_all(pools, chosen, sum(hours.values())),)
    found = []
    for name, pool in pools.items():
        is_new = pool.is_contender & ~pool.is_hit[pool.surface]
        promise = np.where(is_new, pool.to_choose_from(pool.is_open).promise(), 0.0)
        left = np.delete(promise, chosen[name])
        hits = float(promise[chosen[name]].sum())
        found.append(Prospect(name, hits, hours[name], float(left.sum())))
    return tuple(found)


def _for_all(
    pools: Mapping[str, Pool], chosen: Mapping[str, NDArray[np.int64]], cpu_hours: float
) -> Prospect:
    probability = np.prod([pool.surface_probability for pool in pools.values()], axis=0)
    is_known = np.all([pool.is_hit for pool in pools.values()], axis=0)
    is_chosen = np.zeros(len(probability), dtype=bool)
    is_contended = is_chosen.copy()
    for name, pool in pools.items():
        is_chosen[pool.surface[chosen[name]]] = True
        is_contended[pool.surface[pool.is_contender]] = True
    hits = probability[is_contended & is_chosen & ~is_known].sum()
    left = probability[is_contended & ~is_chosen & ~is_known].sum()
    return Prospect(ALL, float(hits), cpu_hours, float(left))


def latest_prospects(campaign: Campaign) -> dict[str, Any] | None:
    """What the last round's choice promised, as plain JSON values; None before the surrogate has chosen."""
    rounds = [r for r in campaign.rounds() if r.prospects]
    if not rounds:
        return None
    last = rounds[-1]
    hits, hours = _total(last.prospects)
    return {
        "round": last.number,
        "chosen": len(last.selections),
        "hits": hits,
        "cpu_hours": hours,
        "hits_per_cpu_hour": hits / hours if hours > 0.0 else None,
        "least_hits_per_cpu_hour": campaign.settings.acquisition.least_hits_per_cpu_hour,
        "hits_left": sum(p.hits_left for p in last.prospects),
        "goals": [asdict(p) for p in last.prospects],
    }


def refuse_poor(campaign: Campaign, promised: tuple[Prospect, ...]) -> None:
    """End the campaign if a choice promises fewer hits per CPU-hour than its settings ask for.

    Raises
    ------
    NothingLeft
        If it does.
    """
    least = campaign.settings.acquisition.least_hits_per_cpu_hour
    hits, hours = _total(promised)
    if least is not None and hits < least * hours:
        message = (
            f"the next round promises {hits:.2g} hits for {hours:.2g} CPU-hours, {hits / hours:.2g} each, "
            f"and acquisition.least_hits_per_cpu_hour is {least:g}: nothing more is computed"
        )
        raise NothingLeft(message)


def _total(promised: tuple[Prospect, ...]) -> tuple[float, float]:
    """Hits and CPU-hours of all goals together."""
    return sum(p.hits for p in promised), sum(p.cpu_hours for p in promised)
