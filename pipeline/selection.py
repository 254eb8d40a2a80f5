"""Choosing the candidates of a round.

A candidate chosen before, or whose site already has an observation (an adsorbate placed elsewhere ended
there), is never chosen again; one that another campaign of the database is computing is chosen last, since
its energy comes for nothing. The seed round has no observations to go by: it takes pure metals first, whose
ΔE tell much of their alloys; then what the predictions promise, where energies from elsewhere let them tell
sites apart, or else a spread of environments. Later rounds count what is under way as
computed, with the mean that is predicted of it now.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pipeline.costs import CandidateCosts
from pipeline.ends import BudgetSpent, NothingLeft
from pipeline.learning import read_predictions
from pipeline.pools import gather_pools, others_probability
from pipeline.prospects import ALL, prospects, refuse_poor
from pipeline.store.records import SEED_ROUND, Reason, RoundRecord, Selection
from pipeline.versions import package_versions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pipeline.campaign import Campaign
    from pipeline.learning import Predictions
    from pipeline.pools import Pool
    from pipeline.store.records import Prospect
    from surrogate.acquisition import Candidates

RANKING_EV = 0.05
"""Predictions that differ by more tell sites apart: there are energies from elsewhere to go by."""


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
    """Choose the candidates of a round, shared between adsorbates; nothing is stored.

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
    costs = CandidateCosts(campaign)
    pools = gather_pools(campaign, {name: predictions[name] for name in settings.adsorbates})
    n = min(size, campaign.calculations_left())
    promised: tuple[Prospect, ...] = ()
    if number == SEED_ROUND:
        choice = _choose_seed(campaign, pools, n, rng)
    else:
        choice = _choose_by_prediction(campaign, pools, n, rng, costs)
        if len(choice):
            promised = prospects(campaign, pools, choice.indices, costs)
            refuse_poor(campaign, promised)
    return RoundRecord(
        campaign=campaign.name,
        number=number,
        selections=choice.selections(),
        seed=settings.seed,
        config_digest=settings.digest(),
        versions=package_versions(),
        prospects=promised,
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


class _Choice:
    """What has been chosen so far: indices into each adsorbate's pool, and why."""

    def __init__(self, pools: Mapping[str, Pool]) -> None:
        self.pools = pools
        self.indices = {name: np.zeros(0, dtype=np.int64) for name in pools}
        self.reasons: dict[str, list[Reason]] = {name: [] for name in pools}

    def __len__(self) -> int:
        return sum(len(indices) for indices in self.indices.values())

    def add(self, more: Mapping[str, NDArray[np.int64]], reason: Reason) -> None:
        for name, indices in more.items():
            self.indices[name] = np.concatenate([self.indices[name], indices])
            self.reasons[name] += [reason] * len(indices)

    def without(self, is_allowed: Mapping[str, NDArray[np.bool_]]) -> dict[str, NDArray[np.bool_]]:
        """Leave out what has been chosen."""
        left = {name: mask.copy() for name, mask in is_allowed.items()}
        for name, indices in self.indices.items():
            left[name][indices] = False
        return left

    def selections(self) -> tuple[Selection, ...]:
        return tuple(
            Selection(
                calculation_id=pool.candidates[i].calculation_id,
                site_id=pool.candidates[i].site.id,
                adsorbate=pool.candidates[i].adsorbate,
                mean_ev=float(pool.mean[i]),
                std_ev=float(pool.std[i]),
                reason=reason.value,
            )
            for name, pool in self.pools.items()
            for i, reason in zip(self.indices[name], self.reasons[name], strict=True)
        )


def _choose_by_prediction(
    campaign: Campaign, pools: dict[str, Pool], n: int, rng: np.random.Generator, costs: CandidateCosts
) -> _Choice:
    """Choose among the contenders; then among the others; then what is under way in other campaigns.

    ``random`` draws from contenders and others alike.
    Places for exploration are kept free and filled from the same two, in that order.
    """
    from surrogate.batches import choose_batch, explore, number_explored

    acquisition = campaign.settings.acquisition
    pick = partial(
        choose_batch, acquisition.strategy, rng=rng, width=acquisition.gaussian_width_ev,
        sharing=acquisition.sharing,
    )  # fmt: skip
    groups = partial(_groups, campaign, pools, _others(campaign, pools), costs)
    free = {name: pool.is_open & ~pool.is_pending for name, pool in pools.items()}
    # A draw at random is to be an unbiased one.
    is_any = acquisition.strategy == "random"
    contenders = {name: free[name] if is_any else pool.is_contender for name, pool in pools.items()}
    others = {name: free[name] & ~contenders[name] for name in pools}
    elsewhere = {name: pool.is_open & pool.is_pending for name, pool in pools.items()}
    n_explored = number_explored(n, acquisition.exploration, rng)
    choice = _Choice(pools)
    for is_allowed, reason in ((contenders, Reason.PROMISE), (others, Reason.FILLING)):
        choice.add(pick(groups(is_allowed), n=n - n_explored - len(choice)), reason)
    if n_explored:
        for is_allowed in (contenders, others):
            left = groups(choice.without(is_allowed))
            choice.add(explore(left, n=n - len(choice), rng=rng), Reason.EXPLORATION)
    choice.add(pick(groups(elsewhere), n=n - len(choice)), Reason.ELSEWHERE)
    return choice


def _others(campaign: Campaign, pools: dict[str, Pool]) -> dict[str, NDArray[np.float64] | None]:
    """Probability of each surface to be a hit for the other adsorbates, if the goal asks for it."""
    is_asked = campaign.settings.acquisition.goal == ALL
    return {**others_probability(pools)} if is_asked else dict.fromkeys(pools)


def _groups(
    campaign: Campaign,
    pools: dict[str, Pool],
    others: dict[str, NDArray[np.float64] | None],
    costs: CandidateCosts,
    is_allowed: dict[str, NDArray[np.bool_]],
) -> dict[str, Candidates]:
    """The pools as the acquisition sees them."""
    by_cost = campaign.settings.acquisition.strategy == "hits_per_cpu_hour"
    return {
        name: pool.to_choose_from(
            is_allowed[name],
            others=others[name],
            cpu_hours=_cpu_hours(pool, is_allowed[name], costs) if by_cost else None,
        )
        for name, pool in pools.items()
    }


def _cpu_hours(pool: Pool, is_allowed: NDArray[np.bool_], costs: CandidateCosts) -> NDArray[np.float64]:
    """Expected cost of the candidates that may be chosen, the most promising priced first."""
    from surrogate.acquisition import hit_probability

    target, rows = pool.target, np.flatnonzero(is_allowed)
    likely = hit_probability(
        pool.mean[rows], pool.std[rows], target.target_ev, target.window_ev, pool.freedom
    )
    rows = rows[np.argsort(-likely, kind="stable")]
    hours = np.full(len(pool.candidates), np.inf)
    hours[rows] = costs.cpu_hours([pool.candidates[i] for i in rows])
    return hours


def _choose_seed(campaign: Campaign, pools: dict[str, Pool], n: int, rng: np.random.Generator) -> _Choice:
    """Choose pure metals first; then by the predictions if these tell sites apart already, else a spread."""
    from surrogate.acquisition import choose
    from surrogate.batches import share_batch
    from surrogate.seeding import choose_seed

    acquisition = campaign.settings.acquisition
    reference = _reference_surfaces(campaign)
    shares = share_batch({name: pool.n_open for name, pool in pools.items()}, n, rng)
    choice = _Choice(pools)
    for name, pool in pools.items():
        on_surfaces = [c.site.surface_id for c in pool.candidates[: pool.n_open]]
        is_reference = np.array([surface_id in reference for surface_id in on_surfaces], dtype=bool)
        n_first = shares[name]
        if shares[name] and np.ptp(pool.mean) > RANKING_EV:
            sites = [pool.environments[i] for i in np.flatnonzero(is_reference)]
            n_first = min(n_first, len({site.first_shell[0][0] for site in sites}))
        first = choose_seed(pool.environments[: pool.n_open], is_reference, n_first, rng)
        choice.add({name: first}, Reason.SEED)
        for is_pending, reason in ((False, Reason.PROMISE), (True, Reason.ELSEWHERE)):
            left = pool.is_open & (pool.is_pending == is_pending)
            left[choice.indices[name]] = False
            likely = choose(
                acquisition.strategy, pool.to_choose_from(left), n=shares[name] - len(choice.indices[name]),
                rng=rng, width=acquisition.gaussian_width_ev,
            )  # fmt: skip
            choice.add({name: likely}, reason)
    return choice


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
