"""What ``sabatier converge`` prints: the plan, the series, the verdict on recipes, what to paste."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks.cli.common import hours

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console
    from rich.table import Table

STYLES = {"yes": "green", "no": "red", "unknown": "yellow"}


def print_plan(console: Console, document: Mapping[str, Any]) -> None:
    """List calculations and their estimated cost."""
    console.print(f"[bold]{document['study']}[/]: nothing has been run", soft_wrap=True)
    table = _table("", "calculation", "kind", "CPU-s, about", "done")
    for number, row in enumerate(document["calculations"], start=1):
        seconds = f"{row['cpu_seconds_estimated']:.0f}"
        table.add_row(str(number), row["label"], row["kind"], seconds, "yes" if row["done"] else "")
    console.print(table)
    total, left = (hours(document[f"cpu_hours_{which}estimated"]) for which in ("", "left_"))
    console.print(
        f"estimated cost: {total} CPU-hours, {left} of them still to do (an order of magnitude, no promise)",
        soft_wrap=True,
    )


def print_study(console: Console, document: Mapping[str, Any]) -> None:
    """Print all that a study found."""
    console.print(
        f"[bold]{document['adsorbate']} on {document['site']['label']}[/] ({document['bulk']['source']}), "
        f"varied from recipe {document['start']['recipe']}; bold: the start",
        soft_wrap=True,
    )
    for series in document["series"]:
        console.print(_series_table(series))
        console.print(_series_verdict(series, document["tolerance_ev"]), soft_wrap=True)
    _print_recipes(console, document)
    _print_recommended(console, document)
    for path in document["files"]:
        console.print(f"  {path}", soft_wrap=True, markup=False)


def _table(*headings: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in headings:
        is_number = heading in {"", "ΔE / eV", "error / eV", "CPU-s", "CPU-s, about", "atoms", "sum / eV"}
        table.add_column(heading, justify="right" if is_number else "left", overflow="fold")
    return table


def _series_table(series: Mapping[str, Any]) -> Table:
    table = _table(series["title"], series["key"], "ΔE / eV", "error / eV", "CPU-s", "atoms", "meets")
    table.title, table.title_justify = None, "left"
    for point in series["points"]:
        (value,) = point["setting"].values()
        if point["delta_e_ev"] is None:
            why = point["code"] or point["state"]
            table.add_row(point["label"], _number(value), "none", "", "", "", why, style="yellow")
            continue
        table.add_row(
            f"[bold]{point['label']}[/]" if point["is_start"] else point["label"],
            _number(value),
            f"{point['delta_e_ev']:+.3f}",
            f"{point['error_ev']:+.3f}",
            f"{point['cpu_seconds']:.0f}",
            str(point["atoms"]),
            f"[{STYLES[point['meets']]}]{point['meets']}[/]",
        )
    return table


def _number(value: Any) -> str:
    return "×".join(map(str, value)) if isinstance(value, list) else f"{value:g}"


def _series_verdict(series: Mapping[str, Any], tolerance_ev: float) -> str:
    if series["reference"] is None:
        return "[yellow]no energy was obtained[/]\n"
    if series["is_converged"]:
        return (
            f"[green]within {tolerance_ev:g} eV of {series['reference']} from {series['meets_from']} on[/]\n"
        )
    return f"[yellow]no convergence shown: nothing but {series['reference']} meets; add denser values[/]\n"


def _print_recipes(console: Console, document: Mapping[str, Any]) -> None:
    names = [s["parameter"] for s in document["series"]]
    table = _table("recipe", *names, "sum / eV", f"meets {document['tolerance_ev']:g} eV")
    for row in document["recipes"]:
        errors = [found["error_ev"] for found in row["parameters"].values()]
        table.add_row(
            row["recipe"],
            *(_finding(row["parameters"][name]) for name in names),
            f"{row['errors_add_up_to_ev']:.3f}" if any(e is not None for e in errors) else "",
            f"[{STYLES[row['meets']]}]{row['meets']}[/]",
        )
    console.print(table)
    console.print(
        "as far as what was computed tells; errors of different parameters are added up", soft_wrap=True
    )
    for row in document["recipes"]:
        if row["differs_in"]:
            differs = ", ".join(row["differs_in"])
            console.print(f"  {row['recipe']} has besides, not looked at, another {differs}", soft_wrap=True)
    console.print()


def _finding(found: Mapping[str, Any]) -> str:
    error = "" if found["error_ev"] is None else f" ({found['error_ev']:+.3f})"
    return f"[{STYLES[found['meets']]}]{found['label']}{error}[/]"


def _print_recommended(console: Console, document: Mapping[str, Any]) -> None:
    best = document["recommended"]
    if document["calculations_left"]:
        left = f"not complete: {document['calculations_left']} calculations are left"
        console.print(left, style="yellow", soft_wrap=True)
    if not best["settings"]:
        return
    chosen = ", ".join(
        label if name in label else f"{name} {label}" for name, label in best["settings"].items()
    )
    total = f"errors add up to {best['errors_add_up_to_ev']:.3f} eV"
    unshown = ", ".join(s["parameter"] for s in document["series"] if not s["is_converged"])
    told = f"coarsest that meets: {chosen}; {total}"
    if not best["meets"]:
        though = f", though no convergence is shown in {unshown}" if unshown else " so far"
        told = f"best known{though}: {chosen}; {total}"
    console.print(told, style="green" if best["meets"] else "yellow", soft_wrap=True)
    console.print("for a campaign file:\n")
    console.print(document["yaml"], markup=False, soft_wrap=True)
