"""The surrogate that a campaign trains: one of the models, with standard deviations that hold.

Energies in eV throughout. Every model works from no observations at all (it then returns the adsorbate's
prior), does not depend on the order of the observations, and is deterministic under its seed, but for
``auto``, whose choice depends on the time that there is. A standard deviation is that of one
*computed* ΔE: it includes the scatter between sites that are described alike.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from config.errors import ConfigError
from surrogate.calibration import Calibration
from surrogate.cross_fit import groups_by_elements
from surrogate.ensemble import MODELS
from surrogate.features import FEATURE_VERSION
from surrogate.prior import prior_of
from surrogate.sites import representatives
from surrogate.transfer import TransferModel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from typing import Self

    from numpy.typing import ArrayLike, NDArray

    from surrogate.ensemble import SiteModel
    from surrogate.sites import SiteEnvironment
    from surrogate.transfer import Source

__all__ = ["MIN_STD_EV", "MODELS", "AdsorptionSurrogate", "ModelName"]

ModelName = Literal["ensemble", "auto", "gaussian_process", "neural_network", "boosting", "extra_trees"]
MIN_STD_EV = 0.02
"""Smallest standard deviation: a DFT ΔE is no better defined than that."""
_CHUNK, _N_WORKERS = 10_000, 2
"""Distinct sites that are predicted at a time, so that memory stays small, and chunks at the same time."""


class AdsorptionSurrogate:
    """Predicts ΔE of one adsorbate from a site's environment.

    Parameters
    ----------
    adsorbate
        What stands for it in ids: ``CO``, ``H``, ..., a name with a hash if it is the user's own.
    model
        A key of :data:`MODELS`.
    seed
        Seed of every random choice in training.

    Attributes
    ----------
    n_train_
        Observations that it was trained on.
    prior
        Prior of the adsorbate; from the observations themselves if nothing is published.
    calibration_
        What errors on held-out bulks have shown of the standard deviations.

    Raises
    ------
    ConfigError
        If the model is unknown.
    """

    def __init__(self, adsorbate: str, model: ModelName = "ensemble", seed: int = 0) -> None:
        if model not in MODELS:
            message = f"unknown surrogate model {model!r}; allowed: {', '.join(MODELS)}"
            raise ConfigError(message)
        self.adsorbate = adsorbate
        self.model = model
        self.seed = seed
        self.fit([], [])

    def fit(
        self,
        environments: Sequence[SiteEnvironment],
        delta_e: ArrayLike,
        groups: Sequence[str] | None = None,
        sources: Sequence[Source] = (),
    ) -> Self:
        """Train from scratch on these observations; none at all leaves the prior, or what the sources say.

        Parameters
        ----------
        delta_e
            Observed ΔE, eV, of shape (n_environments,).
        groups
            Bulk of each observation. Left out, the elements around a site stand for it.
        sources
            Energies from elsewhere, counted as far as they help (:mod:`surrogate.transfer`).

        Raises
        ------
        ValueError
            If the lengths differ or an energy is not finite.
        """
        energies = np.asarray(delta_e, dtype=float)
        if energies.shape != (len(environments),):
            message = f"{len(environments)} environments, but energies of shape {energies.shape}"
            raise ValueError(message)
        if not np.isfinite(energies).all():
            message = "every ΔE must be finite"
            raise ValueError(message)
        bulks = groups_by_elements(environments) if groups is None else list(groups)
        if len(bulks) != len(environments):
            message = f"{len(environments)} environments, but {len(bulks)} groups"
            raise ValueError(message)
        self.n_train_ = len(energies)
        self.prior = prior_of(self.adsorbate, energies)
        self._bounds = self.prior.bounds(energies)
        # In an order of their own, so that the one in which they come is immaterial.
        keys = [environment.canonical() for environment in environments]
        rest = [_other_facts(environment) for environment in environments]
        order = sorted(range(len(energies)), key=lambda i: (bulks[i], keys[i], energies[i], rest[i]))
        ordered = energies[order]
        labels = np.unique(np.array([bulks[i] for i in order], dtype=str), return_inverse=True)[1]
        with _one_thread():
            self._model: SiteModel = (
                TransferModel(self.adsorbate, self.prior, self.model, sources, seed=self.seed)
                if sources
                else MODELS[self.model](self.prior, seed=self.seed)  # type: ignore[call-arg]
            )
            self._model.fit([environments[i] for i in order], ordered, labels.ravel())
        self.calibration_ = Calibration.of(self._model.held_out_, ordered)
        return self

    def predict(
        self, environments: Sequence[SiteEnvironment]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of ΔE, eV, each of shape (n_environments,).

        Means lie within the prior's believable range or that of the observations, standard deviations are
        at least :data:`MIN_STD_EV`. Mean ± 1.645 standard deviations holds 90 %; for other shares, and for
        the probability of a hit, see :attr:`calibration_`.
        """
        sites, place = _distinct(environments)
        mean, std = np.empty(len(sites)), np.empty(len(sites))

        def fill(start: int) -> None:
            rows = slice(start, start + _CHUNK)
            mean[rows], std[rows] = self._model.predict(sites[rows])

        # Threads share the sites; numpy lets go of the interpreter's lock in everything that takes time.
        with _one_thread(), ThreadPoolExecutor(_N_WORKERS, initializer=_one_thread_of_openmp) as workers:
            list(workers.map(fill, range(0, len(sites), _CHUNK)))
        mean = np.clip(mean, *self._bounds)
        std = np.maximum(self.calibration_.factor * std, MIN_STD_EV)
        return mean[place], std[place]

    def record(self) -> dict[str, Any]:
        """Plain values that say what this surrogate is, for the store."""
        return {
            "adsorbate": self.adsorbate,
            "model": self.model,
            "seed": self.seed,
            "n_train": self.n_train_,
            "features": FEATURE_VERSION,
            "prior": {"mean_ev": self.prior.mean_ev, "std_ev": self.prior.std_ev},
            "parameters": self._model.parameters(),
            "calibration": self.calibration_.record(),
        }


def _other_facts(environment: SiteEnvironment) -> tuple[Any, ...]:
    """What tells two sites of a bulk apart that have the same shells and energy, in some order."""
    geometry = environment.geometry.packed if environment.geometry else b""
    return environment.neighbours, environment.beneath or (), geometry


def _one_thread() -> AbstractContextManager[object]:
    """Keep linear algebra to one thread: its matrices are small, and calculations run on the other cores.

    With a thread for each core of a busy machine, the networks took ten to thirty times as long.
    """
    from threadpoolctl import threadpool_limits

    one: AbstractContextManager[object] = threadpool_limits(limits=1)
    return one


def _one_thread_of_openmp() -> None:
    """Do so for the thread that calls this: OpenMP, by which trees are boosted, keeps a limit for each."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=1, user_api="openmp")


def _distinct(
    environments: Sequence[SiteEnvironment],
) -> tuple[list[SiteEnvironment], NDArray[np.int64]]:
    """Each distinct environment once, and where every one of them went.

    Crystals are told apart by identity: comparing their bonds would take longer than predicting twice. No
    model looks at the face beyond what it leaves of the neighbours.
    """
    rows, place = representatives(
        (e.first_shell, e.second_shell, e.neighbours, e.beneath, e.geometry, id(e.bulk)) for e in environments
    )
    return [environments[i] for i in rows], place
