"""The ledger of calculations: submits what is due, adopts what is under way, harvests what ended.

Truth about a running job lies in its directory and with the back-end; the store holds what the driver
knows. Every step may be cut off by ``kill -9`` and is safe to repeat:

* ``PLANNED -> SUBMITTING`` is written before the job directory, ``SUBMITTED`` after the back-end took it.
* A driver that finds ``SUBMITTING`` asks the back-end for the job and adopts it; if there is none, it
  takes the attempt's claim, after which that attempt can never run, and plans another.
* Whoever holds the claim decides the attempt: a worker by leaving ``result.json``, or the driver by
  taking the claim before a worker does. A worker that died holding it is declared lost.
* Success is a validated result file, never an exit code.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from config.errors import ExecutionError
from dft.codes import RETRYABLE, FailureCode
from dft.execution.base import JobPhase
from dft.jobs import (
    JOB_FILE,
    RESULT_FILE,
    CalculationKind,
    JobResult,
    ResultState,
    read_claim,
    read_result,
    take_claim,
    write_job,
    write_result,
)
from pipeline.domain import IN_FLIGHT, TERMINAL, CalculationState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from config.campaign import CampaignSettings
    from dft.execution.base import Backend
    from pipeline.domain import Calculation
    from pipeline.harvest import Judge
    from pipeline.home import CampaignHome
    from pipeline.materialise import Materialiser
    from pipeline.store.calculations import CalculationChanges
    from pipeline.store.repository import Store

State = CalculationState
Kind = CalculationKind
POLL_SECONDS = 0.5
DEPTH = {Kind.GAS: 0, Kind.BULK: 1, Kind.SLAB: 2, Kind.ADSLAB: 3}
"""Calculations require only kinds of a smaller depth."""
URGENCY = {Kind.ADSLAB: 0, Kind.GAS: 1, Kind.SLAB: 2, Kind.BULK: 3}
"""What starts first: adslabs are the longest and would leave cores idle at the end of a round; every adslab
waits for a gas; the rest goes deepest first, so that the first adslabs become ready early."""


@dataclass
class Ledger:
    """Brings a set of calculations to their end on one back-end."""

    store: Store
    backend: Backend
    home: CampaignHome
    settings: CampaignSettings
    materialiser: Materialiser
    judge: Judge
    cores: int
    calculations: dict[str, Calculation] = field(default_factory=dict)
    """What this run of the ledger is to finish, by id, as last read from the store."""

    def run(
        self,
        ids: Iterable[str],
        *,
        on_progress: Callable[[], None],
        is_draining: Callable[[], bool],
        may_start: Callable[[], bool],
        poll_seconds: float = POLL_SECONDS,
    ) -> bool:
        """Bring calculations to a terminal state.

        Parameters
        ----------
        ids
            The calculations with all that they require.
        on_progress
            Called after every step.
        is_draining
            True once nothing new shall start; calculations under way are waited for.
        may_start
            False once the budget of CPU-hours is spent; what is planned is then left planned.

        Returns
        -------
        bool
            True if every calculation is terminal, False if some were left because of draining or budget.
        """
        wanted = tuple(dict.fromkeys(ids))
        self._recover(wanted)
        while True:
            self._refresh(wanted)
            self._harvest()
            self._fail_dependents()
            stopping = is_draining() or not may_start()
            if not stopping:
                self._submit_ready()
            on_progress()
            if all(c.state in TERMINAL for c in self.calculations.values()):
                return True
            if stopping and not self.in_flight():
                return False
            time.sleep(poll_seconds)

    def in_flight(self) -> list[Calculation]:
        """Calculations that occupy cores."""
        return [c for c in self.calculations.values() if c.state in IN_FLIGHT]

    def counts(self) -> Counter[CalculationState]:
        """How many calculations are in each state."""
        return Counter(c.state for c in self.calculations.values())

    # -- reading ---------------------------------------------------------------------------------

    def _refresh(self, wanted: tuple[str, ...]) -> None:
        """Read the store where something can have changed: terminal calculations stay as they are."""
        open_ids = [
            i for i in wanted if i not in self.calculations or self.calculations[i].state not in TERMINAL
        ]
        for calculation in self.store.calculations(ids=open_ids):
            self.calculations[calculation.id] = calculation

    def _move(
        self, calculation: Calculation, to: State, **fields: Unpack[CalculationChanges]
    ) -> Calculation | None:
        """Change a state in the store if nobody else has, and remember the outcome."""
        moved = self.store.transition(calculation.id, (calculation.state,), to, **fields)
        if moved is not None:
            self.calculations[calculation.id] = moved
        return moved

    # -- recovery --------------------------------------------------------------------------------

    def _recover(self, wanted: tuple[str, ...]) -> None:
        """Settle what a former driver left between two states."""
        self._refresh(wanted)
        for calculation in list(self.calculations.values()):
            if calculation.state is State.SUBMITTING:
                self._settle_submission(calculation)
            elif calculation.state is State.DONE:
                self._judge(calculation)
            elif calculation.state is State.FAILED and calculation.code is FailureCode.DEPENDENCY_FAILED:
                self._reopen_if_dependency_recovered(calculation)

    def _settle_submission(self, calculation: Calculation) -> None:
        job_dir = self.home.locate(calculation)
        if not (job_dir / JOB_FILE).exists():
            self._move(calculation, State.PLANNED)
            return
        job_id = self.backend.find(job_dir)
        if job_id is not None or (job_dir / RESULT_FILE).exists():
            self._move(calculation, State.SUBMITTED, job_id=job_id)
        elif take_claim(job_dir, _driver()):
            _write_void(
                job_dir, calculation, FailureCode.WORKER_LOST, "the driver died before the job was submitted"
            )
            self._move(calculation, State.PLANNED)
        else:
            self._move(calculation, State.SUBMITTED, job_id=None)

    def _reopen_if_dependency_recovered(self, calculation: Calculation) -> None:
        required = self.store.calculations(ids=calculation.requires)
        if not any(c.state in {State.FAILED, State.REJECTED, State.CANCELLED} for c in required):
            self._move(calculation, State.PLANNED, code=None, message="")

    # -- harvesting ------------------------------------------------------------------------------

    def _harvest(self) -> None:
        """Take in every attempt that has ended, and notice those that started."""
        flying = [c for c in self.in_flight() if c.state is not State.SUBMITTING]
        if not flying:
            return
        phases = self.backend.poll([c.job_id for c in flying if c.job_id is not None])
        for calculation in flying:
            gone = calculation.job_id is None or phases[calculation.job_id] is JobPhase.GONE
            result = self._result(calculation)
            if result is not None:
                self._take_in(calculation, result)
            elif gone:
                self._declare_lost(calculation)
            elif (
                calculation.state is State.SUBMITTED and read_claim(self.home.locate(calculation)) is not None
            ):
                self._move(calculation, State.RUNNING)

    def _result(self, calculation: Calculation) -> JobResult | None:
        """Read the attempt's result; one that is unreadable or another's is a failed result."""
        try:
            result = read_result(self.home.locate(calculation))
        except ValueError as error:
            return _void_result(calculation, FailureCode.INVALID_RESULT, f"unreadable result.json: {error}")
        if result is not None and result.calculation_id != calculation.id:
            return _void_result(calculation, FailureCode.INVALID_RESULT, f"result of {result.calculation_id}")
        return result

    def _declare_lost(self, calculation: Calculation) -> None:
        """Close an attempt whose process is gone and left nothing."""
        job_dir = self.home.locate(calculation)
        if job_dir.exists():
            take_claim(job_dir, _driver())
            message = "the worker vanished without a result"
            _write_void(job_dir, calculation, FailureCode.WORKER_LOST, message)
        else:
            message = f"the job directory {job_dir} has vanished"
        self._take_in(calculation, _void_result(calculation, FailureCode.WORKER_LOST, message))

    def _take_in(self, calculation: Calculation, result: JobResult) -> None:
        if calculation.state is State.SUBMITTED:
            calculation = self._move(calculation, State.RUNNING) or calculation
        if result.state is ResultState.DONE:
            self.store.save_result(result)
            done = self._move(
                calculation,
                State.DONE,
                energy=result.energy,
                cpu_seconds=calculation.cpu_seconds + result.cpu_seconds,
            )
            if done is not None:
                self._judge(done)
            return
        again = result.code in RETRYABLE and calculation.attempt < self.settings.execution.max_attempts
        self._move(
            calculation,
            State.PLANNED if again else State.FAILED,
            code=result.code,
            message=result.message,
            cpu_seconds=calculation.cpu_seconds + result.cpu_seconds,
        )

    def _judge(self, calculation: Calculation) -> None:
        """Validate a finished calculation; its observation is stored before its state says so."""
        verdict = self.judge.judge(calculation)
        if verdict.code is None:
            self._move(calculation, State.VALID)
        else:
            self._move(calculation, State.REJECTED, code=verdict.code, message=verdict.message)

    def _fail_dependents(self) -> None:
        """Fail, chain by chain, what can never run because something it requires has failed."""
        broken = {State.FAILED, State.CANCELLED, State.REJECTED}
        for calculation in self._in_order():
            for required in calculation.requires:
                need = self.calculations.get(required)
                if calculation.state is State.PLANNED and need is not None and need.state in broken:
                    message = f"{need.label} ended as {need.code or need.state}"
                    self._move(calculation, State.FAILED, code=FailureCode.DEPENDENCY_FAILED, message=message)
                    break

    # -- submitting ------------------------------------------------------------------------------

    def _in_order(self) -> list[Calculation]:
        """Calculations with prerequisites before what needs them."""
        return sorted(self.calculations.values(), key=lambda c: DEPTH[c.kind])

    def _submit_ready(self) -> None:
        """Start what is ready while cores are free, in the order of :data:`URGENCY`."""
        per_job = self.settings.execution.cores_per_calculation
        free = self.cores // per_job - len(self.in_flight())
        for calculation in sorted(self.calculations.values(), key=lambda c: URGENCY[c.kind]):
            if free <= 0:
                return
            if calculation.state is State.PLANNED and self._is_ready(calculation):
                free -= self._submit(calculation)

    def _is_ready(self, calculation: Calculation) -> bool:
        needs = (self.calculations.get(i) for i in calculation.requires)
        return all(need is not None and need.state is State.VALID for need in needs)

    def _submit(self, calculation: Calculation) -> bool:
        """Start an attempt, or adopt one that the store does not know; False if another was faster."""
        last = self.home.last_attempt(calculation.id)
        if last > 0 and self._is_adoptable(calculation, last):
            moved = self._claim_attempt(calculation, last)
            if moved is not None:
                self._settle_submission(moved)
            return moved is not None
        attempt = max(last, calculation.attempt) + 1
        moved = self._claim_attempt(calculation, attempt)
        if moved is None:
            return False
        job_dir = self.home.job_dir(moved.id, attempt)
        try:
            write_job(job_dir, self.materialiser.job_spec(moved, attempt))
            job_id = self.backend.submit(
                job_dir,
                cores=self.settings.execution.cores_per_calculation,
                timeout_minutes=self.settings.execution.timeout_minutes,
                name=moved.id,
            )
        except OSError as error:
            message = f"cannot start {moved.label} in {job_dir}: {error.strerror or error}"
            raise ExecutionError(message) from error
        return self._move(moved, State.SUBMITTED, job_id=job_id) is not None

    def _claim_attempt(self, calculation: Calculation, attempt: int) -> Calculation | None:
        """Write down, before anything happens, which attempt this driver is about to start."""
        job_dir = str(self.home.job_dir(calculation.id, attempt))
        return self._move(
            calculation,
            State.SUBMITTING,
            attempt=attempt,
            job_dir=job_dir,
            job_id=None,
            code=None,
            message="",
        )

    def _is_adoptable(self, calculation: Calculation, attempt: int) -> bool:
        """Tell whether an attempt on disk may still count: it is whole, and did not fail.

        A store that was lost or restored from an old copy has forgotten attempts; their results have not
        been lost with it.
        """
        job_dir = self.home.job_dir(calculation.id, attempt)
        if attempt <= calculation.attempt or not (job_dir / JOB_FILE).exists():
            return False
        try:
            result = read_result(job_dir)
        except ValueError:
            return False
        return result is None or result.state is ResultState.DONE


def _driver() -> dict[str, object]:
    return {"role": "driver", "pid": os.getpid(), "host": os.uname().nodename}


def _void_result(calculation: Calculation, code: FailureCode, message: str) -> JobResult:
    return JobResult(
        calculation_id=calculation.id,
        kind=calculation.kind,
        attempt=calculation.attempt,
        state=ResultState.FAILED,
        code=code,
        message=message,
        hostname=os.uname().nodename,
    )


def _write_void(job_dir: Path, calculation: Calculation, code: FailureCode, message: str) -> None:
    """Leave a failed result for an attempt that cannot leave one itself any more."""
    if not (job_dir / RESULT_FILE).exists():
        write_result(job_dir, _void_result(calculation, code, message))
