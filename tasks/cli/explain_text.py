"""Explanations for people: what ``sabatier explain`` prints."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from pipeline.explanation_plots import FLAT_EV, LEAST_EV
from tasks.cli.common import stdout

if TYPE_CHECKING:
    from rich.table import Table

N_BINDING, N_NEIGHBOUR = 5, 3
"""Substitutions that are shown; ``--json`` lists all."""
BAR_WIDTH = 24
"""Columns of the longest bar."""


def print_site(document: dict[str, Any]) -> None:
    """Print what a site owes to its facts, and what other atoms would change."""
    console, known = stdout(), document["computed_ev"]
    computed = "" if known is None else f", {_ev(known)} computed"
    trained = " (learned from)" if document["is_trained_on"] else ""
    target = f"target {_ev(document['target_ev'])} ± {document['window_ev']:.2f}"
    predicted = f"{_ev(document['predicted_ev'])} ± {document['std_ev']:.2f} eV predicted"
    lines = [
        f"{document['adsorbate']} on {document['site']} ({document['site_id']})",
        f"  ΔE {predicted}{computed}{trained}; {target}",
        f"  {_ev(document['predicted_ev'] - document['typical_ev'])} against the typical site "
        f"({_ev(document['typical_ev'])}, mean of {document['n_background']}), owed to",
    ]
    _say(*lines)
    rows = document["contributions"]
    told = [row for row in rows if abs(row["contribution_ev"]) >= LEAST_EV]
    console.print(_bars([(row["fact"], row["value"], row["contribution_ev"]) for row in told]), markup=False)
    silent = [row["fact"] for row in rows if row not in told]
    if silent:
        _say(f"    under {LEAST_EV} each: {', '.join(silent)}")
    _print_substitutions(document)
    _say("")


def _bars(rows: list[tuple[str, str, float]]) -> Table:
    table = _grid("left", "right", "left")
    longest = max((abs(change) for *_, change in rows), default=1.0)
    for fact, value, change in rows:
        bar = "█" * max(1, round(BAR_WIDTH * abs(change) / longest))
        table.add_row("  ", fact, value, _ev(change), bar)
    return table


def _print_substitutions(document: dict[str, Any]) -> None:
    rows = document["substitutions"]
    shown = [
        row
        for is_binding, n in ((True, N_BINDING), (False, N_NEIGHBOUR))
        for row in islice((r for r in rows if r["is_binding"] == is_binding), n)
        if abs(row["change_ev"]) >= LEAST_EV
    ]
    if not shown:
        _say(f"  no one atom exchanged would change it by {LEAST_EV:g} eV")
        return
    _say("  with one atom exchanged it would be")
    table = _grid("right", "right", "left", "left")
    for row in shown:
        where = "binding" if row["is_binding"] else "neighbouring"
        n = row["n_known"]
        basis = "" if n else f"no {row['new']} there was learned from"
        table.add_row(
            "  ", f"{row['new']} for a {where} {row['old']}",
            f"{_ev(row['delta_e_ev'])} ± {row['std_ev']:.2f}", _ev(row["change_ev"]),
            "hit" if row["is_hit"] else "", basis, style="green" if row["is_hit"] else None,
        )  # fmt: skip
    stdout().print(table, markup=False)


def print_survey(document: dict[str, Any]) -> None:
    """Print what matters on the whole, and how ΔE depends on it."""
    adsorbate = document["adsorbate"]
    has_growth = document["importances"][0]["held_out_error_growth_ev"] is not None
    _say(
        f"{adsorbate}: the surrogate of round {document['round']}, learned from {document['n_train']} sites",
        f"  what matters: mean size of the contributions to {document['n_surveyed']} sites"
        + ("; growth of the error on unseen crystals when it is another site's" if has_growth else ""),
    )
    table = _grid("right", "right")
    for row in document["importances"]:
        if row["mean_size_ev"] >= LEAST_EV:
            growth = row["held_out_error_growth_ev"]
            told = "" if growth is None else f"{growth:+.3f}"
            table.add_row("  ", row["fact"], f"{row['mean_size_ev']:.3f}", told)
    stdout().print(table, markup=False)
    _say(
        f"  mean ΔE({adsorbate}) if all binding atoms were of one element (in brackets: learned from so many)"
    )
    elements = [
        f"{row['element']} {_ev(row['delta_e_ev'])} ({row['n_known']})"
        for row in document["binding_elements"]
    ]
    _say(*(f"    {'  '.join(elements[i : i + 6])}" for i in range(0, len(elements), 6)))
    _print_dependences(document)
    _say("")


def _print_dependences(document: dict[str, Any]) -> None:
    shown = []
    for row in document["dependences"]:
        energies = [point["delta_e_ev"] for point in row["points"]]
        if max(energies) - min(energies) >= FLAT_EV:
            shown.append((row, energies))
    if not shown:
        return
    _say("  how ΔE goes with it: rank correlation, and range of the mean ΔE")
    table = _grid("right", "right")
    for row, energies in shown:
        unit = f" / {row['unit']}" if row["unit"] else ""
        reach = f"{_ev(min(energies))} to {_ev(max(energies))}"
        table.add_row("  ", row["words"] + unit, reach, _ev(row["rank_correlation"]))
    stdout().print(table, markup=False)


def _ev(value: float) -> str:
    """Two decimals and a sign; what rounds to nothing is +0.00."""
    return f"{round(value, 2) + 0.0:+.2f}"


def _grid(*columns: Literal["left", "right"]) -> Table:
    """Columns without lines: indentation, name, and these."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    for side in ("left", "left", *columns):
        grid.add_column(justify=side, no_wrap=True)
    return grid


def _say(*lines: str) -> None:
    for line in lines:
        stdout().print(line, markup=False, highlight=False, soft_wrap=True)
