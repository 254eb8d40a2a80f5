"""``sabatier cancel|pause|resume|retry|rerun``: what a person does to calculations of a campaign."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tasks.cli.common import HomeOption, JsonOption, guarded
from tasks.cli.show import CampaignOption
from tasks.cli.verbs import Request, act

IdsArgument = Annotated[
    list[str] | None, typer.Argument(help="Ids, or their unique beginnings.", metavar="ID")
]
StateOption = Annotated[
    list[str] | None, typer.Option("--state", help="Those in this state, such as FAILED.", metavar="STATE")
]
CodeOption = Annotated[
    list[str] | None, typer.Option("--code", help="Those that ended with this code.", metavar="CODE")
]
KindOption = Annotated[
    list[str] | None, typer.Option("--kind", help="gas, bulk, slab or adslab.", metavar="KIND")
]
AdsorbateOption = Annotated[
    list[str] | None, typer.Option("--adsorbate", help="Those with this adsorbate.", metavar="NAME")
]
BulkOption = Annotated[
    list[str] | None, typer.Option("--bulk", help="Those of this bulk: a formula or an id.", metavar="BULK")
]
LabelOption = Annotated[str, typer.Option("--label", help="Those with this in their label.", metavar="TEXT")]
AllOption = Annotated[bool, typer.Option("--all", help="All to which this applies.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]


def _make(name: str, text: str) -> Callable[..., None]:
    """Make the command of a verb that has no option of its own."""

    def command(
        ids: IdsArgument = None,
        campaign: CampaignOption = None,
        home: HomeOption = None,
        state: StateOption = None,
        code: CodeOption = None,
        kind: KindOption = None,
        adsorbate: AdsorbateOption = None,
        bulk: BulkOption = None,
        label: LabelOption = "",
        everything: AllOption = False,
        yes: YesOption = False,
        dry_run: DryRunOption = False,
        as_json: JsonOption = False,
    ) -> None:
        filters = _filters(state, code, kind, adsorbate, bulk, label)
        _guarded(name, ids, campaign, home, filters, (everything, yes, dry_run, as_json))

    command.__doc__ = text
    return command


cancel = _make("cancel", "Stop calculations for good; retry or rerun brings them back.")
resume = _make(
    "resume",
    "Go on with what was paused. Without a choice: with the whole campaign and everything paused in it.",
)
retry = _make("retry", "Try what failed or was cancelled again, going on from its last geometry.")


def pause(
    ids: IdsArgument = None,
    campaign: CampaignOption = None,
    home: HomeOption = None,
    state: StateOption = None,
    code: CodeOption = None,
    kind: KindOption = None,
    adsorbate: AdsorbateOption = None,
    bulk: BulkOption = None,
    label: LabelOption = "",
    everything: AllOption = False,
    now: Annotated[
        bool, typer.Option("--now", help="The whole campaign: stop what is under way, too.")
    ] = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Stop calculations and keep their work; without a choice, start nothing new in the campaign."""
    filters = _filters(state, code, kind, adsorbate, bulk, label)
    _guarded("pause", ids, campaign, home, filters, (everything, yes, dry_run, as_json), extra=now)


def rerun(
    ids: IdsArgument = None,
    campaign: CampaignOption = None,
    home: HomeOption = None,
    state: StateOption = None,
    code: CodeOption = None,
    kind: KindOption = None,
    adsorbate: AdsorbateOption = None,
    bulk: BulkOption = None,
    label: LabelOption = "",
    everything: AllOption = False,
    dependents: Annotated[
        bool, typer.Option("--dependents", help="Rerun finished calculations that rest on them, too.")
    ] = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compute calculations anew from scratch, valid ones too; what was found before is dropped."""
    filters = _filters(state, code, kind, adsorbate, bulk, label)
    _guarded("rerun", ids, campaign, home, filters, (everything, yes, dry_run, as_json), extra=dependents)


COMMANDS: dict[str, Callable[..., None]] = {
    "cancel": cancel,
    "pause": pause,
    "resume": resume,
    "retry": retry,
    "rerun": rerun,
}


def _filters(
    state: list[str] | None,
    code: list[str] | None,
    kind: list[str] | None,
    adsorbate: list[str] | None,
    bulk: list[str] | None,
    label: str,
) -> dict[str, Any]:
    given = {"state": state, "code": code, "kind": kind, "adsorbate": adsorbate, "bulk": bulk}
    return {name: tuple(values or ()) for name, values in given.items()} | {"label": label}


def _guarded(
    name: str,
    ids: list[str] | None,
    campaign: str | None,
    home: Path | None,
    filters: dict[str, Any],
    flags: tuple[bool, bool, bool, bool],
    extra: bool = False,
) -> None:
    def run() -> int:
        from pipeline.control import Verb

        return act(Request(Verb(name), tuple(ids or ()), campaign, home, filters, *flags, extra))

    guarded(run)
