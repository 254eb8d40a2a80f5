"""Replaying a campaign on its own observations, to see which strategy finds its hits soonest.

The observations of one adsorbate are the pool; their energies are hidden and told batch by batch
(:mod:`surrogate.replay`). Energies in eV.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from config.errors import ConfigError
from pipeline.learning import lowest_by_site

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.campaign import Campaign
    from surrogate.replay import Pool, Strategy

LEAST = 10
"""Fewer observations say nothing about a strategy."""
LOOKS = (0.1, 0.2, 0.3, 0.5, 0.75)
"""Where hits are counted, as shares of the pool."""


@dataclass(frozen=True)
class ReplayPlan:
    """How campaigns are replayed; what is None is chosen by the size of the pool."""

    strategies: tuple[str, ...] = ()
    """Acquisition strategies; the campaign's own and ``random`` when empty."""
    n_seeds: int = 5
    """Campaigns per strategy."""
    seed_size: int | None = None
    """Sites drawn at random to begin with."""
    batch: int | None = None
    """Sites per round."""


def observed_pool(campaign: Campaign, adsorbate: str, seed_size: int | None = None) -> Pool:
    """Gather what a campaign has observed of an adsorbate.

    Raises
    ------
    ConfigError
        If there are fewer than :data:`LEAST` observations, or too many of them are to be known at the start.
    """
    from surrogate.replay import Pool

    found = lowest_by_site(campaign.observations(adsorbate))
    if len(found) < LEAST:
        message = (
            f"campaign {campaign.name} has {len(found)} adsorption energies of {adsorbate}; "
            f"a replay needs at least {LEAST}"
        )
        raise ConfigError(message)
    last_look = round(LOOKS[-1] * len(found))
    if seed_size is not None and seed_size >= last_look:
        message = (
            f"--seed-size {seed_size} leaves strategies too little to choose of the {len(found)} adsorption "
            f"energies of {adsorbate}; allowed: 1 to {last_look - 1}"
        )
        raise ConfigError(message)
    target = campaign.settings.adsorbates[adsorbate]
    return Pool(
        environments=[campaign.environments[o.site_id] for o in found],
        delta_e=np.array([o.delta_e_ev for o in found]),
        bulks=_numbered([o.bulk_id for o in found]),
        surfaces=_numbered([o.surface_id for o in found]),
        target=target.target_ev,
        window=target.window_ev,
    )


def replay_document(
    campaign: Campaign,
    adsorbate: str,
    plan: ReplayPlan,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Replay an adsorbate's observations with every strategy.

    Parameters
    ----------
    tell
        Called with what is replayed next.

    Returns
    -------
    dict
        ``observations``, ``hits``, ``surfaces_hit`` of the whole pool, ``labels`` at which was counted, and
        by strategy the mean over the seeds of hits and surfaces hit at each of them.
    """
    from surrogate.replay import replay

    pool = observed_pool(campaign, adsorbate, plan.seed_size)
    n = len(pool)
    seed_size = plan.seed_size or max(3, n // 20)
    batch = plan.batch or max(1, n // 20)
    looks = sorted({max(seed_size, round(share * n)) for share in LOOKS})
    own = campaign.settings.acquisition.strategy
    results = {}
    for name in plan.strategies or tuple(dict.fromkeys((own, "random"))):
        tell(f"{adsorbate} with {name}")
        strategy = _strategy(campaign, adsorbate, name)
        runs = [
            replay(pool, strategy, n_seed=seed_size, batch=batch, looks=looks, seed=seed)
            for seed in range(plan.n_seeds)
        ]
        results[name] = {
            "hits": _means([run.hits for run in runs]),
            "surfaces_hit": _means([run.surfaces_hit for run in runs]),
            "cpu_seconds_per_round": float(np.mean([run.seconds_per_round for run in runs])),
        }
    return {
        "adsorbate": adsorbate,
        "observations": n,
        "hits": int(pool.is_hit.sum()),
        "surfaces_hit": pool.surfaces_hit(np.arange(n)),
        "seeds": plan.n_seeds,
        "seed_size": seed_size,
        "batch": batch,
        "labels": looks,
        "strategies": results,
    }


def _strategy(campaign: Campaign, adsorbate: str, name: str) -> Strategy:
    """The campaign's own surrogate with an acquisition strategy, among contenders as campaigns choose."""
    from surrogate.models import AdsorptionSurrogate
    from surrogate.replay import AtRandom, Learned

    if name == "random":
        return AtRandom()
    settings = campaign.settings
    key = settings.species(adsorbate).key
    make = partial(AdsorptionSurrogate, key, settings.surrogate.model, seed=settings.seed)
    return Learned(make, name, goal="surfaces", width=settings.acquisition.gaussian_width_ev)


def _numbered(names: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _means(counts: Sequence[tuple[int, ...]]) -> list[float]:
    return [float(mean) for mean in np.mean(counts, axis=0)]
