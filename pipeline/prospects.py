"""What a round's choice promises, and what is left to be found: by the predicted probabilities.

With ``acquisition.goal: each``, a candidate counts with the probability that its ΔE lies in the window,
times that of its calculation to give an energy. With ``all``, each surface counts once, with the probability
that its lowest ΔE of every adsorbate lies in the window; those that are known to be hits do not count. Among
the candidates left, only those count that may decide the fate of their surface. Units: CPU-hours.
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
        promise = pool.to_choose_from(pool.is_open).promise()
        is_left = pool.contenders()
        is_left[chosen[name]] = False
        hits, left = promise[chosen[name]].sum(), promise[is_left].sum()
        found.append(Prospect(name, float(hits), hours[name], float(left)))
    return tuple(found)


def _for_all(
    pools: Mapping[str, Pool], chosen: Mapping[str, NDArray[np.int64]], cpu_hours: float
) -> Prospect:
    probability = np.prod([pool.surface_probability() for pool in pools.values()], axis=0)
    is_known = np.all(
        [np.abs(p.computed - p.target.target_ev) <= p.target.window_ev for p in pools.values()], axis=0
    )
    is_chosen = np.zeros(len(probability), dtype=bool)
    is_contended = is_chosen.copy()
    for name, pool in pools.items():
        is_chosen[pool.surface[chosen[name]]] = True
        is_contended[pool.surface[pool.contenders()]] = True
    hits = probability[is_chosen & ~is_known].sum()
    left = probability[is_contended & ~is_chosen & ~is_known].sum()
    return Prospect(ALL, float(hits), cpu_hours, float(left))


def latest_prospects(campaign: Campaign) -> dict[str, Any] | None:
    """What the last round's choice promised, as plain JSON values; None before the surrogate has chosen."""
    rounds = [r for r in campaign.rounds() if r.prospects]
    if not rounds:
        return None
    last = rounds[-1]
    hits, hours = sum(p.hits for p in last.prospects), sum(p.cpu_hours for p in last.prospects)
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
    hits, hours = sum(p.hits for p in promised), sum(p.cpu_hours for p in promised)
    if least is not None and hits < least * hours:
        message = (
            f"the next round promises {hits:.2g} hits for {hours:.2g} CPU-hours, {hits / hours:.2g} each, "
            f"and acquisition.least_hits_per_cpu_hour is {least:g}: nothing more is computed"
        )
        raise NothingLeft(message)
