"""Whether a surrogate still means what it says: predictions made before an energy was known, and the energy.

Energies in eV; an error is energy minus prediction. Two tests look at the last results:

- *coverage*: how many lie within mean ± 1.645 standard deviations, which are meant to hold 90 % whatever the
  shape of the distribution (:mod:`surrogate.calibration`);
- *bias*: how many lie above the prediction, which half of them should. A sign test, because errors are
  heavy-tailed: one site that reconstructs would decide a test of the mean.

Both are two-sided binomial tests at 1 %. A surrogate that means what it says fails each of them once in a
hundred looks at fresh results; looks at nearly the same results are no fresh ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from surrogate.calibration import LEVEL
from surrogate.metrics import coverage, mean_absolute_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANCE = 0.01
"""What is less likely than that is not put down to chance."""


@dataclass(frozen=True)
class Drift:
    """How some predictions turned out."""

    n: int
    mae_ev: float
    bias_ev: float
    """Mean error; positive: energies lie higher than predicted."""
    coverage_90: float
    """Share of the energies inside the stated 90 % intervals."""
    is_coverage_off: bool
    """Further from 90 % than chance explains."""
    is_biased: bool
    """More energies lie on one side of the prediction than chance explains."""


def drift(truth: NDArray[np.float64], mean: NDArray[np.float64], std: NDArray[np.float64]) -> Drift | None:
    """Hold predictions against what came out; None without any.

    Parameters
    ----------
    truth, mean, std
        Energies, predictions and their stated standard deviations, eV, of shape (n,).
    """
    n = len(truth)
    if n == 0:
        return None
    inside = coverage(truth, mean, std, LEVEL)
    n_above = int((truth > mean).sum())
    return Drift(
        n=n,
        mae_ev=mean_absolute_error(truth, mean),
        bias_ev=float((truth - mean).mean()),
        coverage_90=inside,
        is_coverage_off=two_sided(round(inside * n), n, LEVEL) < CHANCE,
        is_biased=two_sided(n_above, n, 0.5) < CHANCE,
    )


def two_sided(k: int, n: int, p: float) -> float:
    """Probability of a count as far out as ``k`` of ``n``, or further: twice the smaller tail."""
    from scipy.special import bdtr

    upper = 1.0 - float(bdtr(k - 1, n, p)) if k > 0 else 1.0
    return min(1.0, 2.0 * min(float(bdtr(k, n, p)), upper))
