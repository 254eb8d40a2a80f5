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
        str, typer.Option("--format", "-f", help="csv, json, extxyz or db (ASE database).", metavar="FORMAT")
    ] = "csv",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write (default: <home>/results/export.<format>).", metavar="FILE"
        ),
    ] = None,
) -> None:
    """Write every adsorption energy, with structures where the format holds them."""
    guarded(lambda: _export(campaign, home, file_format, output))


def _export(name: str | None, home: Path | None, file_format: str, output: Path | None) -> None:
    from config.errors import ConfigError
    from pipeline.export import FORMATS, export

    one_of(file_format, list(FORMATS), "format")
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
