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

All observations count, through at most ``max_points`` of their environments: exact as long as there are no
more, beyond that the fully independent training conditional approximation [3].

References
----------
.. [1] Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), chapters 2 and 4.2.
.. [2] ibid., chapter 5.4.1.
.. [3] Quiñonero-Candela and Rasmussen, J. Mach. Learn. Res. 6, 1939 (2005), chapter 5.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from surrogate.cross_fit import grouped_folds, hold_out
from surrogate.elements import counts_by_element, fractions, similarity
from surrogate.sites import distinct

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray

    from surrogate.cross_fit import HeldOut, MeanAndStd
    from surrogate.prior import AdsorbatePrior
    from surrogate.sites import Shell, SiteEnvironment

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
_JITTER = 1e-9


class _Points(NamedTuple):
    """Composition and logarithmic size of both shells of some sites."""

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    first_size: NDArray[np.float64]
    second_size: NDArray[np.float64]

    @classmethod
    def of(cls, shells: Sequence[tuple[Shell, Shell]]) -> _Points:
        first, second = (counts_by_element([pair[i] for pair in shells]) for i in (0, 1))
        sizes = [np.log(np.maximum(counts.sum(axis=1), 1.0)) for counts in (first, second)]
        return cls(fractions(first), fractions(second), *sizes)

    def take(self, rows: NDArray[np.int64] | slice) -> _Points:
        return _Points(*(block[rows] for block in self))

    def single(self) -> _Points:
        """In single precision."""
        return _Points(*(block.astype(np.float32) for block in self))  # type: ignore[arg-type]


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
            likened = left[shell] @ _similarity(left[shell].dtype)
            product = likened @ right[shell].T
            norms = (likened * left[shell]).sum(axis=1)[:, None] + _norms(right[shell])
            shapes.append(np.maximum(norms - 2 * product, 0.0))
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
    norms: NDArray[np.float64] = ((shares @ _similarity(shares.dtype)) * shares).sum(axis=1)
    return norms


@lru_cache(maxsize=2)
def _similarity(dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """What :func:`surrogate.elements.similarity` says, in the precision of the points."""
    return similarity().astype(dtype)


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
    def of(cls, points: _Points, place: NDArray[np.int64], residual: NDArray[np.float64]) -> _Merged:
        """Merge observations; ``place`` is the point of each."""
        n = len(points.first)
        count = np.bincount(place, minlength=n).astype(float)
        mean = np.bincount(place, residual, minlength=n) / np.maximum(count, 1.0)
        scatter = np.bincount(place, (residual - mean[place]) ** 2, minlength=n).astype(float)
        return cls(points, mean, count, scatter)

    def take(self, rows: NDArray[np.int64]) -> _Merged:
        return _Merged(self.points.take(rows), self.mean[rows], self.multiplicity[rows], self.scatter[rows])


class _Posterior(NamedTuple):
    """What a prediction needs: covariances with the inducing points times these."""

    weights: NDArray[np.float64]
    explained: NDArray[np.float64]
    """Root of the variance that observations take away, of shape (n_inducing, n_inducing)."""

    @classmethod
    def of(
        cls,
        root: NDArray[np.float64],
        white: NDArray[np.float64],
        points: _Points,
        data: tuple[NDArray[np.float64], NDArray[np.float64]],
        hyper: NDArray[np.float64],
    ) -> _Posterior:
        """Solve for observations.

        Parameters
        ----------
        root, white
            Cholesky's root of the inducing points' covariance, and its solution for that with the points.
        data
            Mean residual and number of observations at each point.
        """
        from scipy.linalg import eigh, solve_triangular

        mean, count = data
        # What the inducing points cannot say of a point is noise there.
        unseen = np.maximum(_signal_variance(points, hyper) - (white**2).sum(axis=0), 0.0)
        precision = count / (hyper[4] + count * unseen)
        values, vectors = eigh((white * precision) @ white.T)
        values = np.maximum(values, 0.0)
        basis = solve_triangular(root, vectors, lower=True, trans="T")
        pull = vectors.T @ (white @ (precision * mean))
        return cls(basis @ (pull / (values + 1.0)), basis * np.sqrt(values / (values + 1.0)))

    def single(self) -> _Posterior:
        """In single precision where it is multiplied much; the weights are large and nearly cancel."""
        return self._replace(explained=self.explained.astype(np.float32))


class GaussianProcessModel:
    """Gaussian process that knows the periodic table; it sees the two shells and nothing else.

    Parameters
    ----------
    prior
        Prior of the adsorbate.
    seed
        Picks the subsets.
    max_points
        Inducing points: environments through which all observations are seen.
    max_tuning_points
        Environments on which hyperparameters are set.

    Attributes
    ----------
    hyper_
        Hyperparameters in the order of :data:`HYPERPARAMETERS`.
    n_points_
        Inducing points in use.
    held_out_
        Predictions of the observations by posteriors that saw none of their group, with the hyperparameters
        of all.
    """

    def __init__(
        self, prior: AdsorbatePrior, seed: int = 0, max_points: int = 400, max_tuning_points: int = 300
    ) -> None:
        self.prior = prior
        self.seed = seed
        self.max_points = max_points
        self.max_tuning_points = max_tuning_points

    def fit(
        self,
        environments: Sequence[SiteEnvironment],
        delta_e: NDArray[np.float64],
        groups: NDArray[np.int64] | None = None,
    ) -> Self:
        """Learn from observations: ΔE of shape (n,), eV; groups of shape (n,)."""
        self.n_points_ = 0
        self.hyper_ = _PRIOR_MEDIANS.copy()
        self.held_out_: HeldOut | None = None
        if not len(delta_e):
            return self
        from scipy.linalg import cholesky, solve_triangular

        residual = (np.asarray(delta_e, dtype=float) - self.prior.mean_ev) / self.prior.std_ev
        shells, place = distinct([environment.canonical() for environment in environments])
        merged = _Merged.of(_Points.of(shells), place, residual)
        order = np.random.default_rng(self.seed).permutation(len(shells))
        self.hyper_ = _tune(merged.take(order[: self.max_tuning_points]))
        self._points = merged.points.take(np.sort(order[: self.max_points]))
        self.n_points_ = len(self._points.first)
        own = _covariance(self._points, self._points, self.hyper_)
        own[np.diag_indices_from(own)] += _JITTER * (self.hyper_[:_N_VARIANCES].sum())
        root = cholesky(own, lower=True)
        white = solve_triangular(root, _covariance(self._points, merged.points, self.hyper_), lower=True)
        data = merged.mean, merged.multiplicity
        self._posterior = _Posterior.of(root, white, merged.points, data, self.hyper_)
        folds = grouped_folds(groups, self.seed)
        if folds is not None:
            self.held_out_ = self._hold_out(folds, root, white, merged.points, place, residual)
        return self

    def _hold_out(
        self,
        folds: NDArray[np.int64],
        root: NDArray[np.float64],
        white: NDArray[np.float64],
        points: _Points,
        place: NDArray[np.int64],
        residual: NDArray[np.float64],
    ) -> HeldOut:
        cross = root @ white

        def predict(_: int, rest: NDArray[np.bool_], out: NDArray[np.bool_]) -> MeanAndStd:
            seen = _Merged.of(points, place[rest], residual[rest])
            posterior = _Posterior.of(root, white, points, (seen.mean, seen.multiplicity), self.hyper_)
            wanted, back = np.unique(place[out], return_inverse=True)
            mean, variance = self._evaluate(points.take(wanted), cross[:, wanted].T, posterior)
            std = self.prior.std_ev * np.sqrt(variance)
            return (self.prior.mean_ev + self.prior.std_ev * mean)[back.ravel()], std[back.ravel()]

        return hold_out(folds, predict)

    def predict(
        self, environments: Sequence[SiteEnvironment]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean ΔE and its standard deviation, eV; each of shape (n,)."""
        shells, place = distinct([(e.first_shell, e.second_shell) for e in environments])
        mean, variance = np.empty(len(shells)), np.empty(len(shells))
        single = self._posterior.single() if self.n_points_ else None
        for start in range(0, len(shells), _CHUNK):
            rows = slice(start, start + _CHUNK)
            points = _Points.of(shells[rows])
            if single is not None:
                # Single precision halves the time, and changes predictions by some 10⁻⁶ eV.
                cross = _covariance(points.single(), self._points.single(), self.hyper_.astype(np.float32))
                mean[rows], variance[rows] = self._evaluate(points, cross, single)
            else:
                mean[rows], variance[rows] = 0.0, _signal_variance(points, self.hyper_) + self.hyper_[4]
        mean = self.prior.mean_ev + self.prior.std_ev * mean
        return mean[place], self.prior.std_ev * np.sqrt(variance)[place]

    def _evaluate(
        self, points: _Points, cross: NDArray[np.float64], posterior: _Posterior
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        explained = ((cross @ posterior.explained) ** 2).sum(axis=1)
        signal = np.maximum(_signal_variance(points, self.hyper_) - explained, 0.0)
        return cross @ posterior.weights, signal + self.hyper_[4]

    def parameters(self) -> dict[str, Any]:
        """Settings and fitted hyperparameters, plain values."""
        return {
            "max_points": self.max_points,
            "max_tuning_points": self.max_tuning_points,
            "n_points": self.n_points_,
            **{name: float(value) for name, value in zip(HYPERPARAMETERS, self.hyper_, strict=True)},
        }


def _covariance(left: _Points, right: _Points, hyper: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariance without noise, in slices: the kernel needs ten times the memory of its result."""
    result = np.empty((len(left.first), len(right.first)), left.first.dtype)
    for start in range(0, len(result), _CHUNK):
        rows = slice(start, start + _CHUNK)
        result[rows] = _Blocks.between(left.take(rows), right).kernel(hyper)
    return result


def _signal_variance(points: _Points, hyper: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance at points before anything is observed, without noise."""
    linear: NDArray[np.float64] = hyper[0] * _norms(points.first) + hyper[1] * _norms(points.second)
    return linear + float(hyper[2] + hyper[3])


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
