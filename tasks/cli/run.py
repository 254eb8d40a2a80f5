"""``sabatier run``: start a campaign, or go on with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tasks.cli.common import (
    EXIT_INTERRUPTED,
    CampaignArgument,
    HomeOption,
    ProfileOption,
    guarded,
    home_of,
    stderr,
)
from tasks.cli.driving import (
    Drain,
    Notices,
    greet_others,
    register,
    say_how_to_go_on,
    signals_to,
    told_of_outages,
)

if TYPE_CHECKING:
    from pipeline.campaign import Campaign


INTERRUPTED = "interrupted"
STEP_DONE = "step done"


def command(
    campaign: CampaignArgument,
    home: HomeOption = None,
    luigid: Annotated[
        str | None,
        typer.Option(
            "--luigid", help="Use a central Luigi scheduler instead of a built-in one.", metavar="HOST:PORT"
        ),
    ] = None,
    lost_host: Annotated[
        list[str] | None,
        typer.Option("--lost-host", help="A machine that is gone for good with its jobs.", metavar="HOST"),
    ] = None,
    once: Annotated[
        bool,
        typer.Option(
            "--once",
            help="Take in what has ended, choose and submit what is due, and end without waiting (for cron).",
        ),
    ] = False,
    profile: ProfileOption = None,
) -> None:
    """Start a campaign, or go on with it where it was; several drivers may work on one campaign."""
    guarded(lambda: _run(campaign, home, luigid, frozenset(lost_host or ()), profile, once=once))


def _run(
    source: str,
    home: Path | None,
    luigid: str | None,
    lost_hosts: frozenset[str],
    profile: str | None,
    *,
    once: bool,
) -> int:
    from config.loader import load_campaign
    from dft.pretrained import require
    from pipeline.campaign import open_campaign
    from pipeline.capacity import capacity_of
    from pipeline.enumeration import select_bulks
    from pipeline.home import CampaignHome
    from pipeline.source_files import describe, read_sources
    from tasks.driver import scheduler_options

    settings = load_campaign(source, profile)
    folder = CampaignHome(home_of(settings, home).absolute())
    capacity_of(settings.execution)  # refuses what this machine cannot run
    if settings.surrogate.pretrained is not None:
        require()  # before anything is written
    scheduler = scheduler_options(luigid)
    if not folder.exists():
        select_bulks(settings, Path())  # refuse an impossible campaign before anything is written
    for line in (line for table in read_sources(settings) for line in describe(table)):
        stderr().print(line, markup=False, soft_wrap=True)
    folder.adopt(settings)
    patience = 60 * settings.store.outage_minutes
    notices = Notices()
    with told_of_outages(notices), open_campaign(settings, folder.path, lost_hosts, patience) as campaign:
        register(campaign)
        greet_others(campaign)
        return _drive(campaign, scheduler, notices, once=once)


def _drive(campaign: Campaign, scheduler: dict[str, object], notices: Notices, *, once: bool) -> int:
    """Run the loop unless nothing is left to do, and report; return the exit code."""
    from pipeline.enumeration import SITES
    from pipeline.versions import package_versions
    from tasks.cli.summary import print_summary

    is_enumerated = campaign.store.stage(campaign.name, SITES) is not None
    reason = campaign.reason_to_stop() if is_enumerated else None
    if reason is not None:
        said = f"campaign {campaign.name} is complete: {reason}; nothing was computed"
        stderr().print(said, soft_wrap=True)
        return print_summary(campaign)
    campaign.home.record_session("start", versions=package_versions(), config=campaign.settings.digest())
    outcome, why = "failed", None
    try:
        outcome, why = _loop(campaign, scheduler, notices, once=once)
    finally:
        campaign.home.record_session("end", outcome=outcome, why=why)
    if outcome == STEP_DONE:
        return 0
    return EXIT_INTERRUPTED if outcome == INTERRUPTED else print_summary(campaign)


def _loop(
    campaign: Campaign, scheduler: dict[str, object], notices: Notices, *, once: bool
) -> tuple[str, str | None]:
    """Let Luigi run the loop; return how it ended, and why if before its last round."""
    from pipeline.batch import Watch
    from pipeline.drivers import heartbeat
    from pipeline.ends import BudgetSpent, Drained, Held, NothingLeft, StepDone
    from tasks.cli.live import progress_display
    from tasks.context import LoopContext
    from tasks.driver import drive

    drain = Drain()
    with signals_to(drain):
        try:
            mode = "once" if once else campaign.settings.mode
            beats = heartbeat(campaign.store, campaign.name, mode)
            with beats, progress_display(campaign) as on_progress:
                watch = Watch(
                    on_progress=on_progress,
                    on_notice=notices,
                    is_draining=lambda: drain.requested,
                    once=once,
                )
                drive(LoopContext(campaign, watch), scheduler)
        except (BudgetSpent, NothingLeft, Held) as end:
            stderr().print(str(end), soft_wrap=True)
            return type(end).__name__, str(end)
        except StepDone as end:
            stderr().print(str(end), soft_wrap=True)
            return STEP_DONE, None
        except (Drained, KeyboardInterrupt) as end:
            say_how_to_go_on(end, "run")
            return INTERRUPTED, None
    return "complete", None
