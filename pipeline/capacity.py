"""How many calculations may be under way at once: cores of this machine, or places in the queue."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.errors import ConfigError
from pipeline.domain import CalculationState
from pipeline.drivers import host_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from config.execution import ExecutionSettings, LocalExecution
    from pipeline.domain import Calculation


@dataclass(frozen=True)
class Capacity:
    """Places for calculations under way."""

    slots: int
    host: str | None = None
    """The machine whose places these are; None if all drivers share them, as in a cluster's queue."""

    def weight(self, calculation: Calculation) -> int:
        """Places that a calculation takes.

        One that ran out of memory on this machine gets all of it: nothing else runs beside it.
        """
        is_exclusive = self.host is not None and calculation.memory_factor > 1.0
        return self.slots if is_exclusive else 1

    def used(self, in_flight: Iterable[Calculation]) -> int:
        """Places taken by calculations under way."""
        return sum(self.weight(c) for c in in_flight if self._is_here(c))

    def exceeding(self, in_flight: Iterable[Calculation]) -> set[str]:
        """Ids of submissions that are too many, the latest first to go.

        Several drivers may have seen the same free place. All of them agree on this order.
        """
        state = CalculationState.SUBMITTING
        here = [c for c in in_flight if self._is_here(c)]
        here.sort(key=lambda c: (c.state is state, str(c.since), c.id))
        free, too_many = self.slots, set()
        for calculation in here:
            weight = self.weight(calculation)
            if calculation.state is state and weight > free:
                too_many.add(calculation.id)
            else:
                free -= weight
        return too_many

    def _is_here(self, calculation: Calculation) -> bool:
        if self.host is None:
            return True
        if calculation.job_id is not None:
            return calculation.job_id.rpartition("@")[2] == self.host
        return calculation.owner is None or host_of(calculation.owner) == self.host


def capacity_of(execution: ExecutionSettings) -> Capacity:
    """Tell how many calculations the campaign may have under way.

    Raises
    ------
    ConfigError
        If a single calculation needs more than this machine has.
    """
    if execution.backend != "local":
        return Capacity(execution.max_jobs)
    return Capacity(_local_cores(execution) // execution.cores_per_calculation, os.uname().nodename)


def _local_cores(execution: LocalExecution) -> int:
    cores = execution.cores or len(os.sched_getaffinity(0))
    if execution.cores_per_calculation > cores:
        message = (
            f"execution.cores_per_calculation is {execution.cores_per_calculation}, but there are only "
            f"{cores} cores; lower it, or set execution.cores to use more ranks than cores"
        )
        raise ConfigError(message)
    return cores
