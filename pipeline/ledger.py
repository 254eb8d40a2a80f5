"""The ledger of calculations: submits what is due, adopts what is under way, harvests what ended.

Truth about a running job lies in its directory and with the back-end; the store holds what the drivers
know. Any number of drivers may keep the ledger of one campaign at once, and every step may be cut off
by ``kill -9`` and is safe to repeat. Success is a validated result file, never an exit code. How an
attempt is started is in ``pipeline.submission``.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from config.errors import BackendUnavailableError, ExecutionError, SabatierError
from dft.codes import RETRYABLE, FailureCode
from dft.execution.base import JobPhase, JobStatus
from dft.execution.environment import OUTPUT_FILE
from dft.jobs import JobResult, ResultState
from dft.validation import Outcome
from pipeline import attempts
from pipeline.book import Book
from pipeline.domain import BROKEN, TERMINAL, CalculationState
from pipeline.submission import Submitter
from pipeline.tails import tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from config.campaign import CampaignSettings
    from dft.execution.base import Backend
    from pipeline.capacity import Capacity
    from pipeline.domain import Calculation
    from pipeline.harvest import Judge
    from pipeline.home import CampaignHome
    from pipeline.materialise import Materialiser
    from pipeline.store.repository import Store

State = CalculationState
OVERDUE_SECONDS = 300.0
"""A job that lives on this long after its time limit is cancelled: whatever should have ended it has died."""
MORE_MEMORY = 2.0
"""How much more memory the one further attempt after OUT_OF_MEMORY gets."""
MANY_STILLBORN = 5
"""After so many jobs that ended before their worker began, and none that has begun, a driver stops."""
MAX_STILLBORN = 10
"""Jobs in a row that may end before their worker began: an interpreter or a set-up line that is wrong would
otherwise be tried for ever."""
GONE = JobStatus(JobPhase.GONE)


@dataclass
class Ledger:
    """Brings calculations to their end on one back-end."""

    store: Store
    backend: Backend
    home: CampaignHome
    settings: CampaignSettings
    materialiser: Materialiser
    judge: Judge
    capacity: Capacity
    on_notice: Callable[[str], None] = lambda _text: None
    """Told, in a sentence for the user, of what keeps the ledger waiting."""
    book: Book = field(init=False)
    submitter: Submitter = field(init=False)
    _is_first: bool = True
    _has_worked: bool = False
    """Whether any worker is known to have begun to compute under this driver."""
    _stillborn: list[Path] = field(default_factory=list)
    """Directories of the jobs that ended, as the system says, before their worker began."""

    def __post_init__(self) -> None:
        self.book = Book(self.store)
        self.submitter = Submitter(
            self.book, self.backend, self.home, self.settings, self.materialiser, self.capacity
        )

    @property
    def calculations(self) -> dict[str, Calculation]:
        """The calculations of the last step, by id, as last read from the store."""
        return self.book.calculations

    def in_flight(self) -> list[Calculation]:
        """Calculations that occupy cores or wait for them."""
        return self.book.in_flight()

    def counts(self) -> Counter[CalculationState]:
        """How many calculations are in each state."""
        return self.book.counts()

    @property
    def is_finished(self) -> bool:
        """True when every calculation has come to an end."""
        return all(c.state in TERMINAL for c in self.calculations.values())

    @property
    def is_held(self) -> bool:
        """True when nothing is under way and nothing can start before a person resumes something."""
        return not self.in_flight() and State.PAUSED in self.counts() and not self.book.ready()

    def step(self, ids: Iterable[str], *, may_submit: bool = True) -> None:
        """Do all that can be done now.

        Parameters
        ----------
        ids
            The calculations to bring to their end, with all that they require.
        may_submit
            Whether anything new may be started.

        Raises
        ------
        StoreError
            If the store lacks one of the calculations.
        ExecutionError
            If the back-end refuses a job, or a job directory cannot be written.
        """
        self.book.refresh(ids)
        self._reopen()
        for calculation in self.book.in_state(State.DONE):
            self._judge(calculation)  # a driver was killed between the energy and the verdict
        stages = [self.submitter.settle, self._harvest, self._fail_dependents]
        if may_submit:
            stages.append(self.submitter.submit_ready)
        for stage in stages:
            try:
                stage()
            except BackendUnavailableError as error:
                # What needs no scheduler is done all the same.
                self.on_notice(f"{error}; what runs there goes on, and this driver keeps asking")

    def wait(self) -> None:
        """Let the jobs work for a while."""
        time.sleep(self.settings.execution.poll_seconds)

    # -- reopening -------------------------------------------------------------------------------

    def _reopen(self) -> None:
        """Plan again what failed for a reason that is gone: a prerequisite repaired, more attempts."""
        for calculation in self.book.in_order():
            if calculation.state is not State.FAILED:
                continue
            if calculation.code is FailureCode.DEPENDENCY_FAILED:
                required = [self.calculations[i] for i in calculation.requires if i in self.calculations]
                is_due = not any(c.state in BROKEN for c in required)
            else:
                # Settings do not change under way: looking into the attempts once is enough.
                is_due = self._is_first and calculation.code in RETRYABLE and self._has_more(calculation)
            if is_due:
                self.book.move(calculation, State.PLANNED, code=None, message="")
        self._is_first = False

    # -- harvesting ------------------------------------------------------------------------------

    def _harvest(self) -> None:
        """Take in every attempt that has ended, and notice those that started."""
        flying = [c for c in self.in_flight() if c.state is not State.SUBMITTING]
        try:
            statuses = self._poll(flying)
        except BackendUnavailableError:
            for calculation in flying:  # results are in files: they need no scheduler
                self._look(calculation, None)
            raise
        unseen = Counter(
            (c.job_id or "").rpartition("@")[2] for c in flying if not self._look(c, statuses.get(c.id))
        )
        self._refuse_to_go_on_in_vain()
        for host, n in unseen.items():
            self.on_notice(
                f"{n} jobs on the machine {host!r} cannot be seen from here; their results are taken in when "
                f"they appear. Run a driver there too, or, if it is gone for good, use --lost-host {host}"
            )

    def _poll(self, flying: Sequence[Calculation]) -> dict[str, JobStatus]:
        """Ask the back-end about jobs; those that cannot be seen from here are left out."""
        statuses = {c.id: GONE for c in flying if c.job_id is None}
        by_job = {c.job_id: c.id for c in flying if c.job_id is not None}
        if not by_job:
            return statuses
        try:
            found = self.backend.poll(list(by_job))
        except BackendUnavailableError:
            raise
        except ExecutionError:
            # Some were started by another back-end: in another campaign, or before the settings changed.
            found = self._poll_one_by_one(list(by_job))
        return statuses | {by_job[job_id]: status for job_id, status in found.items()}

    def _poll_one_by_one(self, job_ids: Sequence[str]) -> dict[str, JobStatus]:
        found: dict[str, JobStatus] = {}
        for job_id in job_ids:
            try:
                found.update(self.backend.poll([job_id]))
            except BackendUnavailableError:
                raise
            except ExecutionError:
                continue
        return found

    def _look(self, calculation: Calculation, status: JobStatus | None) -> bool:
        """Take in an attempt if it has ended; False if nothing can be said of it."""
        if status is not None and status.phase is JobPhase.PENDING:
            return True
        job_dir = self.home.locate(calculation)
        result = attempts.outcome(job_dir, calculation)
        self._has_worked |= result is not None
        if result is None and status is not None and status.phase is JobPhase.GONE:
            result = self._lost(job_dir, calculation, status)
        if result is not None and result.code is FailureCode.WORKER_LOST and status is not None:
            # The worker only knows that it was told to stop; why, the scheduler says once the job is gone.
            if status.phase is not JobPhase.GONE:
                return True
            result = result.model_copy(update={"code": status.ended_as or result.code})
        if result is not None:
            self._take_in(calculation, result)
        elif status is not None:
            self._watch(calculation, status)
        return result is not None or status is not None

    def _lost(self, job_dir: Path, calculation: Calculation, status: JobStatus) -> JobResult:
        """Close an attempt whose job is gone; it may have left its result between the two looks."""
        how = status.reason or status.native
        message = f"the worker vanished without a result{f' ({how})' if how else ''}"
        code = status.ended_as or FailureCode.WORKER_LOST
        has_begun = attempts.worker_job_id(job_dir) is not None
        result = attempts.declare_lost(job_dir, calculation, code, message)
        if has_begun:
            self._has_worked = True
        elif status.native and status.ended_as is None:
            self._stillborn.append(job_dir)
        return result

    def _refuse_to_go_on_in_vain(self) -> None:
        """Stop when jobs end as they begin and nothing has ever worked: that is no accident.

        Raises
        ------
        ExecutionError
            With what the last of them printed.
        """
        if self._has_worked or len(self._stillborn) < MANY_STILLBORN:
            return
        flying = (self.home.locate(c) for c in self.in_flight())
        self._has_worked = any(attempts.worker_job_id(job_dir) is not None for job_dir in flying)
        if not self._has_worked:
            printed = tail(self._stillborn[-1] / OUTPUT_FILE, 1)
            message = (
                f"{len(self._stillborn)} jobs have ended before their worker began, and none has begun: look "
                f"at execution.setup, execution.python and {self._stillborn[-1] / OUTPUT_FILE}"
                f"{f', which ends: {printed[0].strip()}' if printed else ''}"
            )
            raise ExecutionError(message)

    def _watch(self, calculation: Calculation, status: JobStatus) -> None:
        """Note that a job has started, and end one that has outlived its time limit."""
        if calculation.state is State.SUBMITTED:
            self.book.move(calculation, State.RUNNING)
        limit = 60 * self.settings.execution.walltime_minutes_for(calculation.kind.value) + OVERDUE_SECONDS
        if (status.elapsed_seconds or 0.0) > limit and calculation.job_id is not None:
            self.backend.cancel([calculation.job_id])

    def _take_in(self, calculation: Calculation, result: JobResult) -> None:
        spent = calculation.cpu_seconds + result.cpu_seconds
        if result.state is ResultState.DONE:
            self.store.save_result(result)
            done = self.book.move(calculation, State.DONE, energy=result.energy, cpu_seconds=spent)
            if done is not None:
                self._judge(done)
            return
        more_memory = result.code is FailureCode.OUT_OF_MEMORY and calculation.memory_factor < MORE_MEMORY
        again = more_memory or (result.code in RETRYABLE and self._may_try_again(calculation))
        moved = self.book.move(
            calculation,
            State.PLANNED if again else State.FAILED,
            code=result.code,
            message=result.message,
            cpu_seconds=spent,
            memory_factor=MORE_MEMORY if more_memory else calculation.memory_factor,
        )
        if moved is not None and not again:
            # What was tried in vain is evidence, too; last: an energy may have come while this driver slept.
            self.store.save_result(result)

    def _has_more(self, calculation: Calculation) -> bool:
        """Whether a failed one may have another attempt, or has left an energy after all."""
        folder = self.home.jobs / calculation.id
        found = attempts.unused_energy(folder, calculation)
        return found is not None or self._may_try_again(calculation)

    def _may_try_again(self, calculation: Calculation) -> bool:
        """Attempts that never began to compute hardly count, nor those before a person's ``retry``."""
        folder, forgiven = self.home.jobs / calculation.id, calculation.forgiven
        is_hopeless = attempts.n_stillborn(folder, after=forgiven) >= MAX_STILLBORN
        n = attempts.n_computed(folder, after=forgiven)
        return n < self.settings.execution.max_attempts and not is_hopeless

    def _judge(self, calculation: Calculation) -> None:
        """Validate a finished calculation; its observation is stored before its state says so."""
        try:
            verdict = self.judge.judge(calculation)
        except SabatierError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                # It says nothing about the calculation, and a rejected one is computed no more.
                self.on_notice(f"{calculation.label} cannot be judged now: {error}")
                return
            verdict = Outcome(FailureCode.CRASHED, None, f"cannot be judged: {error!r}")
        if verdict.code is None:
            self.book.move(calculation, State.VALID)
        else:
            self.book.move(calculation, State.REJECTED, code=verdict.code, message=verdict.message)

    def _fail_dependents(self) -> None:
        """Fail, chain by chain, what can never run because something it requires has failed."""
        for calculation in self.book.in_order():
            for required in calculation.requires:
                need = self.calculations.get(required)
                if calculation.state is State.PLANNED and need is not None and need.state in BROKEN:
                    message = f"{need.label} ended as {need.code or need.state}"
                    self.book.move(
                        calculation, State.FAILED, code=FailureCode.DEPENDENCY_FAILED, message=message
                    )
                    break
