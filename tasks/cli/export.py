"""``sabatier export``: adsorption energies and structures for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tasks.cli.common import HomeOption, KnownCampaignArgument, check_output, guarded, one_of, opened, stderr


def command(
    campaign: KnownCampaignArgument = None,
    home: HomeOption = None,
    file_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            help="csv, json, extxyz or db (ASE database) (default: what --output ends with, or csv).",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write (default: <home>/results/export.<format>).", metavar="FILE"
        ),
    ] = None,
) -> None:
    """Write every adsorption energy, with structures where the format holds them."""
    guarded(lambda: _export(campaign, home, file_format, output))


def _export(name: str | None, home: Path | None, wanted: str | None, output: Path | None) -> None:
    from config.errors import ConfigError
    from pipeline.export import FORMATS, export

    ending = output.suffix.lower().removeprefix(".") if output is not None else ""
    file_format = one_of(wanted or (ending if ending in FORMATS else FORMATS[0]), list(FORMATS), "format")
    if output is not None:
        check_output(output, "--output")
    with opened(name, home) as campaign:
        path = output or campaign.home.results / f"export.{file_format}"
        try:
            count = export(campaign, path, file_format)
        except OSError as error:
            message = f"cannot write {path}: {error.strerror or error}"
            raise ConfigError(message) from error
    stderr().print(f"wrote {count} adsorption energies to {path}", soft_wrap=True)
