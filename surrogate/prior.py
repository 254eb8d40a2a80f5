"""What is believed of an adsorption energy before, and beside, this campaign's own calculations.

Two things: how ΔE of an adsorbate spreads over metals and intermetallics in general, and a reference ΔE
for each element, learned from the observations. Energies in eV.

The reference follows Tran and Ulissi, Nat. Catal. 1, 696 (2018), who describe an element by the median ΔE
on the pure metal. They had thousands of calculations; a campaign starts with none and never sees the pure
form of every element. So the reference here is a posterior: each element has an effect ``θ``, a Gaussian
process over the periodic table with the similarity of :mod:`surrogate.elements`, and an observation's ΔE is
the mean effect of its first shell's atoms plus noise,

    θ ~ N(μ, σ² S),    ΔE_i = Σ_e f_ie θ_e + ε_i,    ε ~ N(0, (σ/2)²),

a linear model with a closed solution [1]. Where sites of the pure element were observed, their median takes
over with the number of such sites, as ``(m·median + 2·θ) / (m + 2)``.

References
----------
.. [1] Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), chapter 2.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from surrogate.elements import SYMBOLS, fractions, similarity

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NOISE_SHARE = 0.5
"""Standard deviation of ΔE about the mean effect of its first shell, in units of the prior's."""
_PURE_PSEUDO_COUNT = 2.0
"""How many pure sites it takes for their median to weigh as much as the regression."""
_OUTER_STD = 6.0
_STD_WEIGHT = 3.0


@dataclass(frozen=True)
class AdsorbatePrior:
    """Mean and standard deviation of ΔE over sites on metals and intermetallics, eV."""

    mean_ev: float
    std_ev: float

    def updated(self, delta_e: NDArray[np.float64]) -> AdsorbatePrior:
        """Prior after some observations; itself it counts as one for the mean and as three for the width."""
        n = len(delta_e)
        mean = (self.mean_ev + float(np.sum(delta_e))) / (1 + n)
        squares = _STD_WEIGHT * self.std_ev**2 + float(((delta_e - mean) ** 2).sum())
        return AdsorbatePrior(mean, float(np.sqrt(squares / (_STD_WEIGHT + n))))

    def bounds(self, delta_e: NDArray[np.float64]) -> tuple[float, float]:
        """Widest believable range of ΔE: six standard deviations, or what was observed and one more."""
        low, high = self.mean_ev - _OUTER_STD * self.std_ev, self.mean_ev + _OUTER_STD * self.std_ev
        if not len(delta_e):
            return low, high
        return min(low, float(delta_e.min()) - self.std_ev), max(high, float(delta_e.max()) + self.std_ev)


PRIORS = {"CO": AdsorbatePrior(-0.7, 0.7), "H": AdsorbatePrior(0.0, 0.5)}
"""Rounded from the RPBE energies of the GASpy database of Tran and Ulissi (2018): CO −0.66 ± 0.68 eV over
10,000 sites, H −0.06 ± 0.39 eV over 3,300; H is widened, for elements that its set lacks."""
UNKNOWN = AdsorbatePrior(0.0, 1.5)
"""Of adsorbates without such statistics, before anything was computed: adsorption energies counted from
stable molecules lie within a few eV of zero."""
_UNKNOWN_MEAN_WEIGHT = 1.0
_UNKNOWN_STD_WEIGHT = 3.0
"""Observations that :data:`UNKNOWN` counts as, for the mean and for the standard deviation."""


def prior_of(adsorbate: str, delta_e: NDArray[np.float64] | None = None) -> AdsorbatePrior:
    """Prior of an adsorbate.

    Without published statistics the campaign's own observations shape it: mean and variance are those of
    :data:`UNKNOWN`, counted as a few observations, and of the observed ΔE together (the usual update of
    a normal distribution with unknown mean and variance [1]_).

    Parameters
    ----------
    adsorbate
        What stands for it in ids (:attr:`config.adsorbates.Species.key`), so that a H counted from another
        reference is none of :data:`PRIORS`.
    delta_e
        Observed ΔE, eV, of shape (n_observations,).

    References
    ----------
    .. [1] Gelman et al., Bayesian Data Analysis, 3rd ed. (2013), chapter 3.3.
    """
    if adsorbate in PRIORS:
        return PRIORS[adsorbate]
    if delta_e is None or not len(delta_e):
        return UNKNOWN
    n, mean = len(delta_e), float(delta_e.mean())
    weight = _UNKNOWN_MEAN_WEIGHT / (_UNKNOWN_MEAN_WEIGHT + n)
    squares = _UNKNOWN_STD_WEIGHT * UNKNOWN.std_ev**2 + float(((delta_e - mean) ** 2).sum())
    squares += weight * n * (mean - UNKNOWN.mean_ev) ** 2
    return AdsorbatePrior(
        weight * UNKNOWN.mean_ev + (1.0 - weight) * mean,
        float(np.sqrt(squares / (_UNKNOWN_STD_WEIGHT + n))),
    )


def element_references(
    first_counts: NDArray[np.float64],
    second_counts: NDArray[np.float64],
    delta_e: NDArray[np.float64],
    prior: AdsorbatePrior,
) -> NDArray[np.float64]:
    """Reference ΔE of every element, eV, of shape (103,); the prior mean without observations.

    Parameters
    ----------
    first_counts, second_counts
        Atoms of each element in the shells of the observed sites, of shape (n_observations, 103).
    delta_e
        Observed ΔE, eV, of shape (n_observations,).
    """
    if not len(delta_e):
        return np.full(len(SYMBOLS), prior.mean_ev)
    share = fractions(first_counts)
    covariance = prior.std_ev**2 * similarity()
    precision = share.T @ share / (_NOISE_SHARE * prior.std_ev) ** 2
    pull = share.T @ (delta_e - prior.mean_ev) / (_NOISE_SHARE * prior.std_ev) ** 2
    effects = covariance @ np.linalg.solve(np.eye(len(SYMBOLS)) + precision @ covariance, pull)
    references: NDArray[np.float64] = prior.mean_ev + effects
    both = first_counts + second_counts
    is_pure = (both > 0).sum(axis=1) == 1
    for element in np.unique(both[is_pure].argmax(axis=1)):
        energies = delta_e[is_pure & (both[:, element] > 0)]
        weight = len(energies) / (len(energies) + _PURE_PSEUDO_COUNT)
        references[element] += weight * (np.median(energies) - references[element])
    return references
