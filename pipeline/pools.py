"""What may be chosen for each adsorbate, with what is predicted of it. Energies in eV."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pipeline.failures import features, learned, outcomes
from surrogate.sites import environment_labels, representatives

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from config.adsorbates import AdsorbateSettings
    from pipeline.campaign import Campaign
    from pipeline.domain import Candidate
    from pipeline.learning import Predictions
    from surrogate.acquisition import Candidates
    from surrogate.sites import SiteEnvironment


@dataclass(frozen=True)
class Pool:
    """Candidates of one adsorbate, those under way at the end; arrays of shape (n_candidates,)."""

    target: AdsorbateSettings
    candidates: list[Candidate]
    environments: list[SiteEnvironment]
    mean: NDArray[np.float64]
    """Predicted ΔE."""
    std: NDArray[np.float64]
    """Standard deviation of the prediction."""
    freedom: float
    """Degrees of freedom of the predictions' distribution."""
    success: NDArray[np.float64]
    """Probability that the calculation gives an energy."""
    surface: NDArray[np.int64]
    """Number of each one's surface, in the order of the campaign's surfaces."""
    is_open: NDArray[np.bool_]
    """Not chosen by this campaign: may be."""
    is_pending: NDArray[np.bool_]
    """Under way, here or in another campaign."""
    computed: NDArray[np.float64]
    """Lowest ΔE computed on each of the campaign's surfaces, of shape (n_surfaces,); infinity without any."""

    @cached_property
    def alike(self) -> NDArray[np.int64]:
        """Numbers that candidates of equal surroundings share, of shape (n_candidates,)."""
        return environment_labels(self.environments)

    @property
    def n_open(self) -> int:
        """How many, from the first on, have not been chosen by this campaign."""
        return int(self.is_open.sum())

    @cached_property
    def is_hit(self) -> NDArray[np.bool_]:
        """Which surfaces have their lowest computed ΔE in the window, of shape (n_surfaces,)."""
        mask: NDArray[np.bool_] = np.abs(self.computed - self.target.target_ev) <= self.target.window_ev
        return mask

    @cached_property
    def is_contender(self) -> NDArray[np.bool_]:
        """Which may decide the fate of their surface, of shape (n_candidates,)."""
        from surrogate.surfaces import contenders

        lowest = self.computed.copy()
        np.minimum.at(lowest, self.surface[self.is_pending], self.mean[self.is_pending])
        free = np.flatnonzero(self.is_open & ~self.is_pending)
        is_contender = np.zeros(len(self.candidates), dtype=bool)
        is_contender[free] = contenders(
            self.mean[free],
            self.surface[free],
            lowest[self.surface[free]],
            target=self.target.target_ev,
            window=self.target.window_ev,
        )
        return is_contender

    @cached_property
    def surface_probability(self) -> NDArray[np.float64]:
        """Probability that the lowest ΔE on each surface is a hit, of shape (n_surfaces,)."""
        from surrogate.surfaces import SitesLeft, surface_hit_probability

        left = SitesLeft(self.mean, self.std, self.surface, self.success, self.freedom)
        return surface_hit_probability(
            self.computed, left, target=self.target.target_ev, window=self.target.window_ev
        )

    def to_choose_from(
        self,
        is_allowed: NDArray[np.bool_],
        *,
        others: NDArray[np.float64] | None = None,
        cpu_hours: NDArray[np.float64] | None = None,
    ) -> Candidates:
        """The candidates as the acquisition sees them.

        Parameters
        ----------
        is_allowed
            Which may be chosen, of shape (n_candidates,).
        others
            Probability that each surface is a hit for every other adsorbate, of shape (n_surfaces,).
        cpu_hours
            Expected cost, of shape (n_candidates,).
        """
        from surrogate.acquisition import Candidates

        return Candidates(
            mean=self.mean,
            std=self.std,
            target=self.target.target_ev,
            window=self.target.window_ev,
            is_excluded=~is_allowed,
            labels=(self.surface, self.alike),
            is_pending=self.is_pending,
            cpu_hours=cpu_hours,
            freedom=self.freedom,
            success=self.success,
            others=None if others is None else others[self.surface],
        )


def gather_pools(campaign: Campaign, predictions: Mapping[str, Predictions]) -> dict[str, Pool]:
    """Gather the candidates of every adsorbate that is predicted."""
    open_candidates, pending = campaign.open_candidates(), campaign.pending()
    numbers = {surface.id: number for number, surface in enumerate(campaign.surfaces)}
    return {
        name: _pool(campaign, predicted, open_candidates, pending, numbers)
        for name, predicted in predictions.items()
    }


def _pool(
    campaign: Campaign,
    predictions: Predictions,
    open_candidates: list[Candidate],
    pending: list[Candidate],
    numbers: Mapping[str, int],
) -> Pool:
    adsorbate, predicted = predictions.adsorbate, predictions.by_site()
    is_open = [c for c in open_candidates if c.adsorbate == adsorbate]
    known = {c.id for c in is_open}
    mine = [c for c in pending if c.adsorbate == adsorbate]
    candidates = [*is_open, *(c for c in mine if c.id not in known)]
    under_way = {c.id for c in mine}
    values = np.array([predicted[c.site.id] for c in candidates]).reshape(-1, 2)
    environments = [campaign.environments[c.site.id] for c in candidates]
    return Pool(
        target=campaign.settings.adsorbates[adsorbate],
        candidates=candidates,
        environments=environments,
        mean=values[:, 0],
        std=values[:, 1],
        freedom=predictions.freedom,
        success=_success(campaign, adsorbate, environments),
        surface=np.array([numbers[c.site.surface_id] for c in candidates], dtype=np.int64),
        is_open=np.arange(len(candidates)) < len(is_open),
        is_pending=np.array([c.id in under_way for c in candidates], dtype=bool),
        computed=lowest_computed(campaign, adsorbate, numbers),
    )


def lowest_computed(campaign: Campaign, adsorbate: str, numbers: Mapping[str, int]) -> NDArray[np.float64]:
    """Lowest ΔE computed on each surface, by the surfaces' numbers; infinity where there is none."""
    lowest = np.full(len(numbers), np.inf)
    for o in campaign.observations(adsorbate):
        number = numbers[o.surface_id]
        lowest[number] = min(lowest[number], o.delta_e_ev)
    return lowest


def others_probability(pools: Mapping[str, Pool]) -> dict[str, NDArray[np.float64]]:
    """Probability of each surface to be a hit for the adsorbates not named, of shape (n_surfaces,)."""
    each = {name: pool.surface_probability for name, pool in pools.items()}
    certain = {name: np.ones_like(probability) for name, probability in each.items()}
    return {name: np.prod([certain[name], *(each[o] for o in each if o != name)], axis=0) for name in pools}


def _success(
    campaign: Campaign, adsorbate: str, environments: Sequence[SiteEnvironment]
) -> NDArray[np.float64]:
    """Chance of each candidate to give an energy; equal sites are looked at once."""
    if not campaign.settings.acquisition.learn_from_failures:
        return np.ones(len(environments))
    model = learned(campaign, outcomes(campaign, adsorbate))
    if not model.is_informed:
        return np.full(len(environments), model.base_rate_)
    # By what the features of failures look at: geometries differ from site to site.
    rows, places = representatives((e.first_shell, e.second_shell, e.neighbours) for e in environments)
    return model.predict(features([environments[i] for i in rows]))[places]
