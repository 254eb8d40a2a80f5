"""A batch of candidates: shared between adsorbates, and between seeking hits and exploring.

Seeking follows an acquisition strategy (:mod:`surrogate.acquisition`). Exploring takes the candidates of
which the surrogate knows least, those of the greatest standard deviation; as in seeking, each further one on
a surface or of equal surroundings counts half as much as the one before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from surrogate.acquisition import choose, discount_repeats, ranked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from surrogate.acquisition import Candidates

Sharing = Literal["even", "promise"]


def choose_batch(
    strategy: str,
    groups: Mapping[str, Candidates],
    *,
    n: int,
    rng: np.random.Generator,
    width: float = 0.10,
    sharing: Sharing = "even",
) -> dict[str, NDArray[np.int64]]:
    """Choose a batch by a strategy and share it between adsorbates.

    Parameters
    ----------
    strategy
        One of :data:`surrogate.acquisition.STRATEGIES`.
    groups
        Candidates by adsorbate.
    n
        How many to choose.
    width
        Standard deviation of ``gaussian``, eV.
    sharing
        ``even``: as evenly as the candidates allow. Those under way count as part of the batch, so that
        places which come free one by one are shared evenly too. Places that an adsorbate cannot fill go to
        the others; an odd place goes to one drawn at random. ``promise``: each place goes to the adsorbate
        whose next candidate has the higher score (:func:`surrogate.acquisition.ranked`), so to more expected
        hits; one of which nothing is under way comes first, so that no surrogate stops learning.

    Returns
    -------
    dict
        Indices into each adsorbate's candidates, most wanted first.

    Raises
    ------
    ConfigError
        If the strategy is unknown.
    """
    if sharing == "promise":
        return _by_promise(strategy, groups, n, rng, width)
    sizes = {name: len(group.allowed()) for name, group in groups.items()}
    share = share_batch(sizes, n, rng, _n_pending(groups))
    return {
        name: choose(strategy, groups[name], n=share[name], rng=rng, width=width) for name in sorted(groups)
    }


def _by_promise(
    strategy: str, groups: Mapping[str, Candidates], n: int, rng: np.random.Generator, width: float
) -> dict[str, NDArray[np.int64]]:
    pending = _n_pending(groups)
    wanted = {name: ranked(strategy, groups[name], rng=rng, width=width) for name in sorted(groups)}
    rows = []
    for name, (indices, scores) in wanted.items():
        is_first = (np.arange(len(indices)) == 0) & (pending[name] == 0)
        rows += [(not first, -score, name) for first, score in zip(is_first[:n], scores[:n], strict=True)]
    names = [name for _, _, name in sorted(rows)[: max(n, 0)]]
    return {name: indices[: names.count(name)] for name, (indices, _) in wanted.items()}


def explore(
    groups: Mapping[str, Candidates], *, n: int, rng: np.random.Generator
) -> dict[str, NDArray[np.int64]]:
    """Choose candidates of which the surrogate knows least, shared evenly between adsorbates.

    Returns
    -------
    dict
        Indices into each adsorbate's candidates.
    """
    share = share_batch({name: len(group.allowed()) for name, group in groups.items()}, n, rng)
    chosen = {}
    for name in sorted(groups):
        allowed = rng.permutation(groups[name].allowed())
        score = discount_repeats(groups[name].std[allowed], groups[name], allowed)
        chosen[name] = allowed[np.argsort(-score, kind="stable")[: share[name]]]
    return chosen


def number_explored(n: int, share: float, rng: np.random.Generator) -> int:
    """How many of ``n`` places explore: ``share`` of them, a fraction of a place by chance.

    So places that come free one by one explore as often as those of a batch.
    """
    whole = int(n * share)
    rest = n * share - whole
    return whole + int(rest > 0.0 and rng.random() < rest)


def share_batch(
    sizes: Mapping[str, int],
    n: int,
    rng: np.random.Generator,
    pending: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Share a batch evenly between adsorbates; an odd place goes to one drawn at random.

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


def _n_pending(groups: Mapping[str, Candidates]) -> dict[str, int]:
    return {
        name: 0 if group.is_pending is None else int(group.is_pending.sum()) for name, group in groups.items()
    }
