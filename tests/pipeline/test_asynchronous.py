"""Asynchronous campaigns on real jobs: the queue stays full, the budget is kept to the last calculation."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from config.adsorbates import AdsorbateSettings
from config.campaign import Budget, BulkSelection
from config.execution import LocalExecution
from config.loader import load_campaign
from dft.codes import FailureCode
from dft.jobs import CalculationKind
from pipeline import learning
from pipeline.asynchronous import Desk, run_async
from pipeline.batch import Driver, Watch
from pipeline.campaign import Campaign
from pipeline.domain import TERMINAL
from pipeline.domain import CalculationState as State
from pipeline.drivers import own_id
from pipeline.ends import Drained, StepDone
from pipeline.home import CampaignHome
from tests.pipeline.enumerated import enumerated

if TYPE_CHECKING:
    from pipeline.progress import Progress
    from pipeline.store.repository import Store

WIDTH, SEED_SIZE, BUDGET = 2, 3, 8
DEAD_DRIVER = own_id().rpartition("/")[0] + "/1"
"""This process with another start: it cannot be alive."""


@pytest.fixture
def campaign(store: Store, tmp_path: Path) -> Campaign:
    """Give an enumerated asynchronous campaign on Cu and Pd, with 28 candidates."""
    emt = load_campaign("emt")
    settings = emt.model_copy(
        update={
            "mode": "async",
            "bulks": BulkSelection(ids=("mp-30", "mp-2")),
            "surfaces": emt.surfaces.model_copy(update={"miller_indices": ((1, 1, 1), (1, 0, 0))}),
            "adsorbates": {name: AdsorbateSettings(target_ev=-0.3) for name in ("CO", "H")},
            "budget": allowing(BUDGET),
            "seed_size": SEED_SIZE,
            "batch_size": WIDTH,
            "execution": LocalExecution(cores=2),
        }
    )
    home = CampaignHome(tmp_path / "home")
    home.adopt(settings)
    return enumerated(settings, store, home.path)


def again(campaign: Campaign, **changes: object) -> Campaign:
    """The same campaign as another driver opens it, with changed settings."""
    return Campaign(campaign.settings.model_copy(update=changes), campaign.home, campaign.store)


def allowing(n: int) -> Budget:
    """A budget of so many adsorption energies."""
    return Budget(calculations=n, rounds=1)


def desk_of(campaign: Campaign, watch: Watch | None = None) -> Desk:
    return Desk(campaign, Driver.of(campaign, watch or Watch()))


def under_way(campaign: Campaign) -> int:
    chosen = campaign.store.calculations(ids=campaign.chosen_ids())
    return sum(c.state not in TERMINAL for c in chosen)


def test_the_queue_is_kept_full_and_the_budget_exactly_spent(campaign: Campaign) -> None:
    widths: list[tuple[int, int]] = []

    def note(_progress: Progress) -> None:
        widths.append((len(campaign.rounds()), under_way(campaign)))

    run_async(campaign, Watch(on_progress=note))
    assert f"{BUDGET} adsorption energies" in str(campaign.reason_to_stop())
    chosen = campaign.store.calculations(ids=campaign.chosen_ids())
    assert len(chosen) == BUDGET
    assert {c.state for c in chosen} <= TERMINAL
    assert all(r.is_closed for r in campaign.rounds())
    assert len(campaign.rounds()) > 2, "the number of rounds is no limit"
    assert max(n for rounds, n in widths if rounds > 1) == WIDTH
    assert (campaign.home.results / "observations.csv").exists()


def test_each_decision_rests_on_every_energy_there_was(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_kept = 2
    monkeypatch.setattr("pipeline.asynchronous.KEPT_PREDICTIONS", n_kept)
    run_async(campaign, Watch())
    trained = Counter(m.round for m in campaign.store.models(campaign.name))
    assert set(trained.values()) == {2}, "one surrogate for each adsorbate"
    sizes = [
        sum(len(m.training_ids) for m in campaign.store.models(campaign.name) if m.round == number)
        for number in sorted(trained)
    ]
    assert sizes[0] == 0
    assert sizes == sorted(set(sizes)), "nothing is decided without news"
    files = {int(p.name.split("-")[1]) for p in campaign.home.predictions.iterdir()}
    assert files == {0, *range(len(trained) - n_kept, len(trained))}
    assert len(files) < len(trained)
    # An observation tells in which round its site was chosen.
    numbers = {s.calculation_id: r.number for r in campaign.rounds() for s in r.selections}
    assert all(o.round == numbers[o.calculation_id] for o in campaign.observations())


def test_a_pass_without_waiting_submits_what_is_due_and_ends(campaign: Campaign) -> None:
    passes = 0
    while campaign.reason_to_stop() is None:
        with suppress(StepDone):
            run_async(again(campaign), Watch(once=True))
        passes += 1
        assert under_way(campaign) <= max(WIDTH, SEED_SIZE)
        assert passes < 500
        time.sleep(0.1)
    assert len(campaign.chosen_ids()) == BUDGET


def test_a_driver_that_wakes_up_after_others_went_on_drops_its_choice(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeper, other = desk_of(again(campaign)), desk_of(again(campaign))
    other.turn()  # chooses the seed
    train, kept = learning.train, {}

    def sleep_while_training(*args: object, **kwargs: object) -> object:
        """Train, and before anything is chosen let the other driver finish the campaign."""
        monkeypatch.setattr(learning, "train", train)
        trained = train(*args, **kwargs)  # type: ignore[arg-type]
        campaign.store.release_lease(sleeper._lease, own_id())  # as if its time were over
        while not other.turn():
            other.driver.ledger.wait()
        kept.update({p: p.read_bytes() for p in campaign.home.predictions.iterdir()})
        return trained

    monkeypatch.setattr(learning, "train", sleep_while_training)
    deadline = time.monotonic() + 300
    while not sleeper.turn():
        assert time.monotonic() < deadline
        sleeper.driver.ledger.wait()
    assert kept, "it did fall asleep"
    assert {p: p.read_bytes() for p in campaign.home.predictions.iterdir()} == kept
    assert len(campaign.chosen_ids()) == len(set(campaign.chosen_ids())) == BUDGET


def test_a_decision_whose_driver_was_killed_before_planning_is_planned(campaign: Campaign) -> None:
    desk_of(again(campaign)).turn()
    campaign.store.connection.database["calculations"].delete_many({"kind": "adslab"})
    run_async(campaign, Watch())
    assert len(campaign.store.calculations(ids=campaign.chosen_ids())) == BUDGET


def test_only_one_decides_and_a_dead_one_is_not_waited_for(campaign: Campaign) -> None:
    desk = desk_of(campaign)
    assert campaign.store.take_lease(desk._lease, "elsewhere/boot/1/2", seconds=60)
    desk.turn()
    assert campaign.rounds() == []
    campaign.store.release_lease(desk._lease, "elsewhere/boot/1/2")
    assert campaign.store.take_lease(desk._lease, DEAD_DRIVER, seconds=60)
    desk.turn()
    assert [len(r.selections) for r in campaign.rounds()] == [SEED_SIZE]
    assert campaign.store.lease_owner(desk._lease) is None


def test_candidates_that_could_not_be_computed_are_replaced_and_cost_nothing(campaign: Campaign) -> None:
    desk = desk_of(campaign)
    desk.turn()
    (broken,) = [
        c
        for c in campaign.calculations()
        if c.kind is CalculationKind.BULK and c.bulk_id == campaign.bulks[0].id
    ]
    flying = {State.PLANNED, State.SUBMITTING, State.SUBMITTED, State.RUNNING} & {
        campaign.store.calculations(ids=[broken.id])[0].state
    }
    moved = campaign.store.transition(broken.id, flying, State.FAILED, code=FailureCode.SCF_NOT_CONVERGED)
    assert moved is not None
    run_async(again(campaign), Watch())
    chosen = campaign.store.calculations(ids=campaign.chosen_ids())
    lost = [c for c in chosen if c.code is FailureCode.DEPENDENCY_FAILED]
    assert lost
    assert len(chosen) - len(lost) == BUDGET


def test_what_a_person_has_paused_takes_no_room(campaign: Campaign) -> None:
    desk = desk_of(campaign)
    desk.turn()
    for identifier in campaign.chosen_ids():
        campaign.store.transition(identifier, State.PLANNED, State.PAUSED)
    desk.turn()
    assert [len(r.selections) for r in campaign.rounds()] == [SEED_SIZE, WIDTH]


def test_a_drain_chooses_nothing_more_and_finishes_what_runs(campaign: Campaign) -> None:
    campaign = again(campaign, budget=allowing(SEED_SIZE + WIDTH))
    rounds_at_drain: list[int] = []

    def is_draining() -> bool:
        if not rounds_at_drain and campaign.observations():
            rounds_at_drain.append(len(campaign.rounds()))
        return bool(rounds_at_drain)

    with pytest.raises(Drained, match="still to do"):
        run_async(campaign, Watch(is_draining=is_draining))
    assert len(campaign.rounds()) == rounds_at_drain[0]
    states = {c.state for c in campaign.calculations()}
    assert not states & {State.SUBMITTED, State.RUNNING}
    assert (campaign.home.results / "observations.csv").exists(), "results are written at the end"
    run_async(again(campaign), Watch())
    assert len(campaign.chosen_ids()) == SEED_SIZE + WIDTH


def test_a_campaign_may_change_its_mode(campaign: Campaign) -> None:
    run_async(again(campaign, budget=allowing(SEED_SIZE + 1)), Watch())
    assert again(campaign).reason_to_stop() is None
    assert "rounds are done" in str(again(campaign, mode="batch").reason_to_stop())
