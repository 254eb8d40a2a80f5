"""``sabatier init``: write a commented campaign file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tasks.cli.common import guarded, stdout


def command(
    name: Annotated[str, typer.Argument(help="Name of the new campaign.")] = "my-campaign",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write (default: <name>.yaml).", metavar="FILE"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented campaign file to start from."""
    guarded(lambda: _write(name, output or Path(f"{name}.yaml"), force=force))


def _write(name: str, path: Path, *, force: bool) -> None:
    from config.errors import ConfigError
    from config.template import render_template

    text = render_template(name)
    if path.exists() and not force:
        message = f"{path} exists already; give --force to overwrite it, or --output another file"
        raise ConfigError(message)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise ConfigError(message) from error
    stdout().print(
        f"wrote {path}. Next: edit it, then 'sabatier plan {path}' and 'sabatier run {path}'", soft_wrap=True
    )
