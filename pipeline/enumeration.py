"""Stages that fill a campaign: bulks, their surfaces, the sites on them.

Each stage is idempotent: what it writes is keyed by content, and the stage is marked done last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.errors import ConfigError, StructureError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from config.campaign import CampaignSettings
    from pipeline.campaign import Campaign
    from pipeline.domain import Bulk, Site, Surface
    from pipeline.properties import LeftOut

BULKS, SURFACES, SITES = "bulks", "surfaces", "sites"


def select_bulks(settings: CampaignSettings, base_dir: Path) -> tuple[list[Bulk], list[LeftOut]]:
    """Load the bulks of a campaign and refuse those that its recipe cannot compute.

    Returns
    -------
    bulks, left_out
        The second are those that do not pass ``bulks.screen``.

    Raises
    ------
    ConfigError
        If nothing is selected, or an element has no PAW setup for the functional.
    StructureError
        If a structure file is unusable.
    """
    from pipeline.properties import screened
    from pipeline.structures.bulks import load_bulks

    bulks, left_out = screened(load_bulks(settings.bulks, base_dir), settings.bulks)
    _refuse_missing_setups(settings, bulks)
    return bulks, left_out


def cut_surfaces(settings: CampaignSettings, bulks: Sequence[Bulk]) -> list[Surface]:
    """Every distinct surface of the bulks.

    Raises
    ------
    ConfigError
        If no surface is left.
    """
    from pipeline.structures.surfaces import enumerate_surfaces

    surfaces = [s for bulk in bulks for s in enumerate_surfaces(bulk, settings.surfaces)]
    if not surfaces:
        message = (
            "no surface is left: every slab is larger than surfaces.max_atoms "
            f"({settings.surfaces.max_atoms}); raise it, or lower surfaces.min_height_a"
        )
        raise ConfigError(message)
    return surfaces


def find_sites(surfaces: Sequence[Surface]) -> list[Site]:
    """Every distinct site on the surfaces."""
    from pipeline.structures.sites import enumerate_sites

    sites = [site for surface in surfaces for site in enumerate_sites(surface)]
    if not sites:
        message = "no adsorption site was found on any surface"
        raise StructureError(message)
    return sites


def store_bulks(campaign: Campaign) -> None:
    """Stage 1: put the campaign's bulks into the store."""
    bulks, _ = select_bulks(campaign.settings, campaign.home.path)
    campaign.store.save_bulks(campaign.name, bulks)
    campaign.store.mark_stage(campaign.name, BULKS, len(bulks))


def store_surfaces(campaign: Campaign) -> None:
    """Stage 2: cut the bulks and put their surfaces into the store."""
    surfaces = cut_surfaces(campaign.settings, campaign.store.bulks(campaign.name))
    campaign.store.save_surfaces(campaign.name, surfaces)
    campaign.store.mark_stage(campaign.name, SURFACES, len(surfaces))


def store_sites(campaign: Campaign) -> None:
    """Stage 3: find the sites on the surfaces and put them into the store."""
    sites = find_sites(campaign.store.surfaces(campaign.name))
    campaign.store.save_sites(campaign.name, sites)
    campaign.store.mark_stage(campaign.name, SITES, len(sites))
    campaign.forget_enumeration()


def _refuse_missing_setups(settings: CampaignSettings, bulks: Sequence[Bulk]) -> None:
    from dft.setups import unsupported_elements

    recipe = settings.recipe
    elements = {e for bulk in bulks for e in bulk.elements} | _adsorbate_elements(settings)
    missing = unsupported_elements(elements, recipe)
    what = f"GPAW has no PAW setup for {recipe.xc}" if recipe.engine == "gpaw" else "EMT has no parameters"
    if missing:
        named = [b.source_id for b in bulks if set(b.elements) & set(missing)]
        message = (
            f"element {', '.join(missing)}: {what}, so these bulks cannot be computed: "
            f"{', '.join(named[:10])}{' ...' if len(named) > 10 else ''}. "
            "Leave them out of bulks, or choose another recipe."
        )
        raise ConfigError(message)


def _adsorbate_elements(settings: CampaignSettings) -> set[str]:
    return {symbol for name in settings.adsorbates for symbol in settings.species(name).symbols}
