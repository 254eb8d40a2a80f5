"""The ledger of calculations: submits what is due, adopts what is under way, harvests what ended.

Truth about a running job lies in its directory and with the back-end; the store holds what the driver
knows. Every step may be cut off by ``kill -9`` and is safe to repeat:

* ``PLANNED -> SUBMITTING`` is written before the job directory, ``SUBMITTED`` after the back-end took it.
* A driver that finds ``SUBMITTING`` in its own home (which one driver holds at a time) asks the back-end
  for the job and adopts it; if there is none, it revokes the attempt and plans another.
* Success is a validated result file, never an exit code.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Unpack

from config.errors import ExecutionError, SabatierError, StoreError
from dft.codes import RETRYABLE, FailureCode
from dft.execution.base import JobPhase
from dft.jobs import CLAIM_FILE, JOB_FILE, RESULT_FILE, CalculationKind, JobResult, ResultState, write_job
from dft.validation import Outcome
from pipeline import attempts
from pipeline.domain import BROKEN, IN_FLIGHT, TERMINAL, CalculationState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

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
OVERDUE_SECONDS = 300.0
"""A job that lives on this long after its time limit is cancelled: whatever should have ended it has died."""
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

        Raises
        ------
        StoreError
            If the store lacks one of the calculations.
        ExecutionError
            If a job cannot be started, or its fate be told.
        """
        wanted = tuple(dict.fromkeys(ids))
        self._refresh(wanted)
        self._reopen()
        while True:
            self._refresh(wanted)
            self._settle()
            self._harvest()
            self._fail_dependents()
            stopping = is_draining() or not may_start()
            if not stopping:
                self._submit_ready()
            on_progress()
            if all(c.state in TERMINAL for c in self.calculations.values()):
                return True
            if stopping and not any(self.home.holds(c) for c in self.in_flight()):
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
        known = self.calculations
        open_ids = [i for i in wanted if i not in known or known[i].state not in TERMINAL]
        for calculation in self.store.calculations(ids=open_ids):
            known[calculation.id] = calculation
        missing = [i for i in wanted if i not in known]
        if missing:
            message = f"the store lacks calculation {missing[0]}; was it restored from an old copy?"
            raise StoreError(message)

    def _move(
        self, calculation: Calculation, to: State, **fields: Unpack[CalculationChanges]
    ) -> Calculation | None:
        """Change a state in the store if nobody else has, and remember the outcome."""
        moved = self.store.transition(calculation.id, (calculation.state,), to, **fields)
        if moved is not None:
            self.calculations[calculation.id] = moved
        return moved

    # -- settling what was cut off ---------------------------------------------------------------

    def _reopen(self) -> None:
        """Plan again what failed for a reason that is gone: a prerequisite repaired, more attempts."""
        for calculation in self._in_order():
            if calculation.state is not State.FAILED:
                continue
            if calculation.code is FailureCode.DEPENDENCY_FAILED:
                required = [self.calculations[i] for i in calculation.requires if i in self.calculations]
                is_due = not any(c.state in BROKEN for c in required)
            else:
                is_due = calculation.code in RETRYABLE and self._may_try_again(calculation)
            if is_due:
                self._move(calculation, State.PLANNED, code=None, message="")

    def _settle(self) -> None:
        """Finish steps that a driver was killed in: a submission of this home, a verdict of any."""
        for calculation in list(self.calculations.values()):
            if calculation.state is State.SUBMITTING and self.home.holds(calculation):
                self._settle_submission(calculation)
            elif calculation.state is State.DONE:
                self._judge(calculation)

    def _settle_submission(self, calculation: Calculation) -> None:
        job_dir = self.home.locate(calculation)
        if not (job_dir / JOB_FILE).exists():
            self._move(calculation, State.PLANNED)
            return
        job_id = self.backend.find(job_dir)
        if job_id is not None or (job_dir / RESULT_FILE).exists():
            self._move(calculation, State.SUBMITTED, job_id=job_id)
        elif attempts.revoke(job_dir, calculation, "the driver died before the job was submitted"):
            self._move(calculation, State.PLANNED)
        else:
            where = attempts.living_claimant(job_dir)
            if where is not None:
                message = (
                    f"{calculation.label} is being computed {where}, where it cannot be watched from here; "
                    "resume the campaign there, or wait until it has ended"
                )
                raise ExecutionError(message)
            self._move(calculation, State.SUBMITTED, job_id=None)

    # -- harvesting ------------------------------------------------------------------------------

    def _harvest(self) -> None:
        """Take in every attempt that has ended, and notice those that started."""
        silent = []
        for calculation in self.in_flight():
            if calculation.state is State.SUBMITTING:
                continue
            result = attempts.outcome(self.home.locate(calculation), calculation)
            if result is None:
                silent.append(calculation)
            else:
                self._take_in(calculation, result)
        phases = self._phases(silent) if silent else {}  # polling looks through all processes
        for calculation in silent:
            job_dir = self.home.locate(calculation)
            if phases[calculation.id] is JobPhase.GONE:
                # It may have left its result between the two looks.
                result = attempts.outcome(job_dir, calculation)
                self._take_in(calculation, result or attempts.declare_lost(job_dir, calculation))
            else:
                self._watch(calculation, job_dir)

    def _phases(self, silent: list[Calculation]) -> dict[str, JobPhase]:
        """Ask the back-end about jobs without a result; those of other homes may be out of its sight."""
        phases = {c.id: JobPhase.GONE for c in silent if c.job_id is None}
        own = {c.job_id: c.id for c in silent if c.job_id is not None and self.home.holds(c)}
        phases |= {own[job_id]: phase for job_id, phase in self.backend.poll(list(own)).items()}
        for calculation in silent:
            if calculation.id not in phases and calculation.job_id is not None:
                try:
                    phases[calculation.id] = self.backend.poll([calculation.job_id])[calculation.job_id]
                except ExecutionError:
                    phases[calculation.id] = JobPhase.RUNNING
        return phases

    def _watch(self, calculation: Calculation, job_dir: Path) -> None:
        """Note that a job has started, and end one that has outlived its time limit."""
        claim = job_dir / CLAIM_FILE
        if not claim.exists():
            return
        if calculation.state is State.SUBMITTED:
            self._move(calculation, State.RUNNING)
        limit = 60 * self.settings.execution.timeout_minutes + OVERDUE_SECONDS
        if time.time() - claim.stat().st_mtime > limit and calculation.job_id is not None:
            self.backend.cancel(calculation.job_id)

    def _take_in(self, calculation: Calculation, result: JobResult) -> None:
        if calculation.state is State.SUBMITTED:
            calculation = self._move(calculation, State.RUNNING) or calculation
        spent = calculation.cpu_seconds + result.cpu_seconds
        if result.state is ResultState.DONE:
            self.store.save_result(result)
            done = self._move(calculation, State.DONE, energy=result.energy, cpu_seconds=spent)
            if done is not None:
                self._judge(done)
            return
        again = result.code in RETRYABLE and self._may_try_again(calculation)
        self._move(
            calculation,
            State.PLANNED if again else State.FAILED,
            code=result.code,
            message=result.message,
            cpu_seconds=spent,
        )

    def _may_try_again(self, calculation: Calculation) -> bool:
        """Attempts that never began to compute do not count."""
        folder = self.home.jobs / calculation.id
        return attempts.n_computed(folder) < self.settings.execution.max_attempts

    def _judge(self, calculation: Calculation) -> None:
        """Validate a finished calculation; its observation is stored before its state says so."""
        try:
            verdict = self.judge.judge(calculation)
        except SabatierError:
            raise
        except Exception as error:
            verdict = Outcome(FailureCode.CRASHED, None, f"cannot be judged: {error!r}")
        if verdict.code is None:
            self._move(calculation, State.VALID)
        else:
            self._move(calculation, State.REJECTED, code=verdict.code, message=verdict.message)

    def _fail_dependents(self) -> None:
        """Fail, chain by chain, what can never run because something it requires has failed."""
        for calculation in self._in_order():
            for required in calculation.requires:
                need = self.calculations.get(required)
                if calculation.state is State.PLANNED and need is not None and need.state in BROKEN:
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
        if last > calculation.attempt and attempts.is_whole(self.home.job_dir(calculation.id, last)):
            moved = self._claim_attempt(calculation, last)
            if moved is not None:
                self._settle_submission(moved)
            return moved is not None
        attempt = max(last, calculation.attempt) + 1
        moved = self._claim_attempt(calculation, attempt)
        return moved is not None and self._start(moved)

    def _claim_attempt(self, calculation: Calculation, attempt: int) -> Calculation | None:
        """Write down, before anything happens, which attempt this driver is about to start."""
        return self._move(
            calculation,
            State.SUBMITTING,
            attempt=attempt,
            job_dir=str(self.home.job_dir(calculation.id, attempt)),
            job_id=None,
            code=None,
            message="",
        )

    def _start(self, calculation: Calculation) -> bool:
        """Write the job directory and hand it to the back-end."""
        try:
            spec = self.materialiser.job_spec(calculation, calculation.attempt)
        except SabatierError:
            raise
        except Exception as error:
            message = f"its structure cannot be built: {error!r}"
            self._move(calculation, State.FAILED, code=FailureCode.CRASHED, message=message)
            return False
        job_dir = self.home.job_dir(calculation.id, calculation.attempt)
        try:
            write_job(job_dir, spec)
            job_id = self.backend.submit(
                job_dir,
                cores=self.settings.execution.cores_per_calculation,
                timeout_minutes=self.settings.execution.timeout_minutes,
                name=calculation.id,
            )
        except OSError as error:
            message = f"cannot start {calculation.label} in {job_dir}: {error.strerror or error}"
            raise ExecutionError(message) from error
        return self._move(calculation, State.SUBMITTED, job_id=job_id) is not None
