"""A campaign that has nothing yet, for the tests of what is done to its calculations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from config.loader import load_campaign
from pipeline.campaign import Campaign
from pipeline.home import CampaignHome

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.store.repository import Store


@pytest.fixture
def campaign(store: Store, tmp_path: Path) -> Campaign:
    """Give a campaign with an empty store and home."""
    settings = load_campaign("emt")
    home = CampaignHome(tmp_path / "home")
    home.adopt(settings)
    store.save_campaign(settings.name, settings.model_dump(mode="json"), settings.digest(), home.path)
    return Campaign(settings, home, store)
