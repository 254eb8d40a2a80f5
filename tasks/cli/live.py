"""Progress of a run: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tasks.cli.common import stderr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import ConsoleRenderable, Group

    from pipeline.campaign import Campaign
    from pipeline.progress import Progress

MAX_RUNNING_SHOWN = 12


@contextmanager
def progress_display(campaign: Campaign) -> Iterator[Callable[[Progress], None]]:
    """Show progress for as long as the context lasts; yields the function to call with it."""
    console = stderr()
    if not console.is_terminal or console.is_dumb_terminal:
        yield _PlainLines(campaign.name).show
        return
    from rich.live import Live

    with Live(console=console, refresh_per_second=2, transient=True) as live:
        yield lambda progress: live.update(panel(campaign.name, progress))


class _PlainLines:
    """One line whenever something other than the clock has changed."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last: tuple[object, ...] = ()

    def show(self, progress: Progress) -> None:
        names = tuple(r.label for r in progress.running)
        state = (progress.round, names, progress.n_done, progress.n_failed)
        if state != self._last:
            self._last = state
            with suppress(OSError):  # whoever read the output may be gone; the campaign goes on
                print(f"{self._name}: {line(progress)}", flush=True)


def line(progress: Progress) -> str:
    """Progress in one line of plain text."""
    names = "; ".join(r.label for r in progress.running) or "nothing"
    left = ""
    if progress.seconds_left is not None:
        left = f", {duration(progress.seconds_left)} left in {progress.scope}"
    return (
        f"{progress.stage}: {progress.n_done} done, {progress.n_failed} failed, "
        f"{progress.n_waiting} waiting; {_spent(progress)}; "
        f"{duration(progress.elapsed_seconds)} elapsed{left}; running: {names}"
    )


def panel(name: str, progress: Progress) -> Group:
    """Progress as a panel with a bar for the round and the calculations under way."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    total = progress.n_done + progress.n_failed + progress.n_waiting + len(progress.running)
    head = Table.grid(padding=(0, 2), expand=True)
    head.add_column(ratio=1)
    head.add_column(justify="right")
    seed = " (seed)" if progress.round == 0 else ""
    head.add_row(f"[bold]{progress.stage}[/]{seed}", _spent(progress))
    head.add_row(
        f"[green]{progress.n_done} done[/]  [red]{progress.n_failed} failed[/]  {progress.n_waiting} waiting",
        f"{duration(progress.elapsed_seconds)} elapsed, {_left(progress)}",
    )
    rows: list[ConsoleRenderable] = [
        head,
        ProgressBar(total=max(total, 1), completed=progress.n_done + progress.n_failed),
    ]
    for r in progress.running[:MAX_RUNNING_SHOWN]:
        again = f" (attempt {r.attempt})" if r.attempt > 1 else ""
        rows.append(Text(f"  {r.state.value.lower():<10} {r.label}{again}"))
    hidden = len(progress.running) - MAX_RUNNING_SHOWN
    if hidden > 0:
        rows.append(Text(f"  and {hidden} more"))
    if progress.is_draining:
        rows.append(Text("stopping: waiting for the calculations under way", style="yellow"))
    return Group(Panel(Group(*rows), title=f"sabatier · {name}", border_style="cyan"))


def duration(seconds: float) -> str:
    """Time as a person says it: ``42 s``, ``3 min 20 s``, ``2 h 05 min``, ``3 d 4 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def _spent(progress: Progress) -> str:
    return (
        f"{progress.calculations_chosen}/{progress.calculations_budget} adsorption energies, "
        f"{progress.cpu_hours_spent:.2f}/{progress.cpu_hours_budget:g} CPU-h"
    )


def _left(progress: Progress) -> str:
    if progress.seconds_left is None:
        return "time left unknown yet"
    return f"about {duration(progress.seconds_left)} left in this {progress.scope}"
