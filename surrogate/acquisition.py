"""Which candidates to compute next, given what is predicted of them.

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

Ties are broken at random. The first index returned is the most wanted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from config.errors import ConfigError
from surrogate.calibration import Calibration
from surrogate.fingerprint import embedding
from surrogate.sites import environment_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from surrogate.sites import SiteEnvironment

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
    strategy: str,
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
    *,
    target: float,
    window: float,
    n: int,
    rng: np.random.Generator,
    width: float = 0.10,
    is_excluded: NDArray[np.bool_] | None = None,
    labels: Sequence[NDArray[np.int64]] = (),
    is_pending: NDArray[np.bool_] | None = None,
    cpu_hours: NDArray[np.float64] | None = None,
    success: NDArray[np.float64] | None = None,
    freedom: float = np.inf,
) -> NDArray[np.int64]:
    """Choose candidates of one adsorbate.

    Parameters
    ----------
    strategy
        One of :data:`STRATEGIES`.
    mean, std
        Predictions, eV, of shape (n_candidates,).
    target, window
        Wanted ΔE and half-width of a hit, eV.
    n
        How many; fewer are returned when fewer are left.
    width
        Standard deviation ``s`` of ``gaussian``, eV.
    is_excluded
        Candidates that may not be chosen: computed, under way, or given up.
    labels, is_pending
        See :class:`Candidates`; only strategies that rest on the probability of a hit use them.
    cpu_hours
        Expected cost of each candidate, all alike when left out.
    success
        Probability that a candidate's calculation gives an energy, by which that of a hit is multiplied.
    freedom
        Degrees of freedom of the predictions' distribution.

    Returns
    -------
    ndarray
        Distinct indices, of shape (min(n, allowed),).

    Raises
    ------
    ConfigError
        If the strategy is unknown.
    """
    allowed = np.arange(len(mean)) if is_excluded is None else np.flatnonzero(~is_excluded)
    # A random order to begin with, and stable sorts after it, is what breaks ties at random.
    allowed = rng.permutation(allowed)
    mean, std = mean[allowed], std[allowed]
    if strategy == "gaussian":
        score = -0.5 * ((mean - target) / width) ** 2 + rng.gumbel(size=len(mean))
    elif strategy in BY_PROBABILITY:
        score = hit_probability(mean, std, target, window, freedom)
        if success is not None:
            score = score * success[allowed]
        if strategy == "hits_per_cpu_hour" and cpu_hours is not None:
            score = score / cpu_hours[allowed]
        repeats = np.zeros(len(score), dtype=np.int64)
        for label in labels:
            repeats += _repeats(score, label[allowed])
            if is_pending is not None:
                repeats += _counts(label[is_pending], label[allowed])
        score = score * REPEAT_DISCOUNT**repeats
    elif strategy == "greedy":
        score = -np.abs(mean - target)
    elif strategy == "random":
        score = np.zeros(len(mean))
    else:
        message = f"unknown acquisition strategy {strategy!r}; allowed: {', '.join(STRATEGIES)}"
        raise ConfigError(message)
    return allowed[np.argsort(-score, kind="stable")[: max(n, 0)]]


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


def contenders(
    mean: NDArray[np.float64],
    surface: NDArray[np.int64],
    computed: NDArray[np.float64],
    *,
    target: float,
    window: float,
) -> NDArray[np.bool_]:
    """Tell which candidates may decide the fate of their surface, of the shape of ``mean``.

    A surface is judged by its lowest site. So only the site that is predicted lowest matters, and only if
    it is predicted below what has been computed there; a surface with a site below the window is settled.
    Tran and Ulissi chose among such low-coverage sites likewise. ``benchmarks/replay.py`` measures what it
    brings.

    Parameters
    ----------
    mean
        Predicted ΔE of candidates that may still be computed, eV, of shape (n_candidates,).
    surface
        Equal for candidates of one surface.
    computed
        Lowest ΔE computed on each candidate's surface, eV; infinity where there is none. What is under way
        counts as computed, with what is predicted of it.
    """
    by_mean = np.argsort(mean, kind="stable")
    _, first = np.unique(surface[by_mean], return_index=True)
    is_lowest = np.zeros(len(mean), dtype=bool)
    is_lowest[by_mean[first]] = True
    is_settled = computed < target - window
    mask: NDArray[np.bool_] = is_lowest & (mean < computed) & ~is_settled
    return mask


def choose_batch(
    strategy: str,
    groups: Mapping[str, Candidates],
    *,
    n: int,
    rng: np.random.Generator,
    width: float = 0.10,
) -> dict[str, NDArray[np.int64]]:
    """Share a batch between adsorbates as evenly as their candidates allow.

    Candidates under way count as part of the batch, so that places which come free one by one are shared
    evenly too. Places that an adsorbate cannot fill go to the others; an odd place goes to one drawn at
    random.

    Parameters
    ----------
    groups
        Candidates by adsorbate.
    n
        How many to choose.

    Returns
    -------
    dict
        Indices into each adsorbate's candidates, most wanted first.

    Raises
    ------
    ConfigError
        If the strategy is unknown.
    """
    sizes = {name: _n_allowed(group) for name, group in groups.items()}
    pending = {
        name: 0 if group.is_pending is None else int(group.is_pending.sum()) for name, group in groups.items()
    }
    share = share_batch(sizes, n, rng, pending)
    return {
        name: choose(
            strategy,
            groups[name].mean,
            groups[name].std,
            target=groups[name].target,
            window=groups[name].window,
            n=share[name],
            rng=rng,
            width=width,
            is_excluded=groups[name].is_excluded,
            labels=groups[name].labels,
            is_pending=groups[name].is_pending,
            cpu_hours=groups[name].cpu_hours,
            success=groups[name].success,
            freedom=groups[name].freedom,
        )
        for name in sorted(groups)
    }


def share_batch(
    sizes: Mapping[str, int],
    n: int,
    rng: np.random.Generator,
    pending: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Share a batch between adsorbates; an odd place goes to one drawn at random.

    Parameters
    ----------
    sizes
        How many candidates each adsorbate has.
    n
        How many to choose.
    pending
        How many of each are under way: those of which there are fewest come first.
    """
    before = pending or dict.fromkeys(sizes, 0)
    names = sorted(sizes)
    share = dict.fromkeys(names, 0)
    turn = [names[i] for i in rng.permutation(len(names))]
    for _ in range(min(n, sum(sizes.values()))):
        open_names = [name for name in turn if share[name] < sizes[name]]
        share[min(open_names, key=lambda name: share[name] + before[name])] += 1
    return share


def _n_allowed(candidates: Candidates) -> int:
    n = len(candidates.mean)
    return n if candidates.is_excluded is None else n - int(candidates.is_excluded.sum())


def choose_seed(
    environments: Sequence[SiteEnvironment],
    is_reference: NDArray[np.bool_],
    n: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Choose the first candidates of an adsorbate, before there is a model.

    A site of high coordination on each pure element comes first, the elements of most sites before rarer
    ones: their ΔE is what the fingerprint refers to. Then, one after the other, whatever is farthest from
    all that was chosen.

    Parameters
    ----------
    environments
        Of every candidate.
    is_reference
        Whether the candidate may serve as the reference of a pure element, of shape (n_candidates,).

    Returns
    -------
    ndarray
        Distinct indices, of shape (min(n, n_candidates),).
    """
    order = rng.permutation(len(environments))
    chosen = _one_per_pure_element(environments, is_reference, order)[: max(n, 0)]
    labels = environment_labels(environments)
    _, first_of = np.unique(labels, return_index=True)
    places = embedding([environments[i] for i in first_of])
    nearest = np.full(len(places), np.inf)
    for i in chosen:
        nearest = np.minimum(nearest, _distances(places, labels[i]))
    is_free = np.ones(len(environments), dtype=bool)
    is_free[chosen] = False
    while len(chosen) < min(n, len(environments)):
        free = order[is_free[order]]
        pick = int(free[np.argmax(nearest[labels[free]])])
        chosen.append(pick)
        is_free[pick] = False
        nearest = np.minimum(nearest, _distances(places, labels[pick]))
    return np.array(chosen, dtype=np.int64)


def _distances(places: NDArray[np.float64], index: int) -> NDArray[np.float64]:
    distances: NDArray[np.float64] = np.linalg.norm(places - places[index], axis=1)
    return distances


def _one_per_pure_element(
    environments: Sequence[SiteEnvironment], is_reference: NDArray[np.bool_], order: NDArray[np.int64]
) -> list[int]:
    """One candidate on each pure element, elements that occur at most sites first.

    It is the one bound to the most atoms, so that the references of different elements compare like with
    like; among those, the first in ``order``.
    """
    occurrences: dict[str, int] = {}
    for environment in environments:
        for symbol in {symbol for symbol, _ in environment.first_shell}:
            occurrences[symbol] = occurrences.get(symbol, 0) + 1
    first: dict[str, int] = {}
    pure = order[is_reference[order]].tolist()
    for i in sorted(pure, key=lambda i: -sum(count for _, count in environments[i].first_shell)):
        first.setdefault(environments[i].first_shell[0][0], int(i))
    ranked = sorted(first, key=lambda symbol: (-occurrences[symbol], symbol))
    return [first[symbol] for symbol in ranked]
