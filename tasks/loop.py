"""The loop, as Luigi tasks: read it from the bottom of a round to its top.

``Bulks -> Surfaces -> Sites -> Pretrained`` once, then per round ``Train -> Select -> RunBatch -> Collect``,
where round n trains on what round n - 1 collected; ``ScreenCampaign`` asks for the last round. In ``mode:
async`` there is ``RunAsync`` instead, which drives decisions and calculations to the campaign's end. There is
one task per stage and round, never one per site: Luigi's scheduler slows down badly beyond a thousand tasks.
Every task is idempotent and asks the store whether it is complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import luigi

from pipeline import asynchronous, batch, enumeration, learning, pretrained, results, selection
from pipeline.store.records import SEED_ROUND
from tasks.context import current
from tasks.targets import CampaignTarget, RoundTarget, StageTarget

if TYPE_CHECKING:
    from pipeline.campaign import Campaign


class CampaignTask(luigi.Task):
    """A task of one campaign."""

    name = luigi.Parameter()
    session = luigi.Parameter()
    """Which driver asks: a central scheduler holds the tasks of a killed driver for a quarter of an hour."""

    @property
    def campaign(self) -> Campaign:
        """The open campaign."""
        return current(self.name).campaign

    def other(self, task: type[CampaignTask], **identity: int) -> CampaignTask:
        """Return another task of this campaign and driver."""
        return task(name=self.name, session=self.session, **identity)


class RoundTask(CampaignTask):
    """A task of one round; round 0 is the seed."""

    number = luigi.IntParameter()

    def step(self, task: type[CampaignTask]) -> CampaignTask:
        """Return another task of this round."""
        return self.other(task, number=self.number)


class Bulks(CampaignTask):
    """Load the crystals to screen."""

    def output(self) -> StageTarget:
        """Bulks are stored."""
        return StageTarget(self.campaign, enumeration.BULKS)

    def run(self) -> None:
        """Load and store them."""
        enumeration.store_bulks(self.campaign)


class Surfaces(CampaignTask):
    """Cut every distinct surface."""

    def requires(self) -> CampaignTask:
        """Surfaces are cut from bulks."""
        return self.other(Bulks)

    def output(self) -> StageTarget:
        """Surfaces are stored."""
        return StageTarget(self.campaign, enumeration.SURFACES)

    def run(self) -> None:
        """Cut and store them."""
        enumeration.store_surfaces(self.campaign)


class Sites(CampaignTask):
    """Find every distinct adsorption site."""

    def requires(self) -> CampaignTask:
        """Sites lie on surfaces."""
        return self.other(Surfaces)

    def output(self) -> StageTarget:
        """Sites are stored."""
        return StageTarget(self.campaign, enumeration.SITES)

    def run(self) -> None:
        """Find and store them."""
        enumeration.store_sites(self.campaign)


class Pretrained(CampaignTask):
    """Ask the pretrained potential about its shortlist of sites, if the campaign has one."""

    def requires(self) -> CampaignTask:
        """It is asked about sites."""
        return self.other(Sites)

    def output(self) -> CampaignTarget:
        """It has said something of every site of the shortlist."""
        return CampaignTarget(self.campaign, pretrained.is_complete)

    def run(self) -> None:
        """Ask it."""
        pretrained.compute(self.campaign, current(self.name).watch)


class Train(RoundTask):
    """Featurise the sites and train the round's surrogates on all observations so far."""

    def requires(self) -> list[CampaignTask]:
        """All sites, what a pretrained potential says, and what the round before has found."""
        is_first = self.number == SEED_ROUND
        before = [] if is_first else [self.other(Collect, number=self.number - 1)]
        return [self.other(Sites), self.other(Pretrained), *before]

    def output(self) -> RoundTarget:
        """Models are recorded and their predictions kept."""
        return RoundTarget(self.campaign, self.number, learning.is_trained)

    def run(self) -> None:
        """Train, predict, record."""
        learning.train_round(self.campaign, self.number)


class Select(RoundTask):
    """Let the acquisition choose the round's candidates."""

    def requires(self) -> CampaignTask:
        """Choices rest on predictions."""
        return self.step(Train)

    def output(self) -> RoundTarget:
        """The choice is recorded and its calculations are planned."""
        return RoundTarget(self.campaign, self.number, selection.is_selected)

    def run(self) -> None:
        """Choose and plan."""
        selection.select_round(self.campaign, self.number)


class RunBatch(RoundTask):
    """Compute the round's candidates with all that they need."""

    def requires(self) -> CampaignTask:
        """Only what was chosen is computed."""
        return self.step(Select)

    def output(self) -> RoundTarget:
        """Every chosen calculation has come to an end, good or bad."""
        return RoundTarget(self.campaign, self.number, batch.is_computed)

    def run(self) -> None:
        """Drive the ledger until the round is computed."""
        batch.run_batch(self.campaign, self.number, current(self.name).watch)


class Collect(RoundTask):
    """Close the round and write the rankings, tables and plots as they now stand."""

    def requires(self) -> CampaignTask:
        """A round is closed when it is computed."""
        return self.step(RunBatch)

    def output(self) -> RoundTarget:
        """The round is closed."""
        return RoundTarget(self.campaign, self.number, results.is_closed)

    def run(self) -> None:
        """Write the results, then close the round."""
        results.close_round(self.campaign, self.number)


class RunAgain(CampaignTask):
    """Compute what a person asked for again after the last round was closed."""

    priority = 1
    """Before a further round is begun, which there may not be."""

    def output(self) -> CampaignTarget:
        """Everything chosen has come to an end."""
        return CampaignTarget(self.campaign, lambda campaign: not campaign.is_reopened())

    def run(self) -> None:
        """Drive the ledger, then write the results anew."""
        last = self.campaign.rounds()[-1]
        batch.compute(self.campaign, current(self.name).watch, "the closed rounds", last.number)
        results.write_results(self.campaign)


class RunAsync(CampaignTask):
    """Choose and compute at once, the queue kept full, until the budget is spent."""

    def requires(self) -> list[CampaignTask]:
        """Choices are made among all sites."""
        return [self.other(Sites), self.other(Pretrained)]

    def output(self) -> CampaignTarget:
        """Nothing is left to do."""
        return CampaignTarget(self.campaign, asynchronous.is_complete)

    def run(self) -> None:
        """Drive the ledger, deciding whenever results arrive."""
        asynchronous.run_async(self.campaign, current(self.name).watch)


class ScreenCampaign(CampaignTask):
    """The whole campaign: its last round and thereby all rounds, or all that its budget allows."""

    def requires(self) -> list[CampaignTask]:
        """The last round that the budget allows; in ``mode: async`` everything in one."""
        last = self.campaign.last_round
        if last is None:
            return [self.other(RunAsync)]
        return [self.other(RunAgain), self.other(Collect, number=last)]

    def complete(self) -> bool:
        """Tell whether nothing is left to do."""
        is_enumerated = self.campaign.store.stage(self.name, enumeration.SITES) is not None
        return is_enumerated and self.campaign.reason_to_stop() is not None
