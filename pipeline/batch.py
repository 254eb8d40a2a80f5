"""Computing what was chosen: bringing calculations to their end while a person may watch, drain or pause.

A driver that is asked to stop, or whose budget of CPU-hours is spent, leaves the rest planned.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.capacity import capacity_of
from pipeline.domain import TERMINAL
from pipeline.domain import CalculationState as State
from pipeline.ends import BudgetSpent, Drained, Held, StepDone
from pipeline.harvest import Judge
from pipeline.ledger import Ledger
from pipeline.progress import Progress, running, seconds_left

if TYPE_CHECKING:
    from collections.abc import Callable

    from dft.execution.base import Backend
    from pipeline.campaign import Campaign

CHECK_SECONDS = 10.0
"""How often the store is asked for what was spent and whether the campaign is paused."""


@dataclass
class Watch:
    """What ties a driver to the person in front of it."""

    on_progress: Callable[[Progress], None] = lambda _progress: None
    on_notice: Callable[[str], None] = lambda _text: None
    """Told, in a sentence, of what keeps the driver waiting."""
    is_draining: Callable[[], bool] = lambda: False
    once: bool = False
    """Do what can be done now and end, instead of waiting for the jobs."""
    started: float = field(default_factory=time.monotonic)


def make_backend(campaign: Campaign) -> Backend:
    """Build the back-end that the campaign's ``execution`` asks for."""
    execution = campaign.settings.execution
    if execution.backend == "local":
        from dft.execution.local import LocalBackend

        return LocalBackend(execution, lost_hosts=campaign.lost_hosts)
    from dft.execution.scheduler import SchedulerBackend

    return SchedulerBackend(execution)


@dataclass
class Driver:
    """One driver at work on a campaign: its ledger, and what tells it to start nothing new."""

    campaign: Campaign
    watch: Watch
    ledger: Ledger
    meter: BudgetMeter
    _awaited: set[tuple[str, int]] | None = None
    """Attempts that were under way when this driver was told to start nothing more."""

    @classmethod
    def of(cls, campaign: Campaign, watch: Watch) -> Driver:
        """Make a driver's ledger and gauges."""
        rounds = {i: r.number for r in campaign.rounds() for i in r.calculation_ids}
        ledger = Ledger(
            store=campaign.store,
            backend=make_backend(campaign),
            home=campaign.home,
            settings=campaign.settings,
            materialiser=campaign.materialiser,
            judge=Judge(campaign.store, campaign.materialiser, campaign.home, rounds),
            capacity=capacity_of(campaign.settings.execution),
            on_notice=watch.on_notice,
        )
        return cls(campaign, watch, ledger, BudgetMeter(campaign))

    def step(self, ids: list[str]) -> bool:
        """Do all that can be done now; return whether anything new may be started."""
        may_submit = self.meter.may_start() and not self.watch.is_draining()
        self.ledger.step(ids, may_submit=may_submit)
        if may_submit:
            self._awaited = None
        elif self._awaited is None:
            self._awaited = {(c.id, c.attempt) for c in self.ledger.in_flight()}
        return may_submit

    @property
    def is_idle(self) -> bool:
        """True when nothing is under way that this driver waits for.

        One that starts nothing more does not wait for what other drivers have started since.
        """
        flying = {(c.id, c.attempt) for c in self.ledger.in_flight()}
        return not (flying if self._awaited is None else flying & self._awaited)

    def refuse_to_wait(self, what: str) -> None:
        """End if nothing more can happen for this driver, or if it is not to wait.

        Parameters
        ----------
        what
            What is left to do, such as ``round 3``.

        Raises
        ------
        Drained, BudgetSpent, Held, StepDone
            Why.
        """
        counts = self.ledger.counts()
        left = counts[State.PLANNED] + counts[State.PAUSED]
        if self.is_idle:
            if self.watch.is_draining():
                message = f"stopped with {left} calculations of {what} still to do"
                raise Drained(message)
            if self.meter.is_spent:
                message = (
                    f"the budget of {self.campaign.settings.budget.cpu_hours:g} CPU-hours is spent; {left} "
                    f"calculations of {what} are left (raise budget.cpu_hours to go on)"
                )
                raise BudgetSpent(message)
            if self.meter.is_paused or self.ledger.is_held:
                n = f"the campaign with {left}" if self.meter.is_paused else str(counts[State.PAUSED])
                message = (
                    f"paused: {n} calculations of {what} wait for 'sabatier resume'; run the campaign again "
                    "after it"
                )
                raise Held(message)
        if self.watch.once:
            message = (
                f"{len(self.ledger.in_flight())} calculations of {what} are under way, {left} wait; "
                "the next run goes on"
            )
            raise StepDone(message)

    def progress(self, number: int, n_more: int = 0) -> Progress:
        """What a person watching wants to know.

        Parameters
        ----------
        number
            Of the last round begun.
        n_more
            Adslabs yet to be chosen before the end that is estimated.
        """
        calculations = list(self.ledger.calculations.values())
        counts = self.ledger.counts()
        settings = self.campaign.settings
        return Progress(
            round=number,
            last_round=self.campaign.last_round,
            running=running(calculations),
            n_done=counts[State.VALID] + counts[State.REJECTED],
            n_failed=counts[State.FAILED] + counts[State.CANCELLED],
            n_waiting=counts[State.PLANNED] + counts[State.PAUSED],
            calculations_chosen=len(self.ledger.judge.round_of),
            calculations_budget=settings.budget.calculations,
            cpu_hours_spent=self.meter.cpu_hours,
            cpu_hours_budget=settings.budget.cpu_hours,
            elapsed_seconds=time.monotonic() - self.watch.started,
            seconds_left=seconds_left(calculations, settings.execution, self.ledger.capacity.slots, n_more),
            is_draining=self.watch.is_draining(),
        )


def run_batch(campaign: Campaign, number: int, watch: Watch) -> None:
    """Compute everything that a round needs.

    Raises
    ------
    Drained, BudgetSpent, Held, StepDone
        If this driver ends before the round is complete.
    """
    record = campaign.store.round(campaign.name, number)
    if record is None or not record.calculation_ids:
        return
    compute(campaign, watch, f"round {number}", number)


def compute(campaign: Campaign, watch: Watch, what: str, number: int) -> None:
    """Bring all that was chosen so far to its end.

    Not only the last round's: a person may have asked for another attempt at an older one.

    Raises
    ------
    Drained, BudgetSpent, Held, StepDone
        If this driver ends before.
    """
    ids = campaign.needed_ids()
    driver = Driver.of(campaign, watch)
    while True:
        driver.step(ids)
        watch.on_progress(driver.progress(number))
        if driver.ledger.is_finished:
            return
        driver.refuse_to_wait(what)
        driver.ledger.wait()


def is_computed(campaign: Campaign, number: int) -> bool:
    """Tell whether every calculation of a round has come to an end."""
    record = campaign.store.round(campaign.name, number)
    if record is None:
        return False
    found = campaign.store.calculations(ids=record.calculation_ids)
    return len(found) == len(record.calculation_ids) and all(c.state in TERMINAL for c in found)


@dataclass
class BudgetMeter:
    """What the campaign has spent and whether it is paused; the store is asked only now and then."""

    campaign: Campaign
    cpu_hours: float = 0.0
    is_paused: bool = False
    _read_at: float = float("-inf")

    @property
    def is_spent(self) -> bool:
        """True once the CPU-hours are used up."""
        return self.cpu_hours >= self.campaign.settings.budget.cpu_hours

    def may_start(self) -> bool:
        """Tell whether anything new may be started."""
        if time.monotonic() - self._read_at > CHECK_SECONDS:
            self.cpu_hours = self.campaign.cpu_hours_spent()
            record = self.campaign.store.campaign(self.campaign.name)
            self.is_paused = record is not None and record.paused
            self._read_at = time.monotonic()
        return not self.is_spent and not self.is_paused
