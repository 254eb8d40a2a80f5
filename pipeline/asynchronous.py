"""A campaign without rounds' ends: whenever results arrive, replacements are chosen (``mode: async``).

A round is a single decision here: the surrogate is trained on all observations so far, and as many
candidates are chosen as there is room for. The room is ``batch_size`` less the adsorption energies chosen
and not yet ended; the seed round is chosen as a whole, and replacements begin as soon as fewer than
``batch_size`` of it are left. Results that arrive together lead to one decision. A round is closed when all
its calculations have ended.

Any number of drivers may be at it. They take turns at deciding by a lease, which only spares work: what
keeps the choices right is that a round is created once, by its number, by whoever is first, and chosen from
everything that the rounds before hold. A driver that was asleep while others went on finds its round there
and drops its own choice. Only then are the predictions kept, by the driver whose round it is; the round
itself records what was predicted of those chosen.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pipeline import learning, results, selection
from pipeline.batch import Driver
from pipeline.domain import TERMINAL, CalculationState
from pipeline.drivers import is_known_dead, own_id
from pipeline.ends import BudgetSpent, Drained, Held, NothingLeft
from pipeline.store.records import SEED_ROUND

if TYPE_CHECKING:
    from pipeline.batch import Watch
    from pipeline.campaign import Campaign
    from pipeline.domain import Calculation
    from pipeline.store.records import RoundRecord

LEASE_SECONDS = 60.0
"""How long a driver may take to decide before another one tries, s by the database's clock."""
PUBLISH_SECONDS = 30.0
"""Time between two writings of the tables and plots."""
METRICS_EVERY = 10
"""Decisions between two cross-validations, which cost several times as much as a decision."""
KEPT_PREDICTIONS = 3
"""Decisions whose predictions are kept: the ranking needs the last, a reader may be at the one before."""


def run_async(campaign: Campaign, watch: Watch) -> None:
    """Choose and compute until the campaign is complete.

    Raises
    ------
    Drained, BudgetSpent, Held, StepDone, NothingLeft
        If this driver ends before.
    """
    driver = Driver.of(campaign, watch)
    desk = Desk(campaign, driver)
    while not desk.turn():
        driver.ledger.wait()


def is_complete(campaign: Campaign) -> bool:
    """Tell whether nothing is left to do."""
    return campaign.reason_to_stop() is not None


@dataclass
class Desk:
    """Where one driver sees to it that the queue is full."""

    campaign: Campaign
    driver: Driver
    rounds: list[RoundRecord] = field(default_factory=list)
    """Every decision so far, by number; whether it is closed may have changed since."""
    ids: list[str] = field(default_factory=list)
    """All that was chosen, with everything it requires."""
    _n_ended_published: int = -1
    _published_at: float = float("-inf")
    _n_ended_exhausted: int = -1
    _poor_prospects: NothingLeft | None = None
    """Why nothing more was chosen although there are candidates, as of the last decision."""

    def turn(self) -> bool:
        """Do all that can be done now; return whether the campaign is complete.

        Raises
        ------
        Drained, BudgetSpent, Held, StepDone, NothingLeft
            If this driver is not to wait for more.
        """
        self._read_rounds()
        may_start = self._step() and not self.driver.watch.is_draining()
        if may_start and self._decide_if_due():
            self._step()
        self._publish(is_last=self.driver.ledger.is_finished)
        if self.driver.ledger.is_finished and is_complete(self.campaign):
            return True
        if self.driver.ledger.is_finished and self._poor_prospects is not None:
            raise self._poor_prospects
        try:
            self.driver.refuse_to_wait("the campaign")
        except (Drained, BudgetSpent, Held):
            self._publish(is_last=True)
            raise
        return False

    def _step(self) -> bool:
        """Harvest and submit; return whether anything new may be started."""
        may_start = self.driver.step(self.ids)
        n_more = self.campaign.calculations_left(self._chosen())
        progress = self.driver.progress(max(0, len(self.rounds) - 1), n_more)
        self.driver.watch.on_progress(progress)
        return may_start

    # -- what was decided ------------------------------------------------------------------------

    def _read_rounds(self) -> bool:
        """Take up the decisions made since the last look, by whichever driver; return whether any was."""
        new = self._new_rounds()
        if not new:
            return False
        for record in new:
            if not record.is_closed and not selection.is_selected(self.campaign, record.number):
                selection.plan_round(self.campaign, record)  # its driver was killed before that
        needed = self.campaign.store.closure(i for record in new for i in record.calculation_ids)
        self.ids = list(dict.fromkeys([*self.ids, *needed]))
        self.rounds += new
        ledger = self.driver.ledger
        chosen_in = {i: record.number for record in self.rounds for i in record.calculation_ids}
        ledger.judge = replace(ledger.judge, round_of=chosen_in)
        return True

    def _new_rounds(self) -> list[RoundRecord]:
        if not self.rounds:
            return self.campaign.rounds()
        new: list[RoundRecord] = []
        store, name = self.campaign.store, self.campaign.name
        while (record := store.round(name, len(self.rounds) + len(new))) is not None:
            new.append(record)
        return new

    def _chosen(self) -> list[Calculation]:
        known = self.driver.ledger.calculations
        return [known[i] for record in self.rounds for i in record.calculation_ids if i in known]

    def _n_ended(self) -> int:
        return sum(c.state in TERMINAL for c in self.driver.ledger.calculations.values())

    # -- deciding --------------------------------------------------------------------------------

    def _room(self) -> int:
        """How many candidates may be chosen now. What a person has paused takes no room."""
        width = selection.usual_size(self.campaign, len(self.rounds))
        idle = TERMINAL | {CalculationState.PAUSED}
        chosen = self._chosen()
        under_way = sum(c.state not in idle for c in chosen)
        return min(width - under_way, self.campaign.calculations_left(chosen))

    def _decide_if_due(self) -> bool:
        """Choose replacements if there is room and it is this driver's turn; return whether any came."""
        room = self._room()
        if room < 1 or self._n_ended() == self._n_ended_exhausted:
            return False
        if not self._take_turn():
            return False
        try:
            # Another driver may have decided since this one looked.
            return self._read_rounds() or self._decide(room)
        finally:
            self.campaign.store.release_lease(self._lease, own_id())

    @property
    def _lease(self) -> str:
        return f"{self.campaign.name}/choose"

    def _take_turn(self) -> bool:
        """Become the driver that decides; one that is known to have died is not waited for."""
        store = self.campaign.store
        holder = store.lease_owner(self._lease)
        if holder is not None and is_known_dead(holder):
            store.release_lease(self._lease, holder)
        return store.take_lease(self._lease, own_id(), seconds=LEASE_SECONDS)

    def _decide(self, room: int) -> bool:
        campaign, number = self.campaign, len(self.rounds)
        trained = learning.train(campaign, number, with_metrics=number % METRICS_EVERY == 0)
        predictions = {name: t.predictions for name, t in trained.items()}
        try:
            wanted = selection.choose_round(campaign, number, predictions, room)
        except NothingLeft as poor:  # results on their way may change that
            self._poor_prospects, self._n_ended_exhausted = poor, self._n_ended()
            return False
        self._poor_prospects = None
        if not wanted.selections:
            self._n_ended_exhausted = self._n_ended()
            return False
        record = campaign.store.create_round(wanted)
        if record.selections == wanted.selections:
            for t in trained.values():
                learning.keep(campaign, t)
            self._forget_predictions(number - KEPT_PREDICTIONS)
        return self._read_rounds()

    def _forget_predictions(self, number: int) -> None:
        """Delete the predictions of an old decision: a file for every site, and decisions are many."""
        if number == SEED_ROUND:
            return
        for adsorbate in self.campaign.settings.adsorbates:
            learning.predictions_file(self.campaign, number, adsorbate).unlink(missing_ok=True)

    # -- publishing ------------------------------------------------------------------------------

    def _publish(self, *, is_last: bool) -> None:
        """Write the results now and then, and close the rounds that have ended by then."""
        n_ended = self._n_ended()
        if n_ended == self._n_ended_published:
            return
        if not is_last and time.monotonic() - self._published_at < PUBLISH_SECONDS:
            return
        known = self.driver.ledger.calculations
        results.write_results(self.campaign)
        for record in self.campaign.rounds():
            ended = (i in known and known[i].state in TERMINAL for i in record.calculation_ids)
            if not record.is_closed and all(ended):
                self.campaign.store.close_round(self.campaign.name, record.number)
        self._n_ended_published = n_ended
        self._published_at = time.monotonic()
