"""A person's verbs on real stores and real jobs: each move holds once, against drivers and other people."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from config.errors import BackendUnavailableError, ConfigError
from config.execution import LocalExecution
from dft.codes import FailureCode
from dft.execution import JobPhase, JobRequest
from dft.execution.local import LocalBackend
from dft.jobs import (
    RUNS_FILE,
    AtomsRecord,
    JobResult,
    ResultState,
    read_claim,
    read_result,
    take_claim,
    write_job,
    write_result,
)
from dft.jobs import CalculationKind as Kind
from pipeline import attempts, choice
from pipeline.choice import Filter, bulk_ids
from pipeline.control import Verb, applicable, carry_out, refusal, to_rerun, will_fail
from pipeline.domain import Calculation, Observation
from pipeline.domain import CalculationState as State
from pipeline.drivers import heartbeat, own_id
from pipeline.enumeration import store_bulks
from pipeline.queue_view import drivers_at_work, in_flight_view
from pipeline.report import show_document, status_document
from pipeline.store.records import DriverRecord, RoundRecord, Selection, utc_now
from tests.waiting import wait_for

if TYPE_CHECKING:
    from pipeline.campaign import Campaign


def family(campaign: Campaign) -> dict[str, Calculation]:
    """Plan a gas, a bulk, a slab and two adslabs on it, chosen in round 0."""
    digest = campaign.settings.recipe.digest()

    def make(kind: Kind, label: str, *requires: Calculation, **fields: Any) -> Calculation:
        needs = tuple(r.id for r in requires)
        return Calculation(
            f"calc-{kind.value}-{label}",
            kind,
            f"{kind.value} {label}",
            requires=needs,
            recipe_digest=digest,
            **fields,
        )

    gas = make(Kind.GAS, "H2", gas="H2")
    bulk = make(Kind.BULK, "Cu", bulk_id="bulk-1")
    slab = make(Kind.SLAB, "Cu(111)", bulk, bulk_id="bulk-1", surface_id="s")
    place = {"bulk_id": "bulk-1", "surface_id": "s", "adsorbate": "H"}
    adslabs = [make(Kind.ADSLAB, n, slab, gas, site_id=f"site-{n}", **place) for n in ("1", "2")]
    campaign.store.plan([gas, bulk, slab, *adslabs])
    choose(campaign, *adslabs)
    return {"gas": gas, "bulk": bulk, "slab": slab, "one": adslabs[0], "two": adslabs[1]}


def choose(campaign: Campaign, *calculations: Calculation, name: str | None = None) -> None:
    selections = tuple(Selection(c.id, c.site_id or "site", c.adsorbate or "H") for c in calculations)
    record = RoundRecord(name or campaign.name, 0, selections, 1, "digest", {})
    campaign.store.create_round(record)


def now(campaign: Campaign, calculation: Calculation) -> Calculation:
    found = campaign.store.calculation(calculation.id)
    assert found is not None
    return found


def bring(campaign: Campaign, calculation: Calculation, state: State, **fields: object) -> Calculation:
    """Bring a planned calculation to a state as the drivers would, with a folder for its attempt."""
    path = [State.SUBMITTING, State.SUBMITTED, State.RUNNING]
    ends = {State.VALID: [State.DONE, State.VALID], State.REJECTED: [State.DONE, State.REJECTED]}
    way = path[: path.index(state) + 1] if state in path else [*path, *ends.get(state, [state])]
    at, job_dir = State.PLANNED, campaign.home.job_dir(calculation.id, 1)
    job_dir.mkdir(parents=True, exist_ok=True)
    for step in way:
        extra = fields if step is way[-1] else {}
        moved = campaign.store.transition(
            calculation.id,
            at,
            step,
            attempt=1,
            job_dir=str(job_dir),
            **extra,  # type: ignore[arg-type]
        )
        assert moved is not None
        at = step
    if state not in path:
        write_result(job_dir, a_result(calculation, ResultState.DONE))
    return now(campaign, calculation)


def a_result(calculation: Calculation, state: ResultState, cpu_seconds: float = 5.0) -> JobResult:
    done = state is ResultState.DONE
    atoms = AtomsRecord(
        numbers=(1,), positions=((0, 0, 0),), cell=((1, 0, 0), (0, 1, 0), (0, 0, 1)), pbc=(False,) * 3
    )
    return JobResult(
        calculation_id=calculation.id, kind=calculation.kind, attempt=1, state=state, cpu_seconds=cpu_seconds,
        energy=-1.0 if done else None, atoms=atoms if done else None,
        code=None if done else FailureCode.WORKER_LOST,
    )  # fmt: skip


@pytest.fixture
def backend() -> LocalBackend:
    return LocalBackend(LocalExecution())


class Away:
    """A scheduler that does not answer, as far as a back-end of ours would say."""

    def cancel(self, job_ids: object) -> None:
        message = "cannot reach slurmctld"
        raise BackendUnavailableError(message)


# -- cancel and pause ------------------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "state"), [(Verb.CANCEL, State.CANCELLED), (Verb.PAUSE, State.PAUSED)])
def test_what_waits_is_stopped_without_leaving_a_trace_on_disk(
    campaign: Campaign, backend: LocalBackend, verb: Verb, state: State
) -> None:
    gas = family(campaign)["gas"]
    outcome = carry_out(campaign, verb, [gas], backend)
    assert [c.id for c in outcome.changed] == [gas.id]
    assert now(campaign, gas).state is state
    assert not (campaign.home.jobs / gas.id).exists()


def running_job(campaign: Campaign, calculation: Calculation, backend: LocalBackend) -> Calculation:
    """Start a real worker on a calculation and wait until it has the claim."""
    job_dir = campaign.home.job_dir(calculation.id, 1)
    campaign.store.transition(
        calculation.id, State.PLANNED, State.SUBMITTING, attempt=1, job_dir=str(job_dir), owner="me"
    )
    write_job(job_dir, campaign.materialiser.job_spec(calculation, 1))
    (job_id,) = backend.submit([JobRequest(job_dir, calculation.kind, calculation.id)])
    campaign.store.transition(calculation.id, State.SUBMITTING, State.SUBMITTED, job_id=job_id)
    wait_for(lambda: read_claim(job_dir) is not None, "a claim")
    moved = campaign.store.transition(calculation.id, State.SUBMITTED, State.RUNNING)
    assert moved is not None
    return moved


def test_a_running_job_is_ended_and_its_attempt_closed(campaign: Campaign, backend: LocalBackend) -> None:
    gas = campaign.planner.gas("CO")
    campaign.store.plan([gas])
    running = running_job(campaign, gas, backend)
    assert running.job_id is not None
    carry_out(campaign, Verb.CANCEL, [running], backend)
    (job_id,) = backend.poll([running.job_id])
    wait_for(lambda: backend.poll([job_id])[job_id].phase is JobPhase.GONE, "the job's end")
    assert now(campaign, gas).state is State.CANCELLED
    assert read_result(campaign.home.job_dir(gas.id, 1)) is not None, "no driver has to look for it again"


def test_a_job_that_has_not_begun_never_computes(campaign: Campaign, backend: LocalBackend) -> None:
    gas = family(campaign)["gas"]
    waiting = bring(campaign, gas, State.SUBMITTED, job_id=None)
    carry_out(campaign, Verb.PAUSE, [waiting], backend)
    claim = read_claim(campaign.home.job_dir(gas.id, 1))
    assert claim is not None
    assert claim["role"] == "driver"


def test_a_driver_asleep_before_it_wrote_the_job_cannot_start_it_later(
    campaign: Campaign, backend: LocalBackend
) -> None:
    gas = family(campaign)["gas"]
    job_dir = campaign.home.job_dir(gas.id, 1)
    campaign.store.transition(
        gas.id, State.PLANNED, State.SUBMITTING, attempt=1, job_dir=str(job_dir), owner="a"
    )
    carry_out(campaign, Verb.CANCEL, [now(campaign, gas)], backend)
    assert not take_claim(job_dir, {"role": "worker"})
    assert campaign.store.transition(gas.id, State.SUBMITTING, State.SUBMITTED, at_attempt=1) is None


def test_cpu_seconds_of_a_stopped_attempt_are_charged_once(campaign: Campaign, backend: LocalBackend) -> None:
    gas = family(campaign)["gas"]
    running = bring(campaign, gas, State.RUNNING)
    write_result(campaign.home.job_dir(gas.id, 1), a_result(gas, ResultState.FAILED, cpu_seconds=7.0))
    carry_out(campaign, Verb.CANCEL, [running], backend)
    carry_out(campaign, Verb.CANCEL, [running], backend)
    assert now(campaign, gas).cpu_seconds == 7.0


def test_two_people_cancel_at_once_and_one_of_them_does_it(campaign: Campaign, backend: LocalBackend) -> None:
    gas = family(campaign)["gas"]
    running = bring(campaign, gas, State.RUNNING)
    barrier, outcomes = threading.Barrier(4), []

    def person() -> None:
        barrier.wait()
        outcomes.append(carry_out(campaign, Verb.CANCEL, [running], backend))

    people = [threading.Thread(target=person) for _ in range(4)]
    for p in people:
        p.start()
    for p in people:
        p.join()
    assert sorted(len(o.changed) for o in outcomes) == [0, 0, 0, 1]
    assert all(c.state is State.CANCELLED for o in outcomes for c in o.overtaken)
    entries = [h for h in campaign.store.history(gas.id) if h.state is State.CANCELLED]
    assert len(entries) == 1


def test_a_move_by_a_driver_meanwhile_is_followed(campaign: Campaign, backend: LocalBackend) -> None:
    gas = family(campaign)["gas"]
    seen_planned = gas
    bring(campaign, gas, State.RUNNING)
    outcome = carry_out(campaign, Verb.CANCEL, [seen_planned], backend)
    assert [c.state for c in outcome.changed] == [State.CANCELLED]


def test_a_scheduler_that_is_away_is_named_and_the_attempt_is_closed_all_the_same(campaign: Campaign) -> None:
    gas = family(campaign)["gas"]
    running = bring(campaign, gas, State.RUNNING, job_id="4711")
    job_dir = campaign.home.job_dir(gas.id, 1)
    take_claim(job_dir, {"role": "worker", "pid": 1, "host": "n1"})
    outcome = carry_out(campaign, Verb.CANCEL, [running], Away())  # type: ignore[arg-type]
    (note,) = outcome.notes
    assert "does not answer" in note
    assert "4711" in note
    assert read_result(job_dir) is not None, "the worker sees this at its next step and ends"


def test_an_energy_that_waits_is_not_thrown_away(campaign: Campaign) -> None:
    gas = family(campaign)["gas"]
    running = bring(campaign, gas, State.RUNNING)
    write_result(campaign.home.job_dir(gas.id, 1), a_result(gas, ResultState.DONE))
    assert "has ended already" in (refusal(campaign.home, Verb.CANCEL, running) or "")
    assert applicable(campaign, Verb.CANCEL, Filter(states=frozenset({State.RUNNING}))) == []


def test_what_a_cancelled_one_takes_with_it_is_counted(campaign: Campaign) -> None:
    members = family(campaign)
    assert {c.id for c in will_fail(campaign, [members["bulk"]])} == {
        members[n].id for n in ("slab", "one", "two")
    }
    assert will_fail(campaign, [members["one"]]) == []


# -- resume, retry, rerun --------------------------------------------------------------------------


def test_resume_brings_back_what_was_paused(campaign: Campaign, backend: LocalBackend) -> None:
    gas = family(campaign)["gas"]
    carry_out(campaign, Verb.PAUSE, [bring(campaign, gas, State.RUNNING)], backend)
    carry_out(campaign, Verb.RESUME, [now(campaign, gas)], backend)
    again = now(campaign, gas)
    assert (again.state, again.attempt, again.forgiven, again.fresh_after) == (State.PLANNED, 1, 0, 0)


def test_retry_forgives_the_attempts_and_keeps_the_geometry(
    campaign: Campaign, backend: LocalBackend
) -> None:
    gas = family(campaign)["gas"]
    failed = bring(campaign, gas, State.FAILED, code=FailureCode.TIMEOUT, message="out of time")
    carry_out(campaign, Verb.RETRY, [failed], backend)
    again = now(campaign, gas)
    assert (again.state, again.forgiven, again.fresh_after) == (State.PLANNED, 1, 0)
    assert (again.code, again.message) == (None, "")


def test_rerun_starts_from_scratch_and_forgets_what_was_found(
    campaign: Campaign, backend: LocalBackend
) -> None:
    one = family(campaign)["one"]
    valid = bring(campaign, one, State.VALID, energy=-3.0, memory_factor=2.0)
    campaign.store.save_observation(
        Observation(one.id, "site-1", "site-1", "s", "bulk-1", "H", -0.2, one.recipe_digest, 0)
    )
    carry_out(campaign, Verb.RERUN, [valid], backend)
    again = now(campaign, one)
    assert (again.state, again.forgiven, again.fresh_after) == (State.PLANNED, 1, 1)
    assert (again.energy, again.memory_factor) == (None, 1.0)
    assert campaign.store.observations(calculation_ids=[one.id]) == []


@pytest.mark.parametrize(("fresh_after", "earlier"), [(0, "attempt-2"), (1, "attempt-2"), (2, None)], ids=str)
def test_what_was_computed_before_a_rerun_is_not_gone_on_with(
    campaign: Campaign, fresh_after: int, earlier: str | None
) -> None:
    gas = family(campaign)["gas"]
    for attempt in (1, 2, 3):  # the third one never began to compute
        campaign.home.job_dir(gas.id, attempt).mkdir(parents=True)
    for attempt in (1, 2):
        (campaign.home.job_dir(gas.id, attempt) / RUNS_FILE).touch()
    fourth = replace(gas, attempt=4, fresh_after=fresh_after)
    assert attempts.to_go_on_from(campaign.home.jobs / gas.id, fourth) == earlier


def test_a_rerun_that_another_person_was_faster_with_drops_nothing(
    campaign: Campaign, backend: LocalBackend
) -> None:
    one = family(campaign)["one"]
    seen = bring(campaign, one, State.VALID, energy=-3.0)
    carry_out(campaign, Verb.RERUN, [seen], backend)
    found = Observation(one.id, "site-1", "site-1", "s", "bulk-1", "H", -0.2, one.recipe_digest, 0, 2)
    campaign.store.save_observation(found)  # of the next attempt
    outcome = carry_out(campaign, Verb.RERUN, [seen], backend)
    assert [c.id for c in outcome.overtaken] == [one.id]
    assert campaign.store.observations(calculation_ids=[one.id]) == [found]


def test_rerun_does_not_adopt_an_attempt_that_only_the_disk_remembers(
    campaign: Campaign, backend: LocalBackend
) -> None:
    gas = family(campaign)["gas"]
    failed = bring(campaign, gas, State.FAILED, code=FailureCode.CRASHED)
    campaign.home.job_dir(gas.id, 3).mkdir(parents=True)
    carry_out(campaign, Verb.RERUN, [failed], backend)
    assert (now(campaign, gas).attempt, now(campaign, gas).fresh_after) == (3, 3)


def test_rerun_of_what_others_rest_on_needs_their_rerun(campaign: Campaign) -> None:
    members = family(campaign)
    slab = bring(campaign, members["slab"], State.VALID, energy=-9.0)
    assert to_rerun(campaign, [slab], with_dependents=False) == [slab], "nothing rests on it yet"
    one = bring(campaign, members["one"], State.VALID, energy=-3.0)
    with pytest.raises(ConfigError, match="1 finished calculations rest on it"):
        to_rerun(campaign, [slab], with_dependents=False)
    assert [c.id for c in to_rerun(campaign, [slab], with_dependents=True)] == [slab.id, one.id]
    two = bring(campaign, members["two"], State.RUNNING)
    with pytest.raises(ConfigError, match="being computed on top"):
        to_rerun(campaign, [slab], with_dependents=True)
    campaign.store.transition(two.id, State.RUNNING, State.DONE, energy=-3.0)  # and not judged yet
    with pytest.raises(ConfigError, match="being computed on top"):
        to_rerun(campaign, [slab], with_dependents=True)


def test_bases_are_planned_again_before_what_stands_on_them(
    campaign: Campaign, backend: LocalBackend
) -> None:
    members = family(campaign)
    one = bring(campaign, members["one"], State.VALID, energy=-3.0)
    bulk = bring(campaign, members["bulk"], State.VALID, energy=-9.0)
    outcome = carry_out(campaign, Verb.RERUN, [one, bulk], backend)
    assert [c.id for c in outcome.changed] == [bulk.id, one.id]


@pytest.mark.parametrize(
    ("verb", "state", "said"),
    [
        (Verb.CANCEL, State.VALID, "finished"),
        (Verb.CANCEL, State.FAILED, "finished"),
        (Verb.PAUSE, State.REJECTED, "finished"),
        (Verb.RETRY, State.VALID, "rerun"),
        (Verb.RETRY, State.REJECTED, "rerun"),
        (Verb.RETRY, State.RUNNING, "cancel"),
        (Verb.RERUN, State.SUBMITTED, "cancel"),
        (Verb.RESUME, State.CANCELLED, "retry"),
    ],
)
def test_a_verb_that_does_not_apply_says_what_would(
    campaign: Campaign, verb: Verb, state: State, said: str
) -> None:
    gas = bring(campaign, family(campaign)["gas"], state, energy=-1.0)
    assert said in (refusal(campaign.home, verb, gas) or "")


def test_what_failed_for_another_one_is_not_retried_itself(campaign: Campaign) -> None:
    members = family(campaign)
    campaign.store.transition(
        members["one"].id,
        State.PLANNED,
        State.FAILED,
        code=FailureCode.DEPENDENCY_FAILED,
        message="slab ended",
    )
    assert "retry that one" in (refusal(campaign.home, Verb.RETRY, now(campaign, members["one"])) or "")
    assert applicable(campaign, Verb.RETRY, Filter()) == []


# -- choosing --------------------------------------------------------------------------------------


def test_ids_are_found_by_their_beginnings(campaign: Campaign) -> None:
    members = family(campaign)
    known = campaign.calculations()
    assert choice.by_ids(campaign, known, ["calc-g", "calc-gas-H2"]) == [members["gas"]]
    for wrong, said in (
        ("calc-", "ambiguous"),
        ("nothing", "no calculation has"),
        ("", "no calculation has"),
    ):
        with pytest.raises(ConfigError, match=said):
            choice.by_ids(campaign, known, [wrong])


def test_calculations_of_other_campaigns_cannot_be_chosen(campaign: Campaign) -> None:
    family(campaign)
    stranger = campaign.planner.gas("CO")
    campaign.store.plan([stranger])
    with pytest.raises(ConfigError, match="not a calculation of campaign"):
        choice.by_ids(campaign, campaign.calculations(), [stranger.id])


def test_campaigns_that_share_a_calculation_are_named(campaign: Campaign) -> None:
    members = family(campaign)
    campaign.store.save_campaign("other", {"name": "other"}, "digest", Path("/elsewhere"))
    choose(campaign, members["two"], name="other")
    assert choice.sharers(campaign, [members["slab"].id, members["one"].id]) == {"other": 1}


def test_a_bulk_is_named_by_formula_source_or_the_beginning_of_its_id(campaign: Campaign) -> None:
    store_bulks(campaign)
    copper = next(b for b in campaign.bulks if b.formula == "Cu")
    for name in ("Cu", "mp-30", copper.id, copper.id[:-2]):
        assert bulk_ids(campaign, name) == {copper.id}
    for name in ("Cd", "b", "bulk-", ""):
        with pytest.raises(ConfigError, match="no bulk"):
            bulk_ids(campaign, name)


def test_every_condition_of_a_filter_must_hold(campaign: Campaign) -> None:
    family(campaign)
    calculations = campaign.calculations()

    def ids(**given: object) -> list[str]:
        return [c.id for c in calculations if Filter(**given).meets(c)]  # type: ignore[arg-type]

    assert ids(kinds=frozenset({Kind.ADSLAB}), label="LAB 2") == ["calc-adslab-2"]
    assert ids(kinds=frozenset({Kind.GAS}), adsorbates=frozenset({"H"})) == []
    assert len(ids(bulk_ids=frozenset({"bulk-1"}))) == 4
    assert len(ids()) == 5


# -- looking ---------------------------------------------------------------------------------------


def test_the_view_names_results_that_wait_and_jobs_that_vanished(
    campaign: Campaign, backend: LocalBackend
) -> None:
    members = family(campaign)
    co = campaign.planner.gas("CO")
    campaign.store.plan([co])
    running = running_job(campaign, co, backend)
    waiting = bring(campaign, members["gas"], State.RUNNING, job_id=running.job_id)
    write_result(campaign.home.job_dir(waiting.id, 1), a_result(waiting, ResultState.DONE))
    gone = bring(campaign, members["bulk"], State.RUNNING, job_id=vanished(running))
    rows, scheduler = in_flight_view(campaign, [running, waiting, gone])
    by_id = {row["id"]: row for row in rows}
    assert scheduler["answers"]
    assert by_id[waiting.id]["is_result_waiting"]
    assert by_id[gone.id]["is_gone"]
    assert by_id[running.id]["host"] == os.uname().nodename
    json.dumps(rows)
    carry_out(campaign, Verb.CANCEL, [running], backend)


def vanished(running: Calculation) -> str:
    """Id of a job of this machine that is no more."""
    assert running.job_id is not None
    pid, rest = running.job_id.split("@", 1)
    return f"{int(pid) + 2**22}@{rest}"


def test_only_drivers_that_live_are_at_work(campaign: Campaign) -> None:
    assert drivers_at_work(campaign) == []
    place = own_id().rsplit("/", 2)[0]
    dead = DriverRecord(
        id=f"{place}/{2**22 + 5}/1", campaign=campaign.name, host="here", pid=2**22 + 5,
        started_at=utc_now(), mode="batch",
    )  # fmt: skip
    campaign.store.beat(dead)
    with heartbeat(campaign.store, campaign.name, "batch"):
        wait_for(lambda: drivers_at_work(campaign), "a heartbeat")
        (alive,) = drivers_at_work(campaign)
        assert (alive["id"], alive["pid"]) == (own_id(), os.getpid())
    assert drivers_at_work(campaign) == []


def test_status_groups_problems_and_reads_the_last_words_of_a_few(campaign: Campaign) -> None:
    gas = family(campaign)["gas"]
    failed = bring(campaign, gas, State.FAILED, code=FailureCode.CRASHED, message="boom")
    (Path(failed.job_dir or "") / "job.out").write_text("\n".join(f"line {n}" for n in range(1000)) + "\n\n")
    document = status_document(campaign)
    assert document["problem_codes"] == {"CRASHED": 1}
    assert document["problems"][0]["tail"][0] == "boom"
    assert document["problems"][0]["tail"][-1] == "line 999"
    campaign.store.set_paused(campaign.name, True)
    assert status_document(campaign)["paused"]
    json.dumps(document, allow_nan=False)


def test_show_tells_every_attempt(campaign: Campaign, backend: LocalBackend) -> None:
    co = campaign.planner.gas("CO")
    campaign.store.plan([co])
    choose(campaign, co)
    running = running_job(campaign, co, backend)
    carry_out(campaign, Verb.PAUSE, [running], backend)
    (attempt,) = show_document(campaign, "calculation", co.id)["attempts"]
    assert (attempt["attempt"], attempt["job_id"], attempt["host"]) == (
        1,
        running.job_id,
        os.uname().nodename,
    )
    assert attempt["restarted_from"] is None
