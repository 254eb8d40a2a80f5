"""A calculation moves once, along allowed ways, whoever asks and however often."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dft.codes import FailureCode
from dft.jobs import JobResult
from pipeline.domain import TRANSITIONS, CalculationState
from pipeline.store.calculations import MAX_HISTORY

from . import examples

if TYPE_CHECKING:
    from pipeline.store.repository import Store

S = CalculationState


def test_planning_again_never_overwrites(store: Store) -> None:
    calculations = [examples.a_calculation(n) for n in range(3)]
    assert store.plan(calculations[:2]) == 2
    store.transition("calc-0000", S.PLANNED, S.SUBMITTING)
    assert store.plan(calculations) == 1
    assert store.calculation("calc-0000").state is S.SUBMITTING


def test_a_move_sets_state_and_fields(store: Store) -> None:
    store.plan([examples.a_calculation()])
    moved = store.transition("calc-0001", S.PLANNED, S.SUBMITTING, attempt=3, job_dir="/jobs/3", code=None)
    assert (moved.state, moved.attempt, moved.job_dir, moved.code) == (S.SUBMITTING, 3, "/jobs/3", None)
    assert store.calculation("calc-0001") == moved


def test_a_move_from_another_state_does_nothing(store: Store) -> None:
    store.plan([examples.a_calculation()])
    assert store.transition("calc-0001", {S.SUBMITTED, S.RUNNING}, S.DONE, energy=1.0) is None
    assert store.transition("unknown", S.PLANNED, S.SUBMITTING) is None
    assert store.calculation("calc-0001") == examples.a_calculation()
    assert [m.state for m in store.history("calc-0001")] == [S.PLANNED]


@pytest.mark.parametrize("source", list(S))
def test_only_moves_of_the_state_machine_are_possible(store: Store, source: CalculationState) -> None:
    for number, target in enumerate(S):
        store.plan([examples.a_calculation(number, state=source)])
        if target in TRANSITIONS[source]:
            assert store.transition(f"calc-{number:04d}", source, target).state is target
        else:
            with pytest.raises(ValueError, match="no move"):
                store.transition(f"calc-{number:04d}", source, target)


def test_an_unknown_field_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="enregy"):
        store.transition("calc-0001", S.RUNNING, S.DONE, enregy=1.0)


def test_of_many_callers_exactly_one_moves_it(store: Store) -> None:
    n_threads, n_calculations = 4, 25
    store.plan([examples.a_calculation(n) for n in range(n_calculations)])
    for number in range(n_calculations):
        barrier = threading.Barrier(n_threads)

        def race(winner: int, number: int = number, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            moved = store.transition(f"calc-{number:04d}", S.PLANNED, S.SUBMITTING, job_id=str(winner))
            return moved is not None

        with ThreadPoolExecutor(n_threads) as pool:
            assert sum(pool.map(race, range(n_threads))) == 1


def test_a_move_whose_acknowledgement_was_lost_is_recognised(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server did it, the connection broke before the answer: the second try must not report a loss."""
    from pymongo.collection import Collection
    from pymongo.errors import AutoReconnect

    store.plan([examples.a_calculation()])
    genuine = Collection.find_one_and_update
    calls = []

    def loses_first_answer(self: object, *args: object, **kwargs: object) -> object:
        answer = genuine(self, *args, **kwargs)
        calls.append(answer)
        if len(calls) == 1:
            raise AutoReconnect("connection closed")
        return answer

    monkeypatch.setattr(Collection, "find_one_and_update", loses_first_answer)
    moved = store.transition("calc-0001", S.PLANNED, S.SUBMITTING)
    assert len(calls) == 2
    assert moved.state is S.SUBMITTING
    assert [m.state for m in store.history("calc-0001")] == [S.PLANNED, S.SUBMITTING]


def test_history_tells_the_attempts(store: Store) -> None:
    store.plan([examples.a_calculation()])
    moves = [
        (S.PLANNED, S.SUBMITTING, {"attempt": 1, "job_dir": "/jobs/1"}),
        (S.SUBMITTING, S.SUBMITTED, {"job_id": "11"}),
        (S.SUBMITTED, S.RUNNING, {}),
        (S.RUNNING, S.PLANNED, {"code": FailureCode.WORKER_LOST}),
        (S.PLANNED, S.SUBMITTING, {"attempt": 2, "job_dir": "/jobs/2", "job_id": None, "code": None}),
        (S.SUBMITTING, S.DONE, {"energy": -3.5}),
        (S.DONE, S.VALID, {}),
    ]
    for source, target, changes in moves:
        assert store.transition("calc-0001", source, target, note="why", **changes) is not None
    history = store.history("calc-0001")
    assert [m.state for m in history] == [S.PLANNED, *(target for _, target, _ in moves)]
    assert all(one.at <= other.at for one, other in pairwise(history))
    first, second = store.attempts("calc-0001")
    assert (first.number, first.job_dir, first.job_id, first.code) == (
        1,
        "/jobs/1",
        "11",
        FailureCode.WORKER_LOST,
    )
    assert (first.state, first.ended_at) == (S.PLANNED, history[4].at)
    assert (second.number, second.job_dir, second.job_id, second.code) == (2, "/jobs/2", None, None)
    assert (second.state, second.ended_at) == (S.DONE, history[6].at)


def test_history_does_not_grow_without_end(store: Store) -> None:
    store.plan([examples.a_calculation()])
    for _ in range(MAX_HISTORY // 2 + 5):
        store.transition("calc-0001", S.PLANNED, S.SUBMITTING)
        store.transition("calc-0001", S.SUBMITTING, S.PLANNED)
    assert len(store.history("calc-0001")) == MAX_HISTORY


RACE = """
import sys
from pathlib import Path
from config.campaign import StoreSettings
from pipeline.domain import CalculationState as S
from pipeline.store import open_store
home, database, driver, n = sys.argv[1:]
with open_store(StoreSettings(database=database), Path(home)) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(n)):
        moved = store.transition(
            f"calc-{number:04d}", S.PLANNED, S.SUBMITTING, at_attempt=2, attempt=3, owner=driver
        )
        if moved is not None:
            print(moved.id, moved.owner, flush=True)
"""


def test_of_several_processes_exactly_one_moves_each(store: Store, mongo_home: Path) -> None:
    n, names = 60, ["one", "two", "three"]
    store.plan([examples.a_calculation(number) for number in range(n)])
    database = store.connection.database.name
    drivers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(mongo_home), database, name, str(n)],
            cwd=Path(__file__).parents[3],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    assert [d.stdout.readline() for d in drivers] == ["ready\n"] * 3
    for driver in drivers:
        driver.stdin.write("\n")
        driver.stdin.flush()
    told = [d.communicate(timeout=240)[0].splitlines() for d in drivers]
    assert sorted(line.split()[0] for lines in told for line in lines) == [
        f"calc-{number:04d}" for number in range(n)
    ]
    owners = {c.id: c.owner for c in store.calculations()}
    assert all(owners[line.split()[0]] == line.split()[1] for lines in told for line in lines)


def test_a_driver_that_was_asleep_cannot_move_a_later_attempt(store: Store) -> None:
    store.plan([examples.a_calculation()])
    submitting = store.transition("calc-0001", S.PLANNED, S.SUBMITTING, attempt=3, owner="asleep")
    assert submitting.owner == "asleep"
    # Another driver settles it and begins the next attempt, which comes into the same state.
    assert store.transition("calc-0001", S.SUBMITTING, S.PLANNED, at_attempt=3, owned_by="asleep")
    assert store.transition("calc-0001", S.PLANNED, S.SUBMITTING, at_attempt=3, attempt=4, owner="awake")
    for condition in ({"at_attempt": 3}, {"owned_by": "asleep"}, {"at_attempt": 4, "owned_by": "asleep"}):
        assert store.transition("calc-0001", S.SUBMITTING, S.SUBMITTED, **condition) is None
    after = store.calculation("calc-0001")
    assert (after.state, after.attempt, after.owner) == (S.SUBMITTING, 4, "awake")
    assert store.transition("calc-0001", S.SUBMITTING, S.SUBMITTED, at_attempt=4, owned_by="awake")


def test_a_move_with_conditions_whose_acknowledgement_was_lost_is_recognised(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The move itself changes what it was conditional on."""
    from pymongo.collection import Collection
    from pymongo.errors import AutoReconnect

    store.plan([examples.a_calculation()])
    genuine = Collection.find_one_and_update
    calls: list[object] = []

    def loses_first_answer(self: object, *args: object, **kwargs: object) -> object:
        calls.append(genuine(self, *args, **kwargs))
        if len(calls) == 1:
            raise AutoReconnect("connection closed")
        return calls[-1]

    monkeypatch.setattr(Collection, "find_one_and_update", loses_first_answer)
    moved = store.transition("calc-0001", S.PLANNED, S.SUBMITTING, at_attempt=2, attempt=3, owner="me")
    assert (moved.attempt, moved.owner, len(calls)) == (3, "me", 2)


def test_the_servers_clock_says_since_when(store: Store) -> None:
    store.plan([examples.a_calculation()])
    assert store.calculation("calc-0001").since is None
    before = store.connection.database.command("hello")["localTime"].replace(tzinfo=UTC)
    since = store.transition("calc-0001", S.PLANNED, S.SUBMITTING).since
    after = store.connection.database.command("hello")["localTime"].replace(tzinfo=UTC)
    assert before <= since <= after
    assert since.tzinfo is not None
    again = store.transition("calc-0001", S.SUBMITTING, S.SUBMITTED).since
    assert again >= since


def test_only_what_has_been_in_a_state_for_long_is_told(store: Store) -> None:
    store.plan([examples.a_calculation(number) for number in range(4)])
    for number in range(3):
        store.transition(f"calc-{number:04d}", S.PLANNED, S.SUBMITTING)
    collection = store.connection.database["calculations"]
    hour_ago = store.calculation("calc-0000").since - timedelta(hours=1)
    collection.update_one({"_id": "calc-0000"}, {"$set": {"since": hour_ago}})
    collection.update_one({"_id": "calc-0002"}, {"$unset": {"since": 1}})  # of a database of version 1
    ids = [f"calc-{number:04d}" for number in range(4)]
    assert store.in_state_for(S.SUBMITTING, 120.0, ids) == {"calc-0000", "calc-0002"}
    assert store.in_state_for(S.SUBMITTING, 120.0, ids[1:2]) == set()
    assert store.in_state_for(S.SUBMITTED, 0.0, ids) == set()
    assert store.in_state_for(S.SUBMITTING, 7200.0, ids) == {"calc-0002"}


def test_new_fields_come_back(store: Store) -> None:
    store.plan([examples.a_calculation()])
    moved = store.transition(
        "calc-0001", S.PLANNED, S.SUBMITTING, memory_factor=2.0, forgiven=2, fresh_after=1, owner="me"
    )
    assert (moved.memory_factor, moved.forgiven, moved.fresh_after, moved.owner) == (2.0, 2, 1, "me")
    assert store.calculation("calc-0001") == moved


def test_an_observation_can_be_forgotten(store: Store) -> None:
    store.save_observation(examples.an_observation(1))
    store.save_observation(examples.an_observation(2))
    store.delete_observation("calc-0001", 1)
    store.delete_observation("calc-0001", 1)
    assert [o.calculation_id for o in store.observations()] == ["calc-0002"]


def test_a_driver_that_was_asleep_does_not_replace_a_later_result(store: Store) -> None:
    first = JobResult(calculation_id="calc-0001", kind="gas", attempt=1, state="DONE", energy=-1.0)
    second = first.model_copy(update={"attempt": 2, "energy": -2.0})
    for result in (first, second, first):
        store.save_result(result)
    assert store.result("calc-0001") == second
    again = second.model_copy(update={"energy": -2.5})
    store.save_result(again)
    assert store.result("calc-0001") == again


def test_a_failure_is_kept_and_gives_way_to_any_energy(store: Store) -> None:
    energy = JobResult(calculation_id="calc-0001", kind="gas", attempt=1, state="DONE", energy=-1.0)
    failed = JobResult(
        calculation_id="calc-0001",
        kind="gas",
        attempt=2,
        state="FAILED",
        code=FailureCode.SCF_NOT_CONVERGED,
        details={"corrections": [{"correction": "gentle-mixing"}]},
    )
    store.save_result(failed)
    assert store.result("calc-0001") == failed
    store.save_result(energy)
    assert store.result("calc-0001") == energy


def test_what_has_moved_since_is_told(store: Store) -> None:
    store.plan([examples.a_calculation(n) for n in range(3)])
    assert store.calculations(moved_since=datetime(1970, 1, 1, tzinfo=UTC)) == []
    first = store.transition("calc-0001", S.PLANNED, S.SUBMITTING)
    time.sleep(0.02)
    second = store.transition("calc-0002", S.PLANNED, S.SUBMITTING)
    assert [c.id for c in store.calculations(moved_since=first.since)] == ["calc-0001", "calc-0002"]
    assert [c.id for c in store.calculations(moved_since=second.since)] == ["calc-0002"]
