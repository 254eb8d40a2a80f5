"""Starting attempts, and settling those that a driver was killed in the middle of starting.

``PLANNED -> SUBMITTING`` is written before the job directory, ``SUBMITTED`` after the back-end took it.
The driver that moved a calculation to SUBMITTING owns it until it has died, or for
:data:`LEASE_SECONDS`; then any driver settles it, as its owner does itself when the back-end broke off:

* a worker holds the claim: the job runs, its id is in the claim;
* the back-end finds a job that waits: it is adopted;
* otherwise the claim is taken, so that the attempt can never run, and another one is due.

A driver that was only asleep may wake up at any line of this file: its moves no longer hold, and a job
that it submits finds the claim taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from config.errors import BackendUnavailableError, ExecutionError, SabatierError
from dft.codes import FailureCode
from dft.execution.base import JobRequest
from dft.jobs import (
    CLAIM_FILE,
    RESULT_FILE,
    CalculationKind,
    read_job,
    take_claim,
    write_job,
    write_result,
)
from pipeline import attempts
from pipeline.domain import IN_FLIGHT, CalculationState
from pipeline.drivers import is_known_dead, own_id

if TYPE_CHECKING:
    from pathlib import Path

    from config.campaign import CampaignSettings
    from dft.execution.base import Backend
    from dft.jobs import JobResult
    from pipeline.book import Book
    from pipeline.capacity import Capacity
    from pipeline.domain import Calculation
    from pipeline.home import CampaignHome
    from pipeline.materialise import Materialiser

State = CalculationState
Kind = CalculationKind
LEASE_SECONDS = 120.0
"""How long a submission may take before other hosts' drivers settle it, s by the database's clock."""
GROUPS_AT_ONCE = 20
"""How many submissions are claimed before the first of them is made: few enough for all of them to be made
within the lease, on a busy cluster as well."""
URGENCY = {Kind.ADSLAB: 0, Kind.GAS: 1, Kind.SLAB: 2, Kind.BULK: 3}
"""What starts first: adslabs are the longest and would leave cores idle at the end of a round; every adslab
waits for a gas; the rest goes deepest first, so that the first adslabs become ready early."""


@dataclass
class Submitter:
    """Starts what is ready, and settles what was half started."""

    book: Book
    backend: Backend
    home: CampaignHome
    settings: CampaignSettings
    materialiser: Materialiser
    capacity: Capacity
    me: str = field(default_factory=own_id)

    # -- settling --------------------------------------------------------------------------------

    def settle(self) -> None:
        """Finish every submission whose driver has died, or has not been heard of for too long.

        Raises
        ------
        BackendUnavailableError
            If the back-end must be asked and does not answer.
        """
        submitting = self.book.in_state(State.SUBMITTING)
        if not submitting:
            return
        expired = self.book.store.in_state_for(State.SUBMITTING, LEASE_SECONDS, [c.id for c in submitting])
        for calculation in submitting:
            # Its own are those that the back-end broke off: between two submissions it is in none.
            is_broken_off = calculation.owner == self.me or is_known_dead(calculation.owner)
            if is_broken_off or calculation.id in expired:
                self._settle(calculation)

    def _settle(self, calculation: Calculation) -> None:
        job_dir = self._attempt_dir(calculation)
        if (job_dir / RESULT_FILE).exists() or (job_dir / CLAIM_FILE).exists():
            self._adopt(calculation, attempts.worker_job_id(job_dir))
            return
        found = self.backend.find(job_dir) if job_dir.exists() else None
        if found is not None:
            self._adopt(calculation, found)
        elif attempts.revoke(job_dir, calculation, "the submission was broken off"):
            self.book.move(calculation, State.PLANNED)
        # Else a worker has claimed it between the two looks; the next pass adopts it.

    def _adopt(self, calculation: Calculation, job_id: str | None) -> None:
        """Go on with an attempt that runs or has ended; without an id it is taken for ended."""
        self.book.move(calculation, State.SUBMITTED, job_id=job_id)

    def _attempt_dir(self, calculation: Calculation) -> Path:
        """Directory of the current attempt, in this home if the one that it was started in is gone."""
        found = self.home.locate(calculation)
        return found if found.parents[2].exists() else self.home.job_dir(calculation.id, calculation.attempt)

    # -- submitting ------------------------------------------------------------------------------

    def submit_ready(self) -> None:
        """Start what is ready while places are free, in the order of :data:`URGENCY`.

        Raises
        ------
        BackendUnavailableError
            If the back-end does not answer. What was being submitted is settled later.
        ExecutionError
            If the back-end refuses, or a job directory cannot be written.
        """
        groups = self._groups(self._choose())
        for i in range(0, len(groups), GROUPS_AT_ONCE):
            self._submit(groups[i : i + GROUPS_AT_ONCE])

    def _submit(self, groups: list[list[Calculation]]) -> None:
        """Claim all of some groups, and start as many as there are places for."""
        claimed = [[moved for c in group if (moved := self._claim(c)) is not None] for group in groups]
        if not any(claimed):
            return
        too_many = self.capacity.exceeding(self._in_flight_now())
        for calculation in (c for group in claimed for c in group if c.id in too_many):
            self._unclaim(calculation)
        left = [kept for group in claimed if (kept := [c for c in group if c.id not in too_many])]
        try:
            while left:
                self._start(left.pop(0))
        finally:
            for calculation in (c for group in left for c in group):  # the back-end takes nothing more
                self._unclaim(calculation)

    def _choose(self) -> list[Calculation]:
        free = self.capacity.slots - self.capacity.used(self.book.in_flight())
        ready = self.book.ready()
        chosen = []
        for calculation in sorted(ready, key=lambda c: (-self.capacity.weight(c), URGENCY[c.kind])):
            free -= self.capacity.weight(calculation)
            if free < 0:  # one that needs the whole machine waits for it, and the others for that one
                break
            chosen.append(calculation)
        return chosen

    def _in_flight_now(self) -> list[Calculation]:
        return self.book.store.calculations(ids=self.book.calculations, states=IN_FLIGHT)

    def _claim(self, calculation: Calculation) -> Calculation | None:
        """Write down, before anything happens, which attempt this driver is about to start.

        Returns
        -------
        Calculation or None
            None if nothing is left to start: another driver was faster, or an attempt that the store does
            not know is gone on with.
        """
        last = self.home.last_attempt(calculation.id)
        if last > calculation.attempt and attempts.is_whole(self.home.job_dir(calculation.id, last)):
            known = self._mark(calculation, last)
            if known is not None:
                self._settle(known)
            return None
        moved = self._mark(calculation, max(last, calculation.attempt) + 1)
        folder = self.home.jobs / calculation.id
        if moved is not None and (found := attempts.unused_energy(folder, moved)) is not None:
            self._promote(moved, found)
            return None
        return moved

    def _unclaim(self, calculation: Calculation) -> None:
        """Give back a calculation of which nothing has been written yet, its attempt's number included."""
        self.book.move(calculation, State.PLANNED, owned_by=self.me, attempt=calculation.attempt - 1)

    def _mark(self, calculation: Calculation, attempt: int) -> Calculation | None:
        return self.book.move(
            calculation,
            State.SUBMITTING,
            owner=self.me,
            attempt=attempt,
            job_dir=str(self.home.job_dir(calculation.id, attempt)),
            job_id=None,
            code=None,
            message="",
        )

    def _promote(self, calculation: Calculation, result: JobResult) -> None:
        """Let the energy of an attempt that was given up count as this attempt's."""
        job_dir = self.home.job_dir(calculation.id, calculation.attempt)
        job_dir.mkdir(parents=True, exist_ok=True)
        spec = read_job(job_dir.with_name(f"attempt-{result.attempt}"))
        write_job(job_dir, spec.model_copy(update={"attempt": calculation.attempt}))
        if take_claim(job_dir, {"role": "driver", "adopts": f"attempt-{result.attempt}"}):
            details = {**result.details, "late_result_of": result.attempt}
            # Its CPU seconds were charged when its attempt was given up.
            adopted = {"attempt": calculation.attempt, "details": details, "cpu_seconds": 0.0}
            write_result(job_dir, result.model_copy(update=adopted))
        self.book.move(calculation, State.SUBMITTED, owned_by=self.me, job_id=None)

    def _groups(self, calculations: list[Calculation]) -> list[list[Calculation]]:
        """Calculations of one kind, as many together as one submission may hold."""
        groups = []
        for kind in Kind:
            same = [c for c in calculations if c.kind is kind]
            size = max(1, self.backend.group_size(kind))
            groups += [same[i : i + size] for i in range(0, len(same), size)]
        return groups

    def _start(self, group: list[Calculation]) -> None:
        """Write the job directories of a group and hand them to the back-end."""
        written = {c.id: request for c in group if (request := self._write(c)) is not None}
        started = [c for c in group if c.id in written]
        if not started:
            return
        try:
            job_ids = self.backend.submit(list(written.values()))
        except BackendUnavailableError:
            raise  # part of it may have been started: settled when the back-end answers again
        except ExecutionError:
            for calculation in started:
                self._take_back(calculation)
            raise
        for calculation, job_id in zip(started, job_ids, strict=True):
            moved = self.book.move(calculation, State.SUBMITTED, owned_by=self.me, job_id=job_id)
            if moved is None:
                self._withdraw(calculation, job_id)

    def _write(self, calculation: Calculation) -> JobRequest | None:
        """Write one job directory; None if the structure cannot be built, which fails the calculation."""
        try:
            spec = self.materialiser.job_spec(calculation, calculation.attempt)
        except SabatierError:
            raise
        except Exception as error:
            message = f"its structure cannot be built: {error!r}"
            self.book.move(calculation, State.FAILED, code=FailureCode.CRASHED, message=message)
            return None
        job_dir = self.home.job_dir(calculation.id, calculation.attempt)
        restart_from = attempts.to_go_on_from(job_dir.parent, calculation)
        try:
            write_job(job_dir, spec.model_copy(update={"restart_from": restart_from}))
        except OSError as error:
            message = f"cannot write {calculation.label} to {job_dir}: {error.strerror or error}"
            raise ExecutionError(message) from error
        return JobRequest(job_dir, calculation.kind, calculation.id, calculation.memory_factor)

    def _take_back(self, calculation: Calculation) -> None:
        """Undo a submission that was refused."""
        attempts.revoke(self._attempt_dir(calculation), calculation, "the submission was refused")
        self.book.move(calculation, State.PLANNED, owned_by=self.me)

    def _withdraw(self, calculation: Calculation, job_id: str) -> None:
        """End a job that was submitted while somebody else decided otherwise, unless it was adopted."""
        now = self.book.store.calculation(calculation.id)
        if now is not None and now.state in IN_FLIGHT and now.attempt == calculation.attempt:
            return
        attempts.revoke(self._attempt_dir(calculation), calculation, "no longer wanted when it was submitted")
        self.backend.cancel([job_id])
