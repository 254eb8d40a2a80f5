"""Tables for people: rankings and states, as rich renders them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.ranking import reaction_name
from tasks.cli.common import stdout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from config.adsorbates import AdsorbateSettings
    from pipeline.ranking import RankedSurface


NARROW = 75
"""Below this many columns a ranking leaves out what ``sabatier show`` tells as well."""


def ranking_table(
    adsorbate: str, target: AdsorbateSettings, rows: Sequence[RankedSurface], width: int | None = None
) -> Table:
    """Ranking of surfaces for one adsorbate; hits are green.

    ``hit?`` is one that a site not yet computed is predicted to spoil, or a prediction. What follows ``±``
    is the standard deviation of a prediction, or of DFT over the functional's ensemble.

    Parameters
    ----------
    width
        Columns to fit into, those of stdout when left out.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    title = (
        f"{reaction_name(adsorbate, target)}: ΔE({adsorbate}), "
        f"target {target.target_ev:+.2f} ± {target.window_ev:.2f} eV"
    )
    is_wide = (width or stdout().width) >= NARROW
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("surface", overflow="fold")
    if is_wide:
        table.add_column("bulk", overflow="fold")
    table.add_column("lowest site", overflow="fold")
    for heading in ("ΔE / eV", "off target", *(["sites"] if is_wide else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    shows_basis = any(row.basis == "predicted" for row in rows)
    if shows_basis:
        table.add_column("by", no_wrap=True)
    for row in rows:
        error = row.std_ev if row.basis == "predicted" else row.ensemble_std_ev
        table.add_row(
            str(row.rank),
            row.surface,
            *([row.bulk_source] if is_wide else []),
            row.site.removeprefix(row.surface).strip(),
            f"{row.delta_e_ev:+.2f}" + (f" ± {error:.2f}" if error is not None else ""),
            f"{row.deviation_ev:+.2f}" + _verdict(row),
            *([f"{row.n_sites_computed}/{row.n_sites}"] if is_wide else []),
            *(["DFT" if row.basis == "dft" else "pred."] if shows_basis else []),
            style=("green" if row.basis == "dft" else "cyan") if row.is_hit else None,
        )
    return table


def _verdict(row: RankedSurface) -> str:
    if not row.is_hit:
        return ""
    return " hit" if row.is_confirmed else " hit?"
