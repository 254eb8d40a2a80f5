"""``sabatier status``: where a campaign stands, and what goes on right now."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tasks.cli.common import (
    HomeOption,
    JsonOption,
    KnownCampaignArgument,
    guarded,
    no_driver,
    opened,
    print_json,
    stdout,
)
from tasks.cli.control import KindOption, StateOption
from tasks.cli.live import duration
from tasks.cli.outlook import print_outlook
from tasks.cli.verbs import members

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from pipeline.domain import Calculation

LINES_SHOWN = 20
"""Calculations under way, or of a chosen state, that are listed."""
PROBLEMS_SHOWN = 3
"""Calculations named for each code."""


def command(
    campaign: KnownCampaignArgument = None,
    home: HomeOption = None,
    state: StateOption = None,
    kind: KindOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="List every calculation, and leave nothing out.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it again and again until Ctrl-C.")
    ] = False,
    every: Annotated[
        float, typer.Option("--every", min=1.0, help="With --watch: how often, s.", metavar="SECONDS")
    ] = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Show rounds, calculations by state, jobs under way, drivers, the budget and what went wrong."""
    guarded(lambda: _status(campaign, home, (state, kind, everything), every if watch else None, as_json))


def _status(
    name: str | None,
    home: Path | None,
    listing: tuple[list[str] | None, list[str] | None, bool],
    every: float | None,
    as_json: bool,
) -> None:
    from config.errors import ConfigError
    from pipeline.report import status_document

    if as_json and every is not None:
        message = "--json prints one document: call it again instead of --watch"
        raise ConfigError(message)
    wanted, limit = _listing(*listing), None if listing[2] else LINES_SHOWN
    with opened(name, home) as campaign:
        while True:
            document = status_document(campaign, wanted)
            if as_json:
                print_json(document)
                return
            console = stdout()
            if every is not None and console.is_terminal:
                console.clear()
            _print(console, document, limit)
            if every is None:
                return
            time.sleep(every)


def _listing(
    states: list[str] | None, kinds: list[str] | None, everything: bool
) -> Callable[[Calculation], bool] | None:
    """Tell which calculations to list; None if none was asked for."""
    from dft.jobs import CalculationKind
    from pipeline.choice import Filter
    from pipeline.domain import CalculationState

    if not (states or kinds or everything):
        return None
    return Filter(
        states=members(CalculationState, states or (), "state"),
        kinds=members(CalculationKind, kinds or (), "kind"),
    ).meets


def _print(console: Console, document: dict[str, Any], limit: int | None) -> None:
    _print_head(console, document)
    _print_counts(console, document)
    _print_sources(console, document)
    _print_running(console, document, limit)
    _print_problems(console, document, limit)
    if "calculations" in document:
        _print_list(console, document["calculations"], limit)


def _say(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, style=style, markup=False, soft_wrap=True)


def _print_head(console: Console, document: dict[str, Any]) -> None:
    budget = document["budget"]
    console.print(f"[bold]{document['campaign']}[/] in {document['home']}", soft_wrap=True)
    ended = document["reason"] or document["ended"]
    _say(
        console,
        f"  {'complete' if document['complete'] else 'ended'}: {ended}" if ended else "  not complete",
    )
    if document["paused"]:
        _say(console, "  paused: nothing new is started until 'sabatier resume'", "yellow")
    _print_drivers(console, document)
    _say(
        console,
        f"  {document['bulks']} bulks, {document['surfaces']} surfaces, {document['sites']} sites, "
        f"{document['candidates']} candidates",
    )
    _say(
        console,
        f"  {document['adsorption_energies']} adsorption energies; chosen {budget['calculations_chosen']} of "
        f"{budget['calculations']}; {budget['cpu_hours_spent']:.2f} of {budget['cpu_hours']:g} CPU-hours",
    )
    _say(console, f"  rounds (adsorption energies chosen): {_rounds(document['rounds'])}")
    print_outlook(console, document)


def _rounds(rounds: Sequence[dict[str, Any]]) -> str:
    """Name the last rounds; an asynchronous campaign has hundreds."""
    named = [f"{r['round']}{'' if r['closed'] else ' (open)'}: {r['chosen']}" for r in rounds[-LINES_SHOWN:]]
    before = [f"{len(rounds) - LINES_SHOWN} before"] if len(rounds) > LINES_SHOWN else []
    return ", ".join([*before, *named]) or "none yet"


def _print_drivers(console: Console, document: dict[str, Any]) -> None:
    for driver in document["drivers"]:
        beat = duration(driver["beat_seconds_ago"])
        place = f"process {driver['pid']} on {driver['host']}"
        _say(console, f"  driver at work: {place} ({driver['mode']}), heard of {beat} ago")
    if not document["drivers"]:
        _say(
            console,
            "  no driver is at work"
            if document["complete"] or document["ended"]
            else f"  {no_driver(document['campaign'])}",
        )


def _print_counts(console: Console, document: dict[str, Any]) -> None:
    from rich.table import Table

    if not document["states"]:
        return
    table = Table("kind", *document["states"])
    for kind, states in document["kinds"].items():
        table.add_row(kind, *(str(states.get(state, 0)) for state in document["states"]))
    console.print(table)


def _print_sources(console: Console, document: dict[str, Any]) -> None:
    """Say what the newest surrogates have learned of energies from elsewhere."""
    newest = {model["adsorbate"]: model for model in document["models"]}
    for adsorbate, model in newest.items():
        for source in model["sources"]:
            what = "energies" if source["kind"] == "same" else "energies of another adsorbate"
            level = f"level {source['level_ev']:+.2f} ± {source['level_std_ev']:.2f} eV"
            told = f"{level}, slope {source['slope']:.2f}, weight {source['weight']:.2f}"
            _say(console, f"  {adsorbate} from {source['name']}: {source['n']} {what}, {told}")


def _print_running(console: Console, document: dict[str, Any], limit: int | None) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    rows = document["running"]
    if document["scheduler"]["answers"] is False:
        _say(console, document["scheduler"]["message"], "yellow")
    if not rows:
        return
    _say(console, f"under way: {len(rows)}")
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    for heading in ("id", "state", "attempt", "job", "scheduler", "elapsed", "host", "label"):
        table.add_column(heading, overflow="fold")
    for row in rows[:limit]:
        table.add_row(
            row["id"],
            row["state"],
            f"{row['attempt']} of {max(row['attempt'], row['max_attempts'])}",
            row["native_job_id"] or "",
            _scheduler_cell(row),
            duration(row["elapsed_seconds"]) if row["elapsed_seconds"] is not None else "",
            row["host"] or "",
            row["label"] + (f" ({_tried(row)})" if row["corrections"] else ""),
        )
    console.print(table)
    _say_hidden(console, len(rows), limit)
    for number, what in (
        (document["results_waiting"], "have ended and wait to be taken in by a driver"),
        (document["jobs_gone"], "have vanished without a result; a driver will try them again"),
    ):
        if number:
            _say(console, f"  {number} of them {what}", "yellow")


def _tried(row: dict[str, Any]) -> str:
    """Name the corrections of an attempt, as in ``tried gentle-mixing, small-steps``."""
    return "tried " + ", ".join(correction["correction"] for correction in row["corrections"])


def _scheduler_cell(row: dict[str, Any]) -> str:
    if row["is_result_waiting"]:
        return "ended"
    if row["is_gone"]:
        return f"gone {row['scheduler_reason'] or ''}".strip()
    state = row["scheduler_state"] or row["scheduler_phase"] or "?"
    return f"{state} ({row['scheduler_reason']})" if row["scheduler_reason"] else state


def _say_hidden(console: Console, total: int, limit: int | None) -> None:
    if limit is not None and total > limit:
        _say(console, f"  and {total - limit} more (--all lists them)")


def _print_problems(console: Console, document: dict[str, Any], limit: int | None) -> None:
    if not document["problems"]:
        return
    _say(console, f"problems: {len(document['problems'])}")
    for code, number in document["problem_codes"].items():
        _say(console, f"  {code}: {number}", "red")
        rows = [r for r in document["problems"] if (r["code"] or r["state"]) == code]
        for row in rows[: None if limit is None else PROBLEMS_SHOWN]:
            _say(console, f"    {row['id']} {row['label']} (attempt {row['attempt']})")
            if row["corrections"]:
                _say(console, f"      {_tried(row)}")
            for line in row["tail"] or ():
                _say(console, f"      {line}")
        if limit is not None and number > PROBLEMS_SHOWN:
            _say(console, f"    and {number - PROBLEMS_SHOWN} more (--all lists them)")


def _print_list(console: Console, rows: Sequence[dict[str, Any]], limit: int | None) -> None:
    _say(console, f"calculations: {len(rows)}")
    for row in rows[:limit]:
        code = f" {row['code']}" if row["code"] else ""
        _say(console, f"  {row['id']}  {row['state']}{code}  {row['label']} (attempt {row['attempt']})")
    _say_hidden(console, len(rows), limit)
