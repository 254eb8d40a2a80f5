r"""Standard deviations that mean what they say, and the shape of the errors behind them.

Errors on bulks that a model has not seen are heavy-tailed: most are small, and a few sites reconstruct. With
:math:`z` the held-out errors in units of the stated standard deviations (:mod:`surrogate.cross_fit`),

1. a Student-t distribution is fitted to :math:`z` by maximum posterior likelihood: degrees of freedom
   :math:`ν` and a scale;
2. the scale is then set so that the central 90 % of the distribution holds 90 % of the observed :math:`|z|`
   (split conformal prediction, Lei et al., J. Am. Stat. Assoc. 113, 1094 (2018), pooled with the fit for as
   long as observations are few).

The *stated* standard deviation is the one of the normal distribution with the same central 90 %, so that
mean ± 1.645 std holds 90 % whoever reads it. Where more than that is wanted, the probability of a window or
another interval, the Student-t itself should be asked. Energies in eV.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from surrogate.cross_fit import HeldOut

LEVEL = 0.90
"""Probability at which the stated intervals are held against the observations."""
_NORMAL_QUANTILE = 1.6448536269514722
LARGE_FREEDOM = 1e9
"""So many degrees of freedom are as good as infinitely many, and can be computed with."""
_PRIOR_FREEDOM = 6.0
_LOG_FREEDOM_STD = 0.7
_FREEDOM_RANGE = (2.2, 60.0)
_LOG_SCALE_STD = 0.5
_FACTOR_RANGE = (0.5, 4.0)
"""Further is not believed: errors on bulks much like those known say little of stranger ones."""
_CAUTION = 0.5
"""Standard errors that the observed share may be too high by: what a model was tuned on it also fits."""
_MORE_DATA = 0.975
"""Errors of a model that saw all observations, relative to those of models that saw four fifths: the learning
curve of CO from 200 to 2,000 labels falls as the number of labels to the power −0.11."""
_PSEUDO_COUNT = 40.0
"""Observations that the fitted quantile counts as against the observed one."""


@dataclass(frozen=True)
class Calibration:
    """From a model's standard deviation to a distribution of ΔE."""

    factor: float = 1.0
    """What a model's standard deviation is multiplied by."""
    freedom: float = np.inf
    """Degrees of freedom of the Student-t distribution; infinite: normal."""
    n: int = 0
    """Held-out predictions that it rests on."""

    @classmethod
    def of(cls, held_out: HeldOut | None, delta_e: NDArray[np.float64]) -> Calibration:
        """Learn from held-out predictions of the observations; without any, nothing is changed."""
        if held_out is None:
            return cls()
        z = np.abs(delta_e - held_out.mean) / held_out.std
        freedom, scale = _fit_student(z)
        fitted = scale * _quantile(freedom)
        level = min(LEVEL + _CAUTION * np.sqrt(LEVEL * (1.0 - LEVEL) / len(z)), 1.0)
        observed = float(np.quantile(z, level, method="higher"))
        weight = len(z) / (len(z) + _PSEUDO_COUNT)
        quantile = np.exp(weight * np.log(max(observed, 1e-6)) + (1.0 - weight) * np.log(fitted))
        factor = np.clip(_MORE_DATA * quantile / _NORMAL_QUANTILE, *_FACTOR_RANGE)
        return cls(float(factor), freedom, len(z))

    def half_width(self, std: NDArray[np.float64], level: float) -> NDArray[np.float64]:
        """Half the width of the central interval of probability ``level``, eV; ``std`` as stated."""
        from scipy.special import stdtrit

        width: NDArray[np.float64] = self._scale(std) * stdtrit(self._freedom(), 0.5 + 0.5 * level)
        return width

    def hit_probability(
        self, mean: NDArray[np.float64], std: NDArray[np.float64], target: float, window: float
    ) -> NDArray[np.float64]:
        """Probability that ΔE is within ``window`` of ``target``; mean and std as stated, of shape (n,)."""
        from scipy.special import stdtr

        # On the lower tail both terms keep their precision.
        distance, scale = -np.abs(mean - target), self._scale(std)
        probability: NDArray[np.float64] = stdtr(self._freedom(), (distance + window) / scale)
        probability -= stdtr(self._freedom(), (distance - window) / scale)
        return probability

    def record(self) -> dict[str, float | int | None]:
        """Plain values for the store; degrees of freedom None when normal."""
        freedom = self.freedom if np.isfinite(self.freedom) else None
        return {"factor": self.factor, "degrees_of_freedom": freedom, "n_held_out": self.n}

    def _freedom(self) -> float:
        return min(self.freedom, LARGE_FREEDOM)

    def _scale(self, std: NDArray[np.float64]) -> NDArray[np.float64]:
        return std / std_per_scale(self.freedom)


def std_per_scale(freedom: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """How many times its scale a Student-t distribution's *stated* standard deviation is.

    Stated is the standard deviation of the normal distribution with the same central 90 %.

    Parameters
    ----------
    freedom
        Degrees of freedom; infinite: normal, 1.
    """
    return np.asarray(_quantile(freedom) / _NORMAL_QUANTILE)


def _quantile(freedom: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Half the central 90 % of a Student-t distribution of unit scale."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(np.minimum(freedom, LARGE_FREEDOM), 0.5 + 0.5 * LEVEL))


def _fit_student(z: NDArray[np.float64]) -> tuple[float, float]:
    """Degrees of freedom and scale of greatest posterior likelihood."""
    from scipy.optimize import minimize
    from scipy.special import gammaln

    def objective(x: NDArray[np.float64]) -> float:
        freedom, scale = np.exp(x[0]), np.exp(x[1])
        constant = gammaln(0.5 * (freedom + 1.0)) - gammaln(0.5 * freedom) - 0.5 * np.log(freedom)
        tail = 0.5 * (freedom + 1.0) * np.log1p((z / scale) ** 2 / freedom)
        prior = 0.5 * ((x[0] - np.log(_PRIOR_FREEDOM)) / _LOG_FREEDOM_STD) ** 2
        prior += 0.5 * (x[1] / _LOG_SCALE_STD) ** 2
        return float((tail - constant + x[1]).sum() + prior)

    bounds = [tuple(np.log(_FREEDOM_RANGE)), (-4.0, 4.0)]
    best = minimize(objective, np.array([np.log(_PRIOR_FREEDOM), 0.0]), method="L-BFGS-B", bounds=bounds)
    return float(np.exp(best.x[0])), float(np.exp(best.x[1]))
