"""The scripts that a campaign would submit to a cluster's scheduler, for a person to read beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dft.execution.base import JobRequest
from dft.jobs import CalculationKind

if TYPE_CHECKING:
    from config.campaign import CampaignSettings

PLACEHOLDER = "CALCULATION"
"""Stands for a calculation's id."""


def job_scripts(settings: CampaignSettings, home: Path) -> list[dict[str, object]]:
    """Write out the job scripts of a campaign, one for all kinds of calculation that are treated alike.

    Returns
    -------
    list of dict
        ``kinds`` that the ``script`` is for, and ``calculations`` in one job; nothing for a campaign that
        computes on this machine.

    Raises
    ------
    ConfigError
        If the settings ask for an option of the scheduler that must not be changed.
    """
    execution = settings.execution
    if execution.backend == "local":
        return []
    from dft.execution.scheduler import SchedulerBackend

    backend = SchedulerBackend(execution)
    kinds: dict[tuple[str, int], list[str]] = {}
    for kind in CalculationKind:
        size = backend.group_size(kind)
        folders = [home / "jobs" / f"{PLACEHOLDER}-{n}" / "attempt-1" for n in range(1, size + 1)]
        group = [JobRequest(folder, kind, PLACEHOLDER) for folder in folders]
        kinds.setdefault((backend.script_text(group, name=PLACEHOLDER), size), []).append(kind.value)
    return [{"kinds": k, "calculations": size, "script": text} for (text, size), k in kinds.items()]
