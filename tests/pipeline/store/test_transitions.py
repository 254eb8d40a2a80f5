"""A calculation moves once, along allowed ways, whoever asks and however often."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from dft.codes import FailureCode
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
