"""Computing the candidates of a round and closing it.

A driver that is asked to stop, or whose budget of CPU-hours is spent, leaves the rest planned.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from config.errors import ConfigError
from pipeline.domain import TERMINAL
from pipeline.domain import CalculationState as State
from pipeline.ends import BudgetSpent, Drained
from pipeline.harvest import Judge
from pipeline.ledger import Ledger
from pipeline.progress import Progress, round_seconds_left, running

if TYPE_CHECKING:
    from collections.abc import Callable

    from config.campaign import LocalExecution
    from dft.execution.base import Backend
    from pipeline.campaign import Campaign

BUDGET_CHECK_SECONDS = 10.0


@dataclass
class Watch:
    """What ties a running batch to the person in front of it."""

    on_progress: Callable[[Progress], None] = lambda _progress: None
    is_draining: Callable[[], bool] = lambda: False
    started: float = field(default_factory=time.monotonic)


def make_backend(campaign: Campaign) -> Backend:
    """Build the back-end that the campaign's ``execution`` asks for."""
    from dft.execution.local import LocalBackend

    assert campaign.settings.execution.backend == "local"
    return LocalBackend(lost_hosts=campaign.lost_hosts)


def usable_cores(execution: LocalExecution) -> int:
    """Cores that the campaign may use at once on this machine.

    Raises
    ------
    ConfigError
        If a single calculation needs more.
    """
    cores = execution.cores or len(os.sched_getaffinity(0))
    if execution.cores_per_calculation > cores:
        message = (
            f"execution.cores_per_calculation is {execution.cores_per_calculation}, but there are only "
            f"{cores} cores; lower it, or set execution.cores to use more ranks than cores"
        )
        raise ConfigError(message)
    return cores


def run_batch(campaign: Campaign, number: int, watch: Watch) -> None:
    """Compute everything that a round needs.

    Raises
    ------
    Drained
        If ``watch.is_draining`` turned true before the round was complete.
    BudgetSpent
        If the CPU-hours ran out before the round was complete.
    """
    record = campaign.store.round(campaign.name, number)
    if record is None or not record.calculation_ids:
        return
    ids = campaign.closure(record.calculation_ids)
    rounds = {i: r.number for r in campaign.rounds() for i in r.calculation_ids}
    meter = _BudgetMeter(campaign, n_chosen=len(rounds))
    ledger = Ledger(
        store=campaign.store,
        backend=make_backend(campaign),
        home=campaign.home,
        settings=campaign.settings,
        materialiser=campaign.materialiser,
        judge=Judge(campaign.store, campaign.materialiser, campaign.home, rounds),
        cores=usable_cores(campaign.settings.execution),
    )

    def report() -> None:
        watch.on_progress(_progress(campaign, number, ledger, meter, watch))

    finished = ledger.run(ids, on_progress=report, is_draining=watch.is_draining, may_start=meter.may_start)
    if finished:
        return
    left = sum(c.state is State.PLANNED for c in ledger.calculations.values())
    if watch.is_draining():
        message = f"stopped with {left} calculations of round {number} still to do"
        raise Drained(message)
    message = (
        f"the budget of {campaign.settings.budget.cpu_hours:g} CPU-hours is spent; {left} calculations of "
        f"round {number} are left (raise budget.cpu_hours to go on)"
    )
    raise BudgetSpent(message)


def is_computed(campaign: Campaign, number: int) -> bool:
    """Tell whether every calculation of a round has come to an end."""
    record = campaign.store.round(campaign.name, number)
    if record is None:
        return False
    found = campaign.store.calculations(ids=record.calculation_ids)
    return len(found) == len(record.calculation_ids) and all(c.state in TERMINAL for c in found)


@dataclass
class _BudgetMeter:
    """What the campaign has spent; CPU-hours are asked of the store only now and then."""

    campaign: Campaign
    n_chosen: int
    cpu_hours: float = 0.0
    _read_at: float = float("-inf")

    def may_start(self) -> bool:
        if time.monotonic() - self._read_at > BUDGET_CHECK_SECONDS:
            self.cpu_hours = self.campaign.cpu_hours_spent()
            self._read_at = time.monotonic()
        return self.cpu_hours < self.campaign.settings.budget.cpu_hours


def _progress(campaign: Campaign, number: int, ledger: Ledger, meter: _BudgetMeter, watch: Watch) -> Progress:
    calculations = list(ledger.calculations.values())
    counts = ledger.counts()
    slots = ledger.cores // campaign.settings.execution.cores_per_calculation
    return Progress(
        round=number,
        last_round=campaign.last_round,
        running=running(calculations),
        n_done=counts[State.VALID] + counts[State.REJECTED],
        n_failed=counts[State.FAILED] + counts[State.CANCELLED],
        n_waiting=counts[State.PLANNED],
        calculations_chosen=meter.n_chosen,
        calculations_budget=campaign.settings.budget.calculations,
        cpu_hours_spent=meter.cpu_hours,
        cpu_hours_budget=campaign.settings.budget.cpu_hours,
        elapsed_seconds=time.monotonic() - watch.started,
        seconds_left=round_seconds_left(calculations, slots),
        is_draining=watch.is_draining(),
    )
