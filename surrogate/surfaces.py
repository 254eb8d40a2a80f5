"""What decides a surface: its lowest site.

A surface is judged by its lowest adsorption energy (Tran and Ulissi, Nat. Catal. 1, 696 (2018)). So only the
site predicted lowest matters among those that are left, and only if it is predicted below what has been
computed there; and a surface with a site below the window can never be a hit. Energies in eV.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from surrogate.acquisition import hit_probability
from surrogate.calibration import LARGE_FREEDOM, std_per_scale

if TYPE_CHECKING:
    from numpy.typing import NDArray


def contenders(
    mean: NDArray[np.float64],
    surface: NDArray[np.int64],
    computed: NDArray[np.float64],
    *,
    target: float,
    window: float,
) -> NDArray[np.bool_]:
    """Tell which candidates may decide the fate of their surface, of the shape of ``mean``.

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
    is_settled = computed < target - window
    mask: NDArray[np.bool_] = _is_lowest(mean, surface) & (mean < computed) & ~is_settled
    return mask


def _is_lowest(mean: NDArray[np.float64], surface: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which candidate of each surface is predicted lowest."""
    by_mean = np.argsort(mean, kind="stable")
    _, first = np.unique(surface[by_mean], return_index=True)
    is_lowest = np.zeros(len(mean), dtype=bool)
    is_lowest[by_mean[first]] = True
    return is_lowest


@dataclass(frozen=True)
class SitesLeft:
    """Sites of one adsorbate that have no energy yet; arrays of shape (n_sites,)."""

    mean: NDArray[np.float64]
    """Predicted ΔE, eV."""
    std: NDArray[np.float64]
    """Standard deviation of the prediction, eV."""
    surface: NDArray[np.int64]
    """Number of the surface of each."""
    success: NDArray[np.float64] | None = None
    """Probability that the calculation gives an energy at all (:mod:`surrogate.failures`)."""
    freedom: float = np.inf
    """Degrees of freedom of the predictions' distribution (:mod:`surrogate.calibration`)."""


def surface_hit_probability(
    computed: NDArray[np.float64], left: SitesLeft, *, target: float, window: float
) -> NDArray[np.float64]:
    r"""Probability that the lowest ΔE on each surface lies within ``window`` of ``target``.

    With :math:`L` the lowest ΔE computed, :math:`E` that of the site left that is predicted lowest, and
    :math:`t, w` target and window, the probability is

    - 0 if :math:`L < t - w`: nothing that is computed later raises a minimum;
    - :math:`P(E ≥ t - w)` if :math:`L` is in the window: it stays a hit unless that site lies below;
    - :math:`P(|E - t| ≤ w)` if :math:`L` is above the window, or nothing is computed.

    Errors on the sites of a surface go together, so the site predicted lowest stands for all that are left.
    It may give no energy, with the probability 1 − ``success``: then things stay as they are. Without a site
    left, the probability is 1 or 0.

    Parameters
    ----------
    computed
        Lowest ΔE computed on each surface, eV, of shape (n_surfaces,); infinity where there is none.
    left
        Sites without an energy, with surfaces numbered as in ``computed``.

    Returns
    -------
    ndarray
        Of shape (n_surfaces,).
    """
    is_in = np.abs(computed - target) <= window
    probability = is_in.astype(float)
    lowest = np.flatnonzero(_is_lowest(left.mean, left.surface))
    mean, std, on = left.mean[lowest], left.std[lowest], left.surface[lowest]
    success = 1.0 if left.success is None else left.success[lowest]
    hits = success * hit_probability(mean, std, target, window, left.freedom)
    stays = 1.0 - success * _probability_below(mean, std, left.freedom, target - window)
    settled = probability[on]
    probability[on] = np.select([is_in[on], computed[on] > target], [stays, hits], settled)
    return probability


def _probability_below(
    mean: NDArray[np.float64], std: NDArray[np.float64], freedom: float, limit: float
) -> NDArray[np.float64]:
    from scipy.special import stdtr

    scaled = (limit - mean) / std * std_per_scale(freedom)
    probability: NDArray[np.float64] = stdtr(min(freedom, LARGE_FREEDOM), scaled)
    return probability
