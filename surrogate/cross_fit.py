"""Predictions of observations by models that saw none of their bulk.

Sites of one bulk resemble each other, so errors on other sites of a known bulk say nothing about a new one.
Whoever wants to know how far predictions are off asks for held-out ones, bulk by bulk. Energies in eV.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    MeanAndStd = tuple[NDArray[np.float64], NDArray[np.float64]]

    from surrogate.sites import SiteEnvironment

N_FOLDS = 5
MIN_OBSERVATIONS = 20
"""Below, what is held out is too little to learn an error from."""


class HeldOut(NamedTuple):
    """Mean and standard deviation predicted for every observation, eV, each of shape (n,)."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]


def grouped_folds(groups: NDArray[np.int64] | None, seed: int) -> NDArray[np.int64] | None:
    """Deal whole groups into folds of about equal size.

    Parameters
    ----------
    groups
        Group of each observation, of shape (n,).
    seed
        Deals the groups.

    Returns
    -------
    ndarray or None
        Fold of each observation, of shape (n,); None when there are fewer observations than
        :data:`MIN_OBSERVATIONS` or fewer groups than folds.
    """
    if groups is None or len(groups) < MIN_OBSERVATIONS:
        return None
    members, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(members) < N_FOLDS:
        return None
    fold_of = np.empty(len(members), dtype=np.int64)
    load = np.zeros(N_FOLDS, dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(members))
    # Great groups first, each into the lightest fold; the shuffle decides between equals.
    for member in order[np.argsort(-sizes[order], kind="stable")]:
        fold_of[member] = load.argmin()
        load[fold_of[member]] += sizes[member]
    return fold_of[place.ravel()]


def hold_out(
    folds: NDArray[np.int64],
    predict: Callable[[int, NDArray[np.bool_], NDArray[np.bool_]], MeanAndStd],
) -> HeldOut:
    """Predict every observation by a model that saw nothing of its fold.

    Parameters
    ----------
    folds
        Of :func:`grouped_folds`.
    predict
        Given a fold, which observations are to be learned from, and which are out: mean and standard
        deviation of the latter.
    """
    mean, std = np.empty(len(folds)), np.empty(len(folds))
    for fold in np.unique(folds):
        out = folds == fold
        mean[out], std[out] = predict(int(fold), ~out, out)
    return HeldOut(mean, std)


def groups_by_elements(environments: Sequence[SiteEnvironment]) -> list[str]:
    """Name each environment after the elements in it: what stands for the bulk where that is not known."""
    return [
        "-".join(sorted({symbol for shell in environment.canonical() for symbol, _ in shell}))
        for environment in environments
    ]
