"""``sabatier rank``: surfaces by how close they come to the target."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tasks.cli.common import (
    AdsorbateOption,
    HomeOption,
    JsonOption,
    KnownCampaignArgument,
    adsorbates_of,
    guarded,
    opened,
    print_json,
    stdout,
)


def command(
    campaign: KnownCampaignArgument = None,
    home: HomeOption = None,
    adsorbate: AdsorbateOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Rows to show for each adsorbate.")] = 20,
    predicted: Annotated[
        bool, typer.Option("--predicted", help="Add surfaces without DFT results, ranked by prediction.")
    ] = False,
    for_all: Annotated[
        bool,
        typer.Option("--all", help="One table: surfaces by their chance to be hits for every adsorbate."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Rank surfaces for each reaction by their lowest adsorption energy."""
    if for_all:
        guarded(lambda: _rank_all(campaign, home, adsorbate, limit, predicted=predicted, as_json=as_json))
    else:
        guarded(lambda: _rank(campaign, home, adsorbate, limit, predicted=predicted, as_json=as_json))


def _rank_all(
    name: str | None, home: Path | None, adsorbate: str | None, limit: int, *, predicted: bool, as_json: bool
) -> None:
    from config.errors import ConfigError
    from pipeline.joint_ranking import joint_ranking
    from tasks.cli.joint_table import joint_document, joint_table

    if adsorbate is not None:
        message = "--all is about every adsorbate at once: leave --adsorbate out"
        raise ConfigError(message)
    with opened(name, home) as campaign:
        rows = joint_ranking(campaign, with_predicted=predicted)[:limit]
    if as_json:
        print_json(joint_document(campaign, rows))
        return
    stdout().print(joint_table(campaign, rows))
    if not rows:
        stdout().print("  no adsorption energies yet; '--predicted' shows what the surrogate expects")


def _rank(
    name: str | None, home: Path | None, adsorbate: str | None, limit: int, *, predicted: bool, as_json: bool
) -> None:
    from pipeline.ranking import reaction_name
    from pipeline.results import ranking
    from tasks.cli.tables import ranking_table

    with opened(name, home) as campaign:
        targets = campaign.settings.adsorbates
        wanted = adsorbates_of(campaign, adsorbate)
        rows = {a: ranking(campaign, a, with_predicted=predicted)[:limit] for a in wanted}
    if as_json:
        rankings = [
            {
                "adsorbate": a,
                "reaction": reaction_name(a, targets[a]),
                "target_ev": targets[a].target_ev,
                "window_ev": targets[a].window_ev,
                "surfaces": [asdict(row) for row in rows[a]],
            }
            for a in wanted
        ]
        print_json({"campaign": campaign.name, "rankings": rankings})
        return
    for a in wanted:
        stdout().print(ranking_table(a, targets[a], rows[a]))
        if not rows[a]:
            stdout().print("  no adsorption energies yet; '--predicted' shows what the surrogate expects")
