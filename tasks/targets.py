"""Luigi targets that ask the store whether a stage is done; each is one count or look-up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import luigi

from tasks.context import current

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.campaign import Campaign


@dataclass(frozen=True)
class StageTarget(luigi.Target):
    """An enumeration stage that is marked complete in the store."""

    campaign: Campaign
    stage: str

    def exists(self) -> bool:
        """Tell whether the stage is marked done."""
        return _told(
            self.campaign, lambda: self.campaign.store.stage(self.campaign.name, self.stage) is not None
        )


@dataclass(frozen=True)
class CampaignTarget(luigi.Target):
    """Something about the campaign as a whole that the store can confirm."""

    campaign: Campaign
    is_reached: Callable[[Campaign], bool]

    def exists(self) -> bool:
        """Tell whether the campaign has come this far."""
        return _told(self.campaign, lambda: self.is_reached(self.campaign))


@dataclass(frozen=True)
class RoundTarget(luigi.Target):
    """Something about a round that the store can confirm."""

    campaign: Campaign
    number: int
    is_reached: Callable[[Campaign, int], bool]

    def exists(self) -> bool:
        """Tell whether the round has come this far."""
        return _told(self.campaign, lambda: self.is_reached(self.campaign, self.number))


def _told(campaign: Campaign, ask: Callable[[], bool]) -> bool:
    """Ask; keep an outage of the store, of which Luigi would only say that a task is missing."""
    try:
        return ask()
    except Exception as error:
        current(campaign.name).failures.append(error)
        raise
