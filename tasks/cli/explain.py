"""``sabatier explain``: why the surrogate says what it says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from config.errors import ConfigError
from tasks.cli.common import (
    AdsorbateOption,
    HomeOption,
    JsonOption,
    adsorbates_of,
    check_picture,
    guarded,
    is_campaign,
    opened,
    print_json,
    stderr,
)
from tasks.cli.show import CampaignOption, resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.campaign import Campaign

    Chosen = list[tuple[str, str]]
    """Adsorbates and the ids of sites."""


def command(
    identifiers: Annotated[
        list[str] | None,
        typer.Argument(
            help="Surfaces, sites or calculations: ids, or their unique beginnings. Left out: the first "
            "surfaces of the ranking.",
            metavar="ID",
        ),
    ] = None,
    campaign: CampaignOption = None,
    home: HomeOption = None,
    adsorbate: AdsorbateOption = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="How many surfaces of the ranking, without ids.")
    ] = 1,
    on_the_whole: Annotated[
        bool, typer.Option("--global", help="What matters on the whole, and how ΔE depends on it.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Draw the explanations (or --global) into this file.", metavar="FILE"),
    ] = None,
    site_map: Annotated[
        Path | None,
        typer.Option("--map", help="Draw a map of all sites coloured by ΔE into this file.", metavar="FILE"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Explain predictions: what a site owes to its elements, its place, its crystal."""
    asked = _Asked(identifiers or [], limit, on_the_whole, plot, site_map)
    guarded(lambda: _explain(campaign, home, adsorbate, asked, as_json=as_json))


@dataclass(frozen=True)
class _Asked:
    """What a person wants to have explained."""

    identifiers: list[str]
    limit: int
    on_the_whole: bool
    plot: Path | None
    site_map: Path | None

    @property
    def sites(self) -> bool:
        """Whether single sites are."""
        return bool(self.identifiers) or not (self.on_the_whole or self.site_map)

    def check(self) -> None:
        """Refuse what cannot be, before a campaign is opened.

        Raises
        ------
        ConfigError
            If a file cannot be written to, or it is not clear what it is to show.
        """
        for option, path in (("--plot", self.plot), ("--map", self.site_map)):
            if path is not None:
                check_picture(path, option)
        if self.plot is not None and self.plot == self.site_map:
            message = f"--plot and --map both are {self.plot}: give each a file of its own"
            raise ConfigError(message)
        if self.plot is not None and not (self.sites or self.on_the_whole):
            message = "--plot draws explanations: give ids or --global, or leave it out beside --map"
            raise ConfigError(message)
        if self.plot is not None and self.sites and self.on_the_whole:
            message = "--plot draws either sites or what matters on the whole: leave out the ids or --global"
            raise ConfigError(message)
        for identifier in self.identifiers:
            if is_campaign(identifier):
                message = f"{identifier!r} is a campaign, not an id: 'sabatier explain -c {identifier}'"
                raise ConfigError(message)

    def check_adsorbates(self, adsorbates: Sequence[str]) -> None:
        """Refuse to draw several adsorbates at once where a picture holds one.

        Raises
        ------
        ConfigError
            If one is to be chosen.
        """
        draws_all = self.site_map is not None or (self.plot is not None and self.on_the_whole)
        if draws_all and len(adsorbates) > 1:
            option = "--map" if self.site_map is not None else "--plot"
            message = f"{option} draws one adsorbate: choose with -a one of {', '.join(adsorbates)}"
            raise ConfigError(message)


def _explain(
    name: str | None, home: Path | None, adsorbate: str | None, asked: _Asked, *, as_json: bool
) -> None:
    asked.check()
    with opened(name, home) as campaign:
        wanted = adsorbates_of(campaign, adsorbate)
        asked.check_adsorbates(wanted)
        documents = _documents(campaign, wanted, asked)
    _draw(documents, asked)
    if as_json:
        print_json(documents)
        return
    from tasks.cli.explain_text import print_site, print_survey

    for document in documents["sites"]:
        print_site(document)
    for document in documents["surrogates"]:
        print_survey(document)
    for path in (asked.plot, asked.site_map):
        if path is not None:
            stderr().print(f"wrote {path}", markup=False, soft_wrap=True)


def _documents(campaign: Campaign, adsorbates: Sequence[str], asked: _Asked) -> dict[str, Any]:
    from pipeline.explaining import campaign_document, map_document, rebuilt, site_document

    chosen = _chosen(campaign, adsorbates, asked) if asked.sites else []
    needed = [a for a in adsorbates if asked.on_the_whole or a in {name for name, _ in chosen}]
    models = {a: rebuilt(campaign, a) for a in needed}
    for model in models.values():
        if warning := model.warning():
            stderr().print(f"[yellow]note:[/] {warning}", soft_wrap=True)
    mapped = adsorbates if asked.site_map is not None else []
    return {
        "campaign": campaign.name,
        "sites": [site_document(campaign, models[a], site_id) for a, site_id in chosen],
        "surrogates": [campaign_document(campaign, models[a]) for a in needed if asked.on_the_whole],
        "maps": [map_document(campaign, a) for a in mapped],
    }


def _chosen(campaign: Campaign, adsorbates: Sequence[str], asked: _Asked) -> Chosen:
    from pipeline.explaining import best_sites, sites_of

    if asked.identifiers:
        found = [resolve(campaign, identifier) for identifier in asked.identifiers]
        return [pair for kind, full in found for pair in sites_of(campaign, kind, full, adsorbates)]
    best = {a: best_sites(campaign, a, asked.limit) for a in adsorbates}
    if not any(best.values()):
        message = (
            f"campaign {campaign.name!r} has neither adsorption energies nor predictions yet, so there is "
            "nothing to explain; 'sabatier run' computes and trains"
        )
        raise ConfigError(message)
    return [(a, site_id) for a in adsorbates for site_id in best[a]]


def _draw(documents: dict[str, Any], asked: _Asked) -> None:
    from pipeline.explanation_plots import draw_contributions, draw_map, draw_survey

    title = documents["campaign"]
    if asked.plot is not None and asked.sites:
        draw_contributions(documents["sites"], asked.plot, title=title)
    elif asked.plot is not None:
        draw_survey(documents["surrogates"][0], asked.plot, title=title)
    if asked.site_map is not None:
        draw_map(documents["maps"][0], asked.site_map, title=title)
