"""When a worker must stop: told by a signal, by the clock, or because its attempt was given up.

A calculation proceeds in steps (ionic steps; volumes of an equation of state) and asks at each boundary
whether to go on. Only there have all MPI ranks the same state, so only there do they stop by themselves;
the first rank decides for all. A signal stops a serial worker at once, as steps may be long. Units: s.
"""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from dft.codes import FailureCode
from dft.execution.base import JOB_END_VARIABLE
from dft.jobs import RESULT_FILE, Heartbeat, read_heartbeat, write_heartbeat
from dft.sanity import Cycle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

STEP_MARGIN = 1.3
"""A step is not begun unless the longest one so far would fit this many times."""
BEAT_SECONDS = 30.0
"""Time between two heartbeats within a step, s."""
STOP_SIGNALS = {
    signal.SIGTERM: FailureCode.WORKER_LOST,
    signal.SIGINT: FailureCode.WORKER_LOST,
    signal.SIGUSR1: FailureCode.TIMEOUT,
    signal.SIGUSR2: FailureCode.TIMEOUT,
}
"""Signals that end an attempt. Back-ends announce the time limit by SIGUSR2."""


class StoppedError(BaseException):
    """The worker is to stop; not an Exception, so that no library swallows it."""

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def job_end() -> float | None:
    """When the job is ended from outside, seconds since 1970; None if nobody said."""
    try:
        return float(os.environ.get(JOB_END_VARIABLE, ""))
    except ValueError:
        return None


def cpu_seconds() -> float:
    """CPU time of this process and its finished children, s."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class Watch:
    """Keeps an eye on the clock, the signals and the attempt's fate while a calculation runs.

    Parameters
    ----------
    folder
        The attempt's directory.
    end
        When the job is ended from outside, seconds since 1970.
    """

    def __init__(self, folder: Path, end: float | None = None) -> None:
        self._folder = folder
        self._end = end
        self._armed = False
        self._told: signal.Signals | None = None
        self._cpu_at_start = cpu_seconds()
        self._last_beat = self._step_began = time.monotonic()
        self._longest = 0.0
        self._n_steps = self._steps_before = 0
        self._restarted_from: str | None = None

    def goes_on_from(self, earlier: str, n_steps: int) -> None:
        """Note that ``n_steps`` are done: by an earlier attempt, or by this one before a correction."""
        self._n_steps = n_steps
        if earlier != self._folder.name:
            self._restarted_from, self._steps_before = earlier, n_steps
        elif (last := read_heartbeat(self._folder)) is not None:
            # MPI ranks that were started anew have not seen where the attempt began.
            self._restarted_from, self._steps_before = last.restarted_from, last.steps_before

    def follow(self, calculator: Any) -> None:
        """Leave heartbeats during the self-consistency cycles of a calculator, if it has any, and stop those
        that run away.
        """
        if hasattr(calculator, "hooks"):
            cycle = Cycle()

            def on_iteration(context: Any) -> None:
                self.beat()
                cycle.look(context)

            calculator.hooks["scf_step"] = on_iteration

    def details(self) -> dict[str, Any]:
        """What the result's ``details`` say of where the attempt came from."""
        return self._heartbeat().history()

    def boundary(self, n_steps: int) -> None:
        """Tell that a step is done and another one follows.

        Collective: every MPI rank calls it alike.

        Raises
        ------
        StoppedError
            If the next step should not be begun.
        """
        from ase.parallel import broadcast, world

        now = time.monotonic()
        self._longest = max(self._longest, now - self._step_began)
        self._step_began = now
        self._n_steps = n_steps
        self.leave_heartbeat()
        verdict = broadcast(self._verdict() if world.rank == 0 else None)
        if verdict is not None:
            raise StoppedError(*verdict)

    def heed(self) -> None:
        """Ask, between two runs of one process, whether to go on; :meth:`boundary` does so between steps.

        Raises
        ------
        StoppedError
            If the next run should not be begun.
        """
        if (verdict := self._verdict()) is not None:
            raise StoppedError(*verdict)

    def beat(self) -> None:
        """Leave a heartbeat if the last one is old; to be called now and then within a step."""
        if time.monotonic() - self._last_beat > BEAT_SECONDS:
            self.leave_heartbeat()

    def leave_heartbeat(self) -> None:
        """Say how far the attempt has come and what it has cost so far."""
        from ase.parallel import world

        self._last_beat = time.monotonic()
        if world.rank == 0:
            with suppress(OSError):  # a full disk; the calculation does not depend on it
                write_heartbeat(self._folder, self._heartbeat())

    def _heartbeat(self) -> Heartbeat:
        from ase.parallel import world

        return Heartbeat(
            # The ranks are much alike: they wait for each other at full speed.
            cpu_seconds=(cpu_seconds() - self._cpu_at_start) * world.size,
            n_steps=self._n_steps,
            steps_before=self._steps_before,
            restarted_from=self._restarted_from,
        )

    def _verdict(self) -> tuple[FailureCode, str] | None:
        """Why not to begin another step."""
        if (self._folder / RESULT_FILE).exists():
            return (FailureCode.WORKER_LOST, "the attempt was given up meanwhile")
        if self._told is not None:  # raised where Python ignores exceptions, such as in a destructor
            return (STOP_SIGNALS[self._told], f"stopped by {self._told.name}")
        left = float("inf") if self._end is None else self._end - time.time()
        if left < STEP_MARGIN * self._longest:
            message = (
                f"{left:.0f} s are left after step {self._n_steps}, steps take up to {self._longest:.0f} s"
            )
            return (FailureCode.TIMEOUT, message)
        return None

    @contextmanager
    def heeding_signals(self) -> Iterator[None]:
        """Note the stop signals instead of dying of them (only the main thread may handle signals)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def stopping_at_once(self) -> Iterator[None]:
        """Let the first stop signal, should it have come before, break off what is under way.

        Raises
        ------
        StoppedError
            Out of any line within.
        """
        self._armed = True
        try:
            if self._told is not None:
                self._stop(self._told)
            yield
        finally:
            self._armed = False  # a later signal must not break off the writing of the result

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        first = self._told is None
        self._told = self._told or signal.Signals(number)
        if first and self._armed:
            self._stop(self._told)

    def _stop(self, told: signal.Signals) -> None:
        raise StoppedError(STOP_SIGNALS[told], f"stopped by {told.name}")
