"""``sabatier store``: where the database is, and back-ups of a campaign."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from config.errors import ConfigError
from tasks.cli.common import (
    RUNS,
    HomeOption,
    JsonOption,
    KnownCampaignArgument,
    check_output,
    guarded,
    opened,
    print_json,
    stderr,
    stdout,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from config.campaign import CampaignSettings
    from pipeline.campaign import Campaign
    from pipeline.store.dumpfile import DumpReader
    from pipeline.store.repository import Store

STREAM = Path("-")
MEGABYTE = 1e6
app = typer.Typer(help="Look at the campaign's database, back it up, restore it.", no_args_is_help=True)


@app.command()
def info(
    campaign: KnownCampaignArgument = None, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Show where the database is, its size, its documents, and the drivers at work."""
    guarded(lambda: _info(campaign, home, as_json=as_json))


def _info(name: str | None, home: Path | None, *, as_json: bool) -> None:
    with opened(name, home) as campaign:
        document = _info_document(campaign)
    if as_json:
        print_json(document)
        return
    console = stdout()
    console.print(f"{document['store']}", soft_wrap=True, markup=False)
    console.print(f"  {document['server']}, {document['size_bytes'] / MEGABYTE:.1f} MB on disk")
    console.print(f"  campaigns: {', '.join(document['campaigns'])}")
    console.print(
        "  " + ", ".join(f"{n} {name}" for name, n in document["documents"].items()), soft_wrap=True
    )
    for driver in document["drivers"]:
        console.print(
            f"  driver: process {driver['pid']} on {driver['host']} ({driver['mode']}), "
            f"last heard of {driver['age_seconds']:.0f} s ago"
        )
    if not document["drivers"]:
        console.print("  no driver is at work")


def _info_document(campaign: Campaign) -> dict[str, Any]:
    store = campaign.store
    drivers = [{**vars(d), "started_at": d.started_at.isoformat()} for d in store.drivers(campaign.name)]
    return {
        "store": str(store),
        "server": store.server_version(),
        "size_bytes": store.size_bytes(),
        "campaigns": [c.name for c in store.campaigns()],
        "documents": store.document_counts(),
        "drivers": drivers,
    }


@app.command()
def dump(
    campaign: KnownCampaignArgument = None,
    home: HomeOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write, - for stdout (default: <name>-<date>.jsonl.gz here).",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Write a campaign into one file: all that the database knows of it.

    Settings, bulks, surfaces, sites, rounds, surrogates, and every calculation with its history, result and
    adsorption energy. Not in it are the files of the home: job directories (logs, trajectories, densities),
    predictions and tables. Copy <home>/jobs and <home>/predictions along if they are to be kept too.
    """
    guarded(lambda: _dump(campaign, home, output))


def _dump(name: str | None, home: Path | None, output: Path | None) -> None:
    from dft.jobs import replacing
    from pipeline.store.dump import dump_campaign

    if output is not None and output != STREAM:
        check_output(output, "--output")
    with opened(name, home) as campaign:
        if output == STREAM:
            if sys.stdout.isatty():
                message = "a dump is no text for a terminal: name a file with --output, or redirect"
                raise ConfigError(message)
            counts = dump_campaign(campaign.store, campaign.name, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        else:
            today = datetime.now(UTC).date()
            output = output or Path(f"{campaign.name}-{today}.jsonl.gz")
            with replacing(output) as temporary, temporary.open("wb") as target:
                counts = dump_campaign(campaign.store, campaign.name, target)
    place = "stdout" if output == STREAM else str(output)
    stderr().print(f"wrote campaign {campaign.name} to {place}: {_listed(counts)}", soft_wrap=True)


@app.command()
def load(
    file: Annotated[Path, typer.Argument(help="File of 'store dump', - for stdin.", metavar="FILE")],
    campaign: Annotated[
        str | None,
        typer.Argument(
            help="Campaign file whose `store` section says where to (default: that of the home, else of the "
            "dump).",
            metavar="[CAMPAIGN]",
        ),
    ] = None,
    home: HomeOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of the campaign of this name.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Read a campaign from a file of 'store dump' into the database, beside what is there.

    Calculations that the database has already stay, unless the file's got further. Jobs that were under way
    when the file was written are looked for by the next 'sabatier run', and started again if they are gone.
    """
    guarded(lambda: _load(file, campaign, home, replace=replace, yes=yes))


def _load(file: Path, source: str | None, home: Path | None, *, replace: bool, yes: bool) -> None:
    from pipeline.home import CampaignHome
    from pipeline.store import open_store
    from pipeline.store.dumpfile import DumpReader
    from pipeline.store.load import load_campaign

    with _as_file(file) as path:
        reader = DumpReader(path)
        reader.verify()
        name = reader.header["campaign"]
        place = CampaignHome(home if home is not None else RUNS / name)
        settings = _settings(reader, source, place)
        if place.exists():
            place.adopt(settings)  # or refuse, before anything is written
        with open_store(settings.store, place.path) as store:
            if replace and not yes:
                _confirm(store, name)
            counts = load_campaign(store, reader, replace=replace)
        place.adopt(settings)
    kept = counts.pop("kept")
    stayed = f"; {kept} calculations were there already, as far or further, and stayed" if kept else ""
    stderr().print(f"loaded campaign {name} into {place.path}: {_listed(counts)}{stayed}", soft_wrap=True)


def _settings(reader: DumpReader, source: str | None, home: Any) -> CampaignSettings:
    """Settings that say where the store is.

    Raises
    ------
    ConfigError
        If they are another campaign's, or the dump's do not fit this release.
    """
    from config.campaign import CampaignSettings
    from config.loader import load_campaign

    name = reader.header["campaign"]
    if source is not None:
        settings = load_campaign(source)
    elif home.exists():
        settings = home.load_settings()
    else:
        try:
            settings = CampaignSettings.model_validate(reader.campaign()["settings"])
        except ValueError as error:
            message = f"the settings in {reader.path} are of another release: name the campaign's file too"
            raise ConfigError(message) from error
    if settings.name != name:
        message = f"{reader.path} holds campaign {name!r}, not {settings.name!r}: give another --home or file"
        raise ConfigError(message)
    return settings


def _confirm(store: Store, name: str) -> None:
    """Ask before a campaign is replaced.

    Raises
    ------
    ConfigError
        If the answer is no, or there is nobody to ask.
    """
    if store.campaign(name) is None:
        return
    if not sys.stdin.isatty():
        message = f"campaign {name!r} of {store} would be replaced: add --yes if that is meant"
        raise ConfigError(message)
    if not typer.confirm(f"Replace campaign {name!r} of {store}?", err=True):
        message = "nothing was changed"
        raise ConfigError(message)


@contextmanager
def _as_file(file: Path) -> Iterator[Path]:
    """Give a file that can be read several times, of stdin too.

    Raises
    ------
    ConfigError
        If there is no such file.
    """
    if file != STREAM:
        if not file.is_file():
            message = f"no file {file}"
            raise ConfigError(message)
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="sabatier-") as folder:
        path = Path(folder) / "stdin"
        with path.open("wb") as target:
            shutil.copyfileobj(sys.stdin.buffer, target)
        yield path


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {collection}" for collection, n in counts.items())
