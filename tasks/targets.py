"""Luigi targets that ask the store whether a stage is done; each is one count or look-up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import luigi

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
        return self.campaign.store.stage(self.campaign.name, self.stage) is not None


@dataclass(frozen=True)
class RoundTarget(luigi.Target):
    """Something about a round that the store can confirm."""

    campaign: Campaign
    number: int
    is_reached: Callable[[Campaign, int], bool]

    def exists(self) -> bool:
        """Tell whether the round has come this far."""
        return self.is_reached(self.campaign, self.number)
