"""Campaigns replayed on known energies: how many hits a strategy finds with how many calculations.

The energies of a pool of sites are hidden. A seed is drawn at random, then every round a strategy sees what
is known so far and asks for a batch, whose energies are told. A *hit* is a site whose ΔE lies in the window
about the target; a surface is hit once its lowest site is known, to within the window, where that lies in
it (a surface is judged by its lowest site; Tran and Ulissi, Nat. Catal. 1, 696 (2018)). Energies in eV.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from surrogate.acquisition import Candidates, choose
from surrogate.batches import explore, number_explored
from surrogate.sites import environment_labels
from surrogate.surfaces import contenders

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from surrogate.models import AdsorptionSurrogate
    from surrogate.sites import SiteEnvironment

    Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Pool:
    """Sites whose energies are hidden; arrays of shape (n_sites,)."""

    environments: Sequence[SiteEnvironment]
    delta_e: NDArray[np.float64]
    """Computed ΔE, eV."""
    bulks: Indices
    """Equal for sites of one bulk."""
    surfaces: Indices
    """Equal for sites of one surface, counted from 0."""
    target: float
    """Wanted ΔE, eV."""
    window: float
    """Half-width of what counts as a hit, eV."""

    def __len__(self) -> int:
        return len(self.delta_e)

    @property
    def is_hit(self) -> NDArray[np.bool_]:
        """Whether each site's ΔE lies in the window."""
        return self._in_window(self.delta_e)

    def lowest(self, known: Indices) -> NDArray[np.float64]:
        """Lowest ΔE among some sites on each surface; infinity where there is none."""
        lowest = np.full(int(self.surfaces.max(initial=-1)) + 1, np.inf)
        np.minimum.at(lowest, self.surfaces[known], self.delta_e[known])
        return lowest

    def surfaces_hit(self, known: Indices) -> int:
        """How many surfaces are hits, and known to be."""
        truth = self.lowest(np.arange(len(self)))
        return int((self._in_window(truth) & self._in_window(self.lowest(known))).sum())

    def _in_window(self, energies: NDArray[np.float64]) -> NDArray[np.bool_]:
        is_in: NDArray[np.bool_] = np.abs(energies - self.target) <= self.window
        return is_in


class Strategy(Protocol):
    """What decides what is computed next."""

    def ask(self, pool: Pool, known: Indices, n: int, rng: np.random.Generator) -> Indices:
        """Choose up to ``n`` sites that are not known; it may look at the energies of known ones only."""


class AtRandom:
    """Any site."""

    def ask(self, pool: Pool, known: Indices, n: int, rng: np.random.Generator) -> Indices:
        """Draw without replacement."""
        return rng.permutation(np.setdiff1d(np.arange(len(pool)), known))[:n]


@dataclass(frozen=True)
class Forecast:
    """What was predicted of the sites asked for in a round, before their energies were told."""

    chosen: Indices
    mean: NDArray[np.float64]
    """Predicted ΔE, eV, of the shape of ``chosen``."""
    std: NDArray[np.float64]
    freedom: float
    """Degrees of freedom of the predictions' distribution."""


@dataclass(frozen=True)
class Learned:
    """A surrogate trained on what is known, and an acquisition strategy on its predictions."""

    surrogate: Callable[[], AdsorptionSurrogate]
    """Makes an untrained surrogate."""
    acquisition: str = "hit_probability"
    """One of :data:`surrogate.acquisition.STRATEGIES`."""
    goal: str = "sites"
    """``sites``: every hit counts; ``surfaces``: only sites that may decide the fate of their surface."""
    width: float = 0.10
    """Standard deviation of the acquisition strategy ``gaussian``, eV."""
    exploration: float = 0.0
    """Share of each batch spent on what the surrogate knows least of."""
    forecasts: list[Forecast] = field(default_factory=list, compare=False)
    """Of every round so far."""

    def ask(self, pool: Pool, known: Indices, n: int, rng: np.random.Generator) -> Indices:
        """Train, predict, choose."""
        surrogate = self.surrogate()
        surrogate.fit(
            [pool.environments[i] for i in known], pool.delta_e[known], [str(b) for b in pool.bulks[known]]
        )
        mean, std = surrogate.predict(pool.environments)
        is_known = np.zeros(len(pool), dtype=bool)
        is_known[known] = True
        candidates = Candidates(
            mean, std, pool.target, pool.window, is_known, freedom=surrogate.calibration_.freedom
        )
        if self.goal == "surfaces":
            labels = (pool.surfaces, environment_labels(pool.environments))
            candidates = replace(candidates, labels=labels)
        chosen = self._choose(pool, known, candidates, n, rng)
        self.forecasts.append(Forecast(chosen, mean[chosen], std[chosen], candidates.freedom))
        return chosen

    def _choose(
        self, pool: Pool, known: Indices, candidates: Candidates, n: int, rng: np.random.Generator
    ) -> Indices:
        """Choose among the contenders, then among the others; explore among the same."""
        is_taken = np.zeros(len(pool), dtype=bool)
        is_taken[known] = True
        masks = [is_taken]
        if self.goal == "surfaces":
            masks.insert(0, is_taken | ~self._contenders(pool, known, is_taken, candidates.mean))
        n_explored = number_explored(n, self.exploration, rng)
        chosen = np.zeros(0, dtype=np.int64)
        for is_excluded in masks:
            is_excluded[chosen] = True
            among, left = replace(candidates, is_excluded=is_excluded), n - n_explored - len(chosen)
            more = choose(self.acquisition, among, n=left, rng=rng, width=self.width)
            chosen = np.concatenate([chosen, more])
        for is_excluded in masks if n_explored else ():
            is_excluded[chosen] = True
            among = replace(candidates, is_excluded=is_excluded)
            more = explore({"": among}, n=n - len(chosen), rng=rng)[""]
            chosen = np.concatenate([chosen, more])
        return chosen

    def _contenders(
        self, pool: Pool, known: Indices, is_known: NDArray[np.bool_], mean: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        free = np.flatnonzero(~is_known)
        surfaces = pool.surfaces[free]
        computed = pool.lowest(known)[surfaces]
        is_contender = np.zeros(len(pool), dtype=bool)
        is_contender[free] = contenders(
            mean[free], surfaces, computed, target=pool.target, window=pool.window
        )
        return is_contender


@dataclass(frozen=True)
class Replayed:
    """What one replay found."""

    labels: tuple[int, ...]
    """Energies known at each look."""
    hits: tuple[int, ...]
    """Hits among them."""
    surfaces_hit: tuple[int, ...]
    seconds_per_round: float
    """CPU time of training, predicting and choosing, mean over the rounds."""


def replay(
    pool: Pool, strategy: Strategy, *, n_seed: int, batch: int, looks: Sequence[int], seed: int
) -> Replayed:
    """Replay one campaign.

    Parameters
    ----------
    n_seed
        Sites drawn at random to begin with; the same ones for every strategy.
    batch
        Sites per round.
    looks
        Numbers of known energies at which to count; those beyond the pool are left out.
    seed
        Of every random choice.
    """
    rng = np.random.default_rng(seed)
    known = rng.permutation(len(pool))[: min(n_seed, len(pool))]
    stops = sorted({n for n in looks if n <= len(pool)})
    found: list[tuple[int, int, int]] = []
    seconds: list[float] = []
    for stop in stops:
        while len(known) < stop:
            started = time.process_time()
            asked = strategy.ask(pool, known, min(batch, stop - len(known)), rng)
            seconds.append(time.process_time() - started)
            known = np.concatenate([known, asked])
        at = known[:stop]
        found.append((stop, int(pool.is_hit[at].sum()), pool.surfaces_hit(at)))
    labels, hits, surfaces = zip(*found, strict=True) if found else ((), (), ())
    return Replayed(labels, hits, surfaces, float(np.mean(seconds)) if seconds else 0.0)
