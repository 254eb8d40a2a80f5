"""What a finished run prints: a ranking per reaction, and where the files are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.cli.common import stderr, stdout
from tasks.cli.tables import ranking_table

if TYPE_CHECKING:
    from pipeline.campaign import Campaign

ROWS_SHOWN = 10


def print_summary(campaign: Campaign) -> int:
    """Print the ranking of every adsorbate and the files written; return the exit code.

    A campaign that has come to its end without a single adsorption energy has failed.
    """
    from pipeline.results import ranking, write_results

    console = stdout()
    for adsorbate, target in campaign.settings.adsorbates.items():
        rows = ranking(campaign, adsorbate, with_predicted=False)
        if not rows:
            continue
        console.print(ranking_table(adsorbate, target, rows[:ROWS_SHOWN]))
        if len(rows) > ROWS_SHOWN:
            console.print(f"  and {len(rows) - ROWS_SHOWN} more: sabatier rank {campaign.name}")
    console.print(_totals(campaign), soft_wrap=True)
    for path in write_results(campaign):
        console.print(f"  {path}", soft_wrap=True)
    if campaign.observations() or _goes_on(campaign):
        return 0
    stderr().print("[bold red]error:[/] no adsorption energy was obtained; see 'sabatier status'")
    return 1


def _goes_on(campaign: Campaign) -> bool:
    """Tell whether calculations are left that may still be computed, as after ``run --once``."""
    from pipeline.domain import TERMINAL

    is_open = any(c.state not in TERMINAL for c in campaign.calculations())
    return is_open and campaign.cpu_budget_spent() is None


def _totals(campaign: Campaign) -> str:
    chosen, observed = len(campaign.chosen_ids()), len(campaign.observations())
    rejected = f", {chosen - observed} without (see 'sabatier status')" if chosen > observed else ""
    return (
        f"{observed} adsorption energies{rejected} in {len(campaign.rounds())} rounds, "
        f"{campaign.cpu_hours_spent():.2f} CPU-hours; written:"
    )
