"""Which candidates of one adsorbate to compute next, given what is predicted of them.

Strategies (energies in eV; ``t`` the target, ``w`` the half-width of the window, ``μ`` and ``σ`` predicted):

- ``gaussian``: draw without replacement, with weights exp(−(μ − t)² / 2s²); Tran and Ulissi, Nat. Catal. 1,
  696 (2018). Drawn by the largest of ln(weight) plus Gumbel noise (Efraimidis and Spirakis, Inf. Process.
  Lett. 97, 181 (2006)), which stays exact when every weight underflows.
- ``hit_probability``: greatest P(abs(ΔE − t) ≤ w) under N(μ, σ²). Each further candidate on the surface of
  one already taken counts half as much as the one before, and likewise of equal surroundings: surfaces are
  what is sought, and equal surroundings get equal predictions. Those under way come before all others.
- ``hits_per_cpu_hour``: the same divided by the expected cost of the candidate.
- ``greedy``: smallest abs(μ − t).
- ``random``: any.

Ties are broken at random. The first index returned is the most wanted. How a batch is shared between
adsorbates and between seeking and exploring: :mod:`surrogate.batches`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from config.errors import ConfigError
from surrogate.calibration import Calibration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

STRATEGIES = ("gaussian", "hit_probability", "hits_per_cpu_hour", "greedy", "random")
BY_PROBABILITY = frozenset({"hit_probability", "hits_per_cpu_hour"})
"""Strategies that rest on the probability of a hit."""
REPEAT_DISCOUNT = 0.5
"""What the second, third, ... candidate of the same surroundings is worth relative to the one before."""


@dataclass(frozen=True)
class Candidates:
    """Everything that may be chosen for one adsorbate; arrays of shape (n_candidates,)."""

    mean: NDArray[np.float64]
    """Predicted ΔE, eV."""
    std: NDArray[np.float64]
    """Standard deviation of the prediction, eV."""
    target: float
    """Wanted ΔE, eV."""
    window: float
    """Half-width of what counts as a hit, eV."""
    is_excluded: NDArray[np.bool_] | None = None
    """Never chosen: computed, under way, or given up."""
    labels: Sequence[NDArray[np.int64]] = ()
    """Arrays that are equal for candidates that resemble each other: of one surface, or of equal
    surroundings (:func:`surrogate.sites.environment_labels`)."""
    is_pending: NDArray[np.bool_] | None = None
    """Under way: excluded too, and what resembles them counts less."""
    cpu_hours: NDArray[np.float64] | None = None
    """Expected cost; only ``hits_per_cpu_hour`` uses it."""
    freedom: float = np.inf
    """Degrees of freedom of the predictions' distribution (:mod:`surrogate.calibration`)."""
    success: NDArray[np.float64] | None = None
    """Probability that the calculation gives an energy at all (:mod:`surrogate.failures`)."""
    others: NDArray[np.float64] | None = None
    """Probability that the surface is a hit for every other adsorbate, where only that counts
    (:mod:`surrogate.surfaces`)."""

    def allowed(self) -> NDArray[np.int64]:
        """Indices of the candidates that may be chosen."""
        return np.arange(len(self.mean)) if self.is_excluded is None else np.flatnonzero(~self.is_excluded)

    def promise(self) -> NDArray[np.float64]:
        """Expected hits of each: the probability of one, weighed with success and the other adsorbates."""
        promise = hit_probability(self.mean, self.std, self.target, self.window, self.freedom)
        for factor in (self.success, self.others):
            if factor is not None:
                promise = promise * factor
        return promise


def hit_probability(
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
    target: float,
    window: float,
    freedom: float = np.inf,
) -> NDArray[np.float64]:
    """Probability that ΔE is within ``window`` of ``target``, of the shape of ``mean``.

    Parameters
    ----------
    freedom
        Degrees of freedom of the predictions' distribution (:mod:`surrogate.calibration`).
    """
    return Calibration(freedom=freedom).hit_probability(mean, std, target, window)


def choose(
    strategy: str, candidates: Candidates, *, n: int, rng: np.random.Generator, width: float = 0.10
) -> NDArray[np.int64]:
    """Choose candidates of one adsorbate.

    Parameters
    ----------
    strategy
        One of :data:`STRATEGIES`.
    n
        How many; fewer are returned when fewer are left.
    width
        Standard deviation ``s`` of ``gaussian``, eV.

    Returns
    -------
    ndarray
        Distinct indices, of shape (min(n, allowed),).

    Raises
    ------
    ConfigError
        If the strategy is unknown.
    """
    return ranked(strategy, candidates, rng=rng, width=width)[0][: max(n, 0)]


def ranked(
    strategy: str, candidates: Candidates, *, rng: np.random.Generator, width: float = 0.10
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Order all candidates that may be chosen, the most wanted first.

    Returns
    -------
    tuple of ndarray
        Indices, and the score that each is ranked by; of strategies that rest on the probability of a hit it
        is the expected hits (per CPU-hour), repeats discounted.

    Raises
    ------
    ConfigError
        If the strategy is unknown.
    """
    # A random order to begin with, and stable sorts after it, is what breaks ties at random.
    allowed = rng.permutation(candidates.allowed())
    mean = candidates.mean[allowed]
    if strategy == "gaussian":
        score = -0.5 * ((mean - candidates.target) / width) ** 2 + rng.gumbel(size=len(mean))
    elif strategy in BY_PROBABILITY:
        score = candidates.promise()[allowed]
        if strategy == "hits_per_cpu_hour" and candidates.cpu_hours is not None:
            score = score / candidates.cpu_hours[allowed]
        score = discount_repeats(score, candidates, allowed)
    elif strategy == "greedy":
        score = -np.abs(mean - candidates.target)
    elif strategy == "random":
        score = np.zeros(len(mean))
    else:
        message = f"unknown acquisition strategy {strategy!r}; allowed: {', '.join(STRATEGIES)}"
        raise ConfigError(message)
    order = np.argsort(-score, kind="stable")
    return allowed[order], score[order]


def discount_repeats(
    score: NDArray[np.float64], candidates: Candidates, allowed: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Let what resembles better candidates, or some under way, count less.

    Parameters
    ----------
    score
        Of the allowed candidates, not negative, of shape (n_allowed,).
    allowed
        Their indices.
    """
    repeats = np.zeros(len(score), dtype=np.int64)
    for label in candidates.labels:
        repeats += _repeats(score, label[allowed])
        if candidates.is_pending is not None:
            repeats += _counts(label[candidates.is_pending], label[allowed])
    discounted: NDArray[np.float64] = score * REPEAT_DISCOUNT**repeats
    return discounted


def _repeats(score: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many candidates of the same label come before each one, the best first."""
    best_first = np.argsort(-score, kind="stable")
    by_label = best_first[np.argsort(labels[best_first], kind="stable")]
    grouped = labels[by_label]
    starts = np.r_[True, grouped[1:] != grouped[:-1]] if len(grouped) else np.zeros(0, dtype=bool)
    position = np.arange(len(grouped))
    repeats = np.empty(len(labels), dtype=np.int64)
    repeats[by_label] = position - np.maximum.accumulate(np.where(starts, position, 0))
    return repeats


def _counts(labels: NDArray[np.int64], of: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each label of ``of`` occurs in ``labels``, of the shape of ``of``."""
    values, counts = np.unique(labels, return_counts=True)
    if not len(values):
        return np.zeros(len(of), dtype=np.int64)
    place = np.minimum(np.searchsorted(values, of), len(values) - 1)
    occurrences: NDArray[np.int64] = np.where(values[place] == of, counts[place], 0)
    return occurrences
