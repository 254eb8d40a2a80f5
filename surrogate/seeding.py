"""The first candidates of a campaign, chosen before there is anything to learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from surrogate.fingerprint import embedding
from surrogate.sites import representatives

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from surrogate.sites import SiteEnvironment


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
    first_of, labels = representatives(environment.canonical() for environment in environments)
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
