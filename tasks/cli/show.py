"""``sabatier show``: everything known about one bulk, surface, site or calculation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tasks.cli.common import HomeOption, JsonOption, guarded, opened, print_json, stdout

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.campaign import Campaign

IdArgument = Annotated[str, typer.Argument(help="Id, or its unique beginning.", metavar="ID")]
CampaignOption = Annotated[
    str | None, typer.Option("--campaign", "-c", help="Campaign name, file or preset.", metavar="CAMPAIGN")
]


def command(
    identifier: IdArgument,
    campaign: CampaignOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one bulk, surface, site or calculation."""
    guarded(lambda: _show(identifier, campaign, home, as_json=as_json))


def resolve(campaign: Campaign, identifier: str) -> tuple[str, str]:
    """Find the kind and full id that an id or its beginning stands for.

    Raises
    ------
    ConfigError
        If nothing or several things begin like that.
    """
    from config.errors import ConfigError

    found = campaign.store.resolve_id(identifier.strip(), campaign.name)
    if not found:  # tables name bulks by their source
        found = [("bulk", bulk.id) for bulk in campaign.bulks if bulk.source_id == identifier]
    if len(found) == 1:
        return found[0]
    if not found:
        message = f"no bulk, surface, site or calculation has the id {identifier!r}; 'rank --json' lists ids"
    else:
        message = f"id {identifier!r} is ambiguous: {', '.join(i for _, i in found[:8])}"
    raise ConfigError(message)


def _show(identifier: str, name: str | None, home: Path | None, *, as_json: bool) -> None:
    from pipeline.report import show_document

    with opened(name, home) as campaign:
        document = show_document(campaign, *resolve(campaign, identifier))
    if as_json:
        print_json(document)
    else:
        _print(stdout(), document)


def _print(console: Console, document: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in document.items():
        table.add_row(key, _text(value))
    console.print(table, markup=False)


def _text(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "\n".join(", ".join(f"{k}: {_text(v)}" for k, v in item.items()) for item in value)
    if isinstance(value, dict):
        return json.dumps(value, default=str)
    if isinstance(value, float):
        return f"{value:.4f}"
    return str(value)
