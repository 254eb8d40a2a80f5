"""A bag of small neural networks, each with a mean and a scale of its own.

The bag is a cross-validation's: every network (:mod:`surrogate.network`) leaves a fifth of the bulks out, so
that each observation also has a prediction by networks that saw nothing of its bulk. Where the neighbours of
each binding atom are known, one of the two networks of a fold looks at the atoms one by one; they err
differently enough to be better together than either. Energies in eV.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from surrogate.cross_fit import grouped_folds, hold_out
from surrogate.features import SiteFeatures
from surrogate.network import FREEDOM, HIDDEN, Inputs, Network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray

    from surrogate.cross_fit import HeldOut, MeanAndStd
    from surrogate.prior import AdsorbatePrior
    from surrogate.sites import SiteEnvironment

    Array = NDArray[np.float32]

_DROPOUTS = (0.1, 0.25)
"""Of the two networks of a fold. Clean data sets fare better with the first, noisy ones with the second, and
neither loses much by the other."""
_ATOMS_DROPOUT = 0.1
"""Of both, where one looks at atoms."""
_FAR = 5.0
"""Inputs further from the mean than so many standard deviations are taken to be there."""
MIN_OBSERVATIONS = 20
"""Below, the model is its prior, moved to the mean of the observations."""
_KNOWN_SHARE = 0.1
"""Features that fewer observations have are left out: what few have taught would sway all predictions. Means
over atoms beneath are there for a few tenths of the sites only, and worth having."""
_PIECE = 1_000
"""Sites that networks see at a time: what fits into cache."""


class _Scale:
    """Standardises features by those that it is made of, and drops what never changes or is rarely known."""

    def __init__(self, features: Array) -> None:
        is_known = ~np.isnan(features)
        n_known = np.maximum(is_known.sum(axis=0), 1)
        # In double precision, or a column that never changes would seem to.
        centre = np.where(is_known, features, 0.0).sum(axis=0, dtype=float) / n_known
        spread = np.sqrt(np.where(is_known, (features - centre) ** 2, 0.0).sum(axis=0) / n_known)
        is_usual = is_known.sum(axis=0) >= _KNOWN_SHARE * len(features)
        self._columns = np.flatnonzero(is_usual & (spread > 1e-6 * (1.0 + np.abs(centre))))
        self._centre = centre[self._columns].astype(np.float32)
        self._spread = spread[self._columns].astype(np.float32)

    def __call__(self, features: Array) -> Array:
        scaled = (features[:, self._columns] - self._centre) / self._spread
        # What is not known is taken to be average.
        inputs: Array = np.clip(np.nan_to_num(scaled, copy=False), -_FAR, _FAR)
        return inputs


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
        Predictions of the observations by networks that saw none of their group; features and energies are
        scaled by all of them.
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
        self._bags: list[list[Network]] = []
        self._start = self.prior.updated(delta_e)
        if len(delta_e) < MIN_OBSERVATIONS:
            return self
        raw = Inputs(*self.features.transform_with_atoms(environments))
        self._scales = _Scale(raw.sites), _Scale(raw.atoms)
        inputs = self._scaled(raw)
        self._offset, self._unit = float(np.median(delta_e)), float(np.std(delta_e)) + 1e-3
        target = ((delta_e - self._offset) / self._unit).astype(np.float32)
        folds = grouped_folds(groups, self.seed)
        if folds is None:
            self._bags = [self._trained(self.seed, inputs, target)]
            return self

        def predict(fold: int, rest: NDArray[np.bool_], out: NDArray[np.bool_]) -> MeanAndStd:
            bag = self._trained(self.seed + fold, inputs.take(rest), target[rest])
            self._bags.append(bag)
            return self._combine([bag], inputs.take(out))

        self.held_out_ = hold_out(folds, predict)
        return self

    def predict(
        self, environments: Sequence[SiteEnvironment]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean ΔE and its standard deviation, eV; each of shape (n,)."""
        if self._bags:
            inputs = self._scaled(Inputs(*self.features.transform_with_atoms(environments)))
            return self._combine(self._bags, inputs)
        n = len(environments)
        return np.full(n, self._start.mean_ev), np.full(n, self._start.std_ev)

    def parameters(self) -> dict[str, Any]:
        """Settings, plain values."""
        networks = [network for bag in self._bags for network in bag]
        return {
            "n_networks": len(networks),
            "n_on_atoms": sum(network.sees_atoms for network in networks),
            "hidden": list(HIDDEN),
        }

    def _scaled(self, raw: Inputs) -> Inputs:
        sites, atoms = self._scales
        return Inputs(sites(raw.sites), atoms(raw.atoms), raw.counts)

    def _trained(self, seed: int, inputs: Inputs, target: Array) -> list[Network]:
        """Train the networks of a fold."""
        if inputs.atoms.size and (inputs.counts > 0).mean() >= _KNOWN_SHARE:
            bag = [Network(seed, _ATOMS_DROPOUT, sees_atoms) for sees_atoms in (False, True)]
        else:
            bag = [Network(seed, dropout) for dropout in _DROPOUTS]
        return [network.fit(inputs, target) for network in bag]

    def _combine(
        self, bags: list[list[Network]], inputs: Inputs
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean of the networks; standard deviation by their scales and by how far those of a bag disagree.

        Networks of different bags disagree more, having seen different bulks. But held-out predictions, by
        which standard deviations are calibrated, are those of one bag.
        """
        if len(inputs.counts) > _PIECE:
            pieces = np.split(np.arange(len(inputs.counts)), range(_PIECE, len(inputs.counts), _PIECE))
            parts = [self._combine(bags, inputs.take(rows)) for rows in pieces]
            return np.concatenate([mean for mean, _ in parts]), np.concatenate([std for _, std in parts])
        outputs = np.array([[network.predict(inputs) for network in bag] for bag in bags], dtype=float)
        means, log_scales = outputs[:, :, 0], outputs[:, :, 1]
        variance = FREEDOM / (FREEDOM - 2.0) * np.exp(2.0 * log_scales.mean(axis=(0, 1)))
        variance += means.var(axis=1, ddof=1).mean(axis=0)
        return self._offset + self._unit * means.mean(axis=(0, 1)), self._unit * np.sqrt(variance)
