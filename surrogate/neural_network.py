r"""A bag of small neural networks, each with a mean and a scale of its own.

Two hidden layers (SiLU [1]_) give :math:`μ` and :math:`\ln s` of a Student-t distribution with three degrees
of freedom, and the networks are trained on its likelihood,

.. math::
    -\ln p = 2 \ln\left(1 + \frac{(y - μ)^2}{3 s^2}\right) + \ln s + \text{const},

so that the odd site that reconstructed does not pull on all others. AdamW [2]_, dropout [3]_, a one-cycle
rate, and the average of the weights over the last part of the training. The bag is a cross-validation's:
every network leaves a fifth of the bulks out, so that each observation also has a prediction by networks that
saw nothing of its bulk. In plain numpy, single precision. Energies in eV.

References
----------
.. [1] Elfwing, Uchibe and Doya, Neural Netw. 107, 3 (2018).
.. [2] Loshchilov and Hutter, Decoupled weight decay regularization, ICLR (2019), arXiv:1711.05101.
.. [3] Srivastava et al., J. Mach. Learn. Res. 15, 1929 (2014).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from surrogate.cross_fit import grouped_folds, hold_out
from surrogate.features import SiteFeatures

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray

    from surrogate.cross_fit import HeldOut, MeanAndStd
    from surrogate.prior import AdsorbatePrior
    from surrogate.sites import SiteEnvironment

    Array = NDArray[np.float32]

_HIDDEN = (96, 64)
_FREEDOM = 3.0
_RATE = 3e-3
_DECAY = 0.3
_DROPOUTS = (0.1, 0.25)
"""Share of units left out at random while training: one network per fold with each. Clean data sets fare
better with the first, noisy ones with the second, and neither loses much by the other."""
_EPOCHS = 60
_STEPS = (400, 2000)
"""At least so many steps: five per observation, within this range."""
_BATCHES = (16, 128)
"""Least and greatest number of observations a step looks at; otherwise a sixteenth of all."""
_MOMENTS = (0.9, 0.99)
_AVERAGE_FROM = 0.6
"""Share of the training after which weights are averaged."""
_AVERAGE_RATE = 0.02
_LOG_SCALE_RANGE = (-4.0, 3.0)
_FAR = 5.0
"""Inputs further from the mean than so many standard deviations are taken to be there."""
MIN_OBSERVATIONS = 20
"""Below, the model is its prior, moved to the mean of the observations."""
_KNOWN_SHARE = 0.5
"""Features that fewer observations have are left out: what few have taught would sway all predictions."""
_CHUNK = 20_000


@dataclass
class _Network:
    """One network on standardised inputs and targets."""

    seed: int
    dropout: float
    weights: list[Array] = field(default_factory=list)
    biases: list[Array] = field(default_factory=list)

    def start(self, n_inputs: int, rng: np.random.Generator) -> None:
        """Draw the first weights."""
        sizes = [n_inputs, *_HIDDEN, 2]
        for i, (rows, columns) in enumerate(pairwise(sizes)):
            gain = 2.0 if i < len(_HIDDEN) else 0.1
            start = rng.normal(size=(rows, columns)) * np.sqrt(gain / rows)
            self.weights.append(start.astype(np.float32))
            self.biases.append(np.zeros(columns, np.float32))

    def fit(self, inputs: Array, target: Array) -> Self:
        rng = np.random.default_rng(self.seed)
        self.start(inputs.shape[1], rng)
        optimiser = _Optimiser(self.weights + self.biases, len(self.weights))
        n = len(target)
        batch = int(np.clip(n // 16, min(_BATCHES[0], n), _BATCHES[1]))
        per_epoch = n // batch
        n_steps = max(_EPOCHS * per_epoch, int(np.clip(5 * n, *_STEPS)))
        for step in range(n_steps):
            if step % per_epoch == 0:
                order = rng.permutation(n)
            rows = order[(step % per_epoch) * batch :][:batch]
            optimiser.step(self._gradients(inputs[rows], target[rows], rng), step / n_steps)
        # The average lives on in the very arrays that the network holds.
        optimiser.finish()
        return self

    def _gradients(self, inputs: Array, target: Array, rng: np.random.Generator) -> list[Array]:
        """Gradient of the mean loss for the weights, then for the biases."""
        layers: list[Array] = [inputs]
        slopes: list[Array] = []
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            value: Array = layers[-1] @ weight + bias
            gate = _sigmoid(value)
            kept: Array = (rng.random(value.shape, dtype=np.float32) > self.dropout).astype(np.float32)
            kept /= np.float32(1.0 - self.dropout)
            product = value * gate
            layers.append(product * kept)
            slopes.append((gate + product - product * gate) * kept)
        out = layers[-1] @ self.weights[-1] + self.biases[-1]
        error, log_scale = out[:, 0] - target, np.clip(out[:, 1], *_LOG_SCALE_RANGE)
        inverse = np.exp(-2.0 * log_scale)
        pull = (_FREEDOM + 1.0) / (_FREEDOM + error**2 * inverse)
        slope = np.stack([pull * error * inverse, 1.0 - pull * error**2 * inverse], axis=1)
        slope /= np.float32(len(target))
        weights: list[Array] = []
        biases: list[Array] = []
        for i in reversed(range(len(self.weights))):
            weights.append(layers[i].T @ slope)
            biases.append(slope.sum(axis=0))
            if i:
                slope = (slope @ self.weights[i].T) * slopes[i - 1]
        return weights[::-1] + biases[::-1]

    def predict(self, inputs: Array) -> tuple[Array, Array]:
        """Mean and logarithm of the scale."""
        layer = inputs
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            value = layer @ weight + bias
            layer = value * _sigmoid(value)
        out = layer @ self.weights[-1] + self.biases[-1]
        return out[:, 0], np.clip(out[:, 1], *_LOG_SCALE_RANGE)


def _sigmoid(value: Array) -> Array:
    # By the hyperbolic tangent, which does not overflow.
    gate: Array = np.float32(0.5) * (np.float32(1.0) + np.tanh(np.float32(0.5) * value))
    return gate


class _Optimiser:
    """AdamW with clipped gradients and an average over the last steps; changes the arrays in place."""

    def __init__(self, parameters: list[Array], n_decayed: int) -> None:
        self.parameters = parameters
        self.n_decayed = n_decayed
        self.first = [np.zeros_like(p) for p in parameters]
        self.second = [np.zeros_like(p) for p in parameters]
        self.average: list[Array] = []
        self.n_steps = 0

    def step(self, gradients: list[Array], progress: float) -> None:
        self.n_steps += 1
        warm_up = min(1.0, progress / 0.05 + 1e-3)
        rate = np.float32(_RATE * warm_up * 0.5 * (1.0 + np.cos(np.pi * progress)))
        norm = np.sqrt(sum(float((g**2).sum()) for g in gradients))
        shrink = np.float32(min(1.0, 1.0 / (norm + 1e-9)))
        unbias = [np.float32(1.0 - moment**self.n_steps) for moment in _MOMENTS]
        for i, (parameter, gradient) in enumerate(zip(self.parameters, gradients, strict=True)):
            clipped = gradient * shrink
            self.first[i] += np.float32(1.0 - _MOMENTS[0]) * (clipped - self.first[i])
            self.second[i] += np.float32(1.0 - _MOMENTS[1]) * (clipped**2 - self.second[i])
            move = self.first[i] / unbias[0] / (np.sqrt(self.second[i] / unbias[1]) + np.float32(1e-8))
            if i < self.n_decayed:
                move += np.float32(_DECAY) * parameter
            np.subtract(parameter, rate * move, out=parameter)
        if progress >= _AVERAGE_FROM:
            if not self.average:
                self.average = [parameter.copy() for parameter in self.parameters]
            for i, parameter in enumerate(self.parameters):
                self.average[i] += np.float32(_AVERAGE_RATE) * (parameter - self.average[i])

    def finish(self) -> None:
        for parameter, mean in zip(self.parameters, self.average, strict=True):
            parameter[...] = mean


class NeuralNetworkModel:
    """Bag of small heteroscedastic networks on :class:`surrogate.features.SiteFeatures`.

    Parameters
    ----------
    prior
        Prior of the adsorbate: all there is below :data:`MIN_OBSERVATIONS` observations.
    seed
        Seed of the folds and of every network.

    Attributes
    ----------
    held_out_
        Predictions of the observations by networks that saw none of their group.
    """

    def __init__(self, prior: AdsorbatePrior, seed: int = 0, features: SiteFeatures | None = None) -> None:
        self.prior = prior
        self.seed = seed
        self.features = features or SiteFeatures()

    def fit(
        self,
        environments: Sequence[SiteEnvironment],
        delta_e: NDArray[np.float64],
        groups: NDArray[np.int64] | None = None,
    ) -> Self:
        """Learn from observations: ΔE of shape (n,), eV; groups of shape (n,)."""
        self.held_out_: HeldOut | None = None
        self._networks: list[_Network] = []
        self._start = self.prior.updated(delta_e)
        if len(delta_e) < MIN_OBSERVATIONS:
            return self
        inputs = self._standardise(self.features.transform(environments))
        self._offset, self._unit = float(np.median(delta_e)), float(np.std(delta_e)) + 1e-3
        target = ((delta_e - self._offset) / self._unit).astype(np.float32)
        folds = grouped_folds(groups, self.seed)
        if folds is None:
            self._networks = [_Network(self.seed, dropout).fit(inputs, target) for dropout in _DROPOUTS]
            return self

        def predict(fold: int, rest: NDArray[np.bool_], out: NDArray[np.bool_]) -> MeanAndStd:
            seed = self.seed + fold
            networks = [_Network(seed, dropout).fit(inputs[rest], target[rest]) for dropout in _DROPOUTS]
            self._networks += networks
            return self._combine(networks, inputs[out])

        self.held_out_ = hold_out(folds, predict)
        return self

    def predict(
        self, environments: Sequence[SiteEnvironment]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean ΔE and its standard deviation, eV; each of shape (n,)."""
        mean = np.full(len(environments), self._start.mean_ev)
        std = np.full(len(environments), self._start.std_ev)
        if self._networks:
            for start in range(0, len(environments), _CHUNK):
                rows = slice(start, start + _CHUNK)
                inputs = self._scaled(self.features.transform(environments[rows]))
                mean[rows], std[rows] = self._combine(self._networks, inputs)
        return mean, std

    def parameters(self) -> dict[str, Any]:
        """Settings, plain values."""
        return {"n_networks": len(self._networks), "hidden": list(_HIDDEN)}

    def _standardise(self, features: Array) -> Array:
        """Learn the scale of the features, and drop those that never change or are rarely known."""
        is_known = ~np.isnan(features)
        n_known = np.maximum(is_known.sum(axis=0), 1)
        centre = np.where(is_known, features, 0.0).sum(axis=0) / n_known
        spread = np.sqrt(np.where(is_known, (features - centre) ** 2, 0.0).sum(axis=0) / n_known)
        is_usual = is_known.mean(axis=0) >= _KNOWN_SHARE
        self._columns = np.flatnonzero(is_usual & (spread > 1e-6 * (1.0 + np.abs(centre))))
        self._centre = centre[self._columns].astype(np.float32)
        self._spread = spread[self._columns].astype(np.float32)
        return self._scaled(features)

    def _scaled(self, features: Array) -> Array:
        scaled = (features[:, self._columns] - self._centre) / self._spread
        # What is not known is taken to be average.
        inputs: Array = np.clip(np.nan_to_num(scaled, copy=False), -_FAR, _FAR)
        return inputs

    def _combine(
        self, networks: list[_Network], inputs: Array
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean of the networks; standard deviation from their scales and from how far they disagree."""
        outputs = [network.predict(inputs) for network in networks]
        means = np.array([mean for mean, _ in outputs], dtype=float)
        log_scale = np.mean([log_scale for _, log_scale in outputs], axis=0, dtype=float)
        variance = _FREEDOM / (_FREEDOM - 2.0) * np.exp(2.0 * log_scale) + means.var(axis=0, ddof=1)
        return self._offset + self._unit * means.mean(axis=0), self._unit * np.sqrt(variance)
