"""The ledger on real jobs: what a driver that died between two steps left is settled, once and for all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from config.errors import ExecutionError, StoreError
from config.loader import load_campaign
from dft.codes import FailureCode
from dft.execution.local import LocalBackend
from dft.jobs import CalculationKind, read_result, write_job
from pipeline.campaign import Campaign
from pipeline.domain import Calculation
from pipeline.domain import CalculationState as State
from pipeline.harvest import Judge
from pipeline.home import CampaignHome
from pipeline.ledger import Ledger

if TYPE_CHECKING:
    from pipeline.store.repository import Store


@pytest.fixture
def campaign(store: Store, tmp_path: Path) -> Campaign:
    """Give a campaign with an empty store and home."""
    settings = load_campaign("emt")
    home = CampaignHome(tmp_path / "home")
    home.adopt(settings)
    store.save_campaign(settings.name, settings.model_dump(mode="json"), settings.digest(), home.path)
    return Campaign(settings, home, store)


def make_ledger(campaign: Campaign) -> Ledger:
    return Ledger(
        store=campaign.store,
        backend=LocalBackend(),
        home=campaign.home,
        settings=campaign.settings,
        materialiser=campaign.materialiser,
        judge=Judge(campaign.store, campaign.materialiser, campaign.home, {}),
        cores=2,
    )


def run(ledger: Ledger, *ids: str, may_start: Callable[[], bool] = lambda: True) -> bool:
    return ledger.run(
        ids, on_progress=lambda: None, is_draining=lambda: False, may_start=may_start, poll_seconds=0.05
    )


def planned(campaign: Campaign, molecule: str = "H2") -> Calculation:
    calculation = campaign.planner.gas(molecule)
    campaign.store.plan([calculation])
    return calculation


def submitting(campaign: Campaign, calculation: Calculation) -> Path:
    """Bring a calculation where a driver is about to submit its first attempt."""
    job_dir = campaign.home.job_dir(calculation.id, 1)
    campaign.store.transition(
        calculation.id, State.PLANNED, State.SUBMITTING, attempt=1, job_dir=str(job_dir)
    )
    return job_dir


def after(campaign: Campaign, calculation: Calculation) -> Calculation:
    found = campaign.store.calculation(calculation.id)
    assert found is not None
    return found


def test_a_planned_calculation_becomes_valid_with_its_result_in_the_store(campaign: Campaign) -> None:
    gas = planned(campaign)
    assert run(make_ledger(campaign), gas.id)
    done = after(campaign, gas)
    assert (done.state, done.attempt, done.code) == (State.VALID, 1, None)
    result = campaign.store.result(gas.id)
    assert result is not None
    assert result == read_result(campaign.home.job_dir(gas.id, 1))
    assert done.energy == result.energy


def test_a_driver_that_died_before_writing_the_job_costs_nothing(campaign: Campaign) -> None:
    gas = planned(campaign)
    submitting(campaign, gas)
    assert run(make_ledger(campaign), gas.id)
    assert after(campaign, gas).state is State.VALID


def test_a_job_that_was_never_submitted_is_revoked_before_another_attempt(campaign: Campaign) -> None:
    gas = planned(campaign)
    job_dir = submitting(campaign, gas)
    write_job(job_dir, campaign.materialiser.job_spec(gas, 1))
    assert run(make_ledger(campaign), gas.id)
    done = after(campaign, gas)
    assert (done.state, done.attempt) == (State.VALID, 2)
    assert json.loads((job_dir / "claim").read_text())["role"] == "driver"
    revoked = read_result(job_dir)
    assert revoked is not None
    assert revoked.code is FailureCode.WORKER_LOST
    assert not (job_dir / "runs.jsonl").exists(), "a revoked attempt never computes"


def test_a_job_whose_id_was_lost_is_adopted(campaign: Campaign) -> None:
    gas = planned(campaign)
    job_dir = submitting(campaign, gas)
    write_job(job_dir, campaign.materialiser.job_spec(gas, 1))
    LocalBackend().submit(job_dir, cores=1, timeout_minutes=5, name=gas.id)
    assert run(make_ledger(campaign), gas.id)
    assert (after(campaign, gas).state, after(campaign, gas).attempt) == (State.VALID, 1)
    assert len((job_dir / "runs.jsonl").read_text().splitlines()) == 1


def test_a_finished_result_that_nobody_took_in_is_harvested(campaign: Campaign) -> None:
    gas = planned(campaign)
    assert run(make_ledger(campaign), gas.id)
    # the same home with a database that knows nothing
    campaign.store.connection.database["calculations"].delete_many({})
    planned(campaign)
    assert run(make_ledger(campaign), gas.id)
    assert (after(campaign, gas).state, after(campaign, gas).attempt) == (State.VALID, 1)
    assert len((campaign.home.job_dir(gas.id, 1) / "runs.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "content", ["{", '{"calculation_id": "calc-1"}', ""], ids=["torn", "partial", "empty"]
)
def test_an_unreadable_result_fails_by_name(campaign: Campaign, content: str) -> None:
    gas = planned(campaign)
    job_dir = submitting(campaign, gas)
    write_job(job_dir, campaign.materialiser.job_spec(gas, 1))
    (job_dir / "result.json").write_text(content)
    assert run(make_ledger(campaign), gas.id)
    failed = after(campaign, gas)
    assert (failed.state, failed.code) == (State.FAILED, FailureCode.INVALID_RESULT)


def test_a_result_of_another_calculation_is_refused(campaign: Campaign) -> None:
    gas, other = planned(campaign, "H2"), planned(campaign, "CO")
    assert run(make_ledger(campaign), other.id)
    job_dir = submitting(campaign, gas)
    write_job(job_dir, campaign.materialiser.job_spec(gas, 1))
    shutil.copy(campaign.home.job_dir(other.id, 1) / "result.json", job_dir / "result.json")
    assert run(make_ledger(campaign), gas.id)
    failed = after(campaign, gas)
    assert (failed.state, failed.code) == (State.FAILED, FailureCode.INVALID_RESULT)
    assert other.id in failed.message


def test_a_vanished_job_directory_is_another_attempt(campaign: Campaign) -> None:
    gas = planned(campaign)
    job_dir = submitting(campaign, gas)
    campaign.store.transition(gas.id, State.SUBMITTING, State.SUBMITTED)
    assert not job_dir.exists()
    assert run(make_ledger(campaign), gas.id)
    assert (after(campaign, gas).state, after(campaign, gas).attempt) == (State.VALID, 2)


def test_a_worker_that_is_lost_every_time_fails_at_last(campaign: Campaign) -> None:
    gas = planned(campaign)
    limit = campaign.settings.execution.max_attempts
    for attempt in range(1, limit + 1):
        job_dir = campaign.home.job_dir(gas.id, attempt)
        job_dir.mkdir(parents=True)
        (job_dir / "runs.jsonl").touch()
    campaign.store.transition(gas.id, State.PLANNED, State.SUBMITTING, attempt=limit, job_dir=str(job_dir))
    campaign.store.transition(gas.id, State.SUBMITTING, State.SUBMITTED)
    assert run(make_ledger(campaign), gas.id)
    failed = after(campaign, gas)
    assert (failed.state, failed.code) == (State.FAILED, FailureCode.WORKER_LOST)


def test_what_requires_a_failed_calculation_fails_with_its_reason(campaign: Campaign) -> None:
    gas = planned(campaign)
    slab = Calculation("calc-slab", CalculationKind.SLAB, "slab", requires=(gas.id,))
    adslab = Calculation("calc-adslab", CalculationKind.ADSLAB, "adslab", requires=("calc-slab",))
    campaign.store.plan([slab, adslab])
    campaign.store.transition(gas.id, State.PLANNED, State.FAILED, code=FailureCode.SCF_NOT_CONVERGED)
    assert run(make_ledger(campaign), gas.id, slab.id, adslab.id)
    for calculation in (slab, adslab):
        failed = after(campaign, calculation)
        assert (failed.state, failed.code) == (State.FAILED, FailureCode.DEPENDENCY_FAILED)
    assert "SCF_NOT_CONVERGED" in after(campaign, slab).message


def test_nothing_starts_without_budget(campaign: Campaign) -> None:
    gas = planned(campaign)
    assert not run(make_ledger(campaign), gas.id, may_start=lambda: False)
    assert after(campaign, gas) == gas
    assert not campaign.home.jobs.joinpath(gas.id).exists()


@pytest.mark.parametrize("spoil", ["energy", "atoms"])
def test_a_result_without_energy_or_structure_is_refused(campaign: Campaign, spoil: str) -> None:
    gas = planned(campaign)
    assert run(make_ledger(campaign), gas.id)
    file = campaign.home.job_dir(gas.id, 1) / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {spoil: None}))
    campaign.store.connection.database["calculations"].delete_many({})
    planned(campaign)
    assert run(make_ledger(campaign), gas.id)
    failed = after(campaign, gas)
    assert (failed.state, failed.code) == (State.FAILED, FailureCode.INVALID_RESULT)


def test_a_submission_of_another_home_is_left_to_its_driver(campaign: Campaign, tmp_path: Path) -> None:
    gas = planned(campaign)
    other = CampaignHome(tmp_path / "other")
    other.path.mkdir()
    campaign.store.transition(
        gas.id, State.PLANNED, State.SUBMITTING, attempt=1, job_dir=str(other.job_dir(gas.id, 1))
    )
    assert not run(make_ledger(campaign), gas.id, may_start=lambda: False)
    assert after(campaign, gas).state is State.SUBMITTING


def test_a_verdict_that_another_driver_left_out_is_given(campaign: Campaign) -> None:
    gas = planned(campaign)
    assert run(make_ledger(campaign), gas.id)
    campaign.store.connection.database["calculations"].update_one(
        {"_id": gas.id}, {"$set": {"state": "DONE"}}
    )
    assert run(make_ledger(campaign), gas.id)
    assert after(campaign, gas).state is State.VALID


def test_a_calculation_that_the_store_lacks_is_an_error(campaign: Campaign) -> None:
    with pytest.raises(StoreError, match="calc-nowhere"):
        run(make_ledger(campaign), "calc-nowhere")


def test_more_attempts_reopen_what_was_lost_too_often(campaign: Campaign) -> None:
    gas = planned(campaign)
    campaign.store.transition(gas.id, State.PLANNED, State.FAILED, code=FailureCode.WORKER_LOST)
    assert run(make_ledger(campaign), gas.id)
    assert after(campaign, gas).state is State.VALID


def test_an_attempt_of_a_living_worker_that_cannot_be_watched_is_not_repeated(campaign: Campaign) -> None:
    gas = planned(campaign)
    job_dir = submitting(campaign, gas)
    write_job(job_dir, campaign.materialiser.job_spec(gas, 1))
    (job_dir / "claim").write_text(json.dumps({"role": "worker", "pid": 1, "host": "elsewhere"}))
    with pytest.raises(ExecutionError, match="on elsewhere"):
        run(make_ledger(campaign), gas.id)
    assert after(campaign, gas).state is State.SUBMITTING


def test_a_job_on_a_machine_that_is_gone_for_good_can_be_given_up(campaign: Campaign) -> None:
    gas = planned(campaign)
    job_dir = submitting(campaign, gas)
    write_job(job_dir, campaign.materialiser.job_spec(gas, 1))
    campaign.store.transition(gas.id, State.SUBMITTING, State.SUBMITTED, job_id="77@0badb007.12345@oldhost")
    ledger = make_ledger(campaign)
    with pytest.raises(ExecutionError, match="--lost-host oldhost"):
        run(ledger, gas.id)
    ledger.backend = LocalBackend(lost_hosts={"oldhost"})
    assert run(ledger, gas.id)
    assert (after(campaign, gas).state, after(campaign, gas).attempt) == (State.VALID, 2)


def test_a_moved_home_is_still_the_home(campaign: Campaign, tmp_path: Path) -> None:
    gas = planned(campaign)
    assert run(make_ledger(campaign), gas.id)
    done = after(campaign, gas)
    moved = CampaignHome(campaign.home.path.rename(tmp_path / "moved"))
    assert moved.locate(done) == moved.job_dir(gas.id, 1)
