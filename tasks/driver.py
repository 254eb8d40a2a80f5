"""Hands the loop to Luigi and brings back how it ended."""

from __future__ import annotations

import logging
import os
import time
import warnings
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from config.errors import ConfigError, SabatierError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tasks.context import LoopContext


class LoopError(SabatierError):
    """A task of the loop failed for a reason that is a bug or an outage, not a setting."""


def drive(context: LoopContext, scheduler: dict[str, object]) -> None:
    """Run a campaign's loop to its end.

    Parameters
    ----------
    scheduler
        From :func:`scheduler_options`.

    Raises
    ------
    SabatierError
        What a task raised, whatever it is: the budget spent, a drain, an outage of the store.
    """
    import luigi

    from tasks.context import activate
    from tasks.loop import ScreenCampaign

    def remember(_task: luigi.Task, error: BaseException) -> None:
        context.failures.append(error)

    luigi.Task.event_handler(luigi.Event.FAILURE)(remember)
    log = context.campaign.home.path / "driver.log"
    with activate(context), _logged_to(log), warnings.catch_warnings():
        # Luigi warns about its own options; nothing here is for the user.
        warnings.filterwarnings("ignore", module="luigi")
        session = f"{os.uname().nodename}-{os.getpid()}-{time.time_ns()}"
        task = ScreenCampaign(name=context.campaign.name, session=session)
        luigi.build([task], workers=1, **scheduler)
        _raise_first(context.failures)
        if task.complete():
            return
    message = f"Luigi did not finish the campaign; see {log}"
    raise LoopError(message)


def _raise_first(failures: list[BaseException]) -> None:
    """Raise what the first task that failed has raised."""
    if not failures:
        return
    error = failures[0]
    if isinstance(error, SabatierError):
        raise error
    message = f"{type(error).__name__}: {error}"
    raise LoopError(message) from error


def scheduler_options(luigid: str | None) -> dict[str, object]:
    """Tell Luigi which scheduler to use.

    Parameters
    ----------
    luigid
        ``host:port`` of a central one; the built-in one when None.

    Raises
    ------
    ConfigError
        If it is not of that form, or nothing answers there.
    """
    if luigid is None:
        return {"local_scheduler": True}
    host, separator, port = luigid.rpartition(":")
    if not separator or not host or not port.isdigit():
        message = f"--luigid {luigid!r} must be HOST:PORT, such as localhost:8082"
        raise ConfigError(message)
    _refuse_unreachable(host, int(port))
    return {"scheduler_host": host, "scheduler_port": int(port)}


def _refuse_unreachable(host: str, port: int) -> None:
    """Fail in a second rather than in Luigi's minutes of retries."""
    import socket

    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError as error:
        why = error.strerror or error
        message = f"no luigid answers at {host}:{port} ({why}); start it with 'luigid --port {port}'"
        raise ConfigError(message) from error


class _QuietFileHandler(logging.FileHandler):
    """A log that cannot be written, on a full disk, must not end or drown the campaign."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Drop the record."""


@contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    """Keep Luigi's log in a file, off the terminal: failures are reported by Sabatier itself."""
    import luigi

    luigi.configuration.get_config().set("core", "no_configure_logging", "true")
    handler = _QuietFileHandler(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    loggers = [logging.getLogger(name) for name in ("luigi", "luigi-interface")]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        with suppress(OSError):
            handler.close()
