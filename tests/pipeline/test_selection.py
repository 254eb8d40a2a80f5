"""Which candidates a round may choose: contenders first, nothing twice, nothing that is broken."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from config.adsorbates import AdsorbateSettings
from config.campaign import Budget, BulkSelection
from config.loader import load_campaign
from dft.codes import FailureCode
from dft.jobs import CalculationKind
from pipeline.campaign import Campaign
from pipeline.domain import CalculationState as State
from pipeline.domain import Observation
from pipeline.ends import BudgetSpent, NothingLeft
from pipeline.learning import train, train_round
from pipeline.pools import gather_pools
from pipeline.selection import choose_round, plan_round, select_round
from tests.pipeline.enumerated import enumerated

if TYPE_CHECKING:
    from pipeline.domain import Candidate
    from pipeline.store.records import RoundRecord
    from pipeline.store.repository import Store


@pytest.fixture
def campaign(store: Store, tmp_path: Path) -> Campaign:
    """Give an enumerated campaign on Cu and Pd with H alone."""
    settings = load_campaign("emt").model_copy(
        update={
            "bulks": BulkSelection(ids=("mp-30", "mp-2")),
            "adsorbates": {"H": AdsorbateSettings(target_ev=-0.27, window_ev=0.1)},
            "budget": Budget(calculations=1000, rounds=50),
            "seed_size": 3,
            "batch_size": 4,
        }
    )
    return enumerated(settings, store, tmp_path)


def choose(campaign: Campaign, number: int) -> list[Candidate]:
    """Train, select and return what was chosen."""
    train_round(campaign, number)
    record: RoundRecord = select_round(campaign, number)
    by_id = {c.calculation_id: c for c in campaign.candidates}
    return [by_id[i] for i in record.calculation_ids]


def observe(campaign: Campaign, candidate: Candidate, delta_e_ev: float) -> None:
    site = candidate.site
    campaign.store.save_observation(
        Observation(
            candidate.calculation_id,
            site.id,
            site.id,
            site.surface_id,
            site.bulk_id,
            candidate.adsorbate,
            delta_e_ev,
            campaign.settings.recipe.digest(),
            0,
        )
    )


def finish(campaign: Campaign, candidate: Candidate) -> None:
    """Say that a candidate's calculation has ended."""
    for before, after in itertools.pairwise(
        (State.PLANNED, State.SUBMITTING, State.SUBMITTED, State.RUNNING, State.DONE, State.VALID)
    ):
        campaign.store.transition(candidate.calculation_id, before, after)


def test_the_seed_holds_the_densest_face_of_each_metal(campaign: Campaign) -> None:
    seed = choose(campaign, 0)
    faces = {campaign.surface(c.site.surface_id).label for c in seed}
    assert {"Cu(111)", "Pd(111)"} <= faces


def test_nothing_is_chosen_twice_and_a_batch_spreads_over_surfaces(campaign: Campaign) -> None:
    chosen = choose(campaign, 0)
    rng = np.random.default_rng(0)
    for candidate in chosen:
        observe(campaign, candidate, float(rng.normal(-0.3, 0.1)))
    batch = choose(campaign, 1)
    assert len(batch) == 4
    assert len({c.site.surface_id for c in batch}) == 4
    assert not {c.calculation_id for c in batch} & {c.calculation_id for c in chosen}


def test_a_surface_with_a_site_below_the_window_is_settled(campaign: Campaign) -> None:
    seed = choose(campaign, 0)
    for candidate in seed:
        observe(campaign, candidate, -3.0)
    settled = {c.site.surface_id for c in seed}
    open_surfaces = {s.id for s in campaign.surfaces} - settled
    batch = choose(campaign, 1)
    first = batch[: len(open_surfaces)]
    assert {c.site.surface_id for c in first} <= open_surfaces


def test_a_selection_is_repeatable_and_kept(campaign: Campaign) -> None:
    first = choose(campaign, 0)
    assert choose(campaign, 0) == first


def test_the_batch_is_filled_with_other_sites_when_contenders_run_out(campaign: Campaign) -> None:
    n_candidates = len(campaign.candidates)
    chosen: list[Candidate] = []
    for number in range(50):
        try:
            batch = choose(campaign, number)
        except NothingLeft:
            break
        chosen += batch
        for candidate in batch:
            observe(campaign, candidate, -3.0)
        campaign.store.close_round(campaign.name, number)
    assert len(chosen) == len({c.calculation_id for c in chosen}) == n_candidates


@pytest.mark.parametrize("kind", [CalculationKind.GAS, CalculationKind.BULK, CalculationKind.SLAB])
def test_what_rests_on_a_failed_calculation_is_not_chosen(campaign: Campaign, kind: CalculationKind) -> None:
    choose(campaign, 0)
    failed = next(c for c in campaign.calculations() if c.kind is kind)
    campaign.store.transition(failed.id, State.PLANNED, State.FAILED, code=FailureCode.SCF_NOT_CONVERGED)
    left = campaign.open_candidates()
    if kind is CalculationKind.GAS:
        assert left == []
    elif kind is CalculationKind.BULK:
        assert left
        assert failed.bulk_id not in {c.site.bulk_id for c in left}
    else:
        assert left
        assert failed.surface_id not in {c.site.surface_id for c in left}


def test_candidates_that_were_never_computed_cost_no_budget(campaign: Campaign) -> None:
    before = campaign.calculations_left()
    chosen = choose(campaign, 0)
    assert campaign.calculations_left() == before - len(chosen)
    campaign.store.transition(
        chosen[0].calculation_id, State.PLANNED, State.FAILED, code=FailureCode.DEPENDENCY_FAILED
    )
    assert campaign.calculations_left() == before - len(chosen) + 1


def test_no_round_is_begun_without_cpu_hours(campaign: Campaign) -> None:
    chosen = choose(campaign, 0)
    campaign.store.transition(
        chosen[0].calculation_id, State.PLANNED, State.FAILED, code=FailureCode.CRASHED, cpu_seconds=1e9
    )
    train_round(campaign, 1)
    with pytest.raises(BudgetSpent, match="CPU-hours"):
        select_round(campaign, 1)
    assert campaign.store.round(campaign.name, 1) is None


def test_a_surface_is_not_chosen_again_while_a_site_on_it_is_under_way(campaign: Campaign) -> None:
    """With as many surfaces as places, each surface gets one candidate although choices come one by one."""
    seed = choose(campaign, 0)
    for candidate in seed:
        observe(campaign, candidate, float(np.random.default_rng(0).normal(-0.3, 0.1)))
        finish(campaign, candidate)
    one_by_one = []
    for number in range(1, 5):
        trained = train(campaign, number)
        predictions = {name: t.predictions for name, t in trained.items()}
        record = campaign.store.create_round(choose_round(campaign, number, predictions, 1))
        plan_round(campaign, record)
        one_by_one += record.calculation_ids
    by_id = {c.calculation_id: c for c in campaign.candidates}
    assert [c.calculation_id for c in campaign.pending()] == [
        c.id for c in campaign.candidates if c.id in one_by_one
    ]
    assert len({by_id[i].site.surface_id for i in one_by_one}) == 4


def test_what_another_campaign_computes_is_chosen_last(campaign: Campaign) -> None:
    for candidate in choose(campaign, 0):
        observe(campaign, candidate, -0.3)
    before = choose(campaign, 1)
    elsewhere = [c for c in campaign.open_candidates() if c not in before][:5]
    calculations = {}
    for candidate in elsewhere:
        surface = campaign.surface(candidate.site.surface_id)
        needed = campaign.planner.calculations(candidate, surface, campaign.bulk(surface.bulk_id))
        calculations.update({c.id: c for c in needed})
    campaign.store.plan(calculations.values())
    for candidate in elsewhere:
        campaign.store.transition(candidate.id, State.PLANNED, State.SUBMITTING, attempt=1)
    chosen: list[Candidate] = []
    for number in range(2, 50):
        try:
            chosen += choose(campaign, number)
        except NothingLeft:
            break
    assert {c.id for c in chosen[-5:]} == {c.id for c in elsewhere}


def test_a_draw_at_random_is_from_all_sites_not_from_contenders(campaign: Campaign) -> None:
    acquisition = campaign.settings.acquisition.model_copy(update={"strategy": "random"})
    settings = campaign.settings.model_copy(update={"acquisition": acquisition})
    campaign = Campaign(settings, campaign.home, campaign.store)
    for candidate in choose(campaign, 0):
        observe(campaign, candidate, -0.3)
        finish(campaign, candidate)
    predictions = {name: trained.predictions for name, trained in train(campaign, 1).items()}
    (pool,) = gather_pools(campaign, predictions).values()
    contenders = {c.site.id for c, it_is in zip(pool.candidates, pool.is_contender, strict=True) if it_is}
    drawn = choose_round(campaign, 1, predictions, len(contenders)).selections
    assert {selection.site_id for selection in drawn} - contenders
    assert {selection.reason for selection in drawn} == {"promise"}, "by the strategy"
