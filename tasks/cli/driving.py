"""What every command that drives calculations needs: a way to stop it, and a voice."""

from __future__ import annotations

import contextlib
import logging
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.cli.common import stderr

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.campaign import Campaign


class Drain:
    """Ctrl-C once: start nothing new and wait for what is running. Twice: leave at once."""

    def __init__(self) -> None:
        self.requested = False

    def handle(self, _signum: int, _frame: object) -> None:
        """Take a signal."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        with contextlib.suppress(OSError):  # whoever read the output may be gone
            stderr().print(
                "stopping: nothing new is started, calculations under way are finished. "
                "Ctrl-C again leaves at once; they then go on by themselves and the next run takes them in."
            )


class Notices:
    """Tells the user what the driver waits for, each thing once in a while."""

    EVERY_SECONDS = 600.0

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def __call__(self, text: str) -> None:
        """Print a notice, unless it was printed a while ago."""
        now = time.monotonic()
        if now - self._told.get(text, float("-inf")) > self.EVERY_SECONDS:
            self._told[text] = now
            with contextlib.suppress(OSError):
                stderr().print(f"{time.strftime('%H:%M:%S')} {text}", soft_wrap=True, markup=False)


@contextlib.contextmanager
def told_of_outages(notices: Notices) -> Iterator[None]:
    """Pass on what the store's connection says of a database that is away."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            notices(record.getMessage())

    logger, handler = logging.getLogger("sabatier.store"), Handler()
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)


def register(campaign: Campaign) -> None:
    """Enter the campaign into the store; keep two of one name in one server from mixing.

    Raises
    ------
    ConfigError
        If the server holds a campaign of this name in another home.
    """
    from config.errors import ConfigError

    settings, path = campaign.settings, campaign.home.path
    known = campaign.store.campaign(campaign.name)
    # An embedded store is part of its home, and is copied and moved with it.
    if known is not None and not (path / "mongo").exists():
        other = Path(known.home)
        if (other / "campaign.json").exists() and not other.samefile(path):
            message = (
                f"the database holds a campaign {campaign.name!r} in {other} already; "
                "give this one another name, or resume that one with --home"
            )
            raise ConfigError(message)
    campaign.store.save_campaign(settings.name, settings.model_dump(mode="json"), settings.digest(), path)


def greet_others(campaign: Campaign) -> None:
    """Say who else drives this campaign."""
    from pipeline.drivers import BEAT_SECONDS, is_known_dead

    for other in campaign.store.drivers(campaign.name):
        if other.age_seconds < 6 * BEAT_SECONDS and not is_known_dead(other.id):
            said = f"working along with another driver: process {other.pid} on {other.host}"
            stderr().print(said, soft_wrap=True)


def say_how_to_go_on(end: BaseException, command: str) -> None:
    """Tell why a command ended before its work did, and the line that goes on."""
    command_line = shlex.join(["sabatier", command, *sys.argv[2:]])
    with contextlib.suppress(OSError):  # whoever read the output may be gone
        stderr().print(f"{str(end) or 'left'}; go on with: {command_line}", soft_wrap=True, markup=False)


@contextlib.contextmanager
def signals_to(drain: Drain) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM ask for a drain, in a ``with`` block."""
    before = {s: signal.signal(s, drain.handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
