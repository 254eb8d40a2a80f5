"""The ledger on real jobs: what a driver that died between two steps left is settled, once and for all."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from config.errors import BackendUnavailableError, StoreError
from config.execution import LocalExecution
from dft.codes import FailureCode
from dft.execution import JobRequest
from dft.execution.local import LocalBackend
from dft.jobs import (
    CalculationKind,
    JobResult,
    ResultState,
    read_claim,
    read_job,
    read_result,
    write_job,
    write_result,
)
from pipeline import attempts, drivers
from pipeline.book import Book
from pipeline.capacity import Capacity
from pipeline.domain import Calculation
from pipeline.domain import CalculationState as State
from pipeline.harvest import Judge
from pipeline.home import CampaignHome
from pipeline.ledger import MAX_STILLBORN, Ledger
from pipeline.submission import GROUPS_AT_ONCE, LEASE_SECONDS, Submitter
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.campaign import Campaign


def make_ledger(campaign: Campaign) -> Ledger:
    return Ledger(
        store=campaign.store,
        backend=LocalBackend(LocalExecution()),
        home=campaign.home,
        settings=campaign.settings,
        materialiser=campaign.materialiser,
        judge=Judge(campaign.store, campaign.materialiser, campaign.home, {}),
        capacity=Capacity(2, os.uname().nodename),
        on_notice=notices.append,
    )


notices: list[str] = []


def run(ledger: Ledger, *ids: str, may_submit: bool = True) -> bool:
    """Step until all is done; False when nothing is under way and nothing may start."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        ledger.step(ids, may_submit=may_submit)
        if ledger.is_finished:
            return True
        if not may_submit and not ledger.in_flight():
            return False
        assert time.monotonic() < deadline, ledger.calculations
        time.sleep(0.05)


def planned(campaign: Campaign, molecule: str = "H2") -> Calculation:
    calculation = campaign.planner.gas(molecule)
    campaign.store.plan([calculation])
    return calculation


def submitting(campaign: Campaign, calculation: Calculation, owner: str | None = None) -> Path:
    """Bring a calculation where a driver is about to submit its first attempt."""
    job_dir = campaign.home.job_dir(calculation.id, 1)
    campaign.store.transition(
        calculation.id,
        State.PLANNED,
        State.SUBMITTING,
        attempt=1,
        job_dir=str(job_dir),
        owner=owner or dead_driver(),
    )
    return job_dir


def dead_driver() -> str:
    """Id of a driver of this machine that has been killed."""
    place = drivers.own_id().rsplit("/", 2)[0]
    return f"{place}/{2**22 + 1}/1"


SLEEPING = "elsewhere/0badb007-1/77/12345"
"""Id of a driver on another host, which may be alive or not."""


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
    LocalBackend(LocalExecution()).submit([JobRequest(job_dir, gas.kind, gas.id)])
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


@pytest.mark.provokes(FailureCode.INVALID_RESULT)
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


def test_jobs_that_all_end_before_their_worker_begins_fail_at_last(campaign: Campaign) -> None:
    gas = planned(campaign)
    ledger = make_ledger(campaign)
    broken = LocalBackend(LocalExecution(), python="/bin/false")
    ledger.backend = ledger.submitter.backend = broken
    assert run(ledger, gas.id)
    failed = after(campaign, gas)
    assert (failed.state, failed.code, failed.attempt) == (
        State.FAILED,
        FailureCode.WORKER_LOST,
        MAX_STILLBORN,
    )


@pytest.mark.provokes(FailureCode.DEPENDENCY_FAILED)
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
    assert not run(make_ledger(campaign), gas.id, may_submit=False)
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


def test_a_submission_of_a_driver_that_may_live_is_left_to_it(campaign: Campaign) -> None:
    gas = planned(campaign)
    job_dir = submitting(campaign, gas, owner=SLEEPING)
    make_ledger(campaign).step([gas.id])
    assert after(campaign, gas).state is State.SUBMITTING
    assert not job_dir.exists()


def expire(campaign: Campaign, calculation: Calculation) -> None:
    """Let the lease on a submission run out."""
    campaign.store.connection.database["calculations"].update_one(
        {"_id": calculation.id},
        [{"$set": {"since": {"$subtract": ["$$NOW", 1000 * (LEASE_SECONDS + 1)]}}}],
    )


def test_a_submission_whose_lease_has_run_out_is_revoked_and_started_anew(campaign: Campaign) -> None:
    gas = planned(campaign)
    job_dir = submitting(campaign, gas, owner=SLEEPING)
    expire(campaign, gas)
    assert run(make_ledger(campaign), gas.id)
    assert (after(campaign, gas).state, after(campaign, gas).attempt) == (State.VALID, 2)
    assert read_claim(job_dir) is not None, "the attempt is closed although nobody had written it yet"


def test_a_driver_that_wakes_up_after_its_lease_computes_nothing(campaign: Campaign) -> None:
    """It goes on from the very line at which it fell asleep: before it wrote and submitted the job."""
    gas = planned(campaign)
    sleeper = make_ledger(campaign)
    sleeper.submitter.me = SLEEPING
    sleeper.book.refresh([gas.id])
    claimed = sleeper.submitter._claim(sleeper.book.calculations[gas.id])
    assert claimed is not None
    expire(campaign, gas)
    assert run(make_ledger(campaign), gas.id)
    sleeper.submitter._start([claimed])
    backend = sleeper.backend
    first = campaign.home.job_dir(gas.id, 1)
    deadline = time.monotonic() + PATIENCE_S
    while backend.find(first):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (after(campaign, gas).state, after(campaign, gas).attempt) == (State.VALID, 2)
    assert not (first / "runs.jsonl").exists()
    assert len((campaign.home.job_dir(gas.id, 2) / "runs.jsonl").read_text().splitlines()) == 1


def test_a_move_of_an_attempt_that_is_over_does_not_hold(campaign: Campaign) -> None:
    gas = planned(campaign)
    submitting(campaign, gas)
    sleeper = make_ledger(campaign)
    sleeper.book.refresh([gas.id])
    seen = sleeper.book.calculations[gas.id]
    assert run(make_ledger(campaign), gas.id)
    for state in (State.PLANNED, State.SUBMITTED):
        assert sleeper.book.move(seen, state) is None
    assert after(campaign, gas).state is State.VALID


def test_many_drivers_start_each_calculation_once_and_keep_to_the_cores(campaign: Campaign) -> None:
    gases = [planned(campaign, name) for name in ("H2", "CO")]
    host = os.uname().nodename
    ledgers = [make_ledger(campaign) for _ in range(4)]
    too_many: list[int] = []

    def drive(number: int) -> bool:
        ledger = ledgers[number]
        ledger.capacity = ledger.submitter.capacity = Capacity(1, host)
        ledger.submitter.me = f"{host}/0badb007-1/{number}/12345"
        deadline = time.monotonic() + PATIENCE_S
        while not ledger.is_finished or not ledger.calculations:
            ledger.step([gas.id for gas in gases])
            started = campaign.store.calculations(states={State.SUBMITTED, State.RUNNING})
            if len(started) > 1:
                too_many.append(len(started))
            assert time.monotonic() < deadline
        return True

    with ThreadPoolExecutor(len(ledgers)) as pool:
        assert all(pool.map(drive, range(len(ledgers))))
    assert not too_many
    for gas in gases:
        assert after(campaign, gas).attempt == 1
        assert len((campaign.home.job_dir(gas.id, 1) / "runs.jsonl").read_text().splitlines()) == 1


def test_an_energy_that_came_late_counts_instead_of_another_computation(campaign: Campaign) -> None:
    gas = planned(campaign)
    job_dir = submitting(campaign, gas)
    write_job(job_dir, campaign.materialiser.job_spec(gas, 1))
    campaign.store.transition(gas.id, State.SUBMITTING, State.SUBMITTED, job_id=None)
    ledger = make_ledger(campaign)
    ledger.step([gas.id], may_submit=False)  # no job: given up
    assert after(campaign, gas).state is State.PLANNED
    late = JobResult(
        calculation_id=gas.id,
        kind=gas.kind,
        attempt=1,
        state=ResultState.DONE,
        energy=-1.5,
        atoms=campaign.materialiser.job_spec(gas, 1).atoms,
    )
    assert not write_result(job_dir, late), "the first result stays"
    assert run(ledger, gas.id)
    done = after(campaign, gas)
    assert (done.state, done.energy, done.attempt) == (State.VALID, -1.5, 2)
    assert not list(campaign.home.jobs.glob("*/*/runs.jsonl"))


def a_result(campaign: Campaign, calculation: Calculation, energy: float, attempt: int = 1) -> JobResult:
    return JobResult(
        calculation_id=calculation.id,
        kind=calculation.kind,
        attempt=attempt,
        state=ResultState.DONE,
        energy=energy,
        atoms=campaign.materialiser.job_spec(calculation, 1).atoms,
    )


def test_an_energy_in_a_directory_that_was_out_of_sight_is_taken_in(campaign: Campaign) -> None:
    gas = planned(campaign)
    job_dir = submitting(campaign, gas)
    campaign.store.transition(gas.id, State.SUBMITTING, State.SUBMITTED, job_id=None)
    ledger = make_ledger(campaign)
    ledger.step([gas.id], may_submit=False)  # nothing is there: given up
    assert after(campaign, gas).state is State.PLANNED
    write_job(job_dir, campaign.materialiser.job_spec(gas, 1))
    write_result(job_dir, a_result(campaign, gas, -1.5))
    assert run(ledger, gas.id)
    assert (after(campaign, gas).state, after(campaign, gas).energy) == (State.VALID, -1.5)
    assert not list(campaign.home.jobs.glob("*/*/runs.jsonl"))


def test_an_energy_that_came_after_the_last_attempt_was_given_up_reopens_the_calculation(
    campaign: Campaign,
) -> None:
    gas = planned(campaign)
    job_dir = submitting(campaign, gas)
    write_job(job_dir, campaign.materialiser.job_spec(gas, 1))
    for number in range(1, campaign.settings.execution.max_attempts + 1):
        campaign.home.job_dir(gas.id, number).mkdir(exist_ok=True)
        (campaign.home.job_dir(gas.id, number) / "runs.jsonl").write_text("{}\n")
    lost = attempts.void(after(campaign, gas), FailureCode.WORKER_LOST, "lost")
    write_result(job_dir, lost)
    last = campaign.settings.execution.max_attempts
    campaign.store.transition(
        gas.id, State.SUBMITTING, State.FAILED, attempt=last, code=FailureCode.WORKER_LOST
    )
    assert run(make_ledger(campaign), gas.id)
    assert after(campaign, gas).state is State.FAILED, "no attempt is left"
    write_result(job_dir, a_result(campaign, gas, -1.5))
    assert run(make_ledger(campaign), gas.id)
    assert (after(campaign, gas).state, after(campaign, gas).energy) == (State.VALID, -1.5)


def test_a_verdict_that_comes_late_leaves_a_late_energy_alone(campaign: Campaign) -> None:
    gas = planned(campaign)
    job_dir = submitting(campaign, gas)
    write_job(job_dir, campaign.materialiser.job_spec(gas, 1))
    seen = after(campaign, gas)
    attempts.declare_lost(job_dir, seen, FailureCode.WORKER_LOST, "one driver's verdict")
    assert not write_result(job_dir, a_result(campaign, gas, -1.5))
    told = attempts.declare_lost(job_dir, seen, FailureCode.WORKER_LOST, "that of one that was asleep")
    assert told.message == "one driver's verdict"
    found = attempts.unused_energy(job_dir.parent, seen)
    assert found is not None
    assert found.energy == -1.5


def test_what_ended_in_another_way_while_a_driver_was_asleep_is_seen(campaign: Campaign) -> None:
    gas = planned(campaign)
    submitting(campaign, gas)
    campaign.store.transition(gas.id, State.SUBMITTING, State.FAILED, code=FailureCode.CRASHED)
    sleeper = Book(campaign.store)
    sleeper.refresh([gas.id])
    assert sleeper.calculations[gas.id].state is State.FAILED
    campaign.store.transition(gas.id, State.FAILED, State.PLANNED)  # a person: retry
    assert run(make_ledger(campaign), gas.id)
    sleeper._looked_at = float("-inf")
    sleeper.refresh([gas.id])
    assert sleeper.calculations[gas.id].state is State.VALID


def test_a_disk_that_fails_for_a_moment_rejects_nothing(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    gas = planned(campaign)
    ledger = make_ledger(campaign)

    def fail(_judge: Judge, _calculation: Calculation) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    notices.clear()
    with monkeypatch.context() as broken:
        broken.setattr(Judge, "judge", fail)
        deadline = time.monotonic() + PATIENCE_S
        while not any("cannot be judged now" in notice for notice in notices):
            assert time.monotonic() < deadline, ledger.calculations
            ledger.step([gas.id])
            time.sleep(0.05)
    assert after(campaign, gas).state is State.DONE
    assert run(ledger, gas.id)
    assert after(campaign, gas).state is State.VALID


def test_what_a_full_queue_does_not_take_keeps_its_number(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    gases = [planned(campaign, name) for name in ("H2", "CO")]
    ledger = make_ledger(campaign)

    def full(_backend: LocalBackend, _group: Sequence[JobRequest]) -> list[str]:
        message = "the queue is full"
        raise BackendUnavailableError(message)

    with monkeypatch.context() as queue:
        queue.setattr(LocalBackend, "submit", full)
        ledger.step([gas.id for gas in gases])
    now = {after(campaign, gas).state: after(campaign, gas) for gas in gases}
    assert set(now) == {State.SUBMITTING, State.PLANNED}
    assert now[State.PLANNED].attempt == 0
    assert not (campaign.home.jobs / now[State.PLANNED].id).exists()
    ledger.step([gas.id for gas in gases])
    started = {State.SUBMITTED, State.RUNNING, State.DONE}
    assert {after(campaign, gas).state for gas in gases} <= started, "no lease was waited for"


def test_no_more_is_claimed_than_can_be_submitted_within_the_lease(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    gases = [replace(campaign.planner.gas("H2"), id=f"calc-{n:012}") for n in range(2 * GROUPS_AT_ONCE)]
    campaign.store.plan(gases)
    claimed: list[int] = []

    def start(_submitter: Submitter, _group: Sequence[Calculation]) -> None:
        claimed.append(len(campaign.store.calculations(states={State.SUBMITTING})))

    monkeypatch.setattr(Submitter, "_start", start)
    ledger = make_ledger(campaign)
    ledger.submitter.capacity = Capacity(len(gases), os.uname().nodename)
    ledger.step([gas.id for gas in gases])
    assert len(claimed) == len(gases)
    assert claimed[0] == GROUPS_AT_ONCE


def test_out_of_memory_is_tried_once_more_alone_on_the_machine(campaign: Campaign) -> None:
    gas, other = planned(campaign), planned(campaign, "CO")
    for attempt in (1, 2):
        if attempt == 1:
            job_dir = submitting(campaign, gas)
            campaign.store.transition(gas.id, State.SUBMITTING, State.SUBMITTED)
        else:
            job_dir = campaign.home.job_dir(gas.id, 2)
            campaign.store.transition(
                gas.id, State.PLANNED, State.SUBMITTING, attempt=2, job_dir=str(job_dir)
            )
            campaign.store.transition(gas.id, State.SUBMITTING, State.SUBMITTED)
        job_dir.mkdir(parents=True)
        out = attempts.void(after(campaign, gas), FailureCode.OUT_OF_MEMORY, "out of memory")
        write_result(job_dir, out)
        ledger = make_ledger(campaign)
        ledger.step([gas.id, other.id], may_submit=False)
        tried = after(campaign, gas)
        if attempt == 1:
            assert (tried.state, tried.memory_factor) == (State.PLANNED, 2.0)
            chosen = ledger.submitter._choose()
            assert [c.id for c in chosen] == [gas.id], "nothing else beside it"
    assert (tried.state, tried.code) == (State.FAILED, FailureCode.OUT_OF_MEMORY)


def test_an_attempt_after_a_time_limit_goes_on_from_the_one_before(campaign: Campaign) -> None:
    gas = planned(campaign)
    job_dir = submitting(campaign, gas)
    write_job(job_dir, campaign.materialiser.job_spec(gas, 1))
    (job_dir / "runs.jsonl").write_text("{}\n")
    write_result(job_dir, attempts.void(after(campaign, gas), FailureCode.TIMEOUT, "stopped by SIGUSR2"))
    assert run(make_ledger(campaign), gas.id)
    assert (after(campaign, gas).state, after(campaign, gas).attempt) == (State.VALID, 2)
    assert read_job(campaign.home.job_dir(gas.id, 2)).restart_from == "attempt-1"


def test_a_paused_calculation_holds_what_needs_it_and_nothing_else(campaign: Campaign) -> None:
    gas, other = planned(campaign), planned(campaign, "CO")
    campaign.store.transition(gas.id, State.PLANNED, State.PAUSED)
    ledger = make_ledger(campaign)
    deadline = time.monotonic() + PATIENCE_S
    while not ledger.is_held:
        ledger.step([gas.id, other.id])
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert after(campaign, other).state is State.VALID
    campaign.store.transition(gas.id, State.PAUSED, State.PLANNED)
    assert run(ledger, gas.id, other.id)


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


def test_an_attempt_of_a_worker_that_cannot_be_watched_is_not_repeated(campaign: Campaign) -> None:
    gas = planned(campaign)
    job_dir = submitting(campaign, gas)
    write_job(job_dir, campaign.materialiser.job_spec(gas, 1))
    (job_dir / "claim").write_text(json.dumps({"role": "worker", "pid": 1, "host": "elsewhere"}))
    notices.clear()
    ledger = make_ledger(campaign)
    for _ in range(3):
        ledger.step([gas.id])
    assert after(campaign, gas).state is State.SUBMITTED
    assert "'elsewhere' cannot be seen from here" in notices[0]
    assert not campaign.home.job_dir(gas.id, 2).exists()


def test_a_job_on_a_machine_that_is_gone_for_good_can_be_given_up(campaign: Campaign) -> None:
    gas = planned(campaign)
    job_dir = submitting(campaign, gas)
    write_job(job_dir, campaign.materialiser.job_spec(gas, 1))
    campaign.store.transition(gas.id, State.SUBMITTING, State.SUBMITTED, job_id="77@0badb007.12345@oldhost")
    ledger = make_ledger(campaign)
    notices.clear()
    ledger.step([gas.id])
    assert "--lost-host oldhost" in notices[0]
    assert after(campaign, gas).state is State.SUBMITTED
    ledger.backend = ledger.submitter.backend = LocalBackend(LocalExecution(), lost_hosts={"oldhost"})
    assert run(ledger, gas.id)
    assert (after(campaign, gas).state, after(campaign, gas).attempt) == (State.VALID, 2)


def test_a_moved_home_is_still_the_home(campaign: Campaign, tmp_path: Path) -> None:
    gas = planned(campaign)
    assert run(make_ledger(campaign), gas.id)
    done = after(campaign, gas)
    moved = CampaignHome(campaign.home.path.rename(tmp_path / "moved"))
    assert moved.locate(done) == moved.job_dir(gas.id, 1)
