"""Documents about a campaign for programs and people: ``status``, ``show``. Plain JSON values."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

from dft.jobs import JOB_FILE, RESULT_FILE, CalculationKind
from dft.recovery import told
from pipeline.domain import BROKEN, IN_FLIGHT, CalculationState
from pipeline.drift import drift_document
from pipeline.ends import NothingLeft
from pipeline.prospects import latest_prospects
from pipeline.queue_view import brief, drivers_at_work, in_flight_view
from pipeline.tails import error_tail

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.campaign import Campaign
    from pipeline.domain import Calculation

TAILS_PER_CODE = 3
"""Failed calculations of each code whose job's last words are read: the others died alike."""


def _ended(campaign: Campaign) -> str | None:
    """Why the last driver chose nothing more although rounds are left; None unless it did.

    With other settings the next might go on, so that the campaign is not complete.
    """
    last = campaign.home.last_session()
    if last.get("outcome") != NothingLeft.__name__ or campaign.is_reopened():
        return None
    return None if last.get("why") is None else str(last["why"])


def status_document(
    campaign: Campaign, wanted: Callable[[Calculation], bool] | None = None
) -> dict[str, Any]:
    """Where a campaign stands: enumeration, rounds, calculations by state, budget, jobs, problems.

    Parameters
    ----------
    wanted
        Calculations to list under ``calculations`` besides; none when left out.
    """
    calculations = campaign.calculations()
    record = campaign.store.campaign(campaign.name)
    reason = campaign.reason_to_stop()
    running, scheduler = in_flight_view(campaign, [c for c in calculations if c.state in IN_FLIGHT])
    models = campaign.store.models(campaign.name)
    document = {
        "campaign": campaign.name,
        "home": str(campaign.home.path),
        "complete": reason is not None,
        "reason": reason,
        "ended": None if reason else _ended(campaign),
        "paused": record is not None and record.paused,
        "drivers": drivers_at_work(campaign),
        "scheduler": scheduler,
        **_sizes(campaign),
        "last_round": campaign.last_round,
        "states": _by_state(calculations),
        "kinds": {k.value: _by_state([c for c in calculations if c.kind is k]) for k in CalculationKind},
        "adsorption_energies": len(campaign.observations()),
        "budget": _budget(campaign),
        "running": running,
        "results_waiting": sum(row["is_result_waiting"] for row in running),
        "jobs_gone": sum(row["is_gone"] for row in running),
        **_problems(campaign, [c for c in calculations if c.state in BROKEN]),
        "models": [
            {
                "round": m.round,
                "adsorbate": m.adsorbate,
                "metrics": m.metrics,
                "sources": m.record.get("parameters", {}).get("sources", []),
            }
            for m in models
        ],
        "prospects": latest_prospects(campaign),
        "drift": drift_document(campaign, models),
    }
    if wanted is not None:
        chosen = [c for c in calculations if wanted(c)]
        document["calculations"] = [{"kind": c.kind.value, **brief(c)} for c in chosen]
    return document


def _by_state(calculations: list[Calculation]) -> dict[str, int]:
    """Count calculations by state, in the order in which a calculation goes through them."""
    counts = Counter(c.state for c in calculations)
    return {state.value: counts[state] for state in CalculationState if counts[state]}


def _sizes(campaign: Campaign) -> dict[str, Any]:
    sites = campaign.store.count(campaign.name, "sites")
    return {
        "bulks": campaign.store.count(campaign.name, "bulks"),
        "surfaces": campaign.store.count(campaign.name, "surfaces"),
        "sites": sites,
        "candidates": sites * len(campaign.settings.adsorbates),
        "rounds": [
            {"round": r.number, "closed": r.is_closed, "chosen": len(r.calculation_ids)}
            for r in campaign.rounds()
        ],
    }


def _budget(campaign: Campaign) -> dict[str, Any]:
    budget = campaign.settings.budget
    return {
        "calculations": budget.calculations,
        "calculations_chosen": len(campaign.chosen_ids()),
        "cpu_hours": budget.cpu_hours,
        "cpu_hours_spent": campaign.cpu_hours_spent(),
    }


def _problems(campaign: Campaign, broken: list[Calculation]) -> dict[str, Any]:
    """Everything that failed, and how often by code; what was not looked up is null."""
    counts: Counter[str] = Counter()
    rows = []
    for calculation in broken:
        code = calculation.code.value if calculation.code else calculation.state.value
        counts[code] += 1
        is_read = counts[code] <= TAILS_PER_CODE
        job_dir = campaign.home.locate(calculation)
        found = {
            "tail": error_tail(calculation.message, job_dir) if is_read else None,
            "corrections": told(job_dir) if is_read else None,
        }
        rows.append({"kind": calculation.kind.value, **brief(calculation), **found})
    return {"problems": rows, "problem_codes": dict(counts.most_common())}


def show_document(campaign: Campaign, kind: str, identifier: str) -> dict[str, Any]:
    """Everything known about one bulk, surface, site or calculation."""
    readers = {
        "bulk": _show_bulk,
        "surface": _show_surface,
        "site": _show_site,
        "calculation": _show_calculation,
    }
    return {"kind": kind, **readers[kind](campaign, identifier)}


def _plain(value: Any) -> dict[str, Any]:
    """Return a domain value's fields without its structure."""
    return {f.name: getattr(value, f.name) for f in fields(value) if f.name not in {"atoms", "images"}}


def _show_bulk(campaign: Campaign, identifier: str) -> dict[str, Any]:
    bulk = campaign.bulk(identifier)
    surfaces = [s for s in campaign.surfaces if s.bulk_id == identifier]
    own = campaign.store.calculations(ids=[campaign.planner.bulk(bulk).id])
    return {
        **_plain(bulk),
        "n_atoms": len(bulk.atoms),
        "cell_lengths_a": [float(x) for x in bulk.atoms.cell.lengths()],
        "surfaces": [{"id": s.id, "label": s.label} for s in surfaces],
        "calculations": [brief(c) for c in own],
    }


def _show_surface(campaign: Campaign, identifier: str) -> dict[str, Any]:
    surface = campaign.surface(identifier)
    return {
        **_plain(surface),
        "n_atoms": len(surface.atoms),
        "sites": [{"id": s.id, "label": s.label} for s in campaign.sites if s.surface_id == identifier],
        "observations": [asdict(o) for o in campaign.observations() if o.surface_id == identifier],
    }


def _show_site(campaign: Campaign, identifier: str) -> dict[str, Any]:
    from pipeline.learning import latest_predictions

    predictions = {}
    for adsorbate in campaign.settings.adsorbates:
        latest = latest_predictions(campaign, adsorbate)
        if latest is not None and identifier in latest.site_ids:
            mean, std = latest.by_site()[identifier]
            predictions[adsorbate] = {"round": latest.round, "mean_ev": mean, "std_ev": std}
    mine = [c.calculation_id for c in campaign.candidates if c.site.id == identifier]
    return {
        **_plain(campaign.site(identifier)),
        "predictions": predictions,
        "observations": [asdict(o) for o in campaign.observations() if o.site_id == identifier],
        "moved_away": _moved_away(campaign, identifier),
        "calculations": [brief(c) for c in campaign.store.calculations(ids=mine)],
    }


def _moved_away(campaign: Campaign, site_id: str) -> list[dict[str, Any]]:
    """Tell where adsorbates went that were put on a site and did not stay: it holds no minimum for them."""
    return [
        {
            "adsorbate": o.adsorbate,
            "to": campaign.site(o.site_id).label,
            "site_id": o.site_id,
            "delta_e_ev": o.delta_e_ev,
            "calculation_id": o.calculation_id,
        }
        for o in campaign.observations()
        if o.start_site_id == site_id and o.site_id != site_id
    ]


def _show_calculation(campaign: Campaign, identifier: str) -> dict[str, Any]:
    calculation = campaign.store.calculation(identifier)
    assert calculation is not None
    rounds = [(r, s) for r in campaign.rounds() for s in r.selections if s.calculation_id == identifier]
    chosen = [
        {"round": r.number, "reason": s.reason, "predicted_ev": s.mean_ev, "predicted_std_ev": s.std_ev}
        for r, s in rounds
    ]
    observed = [asdict(o) for o in campaign.observations() if o.calculation_id == identifier]
    files = sorted(p.name for p in campaign.home.locate(calculation).glob("*"))
    return {
        **_plain(calculation),
        "chosen": chosen,
        "observations": observed,
        "attempts": _attempts(campaign, calculation),
        "files": files,
    }


def _attempts(campaign: Campaign, calculation: Calculation) -> list[dict[str, Any]]:
    """Tell what the store and the folders know of each attempt."""
    rows = []
    for attempt in campaign.store.attempts(calculation.id):
        job_dir = campaign.home.locate(replace(calculation, attempt=attempt.number, job_dir=attempt.job_dir))
        result = _read(job_dir / RESULT_FILE)
        rows.append(
            {
                "attempt": attempt.number,
                "state": attempt.state.value,
                "code": attempt.code.value if attempt.code else result.get("code"),
                "job_id": attempt.job_id,
                "host": result.get("hostname"),
                "cpu_seconds": result.get("cpu_seconds"),
                "wall_seconds": result.get("wall_seconds"),
                "corrections": told(job_dir),
                "restarted_from": _read(job_dir / JOB_FILE).get("restart_from"),
                "started_at": attempt.started_at.isoformat(),
                "ended_at": attempt.ended_at.isoformat() if attempt.ended_at else None,
                "job_dir": str(job_dir),
            }
        )
    return rows


def _read(path: Path) -> dict[str, Any]:
    """Read a file of a job directory; empty where it is missing or torn."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
