"""``sabatier plan``: what a campaign would compute, and what that would cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.cli.common import CampaignArgument, JsonOption, guarded, print_json, stdout

if TYPE_CHECKING:
    from rich.console import Console

BULKS_SHOWN = 30


def command(campaign: CampaignArgument, as_json: JsonOption = False) -> None:
    """Count bulks, surfaces, sites and calculations and estimate CPU-hours; nothing is run."""
    guarded(lambda: _plan(campaign, as_json=as_json))


def _plan(source: str, *, as_json: bool) -> None:
    from config.loader import load_campaign
    from pipeline.estimate import make_plan, plan_document

    settings = load_campaign(source)
    document = plan_document(make_plan(settings, Path()))
    if as_json:
        print_json(document)
    else:
        _print(stdout(), document)


def _print(console: Console, document: dict[str, Any]) -> None:
    from rich.table import Table

    console.print(f"[bold]{document['campaign']}[/], recipe {document['recipe']}: nothing has been run")
    table = Table("bulk", "source", "atoms", "surfaces", "sites")
    for row in document["per_bulk"][:BULKS_SHOWN]:
        table.add_row(row["bulk"], row["source"], *(str(row[k]) for k in ("atoms", "surfaces", "sites")))
    console.print(table)
    hidden = len(document["per_bulk"]) - BULKS_SHOWN
    if hidden > 0:
        console.print(f"  and {hidden} more bulks (--json lists them all)")
    console.print(
        f"{document['bulks']} bulks, {document['surfaces']} surfaces, {document['sites']} sites, "
        f"{document['candidates']} candidates with {', '.join(document['adsorbates'])}"
    )
    console.print(
        "adsorption energies per round: "
        + ", ".join(f"{r['round']}: {r['adsorption_energies']}" for r in document["rounds"])
    )
    counts = ", ".join(f"{n} {kind}" for kind, n in document["calculations_estimated"].items())
    budget = document["budget"]["cpu_hours"]
    console.print(f"expected calculations: {counts}")
    console.print(
        f"estimated cost: {document['cpu_hours_estimated']:.2g} CPU-hours of a budget of {budget:g}"
    )
    if document["exceeds_cpu_budget"]:
        console.print("[yellow]the budget of CPU-hours will be spent before the budget of calculations[/]")
