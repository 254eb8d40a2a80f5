r"""Learning from other people's energies: another functional, another code, another adsorbate, old data.

After Kennedy and O'Hagan [1]_: a model :math:`f_s` is trained on a source alone, and the target is

.. math::
    y(x) = m + a_s + b_s (f_s(x) - m_s) + σ_s(x) δ_s(x),

with :math:`m_s` the source's mean energy. Level :math:`a_s` and slope :math:`b_s` are found by robust
Bayesian regression on the campaign's own observations (Student-t errors; a bulk with many sites counts for
less than as many bulks). For the same adsorbate :math:`m = m_s` and the prior is :math:`b_s = 1`, so that
before the first observation the source says how sites rank; for another adsorbate :math:`m` is the prior's
mean, and :math:`b_s = 0`. What is left is learned by the usual model, in units of the doubt
:math:`σ_s(x)`: small where the source holds the very site, great where it holds nothing alike.

Beside these there is always the model that sees no source. All are multiplied as experts [2]_,
:math:`1/σ^2 = \sum_k w_k / σ_k^2`, whose weights sum to one and make the observations on held-out bulks most
likely: a source that does not help is not listened to. Energies in eV.

References
----------
.. [1] Kennedy and O'Hagan, Biometrika 87, 1 (2000), doi:10.1093/biomet/87.1.1
.. [2] Cao and Fleet, Generalized product of experts (2014), arXiv:1410.7827
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from surrogate.cross_fit import N_FOLDS, HeldOut, grouped_folds, groups_by_elements, hold_out
from surrogate.ensemble import MODELS
from surrogate.prior import AdsorbatePrior
from surrogate.sites import distinct
from surrogate.source import Source, model_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray

    from surrogate.cross_fit import MeanAndStd
    from surrogate.ensemble import SiteModel
    from surrogate.sites import SiteEnvironment

__all__ = ["LEVEL_STD_EV", "Source", "TransferModel"]

LEVEL_STD_EV = 0.3
"""What a level between two ways of computing ΔE may be before anything is known of it. From PBE to RPBE alone
chemisorption of CO becomes weaker by some tenths of an eV (Hammer, Hansen and Nørskov, Phys. Rev. B 59, 7413
(1999), doi:10.1103/PhysRevB.59.7413)."""
_SLOPE_STD = {"same": 0.6, "other": 1.0}
"""Energies of different adsorbates scale with slopes of that size (Abild-Pedersen et al., Phys. Rev. Lett.
99, 016105 (2007), doi:10.1103/PhysRevLett.99.016105)."""
_SCATTER_EV = 0.1
"""What two ways of computing ΔE of one site differ by beside the level."""
_FREEDOM = 4.0
_SCALE_COUNT = 3.0
"""Observations that the prior width of what the regression leaves counts as."""
_TO_STD = 1.4826
"""Standard deviation of a normal distribution, in medians of what lies off its mean."""
_KINSHIP = 0.5
"""Correlation of what the regression leaves on two sites of one bulk."""
_START = {"same": 2.0, "other": 0.5}
"""Weights to begin with, relative to that of the model without sources."""
_PSEUDO_COUNT = 3.0
"""Observations that the starting weights count as."""
_ITERATIONS = 25
_OUTER = 3.0
"""What the regression leaves is taken to be no more than so many of its scales."""
MIN_TO_HOLD_OUT = 4
"""Below so many observations the weights are the starting ones."""


class _Said(NamedTuple):
    """What a source says of some sites: its energies about their mean, and the doubt; of shape (n,)."""

    centred: NDArray[np.float64]
    doubt: NDArray[np.float64]
    is_own: NDArray[np.bool_]
    """Whether the source holds the very site."""

    def take(self, rows: NDArray[np.bool_]) -> _Said:
        return _Said(self.centred[rows], self.doubt[rows], self.is_own[rows])

    def rescaled(self, scales: Sequence[float]) -> _Said:
        """Multiply the doubt, of other sites and of the source's own."""
        return self._replace(doubt=self.doubt * np.where(self.is_own, scales[1], scales[0]))


class _Expert:
    """The target through the eyes of one source.

    Attributes
    ----------
    level_, slope_
        What they were found to be; ``covariance_`` of shape (2, 2).
    held_out_
        Predictions of the observations by models of the remainder that saw none of their group.
    """

    def __init__(self, source: Source, adsorbate: str, prior: AdsorbatePrior, model: str, seed: int) -> None:
        self.source = source
        self.prior = prior
        self.model = model
        self.seed = seed
        self._base = model_of(source, adsorbate, model, seed)
        self._is_same = source.kind == "same"
        self._mean = self._base.mean_ev if self._is_same else prior.mean_ev

    def ask(self, environments: Sequence[SiteEnvironment]) -> _Said:
        """Ask the source."""
        if not environments:
            return _Said(np.empty(0), np.empty(0), np.empty(0, dtype=bool))
        mean, std, is_own = self._base.predict(environments)
        doubt = np.hypot(std, _SCATTER_EV) if self._is_same else np.full(len(std), self.prior.std_ev)
        return _Said(mean - self._base.mean_ev, doubt, is_own)

    def fit(
        self,
        environments: Sequence[SiteEnvironment],
        delta_e: NDArray[np.float64],
        groups: NDArray[np.int64],
        said: _Said | None = None,
    ) -> Self:
        """Learn level, slope and remainder; ``said`` if the source was asked of them before."""
        said = said or self.ask(environments)
        self._regress(said, delta_e, groups)
        self._scales = self._scales_of(said, delta_e)
        said = said.rescaled(self._scales)
        folds = grouped_folds(groups, self.seed)
        line = None if folds is None else hold_out(folds, partial(self._held_out_line, said, delta_e, groups))
        scale = self._regress(said, delta_e, groups)
        left = (delta_e - self._line(said)) / said.doubt
        # The odd site that reconstructs would pull on all others.
        left = np.clip(left, -_OUTER * scale, _OUTER * scale)
        self._rest: SiteModel = MODELS[self.model](AdsorbatePrior(0.0, 1.0).updated(left), seed=self.seed)  # type: ignore[call-arg]
        self._rest.fit(environments, left, groups)
        out, self.held_out_ = self._rest.held_out_, None
        if out is not None and line is not None:
            self.held_out_ = HeldOut(line.mean + said.doubt * out.mean, self._std(said, out.std))
        return self

    def _scales_of(self, said: _Said, delta_e: NDArray[np.float64]) -> list[float]:
        """By what the doubt is wrong: agreement on the source's own sites says nothing about others."""
        left = np.abs(delta_e - self._line(said)) / said.doubt
        parts = (left[~said.is_own], left[said.is_own])
        squares = [(_TO_STD * np.median(part)) ** 2 if len(part) else 0.0 for part in parts]
        return [
            float(np.sqrt((_SCALE_COUNT + len(part) * square) / (_SCALE_COUNT + len(part))))
            for part, square in zip(parts, squares, strict=True)
        ]

    def _held_out_line(
        self,
        said: _Said,
        delta_e: NDArray[np.float64],
        groups: NDArray[np.int64],
        _: int,
        rest: NDArray[np.bool_],
        out: NDArray[np.bool_],
    ) -> MeanAndStd:
        self._regress(said.take(rest), delta_e[rest], groups[rest])
        return self._line(said.take(out)), said.doubt[out]

    def _regress(self, said: _Said, delta_e: NDArray[np.float64], groups: NDArray[np.int64]) -> float:
        """Find level and slope; return the scale of what is left, in units of the doubt."""
        slope = 1.0 if self._is_same else 0.0
        level_std = LEVEL_STD_EV if self._is_same else self.prior.std_ev
        prior = np.diag(np.array([level_std, _SLOPE_STD[self.source.kind]]) ** -2.0)
        inputs = np.stack([np.ones(len(delta_e)), said.centred], axis=1) / said.doubt[:, None]
        target = (delta_e - self._mean - slope * said.centred) / said.doubt
        counts = 1.0 / (1.0 + _KINSHIP * (np.bincount(groups)[groups] - 1.0)) if len(groups) else np.empty(0)
        found, variance = np.zeros(2), 1.0
        for _ in range(_ITERATIONS):
            left = target - inputs @ found
            weights = counts * (_FREEDOM + 1.0) / (_FREEDOM + left**2 / variance)
            variance = (_SCALE_COUNT + float(weights @ left**2)) / (_SCALE_COUNT + float(counts.sum()))
            pulled = inputs.T * (weights / variance)
            self.covariance_ = np.linalg.inv(prior + pulled @ inputs)
            found = self.covariance_ @ (pulled @ target)
        self.level_, self.slope_ = float(found[0]), slope + float(found[1])
        return float(np.sqrt(variance))

    def _line(self, said: _Said) -> NDArray[np.float64]:
        line: NDArray[np.float64] = self._mean + self.level_ + self.slope_ * said.centred
        return line

    def _std(self, said: _Said, rest_std: NDArray[np.float64]) -> NDArray[np.float64]:
        inputs = np.stack([np.ones(len(said.centred)), said.centred], axis=1)
        of_line = ((inputs @ self.covariance_) * inputs).sum(axis=1)
        std: NDArray[np.float64] = np.sqrt((said.doubt * rest_std) ** 2 + of_line)
        return std

    def predict(
        self, environments: Sequence[SiteEnvironment], said: _Said | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean ΔE and its standard deviation, eV; each of shape (n,)."""
        said = (said or self.ask(environments)).rescaled(self._scales)
        mean, std = self._rest.predict(environments)
        return self._line(said) + said.doubt * mean, self._std(said, std)


class TransferModel:
    """The model without sources and one expert for each source, weighed by held-out likelihood.

    Parameters
    ----------
    adsorbate
        What is to be predicted.
    prior
        Its prior.
    model
        A key of :data:`surrogate.ensemble.MODELS`, for every part.
    sources
        At least one.

    Attributes
    ----------
    weights_
        That of the model without sources, then those of the sources.
    held_out_
        Predictions of the observations by parts that saw none of their group; None with too few observations.
    """

    def __init__(
        self, adsorbate: str, prior: AdsorbatePrior, model: str, sources: Sequence[Source], seed: int = 0
    ) -> None:
        self.prior = prior
        self.model = model
        self.seed = seed
        self._experts = [_Expert(source, adsorbate, prior, model, seed) for source in sources]
        start = np.array([1.0, *(_START[source.kind] for source in sources)])
        self._start = start / start.sum()

    def fit(
        self,
        environments: Sequence[SiteEnvironment],
        delta_e: NDArray[np.float64],
        groups: NDArray[np.int64] | None = None,
    ) -> Self:
        """Learn from observations: ΔE of shape (n,), eV; groups of shape (n,)."""
        if groups is None:
            groups = distinct(groups_by_elements(environments))[1]
        said = [expert.ask(environments) for expert in self._experts]
        known = self._hold_out(environments, delta_e, groups, said)
        self._direct: SiteModel = self._untrained().fit(environments, delta_e, groups)
        for expert, heard in zip(self._experts, said, strict=True):
            expert.fit(environments, delta_e, groups, heard)
        if known is None:
            parts = [self._direct.held_out_, *(expert.held_out_ for expert in self._experts)]
            known = [part for part in parts if part is not None]
        self.weights_, self.held_out_ = self._start, None
        if len(known) == len(self._start):
            self.weights_ = _weights(known, delta_e, self._start)
            self.held_out_ = _product(known, self.weights_)
        return self

    def _untrained(self) -> SiteModel:
        return MODELS[self.model](self.prior, seed=self.seed)  # type: ignore[call-arg]

    def _hold_out(
        self,
        environments: Sequence[SiteEnvironment],
        delta_e: NDArray[np.float64],
        groups: NDArray[np.int64],
        said: Sequence[_Said],
    ) -> list[HeldOut] | None:
        """Predict observations from those of other groups while the models themselves hold none out."""
        n_groups = len(np.unique(groups))
        if grouped_folds(groups, self.seed) is not None or len(groups) < MIN_TO_HOLD_OUT or n_groups < 2:
            return None
        folds = groups % min(N_FOLDS, n_groups)
        found = [HeldOut(np.empty(len(folds)), np.empty(len(folds))) for _ in self._start]
        for fold in np.unique(folds):
            out, rest = folds == fold, folds != fold
            asked = [environments[i] for i in np.flatnonzero(out).tolist()]
            seen = [environments[i] for i in np.flatnonzero(rest).tolist()]
            parts = [self._untrained().fit(seen, delta_e[rest], groups[rest]).predict(asked)]
            for expert, heard in zip(self._experts, said, strict=True):
                expert.fit(seen, delta_e[rest], groups[rest], heard.take(rest))
                parts.append(expert.predict(asked, heard.take(out)))
            for part, (mean, std) in zip(found, parts, strict=True):
                part.mean[out], part.std[out] = mean, std
        return found

    def predict(
        self, environments: Sequence[SiteEnvironment]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean ΔE and its standard deviation, eV; each of shape (n,)."""
        parts = [self._direct.predict(environments), *(e.predict(environments) for e in self._experts)]
        whole = _product([HeldOut(*part) for part in parts], self.weights_)
        return whole.mean, whole.std

    def parameters(self) -> dict[str, Any]:
        """Settings and what was found of every source, plain values."""
        told = [
            {
                "name": expert.source.name,
                "kind": expert.source.kind,
                "n": len(expert.source.delta_e),
                "level_ev": expert.level_,
                "level_std_ev": float(np.sqrt(expert.covariance_[0, 0])),
                "slope": expert.slope_,
                "weight": float(weight),
            }
            for expert, weight in zip(self._experts, self.weights_[1:], strict=True)
        ]
        return {**self._direct.parameters(), "sources": told}


def _product(parts: Sequence[HeldOut], weights: NDArray[np.float64]) -> HeldOut:
    precisions = np.array([weight / part.std**2 for part, weight in zip(parts, weights, strict=True)])
    total = precisions.sum(axis=0)
    mean = sum(precision * part.mean for precision, part in zip(precisions, parts, strict=True)) / total
    return HeldOut(mean, total**-0.5)


def _weights(
    parts: Sequence[HeldOut], delta_e: NDArray[np.float64], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weights of greatest held-out likelihood; logits and the logarithm of a factor are what is searched."""
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    def objective(x: NDArray[np.float64]) -> float:
        whole = _product(parts, np.exp(log_softmax(x[:-1])))
        scaled = (delta_e - whole.mean) / whole.std / np.exp(x[-1])
        tail = 0.5 * (_FREEDOM + 1.0) * np.log1p(scaled**2 / _FREEDOM)
        anchor = -_PSEUDO_COUNT * float(start @ log_softmax(x[:-1])) + 2.0 * x[-1] ** 2
        return float((tail + np.log(whole.std) + x[-1]).sum() + anchor)

    best = minimize(objective, np.r_[np.log(start), 0.0], method="L-BFGS-B")
    weights: NDArray[np.float64] = np.exp(log_softmax(best.x[:-1]))
    return weights
