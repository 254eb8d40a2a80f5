"""A campaign that has its sites, and no energy yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.campaign import Campaign
from pipeline.enumeration import store_bulks, store_sites, store_surfaces
from pipeline.home import CampaignHome

if TYPE_CHECKING:
    from pathlib import Path

    from config.campaign import CampaignSettings
    from pipeline.store.repository import Store


def enumerated(settings: CampaignSettings, store: Store, home: Path) -> Campaign:
    """Open a new campaign and enumerate its bulks, surfaces and sites."""
    store.save_campaign(settings.name, settings.model_dump(mode="json"), settings.digest(), home)
    campaign = Campaign(settings, CampaignHome(home), store)
    for stage in (store_bulks, store_surfaces, store_sites):
        stage(campaign)
    return campaign
