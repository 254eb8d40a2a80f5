"""What a person watching a campaign wants to know, as plain values. Units: seconds, CPU-hours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.domain import IN_FLIGHT
from pipeline.domain import CalculationState as State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.domain import Calculation


@dataclass(frozen=True)
class Running:
    """A calculation under way."""

    calculation_id: str
    label: str
    state: State
    attempt: int


@dataclass(frozen=True)
class Progress:
    """State of a campaign while a round is computed."""

    round: int
    last_round: int
    running: tuple[Running, ...]
    n_done: int
    n_failed: int
    n_waiting: int
    calculations_chosen: int
    calculations_budget: int
    cpu_hours_spent: float
    cpu_hours_budget: float
    elapsed_seconds: float
    seconds_left: float | None
    """Estimated time to the end of the round; None before anything has finished."""
    is_draining: bool = False


def running(calculations: Sequence[Calculation]) -> tuple[Running, ...]:
    """Pick the calculations under way, oldest label first."""
    flying = [c for c in calculations if c.state in IN_FLIGHT]
    return tuple(Running(c.id, c.label, c.state, c.attempt) for c in flying)


def round_seconds_left(calculations: Sequence[Calculation], slots: int) -> float | None:
    """Estimate the seconds until a round is done from the mean cost of what has finished, by kind.

    Running calculations count as half done. A kind that has not finished anywhere yet is taken as
    costing the mean of all.
    """
    finished = [c for c in calculations if c.cpu_seconds > 0 and c.state in {State.VALID, State.REJECTED}]
    if not finished:
        return None
    overall = sum(c.cpu_seconds for c in finished) / len(finished)

    def cost(calculation: Calculation) -> float:
        same = [c.cpu_seconds for c in finished if c.kind is calculation.kind]
        return sum(same) / len(same) if same else overall

    waiting = sum(cost(c) for c in calculations if c.state is State.PLANNED)
    flying = sum(cost(c) / 2 for c in calculations if c.state in IN_FLIGHT)
    return (waiting + flying) / max(1, slots)
