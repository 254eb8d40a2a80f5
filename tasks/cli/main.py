"""The ``sabatier`` command; each sub-command has a file of its own.

Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 130 interrupted.
"""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from tasks.cli import (
    control,
    converge,
    doctor,
    explain,
    export,
    failures,
    init,
    logs,
    plan,
    properties,
    rank,
    replay,
    run,
    show,
    status,
    store,
)

app = typer.Typer(
    name="sabatier",
    help="Active-learning screening of intermetallic surfaces with real DFT.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(version("sabatier"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Screen intermetallic surfaces for electrocatalysts, round after round, until the budget is spent."""
    del version


for _module in (
    init,
    doctor,
    plan,
    converge,
    run,
    status,
    rank,
    explain,
    replay,
    failures,
    show,
    logs,
    export,
):
    app.command(_module.__name__.rpartition(".")[2])(_module.command)
for _name, _command in control.COMMANDS.items():
    app.command(_name)(_command)
app.add_typer(properties.app, name="properties")
app.add_typer(store.app, name="store")


def main() -> None:
    """Entry point of the ``sabatier`` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # ΔE, ± and Å on a terminal that knows ASCII only
            stream.reconfigure(errors="replace")
    app()


if __name__ == "__main__":
    main()
