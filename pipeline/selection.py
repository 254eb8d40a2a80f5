"""Choosing the candidates of a round.

A candidate chosen before, or whose site already has an observation (an adsorbate placed elsewhere ended
there), is never chosen again; one that another campaign of the database is computing is chosen last, since
its energy comes for nothing. The seed round has no observations to go by: it takes pure metals first, whose
ΔE tell much of their alloys, then a spread of environments. Later rounds count what is under way as
computed, with the mean that is predicted of it now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.costs import CandidateCosts
from pipeline.ends import BudgetSpent, NothingLeft
from pipeline.failures import features, learned, outcomes
from pipeline.learning import read_predictions
from pipeline.store.records import RoundRecord, Selection
from pipeline.versions import package_versions
from surrogate.sites import distinct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pipeline.campaign import Campaign
    from pipeline.domain import Candidate
    from pipeline.learning import Predictions
    from surrogate.sites import SiteEnvironment

SEED_ROUND = 0


def select_round(campaign: Campaign, number: int) -> RoundRecord:
    """Choose the candidates of a round, plan their calculations and record the choice.

    A round that was recorded before is returned as it is, with its calculations planned again where a
    killed driver left that out.

    Raises
    ------
    NothingLeft
        If the budget of calculations is spent, or every candidate has been chosen.
    BudgetSpent
        If the CPU-hours are spent.
    """
    record = campaign.store.round(campaign.name, number)
    if record is None:
        reason = campaign.cpu_budget_spent()
        if reason is not None:
            raise BudgetSpent(reason)
        predictions = {
            name: read_predictions(campaign, number, name) for name in campaign.settings.adsorbates
        }
        wanted = choose_round(campaign, number, predictions, usual_size(campaign, number))
        if not wanted.selections:
            raise NothingLeft(campaign.reason_to_stop() or "no candidate is left")
        record = campaign.store.create_round(wanted)
    plan_round(campaign, record)
    return record


def usual_size(campaign: Campaign, number: int) -> int:
    """How many candidates a round of ``mode: batch`` has, and the seed round of any mode."""
    return campaign.settings.seed_size if number == SEED_ROUND else campaign.settings.batch_size


def choose_round(
    campaign: Campaign, number: int, predictions: Mapping[str, Predictions], size: int
) -> RoundRecord:
    """Choose the candidates of a round, shared evenly between adsorbates; nothing is stored.

    Parameters
    ----------
    number
        One more than that of the last round, so that every earlier choice is known.
    predictions
        Of the round's surrogates, by adsorbate.
    size
        How many are wanted; fewer are chosen when the budget or the candidates run out.

    Raises
    ------
    NothingLeft
        If what would be chosen promises too few hits for its cost.
    """
    settings = campaign.settings
    rng = np.random.default_rng([settings.seed, number])
    open_candidates, pending = campaign.open_candidates(), campaign.pending()
    costs = CandidateCosts(campaign)
    pools = {
        name: _pool(campaign, predictions[name], open_candidates, pending, costs)
        for name in settings.adsorbates
    }
    choose = _choose_seed if number == SEED_ROUND else _choose_by_prediction
    chosen = choose(campaign, pools, min(size, campaign.calculations_left()), rng)
    if number != SEED_ROUND:
        _refuse_poor_prospects(campaign, pools, chosen)
    return RoundRecord(
        campaign=campaign.name,
        number=number,
        selections=tuple(s for name in settings.adsorbates for s in pools[name].selections(chosen[name])),
        seed=settings.seed,
        config_digest=settings.digest(),
        versions=package_versions(),
    )


def is_selected(campaign: Campaign, number: int) -> bool:
    """Tell whether a round's choice is recorded and all its calculations are planned."""
    record = campaign.store.round(campaign.name, number)
    if record is None:
        return False
    return len(campaign.store.calculations(ids=record.calculation_ids)) == len(record.calculation_ids)


def plan_round(campaign: Campaign, record: RoundRecord) -> None:
    """Put everything that a round's candidates need into the ledger; existing calculations stay."""
    wanted = set(record.calculation_ids)
    surfaces = {s.id: s for s in campaign.surfaces}
    bulks = {b.id: b for b in campaign.bulks}
    calculations = {}
    for candidate in campaign.candidates:
        if candidate.calculation_id in wanted:
            surface = surfaces[candidate.site.surface_id]
            needed = campaign.planner.calculations(candidate, surface, bulks[surface.bulk_id])
            calculations.update({c.id: c for c in needed})
    campaign.store.plan(list(calculations.values()))


@dataclass(frozen=True)
class _Pool:
    """Candidates of one adsorbate, with what is predicted of them (eV), those under way at the end."""

    candidates: list[Candidate]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    n_open: int
    """How many, from the first on, have not been chosen by this campaign."""
    is_pending: NDArray[np.bool_]
    """Under way, here or in another campaign, of shape (n_candidates,)."""
    environments: list[SiteEnvironment]
    success: NDArray[np.float64]
    """Probability that the calculation gives an energy, of shape (n_candidates,)."""
    freedom: float
    """Degrees of freedom of the predictions' distribution."""
    costs: CandidateCosts

    @property
    def is_open(self) -> NDArray[np.bool_]:
        """May be chosen, of shape (n_candidates,)."""
        return np.arange(len(self.candidates)) < self.n_open

    @property
    def surface_labels(self) -> NDArray[np.int64]:
        surfaces = [c.site.surface_id for c in self.candidates]
        labels: NDArray[np.int64] = np.unique(surfaces, return_inverse=True)[1].astype(np.int64)
        return labels

    def selections(self, indices: NDArray[np.int64]) -> list[Selection]:
        return [
            Selection(
                calculation_id=self.candidates[i].calculation_id,
                site_id=self.candidates[i].site.id,
                adsorbate=self.candidates[i].adsorbate,
                mean_ev=float(self.mean[i]),
                std_ev=float(self.std[i]),
            )
            for i in indices
        ]


def _pool(
    campaign: Campaign,
    predictions: Predictions,
    open_candidates: list[Candidate],
    pending: list[Candidate],
    costs: CandidateCosts,
) -> _Pool:
    """Gather the candidates of the adsorbate that is predicted."""
    predicted = predictions.by_site()
    is_open = [c for c in open_candidates if c.adsorbate == predictions.adsorbate]
    known = {c.id for c in is_open}
    mine = [c for c in pending if c.adsorbate == predictions.adsorbate]
    candidates = [*is_open, *(c for c in mine if c.id not in known)]
    values = np.array([predicted[c.site.id] for c in candidates]).reshape(-1, 2)
    under_way = {c.id for c in mine}
    is_pending = np.array([c.id in under_way for c in candidates], dtype=bool)
    environments = [campaign.environments[c.site.id] for c in candidates]
    success = _success(campaign, predictions.adsorbate, environments)
    return _Pool(
        candidates,
        values[:, 0],
        values[:, 1],
        len(is_open),
        is_pending,
        environments,
        success,
        predictions.freedom,
        costs,
    )


def _success(campaign: Campaign, adsorbate: str, environments: list[SiteEnvironment]) -> NDArray[np.float64]:
    """Chance of each candidate to give an energy; equal sites are looked at once."""
    if not campaign.settings.acquisition.learn_from_failures:
        return np.ones(len(environments))
    model = learned(campaign, outcomes(campaign, adsorbate))
    if not model.is_informed:
        return np.full(len(environments), model.base_rate_)
    sites, rows = distinct(environments)
    return model.predict(features(sites))[rows]


def _choose_by_prediction(
    campaign: Campaign, pools: dict[str, _Pool], n: int, rng: np.random.Generator
) -> dict[str, NDArray[np.int64]]:
    """Choose among the contenders; then among the others; then what is under way in other campaigns."""
    contenders = {name: _contenders(campaign, name, pool) for name, pool in pools.items()}
    others = {name: pool.is_open & ~pool.is_pending & ~contenders[name] for name, pool in pools.items()}
    elsewhere = {name: pool.is_open & pool.is_pending for name, pool in pools.items()}
    chosen = {name: np.zeros(0, dtype=np.int64) for name in pools}
    for is_allowed in (contenders, others, elsewhere):
        left = n - sum(len(indices) for indices in chosen.values())
        more = _choose_among(campaign, pools, is_allowed, left, rng)
        chosen = {name: np.concatenate([chosen[name], more[name]]) for name in pools}
    return chosen


def _refuse_poor_prospects(
    campaign: Campaign, pools: dict[str, _Pool], chosen: dict[str, NDArray[np.int64]]
) -> None:
    """End the campaign if a choice promises fewer hits per CPU-hour than its settings ask for."""
    from surrogate.acquisition import hit_probability

    least = campaign.settings.acquisition.least_hits_per_cpu_hour
    if least is None or not any(len(indices) for indices in chosen.values()):
        return
    hits = hours = 0.0
    for name, indices in chosen.items():
        target, pool = campaign.settings.adsorbates[name], pools[name]
        likely = hit_probability(
            pool.mean[indices], pool.std[indices], target.target_ev, target.window_ev, pool.freedom
        )
        hits += float((likely * pool.success[indices]).sum())
        hours += float(pool.costs.cpu_hours([pool.candidates[i] for i in indices]).sum())
    if hits < least * hours:
        message = (
            f"the next round promises {hits:.2g} hits for {hours:.2g} CPU-hours, {hits / hours:.2g} each, "
            f"and acquisition.least_hits_per_cpu_hour is {least:g}: nothing more is computed"
        )
        raise NothingLeft(message)


def _contenders(campaign: Campaign, adsorbate: str, pool: _Pool) -> NDArray[np.bool_]:
    """Tell which candidates may decide the fate of their surface, of shape (n_candidates,)."""
    from surrogate.acquisition import contenders

    target = campaign.settings.adsorbates[adsorbate]
    lowest: dict[str, float] = {}
    for o in campaign.observations(adsorbate):
        lowest[o.surface_id] = min(o.delta_e_ev, lowest.get(o.surface_id, np.inf))
    for i in np.flatnonzero(pool.is_pending):
        surface_id = pool.candidates[i].site.surface_id
        lowest[surface_id] = min(float(pool.mean[i]), lowest.get(surface_id, np.inf))
    computed = np.array([lowest.get(c.site.surface_id, np.inf) for c in pool.candidates])
    free = np.flatnonzero(pool.is_open & ~pool.is_pending)
    is_contender = np.zeros(len(pool.candidates), dtype=bool)
    is_contender[free] = contenders(
        pool.mean[free],
        pool.surface_labels[free],
        computed[free],
        target=target.target_ev,
        window=target.window_ev,
    )
    return is_contender


def _choose_among(
    campaign: Campaign,
    pools: dict[str, _Pool],
    is_allowed: dict[str, NDArray[np.bool_]],
    n: int,
    rng: np.random.Generator,
) -> dict[str, NDArray[np.int64]]:
    from surrogate.acquisition import Candidates, choose_batch
    from surrogate.sites import environment_labels

    targets = campaign.settings.adsorbates
    groups = {
        name: Candidates(
            mean=pool.mean,
            std=pool.std,
            target=targets[name].target_ev,
            window=targets[name].window_ev,
            is_excluded=~is_allowed[name],
            labels=(pool.surface_labels, environment_labels(pool.environments)),
            is_pending=pool.is_pending,
            cpu_hours=_cpu_hours(campaign, pool, is_allowed[name]),
            success=pool.success,
            freedom=pool.freedom,
        )
        for name, pool in pools.items()
    }
    acquisition = campaign.settings.acquisition
    return choose_batch(acquisition.strategy, groups, n=n, rng=rng, width=acquisition.gaussian_width_ev)


def _cpu_hours(campaign: Campaign, pool: _Pool, is_allowed: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """Expected cost of the candidates that may be chosen, if the strategy asks for it."""
    if campaign.settings.acquisition.strategy != "hits_per_cpu_hour":
        return None
    hours = np.full(len(pool.candidates), np.inf)
    hours[is_allowed] = pool.costs.cpu_hours([pool.candidates[i] for i in np.flatnonzero(is_allowed)])
    return hours


def _choose_seed(
    campaign: Campaign, pools: dict[str, _Pool], n: int, rng: np.random.Generator
) -> dict[str, NDArray[np.int64]]:
    from surrogate.acquisition import choose_seed, share_batch

    reference = _reference_surfaces(campaign)
    shares = share_batch({name: pool.n_open for name, pool in pools.items()}, n, rng)
    return {
        name: choose_seed(
            pool.environments[: pool.n_open],
            np.array([c.site.surface_id in reference for c in pool.candidates[: pool.n_open]]),
            shares[name],
            rng,
        )
        for name, pool in pools.items()
    }


def _reference_surfaces(campaign: Campaign) -> set[str]:
    """Ids of each pure metal's densest face: fcc(111), bcc(110), hcp(0001), the most stable ones."""
    densest: dict[str, tuple[float, str]] = {}
    pure = {b.id for b in campaign.bulks if b.is_element}
    for surface in campaign.surfaces:
        if surface.bulk_id in pure:
            area = float(np.linalg.norm(np.cross(*surface.atoms.cell.array[:2])))
            density = float((surface.atoms.get_tags() == 1).sum()) / area
            densest[surface.bulk_id] = max(densest.get(surface.bulk_id, (0.0, "")), (density, surface.id))
    return {surface_id for _, surface_id in densest.values()}
