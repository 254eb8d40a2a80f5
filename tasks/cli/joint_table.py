"""The table of ``sabatier rank --all``: surfaces with a column for each adsorbate."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from pipeline.campaign import Campaign
    from pipeline.joint_ranking import JointSurface, Verdict


def joint_document(campaign: Campaign, rows: Sequence[JointSurface]) -> dict[str, Any]:
    """The ranking as plain JSON values."""
    targets = {
        name: {"target_ev": settings.target_ev, "window_ev": settings.window_ev}
        for name, settings in campaign.settings.adsorbates.items()
    }
    return {"campaign": campaign.name, "targets": targets, "surfaces": [asdict(row) for row in rows]}


def joint_table(campaign: Campaign, rows: Sequence[JointSurface]) -> Table:
    """Ranking of surfaces for all adsorbates; green: hits for all by DFT, cyan: by DFT and prediction.

    What follows ``±`` is the standard deviation of a prediction. ``hit?`` is a prediction, or a hit that a
    site not yet computed is predicted to spoil.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    names = list(campaign.settings.adsorbates)
    goals = ", ".join(
        f"ΔE({name}) {s.target_ev:+.2f} ± {s.window_ev:.2f} eV"
        for name, s in campaign.settings.adsorbates.items()
    )
    table = Table(title=f"all of {goals}", title_justify="left", box=SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("surface", overflow="fold")
    table.add_column("bulk", overflow="fold")
    for name in names:
        table.add_column(f"ΔE({name}) / eV", overflow="fold")
    table.add_column("hit for all", justify="right", no_wrap=True)
    for row in rows:
        known = {v.adsorbate: v for v in row.verdicts}
        is_likely = len(known) == len(names) and all(v.is_hit for v in row.verdicts)
        table.add_row(
            str(row.rank),
            row.surface,
            row.bulk_source,
            *(_cell(known[name]) if name in known else "" for name in names),
            f"{100 * row.probability:.0f} %",
            style="green" if row.is_hit else "cyan" if is_likely else None,
        )
    return table


def _cell(verdict: Verdict) -> str:
    spread = f" ± {verdict.std_ev:.2f}" if verdict.std_ev is not None else ""
    hit = (" hit" if verdict.is_confirmed else " hit?") if verdict.is_hit else ""
    return f"{verdict.delta_e_ev:+.2f}{spread}{hit}"
