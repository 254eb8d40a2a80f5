"""What a person watching a campaign wants to know, as plain values. Units: seconds, CPU-hours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dft.jobs import CalculationKind
from pipeline.domain import IN_FLIGHT
from pipeline.domain import CalculationState as State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config.execution import ExecutionSettings
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
    last_round: int | None
    """None in ``mode: async``, where a round is a decision and their number is no limit."""
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
    """Estimated time to the end of the round, in ``mode: async`` to the end of the campaign; None before
    anything has finished."""
    is_draining: bool = False

    @property
    def stage(self) -> str:
        """Where the campaign is: ``round 3/5``, or ``decision 3`` in ``mode: async``."""
        return (
            f"decision {self.round}" if self.last_round is None else f"round {self.round}/{self.last_round}"
        )

    @property
    def scope(self) -> str:
        """What :attr:`seconds_left` is the end of."""
        return "round" if self.last_round is not None else "campaign"


def running(calculations: Sequence[Calculation]) -> tuple[Running, ...]:
    """Pick the calculations under way."""
    flying = [c for c in calculations if c.state in IN_FLIGHT]
    return tuple(Running(c.id, c.label, c.state, c.attempt) for c in flying)


def seconds_left(
    calculations: Sequence[Calculation], execution: ExecutionSettings, slots: int, n_more: int = 0
) -> float | None:
    """Estimate the seconds until all is done from the mean cost of what has finished, by kind.

    Running calculations count as half done. A kind that has not finished anywhere yet is taken as
    costing the mean of all.

    Parameters
    ----------
    execution
        Tells how many ranks share the CPU time of a calculation.
    slots
        Calculations that run at once.
    n_more
        Adslabs yet to be chosen.
    """
    finished = [c for c in calculations if c.cpu_seconds > 0 and c.state in {State.VALID, State.REJECTED}]
    if not finished:
        return None
    overall = sum(c.cpu_seconds for c in finished) / len(finished)

    def mean_time(kind: CalculationKind) -> float:
        same = [c.cpu_seconds for c in finished if c.kind is kind]
        return (sum(same) / len(same) if same else overall) / execution.tasks_for(kind.value)

    times = {kind: mean_time(kind) for kind in CalculationKind}
    waiting = sum(times[c.kind] for c in calculations if c.state is State.PLANNED)
    flying = sum(times[c.kind] / 2 for c in calculations if c.state in IN_FLIGHT)
    return (waiting + flying + n_more * times[CalculationKind.ADSLAB]) / max(1, slots)
