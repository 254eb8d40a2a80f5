"""Documents about a campaign for programs and people: ``status``, ``show``. Plain JSON values."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from dft.jobs import CalculationKind
from pipeline.domain import BROKEN, IN_FLIGHT

if TYPE_CHECKING:
    from pipeline.campaign import Campaign
    from pipeline.domain import Calculation


def status_document(campaign: Campaign) -> dict[str, Any]:
    """Where a campaign stands: enumeration, rounds, calculations by state, budget, problems."""
    calculations = campaign.calculations()
    budget = campaign.settings.budget
    reason = campaign.reason_to_stop()
    return {
        "campaign": campaign.name,
        "home": str(campaign.home.path),
        "complete": reason is not None,
        "reason": reason,
        "bulks": len(campaign.bulks),
        "surfaces": len(campaign.surfaces),
        "sites": len(campaign.sites),
        "candidates": len(campaign.candidates),
        "rounds": [
            {"round": r.number, "closed": r.is_closed, "chosen": len(r.calculation_ids)}
            for r in campaign.rounds()
        ],
        "last_round": campaign.last_round,
        "states": dict(Counter(c.state.value for c in calculations)),
        "kinds": {
            k.value: dict(Counter(c.state.value for c in calculations if c.kind is k))
            for k in CalculationKind
        },
        "adsorption_energies": len(campaign.observations()),
        "budget": {
            "calculations": budget.calculations,
            "calculations_chosen": len(campaign.chosen_ids()),
            "cpu_hours": budget.cpu_hours,
            "cpu_hours_spent": campaign.cpu_hours_spent(),
        },
        "running": [_brief(c) for c in calculations if c.state in IN_FLIGHT],
        "problems": [_brief(c) for c in calculations if c.state in BROKEN],
        "models": [
            {"round": m.round, "adsorbate": m.adsorbate, "metrics": m.metrics}
            for m in campaign.store.models(campaign.name)
        ],
    }


def _brief(calculation: Calculation) -> dict[str, Any]:
    return {
        "id": calculation.id,
        "label": calculation.label,
        "state": calculation.state.value,
        "attempt": calculation.attempt,
        "code": calculation.code.value if calculation.code else None,
        "message": calculation.message,
        "job_dir": calculation.job_dir,
    }


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
        "calculations": [_brief(c) for c in own],
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
        "calculations": [_brief(c) for c in campaign.store.calculations(ids=mine)],
    }


def _show_calculation(campaign: Campaign, identifier: str) -> dict[str, Any]:
    calculation = campaign.store.calculation(identifier)
    assert calculation is not None
    rounds = [(r, s) for r in campaign.rounds() for s in r.selections if s.calculation_id == identifier]
    chosen = [{"round": r.number, "predicted_ev": s.mean_ev, "predicted_std_ev": s.std_ev} for r, s in rounds]
    observed = [asdict(o) for o in campaign.observations() if o.calculation_id == identifier]
    files = sorted(p.name for p in campaign.home.locate(calculation).glob("*"))
    return {**_plain(calculation), "chosen": chosen, "observations": observed, "files": files}
