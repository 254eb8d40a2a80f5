"""``sabatier plan``: what a campaign would compute, and what that would cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tasks.cli.common import (
    CampaignArgument,
    HomeOption,
    JsonOption,
    ProfileOption,
    guarded,
    home_of,
    hours,
    print_json,
    stderr,
    stdout,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from config.campaign import CampaignSettings

BULKS_SHOWN = 30


def command(
    campaign: CampaignArgument,
    home: HomeOption = None,
    profile: ProfileOption = None,
    script: Annotated[
        bool, typer.Option("--script", help="Print only the job scripts that would be submitted.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Count bulks, surfaces, sites and calculations and estimate CPU-hours; nothing is run."""
    guarded(lambda: _plan(campaign, home, profile, script_only=script, as_json=as_json))


def _plan(source: str, home: Path | None, profile: str | None, *, script_only: bool, as_json: bool) -> None:
    from config.loader import load_campaign
    from pipeline.estimate import make_plan, plan_document
    from pipeline.job_scripts import job_scripts
    from pipeline.source_files import describe, read_sources

    settings = load_campaign(source, profile)
    tables = read_sources(settings)
    _tell_of_missing_extra(settings)
    scripts = job_scripts(settings, home_of(settings, home).absolute())
    if script_only and not as_json:
        _print_scripts(stdout(), scripts)
        return
    counts = {} if script_only else plan_document(make_plan(settings, Path()))
    document = {**counts, "sources": [table.document() for table in tables], "job_scripts": scripts}
    if as_json:
        print_json(document)
    else:
        _print(stdout(), document)
        for line in (line for table in tables for line in describe(table)):
            stdout().print(line, markup=False, soft_wrap=True)
        _print_scripts(stdout(), scripts)


def _tell_of_missing_extra(settings: CampaignSettings) -> None:
    """Say now what ``run`` would refuse here; the campaign may be meant for another machine."""
    from config.errors import MissingExtraError
    from dft.pretrained import require

    if settings.surrogate.pretrained is None:
        return
    try:
        require()
    except MissingExtraError as error:
        told = f"note: 'sabatier run' will refuse this here: {error}"
        stderr().print(told, style="yellow", markup=False, soft_wrap=True)


def _print_scripts(console: Console, scripts: Sequence[dict[str, Any]]) -> None:
    for entry in scripts:
        several = f", {entry['calculations']} calculations in one" if entry["calculations"] > 1 else ""
        title = f"# job script for {', '.join(entry['kinds'])}{several}:"
        console.print(f"{title}\n{entry['script']}", markup=False, soft_wrap=True)


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
    for row in document["left_out"]:
        console.print(f"left out: {row['bulk']} ({row['source']}), {row['reason']}", markup=False)
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
        f"estimated cost: {hours(document['cpu_hours_estimated'])} CPU-hours of a budget of {budget:g}"
    )
    if document["least_hits_per_cpu_hour"] is not None:
        least = document["least_hits_per_cpu_hour"]
        console.print(f"it stops before that when a round promises fewer than {least:g} hits per CPU-hour")
    if document["exceeds_cpu_budget"]:
        console.print("[yellow]the budget of CPU-hours will be spent before the budget of calculations[/]")
