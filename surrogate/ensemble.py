r"""Several models as one: a blend by held-out likelihood, or the best by held-out error.

The blend's mean is :math:`\sum_k w_k μ_k` and its standard deviation
:math:`\exp \sum_k w_k \ln σ_k`, with weights :math:`w_k ≥ 0` that sum to one and make the held-out
observations most likely (stacking, Wolpert, Neural Netw. 5, 241 (1992)), under a Student-t distribution
with four degrees of freedom and a common factor on the standard deviations. While observations are few, the
weights stay near the Gaussian process, which knows the periodic table and needs the fewest. Energies in eV.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from surrogate.boosting import BoostingModel
from surrogate.cross_fit import HeldOut, grouped_folds
from surrogate.gaussian_process import GaussianProcessModel
from surrogate.neural_network import NeuralNetworkModel
from surrogate.trees import ExtraTreesModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from surrogate.prior import AdsorbatePrior
    from surrogate.sites import SiteEnvironment

_FREEDOM = 4.0
_PSEUDO_COUNT = 20.0
"""Observations that the starting weights count as."""
_START = {"gaussian_process": 0.75, "neural_network": 0.25}
MIN_FOR_BLEND = 200
"""Below so many observations the Gaussian process stands alone: networks would only take time."""


class SiteModel(Protocol):
    """What every model of ΔE offers; see :class:`surrogate.gaussian_process.GaussianProcessModel`."""

    held_out_: HeldOut | None

    def fit(
        self,
        environments: Sequence[SiteEnvironment],
        delta_e: NDArray[np.float64],
        groups: NDArray[np.int64] | None = None,
    ) -> Self:
        """Learn from observations: ΔE of shape (n,), eV; groups of shape (n,)."""
        ...

    def predict(
        self, environments: Sequence[SiteEnvironment]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean ΔE and its standard deviation, eV; each of shape (n,)."""
        ...

    def parameters(self) -> dict[str, Any]:
        """Settings and what was fitted, plain values."""
        ...


SINGLE_MODELS: Mapping[str, type[SiteModel]] = {
    "gaussian_process": GaussianProcessModel,
    "neural_network": NeuralNetworkModel,
    "boosting": BoostingModel,
    "extra_trees": ExtraTreesModel,
}


class EnsembleModel:
    """Gaussian process and neural networks, blended by held-out likelihood.

    Parameters
    ----------
    prior
        Prior of the adsorbate.
    seed
        Seed of the members.

    Attributes
    ----------
    weights_
        Weight of each member by name.
    held_out_
        The blend of the members' held-out predictions.
    """

    def __init__(self, prior: AdsorbatePrior, seed: int = 0) -> None:
        self.prior = prior
        self.seed = seed

    def fit(
        self,
        environments: Sequence[SiteEnvironment],
        delta_e: NDArray[np.float64],
        groups: NDArray[np.int64] | None = None,
    ) -> Self:
        """Learn from observations: ΔE of shape (n,), eV; groups of shape (n,)."""
        can_blend = len(delta_e) >= MIN_FOR_BLEND and grouped_folds(groups, self.seed) is not None
        names = list(_START) if can_blend else ["gaussian_process"]
        self.members_ = {
            name: SINGLE_MODELS[name](self.prior, seed=self.seed).fit(environments, delta_e, groups)  # type: ignore[call-arg]
            for name in names
        }
        held_out = [member.held_out_ for member in self.members_.values()]
        known = [prediction for prediction in held_out if prediction is not None]
        self.weights_ = {names[0]: 1.0}
        self.held_out_: HeldOut | None = known[0] if known else None
        if can_blend:
            weights = _weights(known, delta_e, np.array(list(_START.values())))
            self.weights_ = {name: float(w) for name, w in zip(names, weights, strict=True)}
            self.held_out_ = self._blend(known)
        return self

    def predict(
        self, environments: Sequence[SiteEnvironment]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean ΔE and its standard deviation, eV; each of shape (n,)."""
        blend = self._blend([HeldOut(*member.predict(environments)) for member in self.members_.values()])
        return blend.mean, blend.std

    def parameters(self) -> dict[str, Any]:
        """Weights and what the members are, plain values."""
        members = {name: member.parameters() for name, member in self.members_.items()}
        return {"weights": dict(self.weights_), "members": members}

    def _blend(self, predictions: Sequence[HeldOut]) -> HeldOut:
        return _blend(predictions, np.array(list(self.weights_.values())))


def _blend(predictions: Sequence[HeldOut], weights: NDArray[np.float64]) -> HeldOut:
    pairs = list(zip(predictions, weights, strict=True))
    mean = np.sum([weight * prediction.mean for prediction, weight in pairs], axis=0)
    log_std = np.sum([weight * np.log(prediction.std) for prediction, weight in pairs], axis=0)
    return HeldOut(mean, np.exp(log_std))


def _weights(
    predictions: Sequence[HeldOut], delta_e: NDArray[np.float64], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weights of greatest held-out likelihood; logits and the logarithm of a factor are what is searched."""
    from scipy.optimize import minimize
    from scipy.special import softmax

    def objective(x: NDArray[np.float64]) -> float:
        blend = _blend(predictions, softmax(x[:-1]))
        scaled = (delta_e - blend.mean) / blend.std / np.exp(x[-1])
        tail = 0.5 * (_FREEDOM + 1.0) * np.log1p(scaled**2 / _FREEDOM)
        anchor = -_PSEUDO_COUNT * float(start @ np.log(softmax(x[:-1])))
        return float((tail + np.log(blend.std) + x[-1]).sum()) + anchor

    best = minimize(objective, np.r_[np.log(start), 0.0], method="L-BFGS-B")
    weights: NDArray[np.float64] = softmax(best.x[:-1])
    return weights


class AutoModel:
    """The model with the least held-out absolute error; of those that fit into the time there is.

    The ensemble comes first and always counts. While a model has taken less than its share of
    ``max_seconds``, the next one is tried. Without bulks enough to hold any out, the ensemble it is.

    Attributes
    ----------
    chosen_
        Name of the model.
    errors_
        Mean absolute error of each model that was tried on bulks it had not seen, eV.
    """

    def __init__(self, prior: AdsorbatePrior, seed: int = 0, max_seconds: float = 120.0) -> None:
        self.prior = prior
        self.seed = seed
        self.max_seconds = max_seconds

    def fit(
        self,
        environments: Sequence[SiteEnvironment],
        delta_e: NDArray[np.float64],
        groups: NDArray[np.int64] | None = None,
    ) -> Self:
        """Learn from observations: ΔE of shape (n,), eV; groups of shape (n,)."""
        started = time.process_time()
        self.chosen_, self.errors_ = "ensemble", dict[str, float]()
        self.model_: SiteModel = EnsembleModel(self.prior, self.seed).fit(environments, delta_e, groups)
        if self.model_.held_out_ is not None:
            self.errors_["ensemble"] = _error(self.model_.held_out_, delta_e)
            for name in ("boosting", "extra_trees"):
                if time.process_time() - started > self.max_seconds:
                    break
                other = SINGLE_MODELS[name](self.prior, seed=self.seed)  # type: ignore[call-arg]
                other.fit(environments, delta_e, groups)
                if other.held_out_ is not None:
                    self.errors_[name] = _error(other.held_out_, delta_e)
                    if self.errors_[name] < self.errors_[self.chosen_]:
                        self.chosen_, self.model_ = name, other
        self.held_out_: HeldOut | None = self.model_.held_out_
        return self

    def predict(
        self, environments: Sequence[SiteEnvironment]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean ΔE and its standard deviation, eV; each of shape (n,)."""
        return self.model_.predict(environments)

    def parameters(self) -> dict[str, Any]:
        """What was chosen and why, plain values."""
        return {"chosen": self.chosen_, "held_out_mae_ev": dict(self.errors_), **self.model_.parameters()}


def _error(held_out: HeldOut, delta_e: NDArray[np.float64]) -> float:
    return float(np.abs(held_out.mean - delta_e).mean())


MODELS: Mapping[str, type[SiteModel]] = {
    "ensemble": EnsembleModel,
    "auto": AutoModel,
    **SINGLE_MODELS,
}
"""Every model by name; all work from no observations at all."""
