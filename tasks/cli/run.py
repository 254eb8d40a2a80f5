"""``sabatier run``: start a campaign, or go on with it."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tasks.cli.common import CampaignArgument, HomeOption, guarded, home_of, stderr

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.campaign import Campaign


class _Drain:
    """Ctrl-C once: start nothing new and wait for what is running. Twice: leave at once."""

    def __init__(self) -> None:
        self.requested = False

    def handle(self, _signum: int, _frame: object) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        stderr().print(
            "stopping: nothing new is started, calculations under way are finished. "
            "Ctrl-C again leaves at once; they then go on by themselves and the next run takes them in."
        )


def command(
    campaign: CampaignArgument,
    home: HomeOption = None,
    luigid: Annotated[
        str | None,
        typer.Option(
            "--luigid", help="Use a central Luigi scheduler instead of a built-in one.", metavar="HOST:PORT"
        ),
    ] = None,
) -> None:
    """Start a campaign, or go on with it where it was."""
    guarded(lambda: _run(campaign, home, luigid))


def _run(source: str, home: Path | None, luigid: str | None) -> int:
    from config.loader import load_campaign
    from pipeline.campaign import open_campaign
    from pipeline.enumeration import select_bulks
    from pipeline.home import CampaignHome
    from tasks.cli.summary import print_summary

    settings = load_campaign(source)
    path = home_of(settings, home).absolute()
    if not CampaignHome(path).exists():
        select_bulks(settings, Path())  # refuse an impossible campaign before anything is written
    folder = CampaignHome(path)
    with folder.driver_lock():
        folder.adopt(settings)
        with open_campaign(settings, path) as campaign:
            _refuse_name_of_another_home(campaign)
            campaign.store.save_campaign(
                settings.name, settings.model_dump(mode="json"), settings.digest(), path
            )
            code = _drive(campaign, luigid)
            if code == 0:
                print_summary(campaign)
            return code


def _refuse_name_of_another_home(campaign: Campaign) -> None:
    """Keep two campaigns of one name in one server from mixing; an embedded store moves with its home."""
    from config.errors import ConfigError

    known = campaign.store.campaign(campaign.name)
    home = Path(known.home) if known else campaign.home.path
    if home != campaign.home.path and (home / "campaign.json").exists():
        message = (
            f"the database holds a campaign {campaign.name!r} in {home} already; "
            "give this one another name, or resume that one with --home"
        )
        raise ConfigError(message)


def _drive(campaign: Campaign, luigid: str | None) -> int:
    """Run the loop unless nothing is left to do; return the exit code."""
    from pipeline.enumeration import SITES
    from pipeline.versions import package_versions

    if campaign.store.stage(campaign.name, SITES) is not None:
        reason = campaign.reason_to_stop()
        if reason is not None:
            stderr().print(
                f"campaign {campaign.name} is complete: {reason}; nothing was computed", soft_wrap=True
            )
            return 0
    campaign.home.record_session("start", versions=package_versions(), config=campaign.settings.digest())
    outcome = "failed"
    try:
        outcome = _loop(campaign, luigid)
    except BaseException as error:
        outcome = type(error).__name__
        raise
    finally:
        campaign.home.record_session("end", outcome=outcome)
    return 0


def _loop(campaign: Campaign, luigid: str | None) -> str:
    """Let Luigi run the loop; return how it ended."""
    from pipeline.batch import BudgetSpent, Drained, Watch
    from pipeline.selection import NothingLeft
    from tasks.cli.live import progress_display
    from tasks.context import LoopContext
    from tasks.driver import drive

    drain = _Drain()
    with _signals(drain), progress_display(campaign) as on_progress:
        watch = Watch(on_progress=on_progress, is_draining=lambda: drain.requested)
        try:
            drive(LoopContext(campaign, watch), luigid)
        except (BudgetSpent, NothingLeft) as end:
            stderr().print(str(end), soft_wrap=True)
            return type(end).__name__
        except (Drained, KeyboardInterrupt) as end:
            command_line = f"sabatier run {' '.join(sys.argv[2:])}"
            stderr().print(f"{end or 'left'}; go on with: {command_line}", soft_wrap=True)
            raise
    return "complete"


@contextmanager
def _signals(drain: _Drain) -> Iterator[None]:
    before = {s: signal.signal(s, drain.handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
