r"""One small neural network with a mean and a scale of its own, trained in plain numpy.

Hidden layers of SiLU [1]_ units give :math:`μ` and :math:`\ln s` of a Student-t distribution with three
degrees of freedom, and the network is trained on its likelihood,

.. math::
    -\ln p = 2 \ln\left(1 + \frac{(y - μ)^2}{3 s^2}\right) + \ln s + \text{const},

so that the odd site that reconstructed does not pull on all others. A network may also look at the binding
atoms one by one: two layers turn each into numbers of its own, and their mean and sum over the atoms of a
site, which no order of the atoms changes, stand beside the site's features (Deep Sets [4]_). AdamW [2]_,
dropout [3]_, a one-cycle rate, and the average of the weights over the last part of the training. Single
precision. Inputs and targets are standardised, without units.

References
----------
.. [1] Elfwing, Uchibe and Doya, Neural Netw. 107, 3 (2018).
.. [2] Loshchilov and Hutter, Decoupled weight decay regularization, ICLR (2019), arXiv:1711.05101.
.. [3] Srivastava et al., J. Mach. Learn. Res. 15, 1929 (2014).
.. [4] Zaheer et al., Deep sets, NeurIPS (2017), arXiv:1703.06114.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

    Array = NDArray[np.float32]

HIDDEN = (96, 64)
ATOM_HIDDEN = (64, 48)
FREEDOM = 3.0
_RATE = 3e-3
_DECAY = 0.3
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
_SUM_SHARE = np.float32(0.5)
"""What sums over atoms are multiplied by: sites bind by one to four atoms."""


class Inputs(NamedTuple):
    """What a network sees of some sites."""

    sites: Array
    """Features of the sites, shape (n, n_features)."""
    atoms: Array
    """Features of the binding atoms, those of a site together, shape (n_atoms, n_atom_features)."""
    counts: NDArray[np.int64]
    """Atoms of each site in ``atoms``, shape (n,); 0 where they are not known one by one."""

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Inputs:
        """Some of the sites, with their atoms."""
        counts = self.counts[rows]
        places = np.repeat(_starts(self.counts)[rows] - _starts(counts), counts) + np.arange(counts.sum())
        return Inputs(self.sites[rows], self.atoms[places], counts)


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    starts: NDArray[np.int64] = np.cumsum(counts) - counts
    return starts


@dataclass
class Network:
    """One network on standardised inputs and targets.

    Parameters
    ----------
    seed
        Of the first weights, the batches, and what is dropped out.
    dropout
        Share of units left out at random while training.
    sees_atoms
        Whether it looks at the binding atoms one by one.
    """

    seed: int
    dropout: float
    sees_atoms: bool = False
    weights: list[Array] = field(default_factory=list)
    """Of the layers for atoms, then of those for sites; views of one vector, as are the biases."""
    biases: list[Array] = field(default_factory=list)

    def start(self, inputs: Inputs, rng: np.random.Generator) -> None:
        """Draw the first weights."""
        self._n_atom_layers = len(ATOM_HIDDEN) if self.sees_atoms else 0
        pooled = 2 * ATOM_HIDDEN[-1] if self.sees_atoms else 0
        shapes = [*pairwise((inputs.sites.shape[1] + pooled, *HIDDEN, 2))]
        if self.sees_atoms:
            shapes = [*pairwise((inputs.atoms.shape[1], *ATOM_HIDDEN)), *shapes]
        sizes = [rows * columns for rows, columns in shapes] + [columns for _, columns in shapes]
        self._parameters = np.zeros(sum(sizes), np.float32)
        self._n_weights = sum(sizes[: len(shapes)])
        blocks = np.split(self._parameters, np.cumsum(sizes)[:-1])
        self.weights = [block.reshape(shape) for block, shape in zip(blocks, shapes, strict=False)]
        self.biases = blocks[len(shapes) :]
        for weight in self.weights:
            gain = 0.1 if weight is self.weights[-1] else 2.0
            weight[...] = rng.normal(size=weight.shape) * np.sqrt(gain / max(len(weight), 1))

    def fit(self, inputs: Inputs, target: Array) -> Self:
        """Learn targets of shape (n,)."""
        rng = np.random.default_rng(self.seed)
        self.start(inputs, rng)
        optimiser = _Optimiser(self._parameters, self._n_weights)
        n = len(target)
        batch = int(np.clip(n // 16, min(_BATCHES[0], n), _BATCHES[1]))
        per_epoch = n // batch
        n_steps = max(_EPOCHS * per_epoch, int(np.clip(5 * n, *_STEPS)))
        for step in range(n_steps):
            if step % per_epoch == 0:
                order = rng.permutation(n)
            rows = order[(step % per_epoch) * batch :][:batch]
            gradients = self._gradients(inputs.take(rows), target[rows], rng)
            optimiser.step(np.concatenate([g.ravel() for g in gradients]), step / n_steps)
        # The average lives on in the very arrays that the network holds.
        optimiser.finish()
        return self

    def _gradients(self, inputs: Inputs, target: Array, rng: np.random.Generator) -> list[Array]:
        """Gradient of the mean loss for the weights, then for the biases."""
        layers: list[Array] = []
        slopes: list[Array] = []
        value = inputs.atoms if self.sees_atoms else inputs.sites
        for i in range(len(self.weights) - 1):
            if i == self._n_atom_layers > 0:
                value = np.hstack([_pooled(value, inputs.counts), inputs.sites])
            layers.append(value)
            value = value @ self.weights[i] + self.biases[i]
            gate = _sigmoid(value)
            kept: Array = (rng.random(value.shape, dtype=np.float32) > self.dropout).astype(np.float32)
            kept /= np.float32(1.0 - self.dropout)
            product = value * gate
            slopes.append((gate + product - product * gate) * kept)
            value = product * kept
        layers.append(value)
        slope = _loss_slope(value @ self.weights[-1] + self.biases[-1], target)
        weights: list[Array] = []
        biases: list[Array] = []
        for i in reversed(range(len(self.weights))):
            weights.append(layers[i].T @ slope)
            biases.append(slope.sum(axis=0))
            if i:
                slope = slope @ self.weights[i].T
                if i == self._n_atom_layers:
                    slope = _unpooled(slope[:, : 2 * ATOM_HIDDEN[-1]], inputs.counts)
                slope = slope * slopes[i - 1]
        return weights[::-1] + biases[::-1]

    def predict(self, inputs: Inputs) -> tuple[Array, Array]:
        """Mean and logarithm of the scale, each of shape (n,)."""
        value = inputs.atoms if self.sees_atoms else inputs.sites
        for i, (weight, bias) in enumerate(zip(self.weights[:-1], self.biases[:-1], strict=True)):
            if i == self._n_atom_layers > 0:
                value = np.hstack([_pooled(value, inputs.counts), inputs.sites])
            value = value @ weight + bias
            value *= _sigmoid(value)
        out = value @ self.weights[-1] + self.biases[-1]
        return out[:, 0], np.clip(out[:, 1], *_LOG_SCALE_RANGE)


def _pooled(values: Array, counts: NDArray[np.int64]) -> Array:
    """Mean and half the sum over the atoms of each site; zero where there are none."""
    sums = np.zeros((len(counts), values.shape[1]), np.float32)
    is_known = counts > 0
    if is_known.any():
        sums[is_known] = np.add.reduceat(values, _starts(counts)[is_known], axis=0)
    return np.hstack([sums / _number(counts), _SUM_SHARE * sums])


def _unpooled(slope: Array, counts: NDArray[np.int64]) -> Array:
    """Hand the slope of :func:`_pooled` back to the atoms."""
    of_mean, of_sum = np.hsplit(slope, 2)
    per_site: Array = of_mean / _number(counts) + _SUM_SHARE * of_sum
    return np.repeat(per_site, counts, axis=0)


def _number(counts: NDArray[np.int64]) -> Array:
    return np.maximum(counts, 1).astype(np.float32)[:, None]


def _loss_slope(out: Array, target: Array) -> Array:
    """Slope of the mean loss in mean and logarithm of the scale."""
    error, log_scale = out[:, 0] - target, np.clip(out[:, 1], *_LOG_SCALE_RANGE)
    inverse = np.exp(-2.0 * log_scale)
    pull = (FREEDOM + 1.0) / (FREEDOM + error**2 * inverse)
    slope: Array = np.stack([pull * error * inverse, 1.0 - pull * error**2 * inverse], axis=1)
    return slope / np.float32(len(target))


def _sigmoid(value: Array) -> Array:
    # By the hyperbolic tangent, which does not overflow.
    gate: Array = np.float32(0.5) * (np.float32(1.0) + np.tanh(np.float32(0.5) * value))
    return gate


class _Optimiser:
    """AdamW with clipped gradients and an average over the last steps; changes the parameters in place.

    The first ``n_decayed`` parameters decay.
    """

    def __init__(self, parameters: Array, n_decayed: int) -> None:
        self.parameters = parameters
        self.decay = np.zeros_like(parameters)
        self.decay[:n_decayed] = _DECAY
        self.first, self.second = np.zeros_like(parameters), np.zeros_like(parameters)
        self.average: Array | None = None
        self.n_steps = 0

    def step(self, gradient: Array, progress: float) -> None:
        self.n_steps += 1
        warm_up = min(1.0, progress / 0.05 + 1e-3)
        rate = np.float32(_RATE * warm_up * 0.5 * (1.0 + np.cos(np.pi * progress)))
        norm = float(np.sqrt(gradient @ gradient))
        gradient *= np.float32(min(1.0, 1.0 / (norm + 1e-9)))
        unbias = [np.float32(1.0 - moment**self.n_steps) for moment in _MOMENTS]
        self.first += np.float32(1.0 - _MOMENTS[0]) * (gradient - self.first)
        self.second += np.float32(1.0 - _MOMENTS[1]) * (gradient**2 - self.second)
        move = self.first / unbias[0] / (np.sqrt(self.second / unbias[1]) + np.float32(1e-8))
        move += self.decay * self.parameters
        self.parameters -= rate * move
        if progress >= _AVERAGE_FROM:
            if self.average is None:
                self.average = self.parameters.copy()
            self.average += np.float32(_AVERAGE_RATE) * (self.parameters - self.average)

    def finish(self) -> None:
        if self.average is not None:
            self.parameters[...] = self.average
