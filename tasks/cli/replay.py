"""``sabatier replay``: which strategy would have found a campaign's hits soonest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tasks.cli.common import (
    AdsorbateOption,
    HomeOption,
    JsonOption,
    KnownCampaignArgument,
    adsorbates_of,
    guarded,
    one_of,
    opened,
    print_json,
    stderr,
    stdout,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from pipeline.campaign import Campaign
    from pipeline.replaying import ReplayPlan


def command(
    campaign: KnownCampaignArgument = None,
    home: HomeOption = None,
    adsorbate: AdsorbateOption = None,
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            "--strategy",
            help="Acquisition strategy, several times if need be; the campaign's own and random by default.",
            metavar="NAME",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Replays of each strategy to average.")] = 5,
    seed_size: Annotated[
        int | None, typer.Option("--seed-size", min=1, help="Energies known at the start; 5 % by default.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Energies chosen each round; 5 % by default.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Replay a campaign on its own adsorption energies, to see how soon each strategy finds the hits."""
    options = {"n_seeds": seeds, "seed_size": seed_size, "batch": batch}
    guarded(lambda: _replay(campaign, home, adsorbate, strategy or (), options, as_json=as_json))


def _replay(
    name: str | None,
    home: Path | None,
    adsorbate: str | None,
    strategies: Sequence[str],
    options: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    from pipeline.replaying import ReplayPlan, replay_document
    from surrogate.acquisition import STRATEGIES

    chosen = tuple(dict.fromkeys(one_of(s, list(STRATEGIES), "strategy") for s in strategies))
    plan = ReplayPlan(strategies=chosen, **options)
    with opened(name, home) as campaign:
        wanted = _with_enough(campaign, adsorbates_of(campaign, adsorbate), plan)
        documents = [replay_document(campaign, a, plan, _tell) for a in wanted]
    if as_json:
        print_json({"campaign": campaign.name, "replays": documents})
        return
    for document in documents:
        stdout().print(_table(document))


def _with_enough(campaign: Campaign, adsorbates: Sequence[str], plan: ReplayPlan) -> list[str]:
    """Adsorbates that can be replayed, before the first is; says why others cannot.

    Raises
    ------
    ConfigError
        If none can.
    """
    from config.errors import ConfigError
    from pipeline.replaying import observed_pool

    refused = {}
    for name in adsorbates:
        try:
            observed_pool(campaign, name, plan.seed_size)
        except ConfigError as error:
            refused[name] = str(error)
    if len(refused) == len(adsorbates):
        raise ConfigError("\n".join(refused.values()))
    for reason in refused.values():
        stderr().print(f"note: {reason}", markup=False, soft_wrap=True)
    return [name for name in adsorbates if name not in refused]


def _tell(what: str) -> None:
    stderr().print(f"replaying {what} ...", markup=False)


def _table(document: dict[str, Any]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    title = (
        f"{document['adsorbate']}: {document['hits']} hits on {document['surfaces_hit']} surfaces among "
        f"{document['observations']} energies. Hits (surfaces) after so many, mean of {document['seeds']}:"
    )
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    table.add_column("strategy", no_wrap=True)
    for n in document["labels"]:
        table.add_column(str(n), justify="right")
    for name, figures in document["strategies"].items():
        pairs = zip(figures["hits"], figures["surfaces_hit"], strict=True)
        table.add_row(name, *(f"{hits:.1f} ({surfaces:.1f})" for hits, surfaces in pairs))
    return table
