"""What goes on right now: calculations under way as the scheduler and their folders show them, and drivers.

The scheduler is asked once for all jobs. Everything is plain JSON values; times in seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from config.errors import BackendUnavailableError, ExecutionError
from dft.execution.base import JobPhase, shown_id
from dft.jobs import RESULT_FILE, read_claim
from dft.recovery import told
from pipeline.batch import make_backend
from pipeline.domain import CalculationState
from pipeline.drivers import is_known_dead

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dft.execution.base import JobStatus
    from pipeline.campaign import Campaign
    from pipeline.domain import Calculation

SILENT_SECONDS = 120.0
"""A driver that has not been heard of for so long is not at work any more (it beats every few seconds)."""


def drivers_at_work(campaign: Campaign) -> list[dict[str, Any]]:
    """Tell which drivers work on a campaign, as far as can be known."""
    return [
        {
            "id": d.id,
            "host": d.host,
            "pid": d.pid,
            "mode": d.mode,
            "started_at": d.started_at.isoformat(),
            "beat_seconds_ago": round(d.age_seconds, 1),
        }
        for d in campaign.store.drivers(campaign.name)
        if d.age_seconds < SILENT_SECONDS and not is_known_dead(d.id)
    ]


def in_flight_view(
    campaign: Campaign, flying: Sequence[Calculation]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Look at calculations under way.

    Returns
    -------
    list of dict
        For each calculation what :func:`_row` gives, longest running first.
    dict
        Whether the scheduler ``answers``, and its ``message`` if not.
    """
    statuses, scheduler = _ask(campaign, flying)
    rows = [_row(campaign, c, statuses.get(c.job_id or "")) for c in flying]
    rows.sort(key=lambda row: (-(row["elapsed_seconds"] or 0.0), row["state"], row["id"]))
    return rows, scheduler


def _ask(campaign: Campaign, flying: Sequence[Calculation]) -> tuple[Mapping[str, JobStatus], dict[str, Any]]:
    """Poll once; a scheduler that is away, or jobs of another one, are something to tell, not an error."""
    name = campaign.settings.execution.backend
    jobs = [c.job_id for c in flying if c.job_id is not None]
    if not jobs:
        return {}, {"backend": name, "answers": None, "message": None}
    try:
        found = make_backend(campaign).poll(jobs)
    except BackendUnavailableError as error:
        return {}, {"backend": name, "answers": False, "message": f"the scheduler does not answer: {error}"}
    except ExecutionError as error:
        return {}, {"backend": name, "answers": False, "message": str(error)}
    return found, {"backend": name, "answers": True, "message": None}


def _row(campaign: Campaign, calculation: Calculation, status: JobStatus | None) -> dict[str, Any]:
    """One calculation under way.

    ``scheduler_phase``, ``scheduler_state`` and ``scheduler_reason`` are null where the scheduler did not
    tell; ``is_result_waiting``: it has ended and a driver has to take it in; ``is_gone``: its job has
    vanished without a result, which no driver has noticed yet; ``corrections``: what this attempt has tried.
    """
    job_dir = campaign.home.locate(calculation)
    claim = _claim(job_dir)
    has_result = (job_dir / RESULT_FILE).exists()
    is_gone = status is not None and status.phase is JobPhase.GONE
    return {
        "kind": calculation.kind.value,
        "job_id": calculation.job_id,
        "native_job_id": shown_id(calculation.job_id) or None,
        "scheduler_phase": status.phase.value if status else None,
        "scheduler_state": status.native if status else None,
        "scheduler_reason": status.reason if status else None,
        "elapsed_seconds": status.elapsed_seconds if status else None,
        "state_seconds": _age(calculation),
        "host": claim.get("host"),
        "max_attempts": calculation.forgiven + campaign.settings.execution.max_attempts,
        "owner": calculation.owner if calculation.state is CalculationState.SUBMITTING else None,
        "is_result_waiting": has_result,
        "is_gone": is_gone and not has_result,
        "corrections": told(job_dir),
        **brief(calculation),
    }


def brief(calculation: Calculation) -> dict[str, Any]:
    """What every list says of a calculation."""
    return {
        "id": calculation.id,
        "label": calculation.label,
        "state": calculation.state.value,
        "attempt": calculation.attempt,
        "code": calculation.code.value if calculation.code else None,
        "message": calculation.message,
        "job_dir": calculation.job_dir,
    }


def _claim(job_dir: Path) -> dict[str, Any]:
    """Return the claim of a worker; empty if no worker has it, or it cannot be read from here."""
    try:
        claim = read_claim(job_dir)
    except (OSError, ValueError):
        return {}
    return claim if claim is not None and claim.get("role") == "worker" else {}


def _age(calculation: Calculation) -> float | None:
    """Seconds since it came into its state, as this host's clock sees the database's."""
    if calculation.since is None:
        return None
    since = calculation.since
    aware = since if since.tzinfo is not None else since.replace(tzinfo=UTC)
    return max(0.0, round((datetime.now(UTC) - aware).total_seconds(), 1))
