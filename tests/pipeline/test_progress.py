"""Estimates of the time left."""

from __future__ import annotations

import pytest

from config.execution import LocalExecution
from dft.jobs import CalculationKind as Kind
from pipeline.domain import Calculation
from pipeline.domain import CalculationState as State
from pipeline.progress import running, seconds_left
from tasks.cli.live import duration


def calculation(identifier: str, kind: Kind, state: State, cpu_seconds: float = 0.0) -> Calculation:
    return Calculation(identifier, kind, identifier, state=state, cpu_seconds=cpu_seconds)


def test_nothing_is_estimated_before_anything_has_finished() -> None:
    assert seconds_left([calculation("a", Kind.SLAB, State.PLANNED)], LocalExecution(), 2) is None


def test_waiting_calculations_cost_what_their_kind_cost() -> None:
    known = [
        calculation("a", Kind.SLAB, State.VALID, 10.0),
        calculation("b", Kind.ADSLAB, State.VALID, 40.0),
        calculation("c", Kind.ADSLAB, State.PLANNED),
        calculation("d", Kind.SLAB, State.RUNNING),
    ]
    serial, parallel = LocalExecution(), LocalExecution(cores=8, cores_per_calculation=4)
    assert seconds_left(known, serial, 1) == pytest.approx(40 + 10 / 2)
    assert seconds_left(known, serial, 2) == pytest.approx((40 + 10 / 2) / 2)
    assert seconds_left(known, serial, 2, n_more=3) == pytest.approx((40 + 10 / 2 + 3 * 40) / 2)
    assert seconds_left(known, parallel, 2) == pytest.approx((40 + 10 / 2) / 2 / 4), "CPU time of four ranks"


def test_only_calculations_under_way_are_shown_as_running() -> None:
    states = list(State)
    shown = running([calculation(s.value, Kind.SLAB, s) for s in states])
    assert {r.state for r in shown} == {State.SUBMITTING, State.SUBMITTED, State.RUNNING}


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (100 * 3600, "4 d 4 h")],
)
def test_durations_read_as_a_person_says_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said
