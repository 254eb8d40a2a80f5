"""One campaign at work: its settings, home and store, and what it has spent.

The stages of the loop are functions of a :class:`Campaign` in the modules named after them
(``enumeration``, ``learning``, ``selection``, ``batch``, ``asynchronous``); the Luigi tasks call one each.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dft.codes import FailureCode
from dft.jobs import CalculationKind
from pipeline.candidates import Planner
from pipeline.domain import BROKEN, IN_FLIGHT, TERMINAL, CalculationState
from pipeline.home import CampaignHome
from pipeline.materialise import Materialiser

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from config.campaign import CampaignSettings
    from pipeline.domain import Bulk, Calculation, Candidate, Observation, Site, Surface
    from pipeline.store.records import RoundRecord
    from pipeline.store.repository import Store
    from surrogate.sites import SiteEnvironment
    from surrogate.transfer import Source

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Campaign:
    """Settings, home and open store of a campaign."""

    settings: CampaignSettings
    home: CampaignHome
    store: Store
    lost_hosts: frozenset[str] = frozenset()
    """Machines that are gone for good, with every job on them."""

    @property
    def name(self) -> str:
        """Name of the campaign."""
        return self.settings.name

    @property
    def is_async(self) -> bool:
        """Whether replacements are chosen whenever results arrive, without waiting for a round's end."""
        return self.settings.mode == "async"

    @cached_property
    def planner(self) -> Planner:
        """Spells out calculations at this campaign's recipe."""
        return Planner(self.settings)

    @cached_property
    def materialiser(self) -> Materialiser:
        """Builds the structures of this campaign's calculations."""
        return Materialiser(self.store, self.settings)

    # What was enumerated does not change while a driver is at work: read once.

    @cached_property
    def bulks(self) -> list[Bulk]:
        """Bulks of the campaign."""
        return self.store.bulks(self.name)

    @cached_property
    def surfaces(self) -> list[Surface]:
        """Surfaces of the campaign."""
        return self.store.surfaces(self.name)

    @cached_property
    def sites(self) -> list[Site]:
        """Sites of the campaign."""
        return self.store.sites(self.name)

    @cached_property
    def candidates(self) -> list[Candidate]:
        """Every site with every adsorbate."""
        return self.planner.candidates(self.sites)

    @cached_property
    def environments(self) -> dict[str, SiteEnvironment]:
        """What the surrogate knows of each site, by id."""
        from pipeline.structures.context import site_environments

        return site_environments(self.bulks, self.surfaces, self.sites)

    @cached_property
    def guesses(self) -> dict[str, list[Source]]:
        """What a pretrained potential says of some sites, by adsorbate; nothing if none is asked."""
        from pipeline.pretrained import sources

        return sources(self)

    @cached_property
    def shortlist(self) -> list[Candidate]:
        """Candidates that a pretrained potential is asked about, if one is."""
        from pipeline.pretrained import shortlist

        return shortlist(self)

    def bulk(self, bulk_id: str) -> Bulk:
        """Return one of the campaign's bulks."""
        return next(b for b in self.bulks if b.id == bulk_id)

    def surface(self, surface_id: str) -> Surface:
        """Return one of the campaign's surfaces."""
        return next(s for s in self.surfaces if s.id == surface_id)

    def site(self, site_id: str) -> Site:
        """Return one of the campaign's sites."""
        return next(s for s in self.sites if s.id == site_id)

    def forget_enumeration(self) -> None:
        """Drop what was read before the enumeration was complete."""
        for name in ("bulks", "surfaces", "sites", "candidates", "environments", "guesses", "shortlist"):
            self.__dict__.pop(name, None)

    def rounds(self) -> list[RoundRecord]:
        """Rounds begun so far, in order."""
        return self.store.rounds(self.name)

    def chosen_ids(self) -> list[str]:
        """Adslab calculations chosen so far, in the order of the rounds."""
        return [i for r in self.rounds() for i in r.calculation_ids]

    def observations(self, adsorbate: str | None = None) -> list[Observation]:
        """Adsorption energies of this campaign's candidates, whoever computed them."""
        mine = {c.calculation_id for c in self.candidates}
        digest = self.settings.recipe.digest()
        found = self.store.observations(recipe_digest=digest, adsorbate=adsorbate)
        return [o for o in found if o.calculation_id in mine]

    def needed_ids(self) -> list[str]:
        """Ids of the adslabs chosen so far, and of everything that they require."""
        return self.store.closure(self.chosen_ids())

    def calculations(self) -> list[Calculation]:
        """Every calculation planned so far with all that it requires."""
        return self.store.calculations(ids=self.needed_ids())

    def cpu_hours_spent(self) -> float:
        """CPU-hours of every attempt at this campaign's calculations."""
        return self.store.cpu_seconds(self.needed_ids()) / SECONDS_PER_HOUR

    def calculations_left(self, chosen: Iterable[Calculation] | None = None) -> int:
        """Adsorption energies that the budget still allows.

        A candidate whose bulk or slab failed was never computed itself and is not counted.

        Parameters
        ----------
        chosen
            The adslabs chosen so far; read from the store when left out.
        """
        if chosen is None:
            chosen = self.store.calculations(ids=self.chosen_ids())
        spent = sum(c.code is not FailureCode.DEPENDENCY_FAILED for c in chosen)
        return max(0, self.settings.budget.calculations - spent)

    def reason_to_stop(self) -> str | None:
        """Say why the campaign is complete; None while there is something left to do."""
        rounds = self.rounds()
        if not rounds or not all(r.is_closed for r in rounds) or self.is_reopened():
            return None
        if self.last_round is not None and rounds[-1].number >= self.last_round:
            return f"all {self.last_round + 1} rounds are done"
        if (spent := self.cpu_budget_spent()) is not None:
            return spent
        if self.calculations_left() == 0:
            return f"the budget of {self.settings.budget.calculations} adsorption energies is spent"
        if not self.open_candidates():
            return "every candidate that could be computed has been computed"
        return None

    def is_reopened(self) -> bool:
        """Tell whether something is to be computed again although all rounds are closed: a person asked."""
        is_closed = all(r.is_closed for r in self.rounds())
        return is_closed and any(c.state not in TERMINAL for c in self.calculations())

    def cpu_budget_spent(self) -> str | None:
        """Say that the CPU-hours are spent; None while they are not."""
        spent, budget = self.cpu_hours_spent(), self.settings.budget.cpu_hours
        return f"the budget of {budget:g} CPU-hours is spent ({spent:.2f})" if spent >= budget else None

    def open_candidates(self) -> list[Candidate]:
        """List candidates that may still be chosen.

        Left out are those chosen before, those whose site has an observation already, and those whose bulk,
        slab or gas could not be computed.
        """
        taken = set(self.chosen_ids())
        observed = {(o.site_id, o.adsorbate) for o in self.observations()}
        broken = [c for c in self.calculations() if c.state in BROKEN]
        bulks = {c.bulk_id for c in broken if c.kind is CalculationKind.BULK}
        surfaces = {c.surface_id for c in broken if c.kind is CalculationKind.SLAB}
        gases = {c.gas for c in broken if c.kind is CalculationKind.GAS}
        names = self.settings.adsorbates
        adsorbates = {name for name in names if gases & set(self.settings.species(name).reference)}
        return [
            c
            for c in self.candidates
            if c.calculation_id not in taken
            and (c.site.id, c.adsorbate) not in observed
            and c.adsorbate not in adsorbates
            and c.site.bulk_id not in bulks
            and c.site.surface_id not in surfaces
        ]

    def pending(self) -> list[Candidate]:
        """List candidates whose energy is on its way: chosen here and not ended, or computed elsewhere.

        What a person has paused is not on its way.
        """
        chosen = self.store.calculations(ids=self.chosen_ids())
        pending = {c.id for c in chosen if c.state not in TERMINAL and c.state is not CalculationState.PAUSED}
        pending |= {c.id for c in self.store.calculations(states=IN_FLIGHT, kinds={CalculationKind.ADSLAB})}
        return [c for c in self.candidates if c.calculation_id in pending]

    @property
    def last_round(self) -> int | None:
        """Number of the last round that the budget allows; the seed round is 0.

        None in ``mode: async``: a round is a single decision there, and their number is no limit.
        """
        return None if self.is_async else self.settings.budget.rounds


@contextmanager
def open_campaign(
    settings: CampaignSettings,
    home: Path,
    lost_hosts: frozenset[str] = frozenset(),
    patience_seconds: float | None = None,
) -> Iterator[Campaign]:
    """Open a campaign's store for as long as the context lasts.

    Parameters
    ----------
    patience_seconds
        How long an operation is tried again while the database is away.

    Raises
    ------
    StoreError
        If the store cannot be started or reached.
    """
    from pipeline.store import open_store

    with open_store(settings.store, home, patience_seconds=patience_seconds) as store:
        yield Campaign(settings, CampaignHome(home), store, lost_hosts)
