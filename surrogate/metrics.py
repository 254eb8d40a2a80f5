"""How good predictions and their standard deviations are.

Accuracy is always measured on bulks that the model has not seen: sites of one bulk resemble each other, and
a random split flatters. Energies in eV. Calibration follows Tran et al., Mach. Learn.: Sci. Technol. 1,
025006 (2020): the share of true values inside the central interval of each probability should equal it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from surrogate.calibration import LARGE_FREEDOM, std_per_scale

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from surrogate.models import AdsorptionSurrogate
    from surrogate.sites import SiteEnvironment
    from surrogate.transfer import Source

COVERAGE_LEVELS = (0.50, 0.68, 0.90, 0.95)


def mean_absolute_error(truth: NDArray[np.float64], mean: NDArray[np.float64]) -> float:
    """Mean of the absolute errors, eV."""
    return float(np.abs(truth - mean).mean())


def median_absolute_error(truth: NDArray[np.float64], mean: NDArray[np.float64]) -> float:
    """Median of the absolute errors, eV."""
    return float(np.median(np.abs(truth - mean)))


def root_mean_squared_error(truth: NDArray[np.float64], mean: NDArray[np.float64]) -> float:
    """Root of the mean squared error, eV."""
    return float(np.sqrt(((truth - mean) ** 2).mean()))


def negative_log_likelihood(
    truth: NDArray[np.float64],
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
    freedom: NDArray[np.float64] | float = np.inf,
) -> float:
    """Mean of minus the logarithm of the predicted density at the truth, with energies in eV.

    Parameters
    ----------
    freedom
        Degrees of freedom of the predicted Student-t distributions, all or each; infinite: normal.
    """
    from scipy.special import gammaln

    scale = std / std_per_scale(freedom)
    nu = np.minimum(freedom, LARGE_FREEDOM)
    constant = gammaln(0.5 * (nu + 1.0)) - gammaln(0.5 * nu) - 0.5 * np.log(np.pi * nu)
    tail = 0.5 * (nu + 1.0) * np.log1p(((truth - mean) / scale) ** 2 / nu)
    return float((tail + np.log(scale) - constant).mean())


def _two_sided_probability(
    truth: NDArray[np.float64],
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
    freedom: NDArray[np.float64] | float = np.inf,
) -> NDArray[np.float64]:
    """Probability of the smallest central interval of each prediction that holds its truth."""
    from scipy.special import stdtr

    scaled = np.abs(truth - mean) / std * std_per_scale(freedom)
    probability: NDArray[np.float64] = 2.0 * stdtr(np.minimum(freedom, LARGE_FREEDOM), scaled) - 1.0
    return probability


def coverage(
    truth: NDArray[np.float64],
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
    level: float,
    freedom: NDArray[np.float64] | float = np.inf,
) -> float:
    """Share of true values inside the central interval of probability ``level``."""
    return float((_two_sided_probability(truth, mean, std, freedom) <= level).mean())


def miscalibration_area(
    truth: NDArray[np.float64],
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
    freedom: NDArray[np.float64] | float = np.inf,
) -> float:
    """Area between observed and nominal coverage; 0 when calibrated, at most 0.5."""
    levels = np.linspace(0.0, 1.0, 201)
    needed = np.sort(_two_sided_probability(truth, mean, std, freedom))
    observed = np.searchsorted(needed, levels, side="right") / len(needed)
    gap = np.abs(observed - levels)
    return float(((gap[1:] + gap[:-1]) / 2.0 * np.diff(levels)).sum())


def sharpness(std: NDArray[np.float64]) -> float:
    """Root mean square of the standard deviations, eV."""
    return float(np.sqrt((std**2).mean()))


def summarise(
    truth: NDArray[np.float64],
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
    freedom: NDArray[np.float64] | float = np.inf,
) -> dict[str, float | None]:
    """Every figure of this module by name; all None without a single row.

    Parameters
    ----------
    freedom
        Degrees of freedom of the predicted distributions (:mod:`surrogate.calibration`), all or each.
    """
    figures: dict[str, Callable[[], float]] = {
        "mae_ev": lambda: mean_absolute_error(truth, mean),
        "rmse_ev": lambda: root_mean_squared_error(truth, mean),
        "median_absolute_error_ev": lambda: median_absolute_error(truth, mean),
        "nll": lambda: negative_log_likelihood(truth, mean, std, freedom),
        "miscalibration_area": lambda: miscalibration_area(truth, mean, std, freedom),
        "sharpness_ev": lambda: sharpness(std),
    }
    for level in COVERAGE_LEVELS:
        figures[f"coverage_{round(100 * level)}"] = partial(coverage, truth, mean, std, level, freedom)
    return {name: figure() if len(truth) else None for name, figure in figures.items()}


@dataclass(frozen=True)
class CrossValidation:
    """Predictions for every observation by a surrogate that saw no observation of its group."""

    truth: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    freedom: NDArray[np.float64]
    n_splits: int

    def summary(self) -> dict[str, float | None]:
        """Figures of :func:`summarise`."""
        return summarise(self.truth, self.mean, self.std, self.freedom)


def cross_validate(
    surrogate_factory: Callable[[], AdsorptionSurrogate],
    environments: Sequence[SiteEnvironment],
    delta_e: ArrayLike,
    groups: Sequence[str],
    n_splits: int = 5,
    sources: Sequence[Source] = (),
) -> CrossValidation | None:
    """Predict every observation from the others, leaving out whole groups.

    Parameters
    ----------
    surrogate_factory
        Makes an untrained surrogate.
    delta_e
        Observed ΔE, eV, of shape (n_environments,).
    groups
        Bulk of each observation.
    n_splits
        Parts; as many as there are groups if those are fewer.
    sources
        Energies from elsewhere, which every surrogate sees whole.

    Returns
    -------
    CrossValidation or None
        None when all observations are of one group: nothing can then be said.
    """
    n_splits = min(n_splits, len(set(groups)))
    if n_splits < 2:
        return None
    from sklearn.model_selection import GroupKFold

    truth = np.asarray(delta_e, dtype=float)
    mean, std, freedom = np.empty(len(truth)), np.empty(len(truth)), np.empty(len(truth))
    for train, test in GroupKFold(n_splits).split(truth, groups=np.asarray(groups)):
        surrogate = surrogate_factory()
        elsewhere = {"sources": sources} if sources else {}
        seen = [environments[i] for i in train]
        surrogate.fit(seen, truth[train], [groups[i] for i in train], **elsewhere)
        mean[test], std[test] = surrogate.predict([environments[i] for i in test])
        freedom[test] = surrogate.calibration_.freedom
    return CrossValidation(truth, mean, std, freedom, n_splits)
