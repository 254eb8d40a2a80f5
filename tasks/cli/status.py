"""``sabatier status``: where a campaign stands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.cli.common import (
    HomeOption,
    JsonOption,
    KnownCampaignArgument,
    guarded,
    opened,
    print_json,
    stdout,
)

if TYPE_CHECKING:
    from rich.console import Console


def command(
    campaign: KnownCampaignArgument = None, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Show rounds, calculations by state, the budget and what went wrong."""
    guarded(lambda: _status(campaign, home, as_json=as_json))


def _status(name: str | None, home: Path | None, *, as_json: bool) -> None:
    from pipeline.report import status_document

    with opened(name, home) as campaign:
        document = status_document(campaign)
    if as_json:
        print_json(document)
    else:
        _print(stdout(), document)


def _print(console: Console, document: dict[str, Any]) -> None:
    from rich.table import Table

    budget = document["budget"]
    console.print(f"[bold]{document['campaign']}[/] in {document['home']}", soft_wrap=True)
    console.print(f"  complete: {document['reason']}" if document["complete"] else "  not complete")
    console.print(
        f"  {document['bulks']} bulks, {document['surfaces']} surfaces, {document['sites']} sites, "
        f"{document['candidates']} candidates"
    )
    console.print(
        f"  {document['adsorption_energies']} adsorption energies; chosen {budget['calculations_chosen']} of "
        f"{budget['calculations']}; {budget['cpu_hours_spent']:.2f} of {budget['cpu_hours']:g} CPU-hours"
    )
    rounds = ", ".join(
        f"{r['round']}{'' if r['closed'] else ' (open)'}: {r['chosen']}" for r in document["rounds"]
    )
    console.print(f"  rounds (adsorption energies chosen): {rounds or 'none yet'}")
    table = Table("kind", *document["states"])
    for kind, states in document["kinds"].items():
        table.add_row(kind, *(str(states.get(state, 0)) for state in document["states"]))
    if document["states"]:
        console.print(table)
    for title in ("running", "problems"):
        if document[title]:
            console.print(f"{title}:")
        for item in document[title]:
            code = f" [red]{item['code']}[/]" if item["code"] else ""
            console.print(f"  {item['id']} {item['label']} (attempt {item['attempt']}){code}", soft_wrap=True)
            if item["message"]:
                console.print(f"    {item['message'].strip().splitlines()[-1]}", markup=False, soft_wrap=True)
