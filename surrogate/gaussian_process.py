r"""Gaussian process on the composition of a site's two coordination shells.

The kernel sees the shells as distributions over elements, with the similarity ``S`` of
:func:`surrogate.elements.similarity` between elements. With the fractions ``f``, ``g`` (first, second
shell) and the logarithms ``a``, ``b`` of the number of atoms,

.. math::
    k = v_1 f^T S f' + v_2 g^T S g' + v_3 m(D_1) + v_4 m(D_1 + D_2),

where :math:`D_1 = |f - f'|_S^2 / l_1^2 + (a - a')^2 / w_1^2`, :math:`D_2` likewise for the second shell, and
:math:`m(D) = (1 + \sqrt{3D}) e^{-\sqrt{3D}}` is the Matérn 3/2 function [1]. Linear terms carry what is known
of an element to all its alloys, the others learn the departures. Unknown elements are taken to behave like
their neighbours in the periodic table, which makes the first hundred observations count. The prior mean is
the adsorbate's; variances and lengths are set by maximum posterior likelihood under log-normal priors [2].

References
----------
.. [1] Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), chapters 2 and 4.2.
.. [2] ibid., chapter 5.4.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import numpy as np

from surrogate.elements import fractions, similarity
from surrogate.fingerprint import decode_counts

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

    from surrogate.prior import AdsorbatePrior

HYPERPARAMETERS = (
    "first_linear",
    "second_linear",
    "first_matern",
    "both_matern",
    "noise",
    "first_length_squared",
    "second_length_squared",
    "first_size_squared",
    "second_size_squared",
)
"""The first five are variances in units of the prior's variance."""
_PRIOR_MEDIANS = np.array([0.5, 0.1, 0.15, 0.15, 0.1, 0.3, 0.3, 1.0, 1.0])
_N_VARIANCES = 5
_LOG_BOUND = 4.0
_MAX_ITERATIONS = 30
_CHUNK = 500


class _Points(NamedTuple):
    """Composition and logarithmic size of both shells of some sites."""

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    first_size: NDArray[np.float64]
    second_size: NDArray[np.float64]

    @classmethod
    def from_features(cls, features: NDArray[np.float64]) -> _Points:
        first, second = decode_counts(features)
        sizes = [np.log(np.maximum(counts.sum(axis=1), 1.0)) for counts in (first, second)]
        return cls(fractions(first), fractions(second), *sizes)

    def take(self, rows: NDArray[np.int64] | slice) -> _Points:
        return _Points(*(block[rows] for block in self))


class _Blocks(NamedTuple):
    """What the kernel between two sets of points needs and hyperparameters do not change."""

    first_product: NDArray[np.float64]
    second_product: NDArray[np.float64]
    distances: tuple[NDArray[np.float64], ...]
    """Squared, in the order of the four lengths in :data:`HYPERPARAMETERS`."""

    @classmethod
    def between(cls, left: _Points, right: _Points) -> _Blocks:
        products, shapes, sizes = [], [], []
        for shell in (0, 1):
            product = left[shell] @ similarity() @ right[shell].T
            shapes.append(np.maximum(_norms(left[shell])[:, None] + _norms(right[shell]) - 2 * product, 0.0))
            sizes.append((left[shell + 2][:, None] - right[shell + 2]) ** 2)
            products.append(product)
        return cls(products[0], products[1], (*shapes, *sizes))

    def kernel(self, hyper: NDArray[np.float64]) -> NDArray[np.float64]:
        """Covariance without noise; ``hyper`` in the order of :data:`HYPERPARAMETERS`."""
        scaled = [distance / length for distance, length in zip(self.distances, hyper[5:], strict=True)]
        near = scaled[0] + scaled[2]
        result: NDArray[np.float64] = hyper[0] * self.first_product + hyper[1] * self.second_product
        result += hyper[2] * _matern(near)
        result += hyper[3] * _matern(near + scaled[1] + scaled[3])
        return result


def _norms(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    norms: NDArray[np.float64] = ((shares @ similarity()) * shares).sum(axis=1)
    return norms


def _matern(squared: NDArray[np.float64]) -> NDArray[np.float64]:
    root = np.sqrt(3.0 * squared)
    return (1.0 + root) * np.exp(-root)


class _Merged(NamedTuple):
    """Observations of the same site environment merged into one, without loss."""

    points: _Points
    mean: NDArray[np.float64]
    multiplicity: NDArray[np.float64]
    scatter: NDArray[np.float64]
    """Sum of squares about the mean of each environment."""

    @classmethod
    def from_rows(cls, features: NDArray[np.float64], residual: NDArray[np.float64]) -> _Merged:
        unique, inverse = np.unique(features, axis=0, return_inverse=True)
        inverse = inverse.ravel()
        count = np.bincount(inverse, minlength=len(unique)).astype(float)
        mean = np.bincount(inverse, residual, minlength=len(unique)) / count
        scatter = np.bincount(inverse, (residual - mean[inverse]) ** 2, minlength=len(unique)).astype(float)
        return cls(_Points.from_features(unique), mean, count, scatter)

    def take(self, rows: NDArray[np.int64]) -> _Merged:
        return _Merged(self.points.take(rows), self.mean[rows], self.multiplicity[rows], self.scatter[rows])


class GaussianProcessModel:
    """Gaussian process that knows the periodic table.

    Exact up to ``max_points`` distinct environments, observations of the same one being merged without
    loss; beyond that it keeps a random subset of so many. Hyperparameters are set on a random subset of
    ``max_tuning_points``.

    Parameters
    ----------
    prior
        Prior of the adsorbate.
    seed
        Picks the subsets.

    Attributes
    ----------
    hyper_
        Hyperparameters in the order of :data:`HYPERPARAMETERS`.
    n_points_
        Distinct environments in use.
    """

    def __init__(
        self, prior: AdsorbatePrior, seed: int = 0, max_points: int = 3000, max_tuning_points: int = 300
    ) -> None:
        self.prior = prior
        self.seed = seed
        self.max_points = max_points
        self.max_tuning_points = max_tuning_points

    def fit(self, features: NDArray[np.float64], delta_e: NDArray[np.float64]) -> Self:
        """Learn from observations: features of shape (n, n_features), ΔE of shape (n,), eV."""
        self.n_points_ = 0
        self.hyper_ = _PRIOR_MEDIANS.copy()
        if not len(delta_e):
            return self
        from scipy.linalg import cho_factor, cho_solve

        residual = (np.asarray(delta_e, dtype=float) - self.prior.mean_ev) / self.prior.std_ev
        merged = _Merged.from_rows(np.asarray(features, dtype=float), residual)
        order = np.random.default_rng(self.seed).permutation(len(merged.mean))
        self.hyper_ = _tune(merged.take(order[: self.max_tuning_points]))
        merged = merged.take(np.sort(order[: self.max_points]))
        self.n_points_ = len(merged.mean)
        self._points = merged.points
        covariance = np.diag(self.hyper_[4] / merged.multiplicity)
        # In slices: the kernel needs ten times the memory of its result.
        for start in range(0, self.n_points_, _CHUNK):
            rows = slice(start, start + _CHUNK)
            covariance[rows] += _Blocks.between(merged.points.take(rows), merged.points).kernel(self.hyper_)
        self._factor = cho_factor(covariance, lower=True, overwrite_a=True)
        self._weights = cho_solve(self._factor, merged.mean)
        return self

    @overload
    def predict(
        self, features: NDArray[np.float64], return_std: Literal[False] = ...
    ) -> NDArray[np.float64]: ...
    @overload
    def predict(
        self, features: NDArray[np.float64], return_std: Literal[True]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
    def predict(
        self, features: NDArray[np.float64], return_std: bool = False
    ) -> NDArray[np.float64] | tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean ΔE and, if asked for, its standard deviation, eV; each of shape (n,)."""
        points = _Points.from_features(np.asarray(features, dtype=float))
        mean, variance = np.empty(len(features)), np.empty(len(features))
        for start in range(0, len(features), _CHUNK):
            rows = slice(start, start + _CHUNK)
            mean[rows], variance[rows] = self._predict_chunk(points.take(rows), return_std)
        mean = self.prior.mean_ev + self.prior.std_ev * mean
        return (mean, self.prior.std_ev * np.sqrt(variance)) if return_std else mean

    def parameters(self) -> dict[str, Any]:
        """Settings and fitted hyperparameters, plain values."""
        return {
            "max_points": self.max_points,
            "max_tuning_points": self.max_tuning_points,
            "n_points": self.n_points_,
            **{name: float(value) for name, value in zip(HYPERPARAMETERS, self.hyper_, strict=True)},
        }

    def _predict_chunk(
        self, points: _Points, with_variance: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        linear = self.hyper_[0] * _norms(points.first) + self.hyper_[1] * _norms(points.second)
        variance = linear + self.hyper_[2] + self.hyper_[3] + self.hyper_[4]
        if not self.n_points_:
            return np.zeros(len(variance)), variance
        from scipy.linalg import solve_triangular

        cross = _Blocks.between(points, self._points).kernel(self.hyper_)
        mean = cross @ self._weights
        if with_variance:
            # Overwrites `cross`, the largest array here, so the mean comes first.
            explained = solve_triangular(self._factor[0], cross.T, lower=True, overwrite_b=True)
            variance = np.maximum(variance - (explained**2).sum(axis=0), self.hyper_[4])
        return mean, variance


def _tune(data: _Merged) -> NDArray[np.float64]:
    """Hyperparameters of greatest posterior likelihood."""
    from scipy.optimize import minimize

    start = np.log(_PRIOR_MEDIANS)
    blocks = _Blocks.between(data.points, data.points)

    def objective(log_hyper: NDArray[np.float64]) -> float:
        return _negative_log_likelihood(np.exp(log_hyper), blocks, data) + 0.5 * float(
            ((log_hyper - start) ** 2).sum()
        )

    bounds = [(value - _LOG_BOUND, value + _LOG_BOUND) for value in start]
    best = minimize(objective, start, method="L-BFGS-B", bounds=bounds, options={"maxiter": _MAX_ITERATIONS})
    hyper: NDArray[np.float64] = np.exp(best.x)
    return hyper


def _negative_log_likelihood(hyper: NDArray[np.float64], blocks: _Blocks, data: _Merged) -> float:
    """Minus the logarithm of the marginal likelihood of the unmerged observations, up to a constant."""
    from scipy.linalg import cholesky, solve_triangular

    noise = hyper[4]
    covariance = blocks.kernel(hyper)
    covariance[np.diag_indices_from(covariance)] += noise / data.multiplicity
    factor = cholesky(covariance, lower=True, overwrite_a=True)
    white = solve_triangular(factor, data.mean, lower=True)
    within = 0.5 * data.scatter.sum() / noise + 0.5 * (data.multiplicity - 1.0).sum() * np.log(noise)
    return float(0.5 * white @ white + np.log(np.diag(factor)).sum() + within)
