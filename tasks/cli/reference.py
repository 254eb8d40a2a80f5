"""The reference of all commands, written from the commands themselves.

``python -m tasks.cli.reference`` prints it; it is ``docs/reference/cli.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer

from tasks.cli.main import app

HEAD = """\
# Commands

<!-- Written by `python -m tasks.cli.reference`. -->

Every command takes `--help`. `CAMPAIGN` is a campaign file or a preset (`demo`, `screening`, `emt`); where it
is optional, also the name of a campaign in `runs/`, and nothing at all if there is only one there. `ID` is
the id of a bulk, surface, site or calculation, or its unique beginning. Tables and JSON go to stdout,
everything else to stderr.

Exit codes: 0 done (or the budget is spent), 1 failed, 2 bad usage or configuration, 130 interrupted.
"""


def render_reference() -> str:
    """Return the reference, in Markdown."""
    sections = [
        _section(name, command) for name, command in _commands(typer.main.get_command(app), "sabatier")
    ]
    return "\n".join([HEAD, *sections])


def _commands(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        full = f"{prefix} {name}"
        if hasattr(command, "commands"):
            yield from _commands(command, full)
        else:
            yield full, command


def _section(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    usage = " ".join([name, *map(_placeholder, arguments), *(["[OPTIONS]"] if options else [])])
    rows = [(_placeholder(p), p.help) for p in arguments] + [(_option(p), p.help) for p in options]
    table = (
        ["", "| | |", "|---|---|", *(f"| `{left}` | {_cell(right)} |" for left, right in rows)]
        if rows
        else []
    )
    return "\n".join([f"## {name}", f"`{usage}`", "", _unwrapped(command.help), *table, ""])


def _placeholder(argument: Any) -> str:
    shown = str(argument.metavar or argument.name.upper())
    if not argument.required and not shown.startswith("["):
        shown = f"[{shown}]"
    return f"{shown}..." if argument.nargs == -1 else shown


def _option(option: Any) -> str:
    names = ", ".join(sorted(option.opts, key=len, reverse=True))
    return names if option.is_flag else f"{names} {option.metavar or 'N'}"


def _cell(text: str | None) -> str:
    return (text or "").replace("<", "&lt;").replace("|", "\\|")


def _unwrapped(text: str | None) -> str:
    """Text of a docstring with one line for each paragraph."""
    return "\n\n".join(" ".join(part.split()) for part in _cell(text).split("\n\n"))


if __name__ == "__main__":
    sys.stdout.write(render_reference())
