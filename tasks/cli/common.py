"""What every command shares: options, finding a campaign's home, errors as one line, JSON on stdout."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from config.errors import ConfigError, SabatierError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from rich.console import Console

    from config.campaign import CampaignSettings
    from pipeline.campaign import Campaign

RUNS = Path("runs")
EXIT_INTERRUPTED = 130
READER_PATIENCE_SECONDS = 15.0
"""How long a command that only looks waits for a database that is away."""
PICTURES = (".png", ".svg", ".pdf")
"""Endings of picture files."""
PIPED_WIDTH = 120
"""Columns of a table that does not go to a terminal."""

CampaignArgument = Annotated[
    str, typer.Argument(help="Campaign file, or the name of a preset.", metavar="CAMPAIGN")
]
KnownCampaignArgument = Annotated[
    str | None,
    typer.Argument(
        help="Campaign name, file or preset; the only one in runs/ when left out.", metavar="[CAMPAIGN]"
    ),
]
HomeOption = Annotated[
    Path | None, typer.Option("--home", help="The campaign's home (default: runs/<name>).", metavar="DIR")
]
ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile", help="Execution profile to use instead of the campaign's execution.", metavar="NAME"
    ),
]
AdsorbateOption = Annotated[
    str | None, typer.Option("--adsorbate", "-a", help="Only this adsorbate.", metavar="NAME")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


@cache
def _console_class() -> type[Console]:
    """Rich's console as the commands use it; made when first needed, as rich is slow to import."""
    from rich.console import Console

    class PipeConsole(Console):
        """Leaves it to :func:`guarded` what a reader that went away means; rich's exits with 1."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return PipeConsole


def stdout() -> Console:
    """Console for what a command is asked to print; wide where no terminal sets the width."""
    console = _console_class()(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_WIDTH
    return console


def stderr() -> Console:
    """Console for everything else."""
    return _console_class()(stderr=True, highlight=False)


def print_json(document: Any) -> None:
    """Print one JSON document, and nothing else, on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, default=str, allow_nan=False) + "\n")


def guarded(function: Callable[[], int | None]) -> None:
    """Run a command; expected errors become one line on stderr and their exit code."""
    try:
        with _interrupts_kept():
            code = function() or 0
        sys.stdout.flush()  # here, where a reader that went away is no error
    except SabatierError as error:
        _say(f"[bold red]error:[/] {_escape(str(error))}" if error.exit_code else _escape(str(error)))
        code = error.exit_code
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _say("interrupted")
        code = EXIT_INTERRUPTED
    except BrokenPipeError:  # such as `sabatier rank | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:  # a full disk, say
        _say(f"[bold red]error:[/] {_escape(str(error))}")
        code = 1
    if code == EXIT_INTERRUPTED:  # one more Ctrl-C must not end in a traceback of the interpreter's exit
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise typer.Exit(code)


@contextmanager
def _interrupts_kept() -> Iterator[None]:
    """Let Ctrl-C end a command although what it hit made another exception of it.

    Extension modules that are interrupted while they are imported raise an ImportError.
    """
    seen: list[int] = []

    def interrupt(signum: int, frame: FrameType | None) -> None:
        seen.append(signum)
        signal.default_int_handler(signum, frame)

    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # ignored, as in the background of a script, or somebody else's
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception as error:
        if seen:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _say(markup: str) -> None:
    with suppress(OSError):  # nobody may be left to read it
        stderr().print(markup, soft_wrap=True)


def home_of(settings: CampaignSettings, home: Path | None) -> Path:
    """Return the home of a campaign that was given by file or preset.

    Raises
    ------
    ConfigError
        If something that is no folder was given.
    """
    return _folder(home) if home is not None else RUNS / settings.name


def _folder(home: Path) -> Path:
    """Refuse a file where a folder is meant."""
    is_file = False
    with suppress(OSError):  # a name that is too long is refused where it is used
        is_file = home.is_file()
    if is_file:
        message = f"--home {home} is a file; it takes the folder that holds a campaign, or will hold it"
        raise ConfigError(message)
    return home


def is_campaign(name: str) -> bool:
    """Tell whether this names a campaign: one that was run here, or a file."""
    return (RUNS / name / "campaign.json").is_file() or Path(name).is_file()


def find_home(campaign: str | None, home: Path | None) -> Path:
    """Find the home of a campaign that was run before.

    Raises
    ------
    ConfigError
        If there is none, or several could be meant.
    """
    from pipeline.home import STUDY_PREFIX

    if home is not None:
        return _folder(home)
    known = sorted(p.parent.name for p in RUNS.glob("*/campaign.json"))
    if campaign is None:
        meant = [name for name in known if not name.startswith(STUDY_PREFIX)] or known
        if len(meant) == 1:
            return RUNS / meant[0]
        choice = f"choose one of: {', '.join(known)}" if known else "no campaign has been run here yet"
        message = f"which campaign? {choice} (or give --home DIR)"
        raise ConfigError(message)
    if campaign in known:
        return RUNS / campaign
    if (Path(campaign) / "campaign.json").is_file():
        return Path(campaign)
    return RUNS / _name_of(campaign, known)


def _name_of(campaign: str, known: list[str]) -> str:
    """Name of the campaign in a file or preset; it need not have been run."""
    from config.loader import load_campaign

    try:
        return load_campaign(campaign).name
    except ConfigError as error:
        listed = f"; run here so far: {', '.join(known)}" if known else ""
        message = f"{error}{listed}"
        raise ConfigError(message) from error


def no_driver(campaign: str) -> str:
    """Say that nobody drives a campaign, and what would."""
    from pipeline.home import STUDY_PREFIX

    command = "converge" if campaign.startswith(STUDY_PREFIX) else "run"
    return f"no driver is at work: 'sabatier {command}' starts one"


@contextmanager
def opened(campaign: str | None, home: Path | None) -> Iterator[Campaign]:
    """Open a campaign that was run before.

    Raises
    ------
    ConfigError
        If there is none.
    """
    from pipeline.campaign import open_campaign
    from pipeline.home import CampaignHome

    path = find_home(campaign, home)
    settings = CampaignHome(path).load_settings()
    with open_campaign(settings, path, patience_seconds=READER_PATIENCE_SECONDS) as opened_campaign:
        yield opened_campaign


def one_of(value: str, allowed: list[str], what: str) -> str:
    """Check a choice.

    Raises
    ------
    ConfigError
        If it is not among those allowed, with the nearest of them.
    """
    if value in allowed:
        return value
    from rapidfuzz import process

    nearest = process.extractOne(value, allowed, processor=str.casefold, score_cutoff=50)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    message = f"unknown {what} {value!r}; allowed: {', '.join(allowed)}{hint}"
    raise ConfigError(message)


def adsorbates_of(campaign: Campaign, given: str | None) -> list[str]:
    """Names of a campaign's adsorbates, or of the one that was given.

    Raises
    ------
    ConfigError
        If the campaign has no such adsorbate.
    """
    known = list(campaign.settings.adsorbates)
    return known if given is None else [one_of(given, known, "adsorbate")]


def check_picture(path: Path, option: str) -> None:
    """Refuse a file that no picture can be written to, before anything is computed.

    Raises
    ------
    ConfigError
        If its name does not end with one of :data:`PICTURES`, or :func:`check_output` refuses it.
    """
    if path.suffix.lower() not in PICTURES:
        message = f"{option} {path}: the file's name must end with one of {', '.join(PICTURES)}"
        raise ConfigError(message)
    check_output(path, option)


def check_output(path: Path, option: str) -> None:
    """Refuse what no file can take the place of, before anything is computed.

    Raises
    ------
    ConfigError
        If it is a folder or a device, or its folder does not exist or may not be written to.
    """
    folder = path.absolute().parent
    try:
        reason = (
            "it is a folder; give the name of a file" if path.is_dir()
            else "it is no ordinary file" if path.exists() and not path.is_file()
            else f"there is no folder {folder}" if not folder.is_dir()
            else f"nothing may be written to the folder {folder}" if not os.access(folder, os.W_OK | os.X_OK)
            else None
        )  # fmt: skip
    except OSError as error:  # a name that is too long, say
        reason = error.strerror or str(error)
    if reason is not None:
        message = f"{option} {path}: cannot be written: {reason}"
        raise ConfigError(message)


def hours(value: float) -> str:
    """An estimate of hours as a person reads it: two digits, or whole hours."""
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
