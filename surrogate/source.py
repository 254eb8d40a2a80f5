"""Energies of some sites from elsewhere, and a model of them alone. Energies in eV.

How they are brought to the level of a campaign: :mod:`surrogate.transfer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from surrogate.calibration import Calibration
from surrogate.cross_fit import groups_by_elements
from surrogate.ensemble import MODELS
from surrogate.prior import AdsorbatePrior, prior_of
from surrogate.sites import distinct

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

    from surrogate.sites import SiteEnvironment

_OWN_STD_EV = 0.1
"""Scatter between sites of one bulk that are described alike (docs/explanation/surrogate.md)."""


@dataclass(frozen=True, eq=False)
class Source:
    """Energies of some sites from elsewhere.

    Raises
    ------
    ValueError
        If there is none, the lengths differ, or an energy is not finite.
    """

    name: str
    environments: Sequence[SiteEnvironment]
    delta_e: NDArray[np.float64]
    """ΔE as the source has it, eV, of shape (n_environments,)."""
    groups: Sequence[str] | None = None
    """Bulk of each. Left out, the elements around a site stand for it."""
    kind: Literal["same", "other"] = "same"
    """Whether they are of the adsorbate that is to be predicted, or of another one."""

    def __post_init__(self) -> None:
        """Check that the parts belong together."""
        n = len(self.environments)
        if not n or np.shape(self.delta_e) != (n,) or (self.groups is not None and len(self.groups) != n):
            message = f"source {self.name!r}: one energy and one group for each of at least one environment"
            raise ValueError(message)
        if not np.isfinite(self.delta_e).all():
            message = f"source {self.name!r}: every ΔE must be finite"
            raise ValueError(message)


class SourceModel:
    """What a source says of any site: a model trained on it alone, and its own energies."""

    def __init__(self, source: Source, prior: AdsorbatePrior, model: str, seed: int) -> None:
        named = groups_by_elements(source.environments) if source.groups is None else source.groups
        groups = distinct(named)[1]
        self.mean_ev = float(np.mean(source.delta_e))
        self._model = MODELS[model](prior, seed=seed)  # type: ignore[call-arg]
        self._model.fit(source.environments, source.delta_e, groups)
        self._factor = Calibration.of(self._model.held_out_, source.delta_e).factor
        known = [(_site(e), energy) for e, energy in zip(source.environments, source.delta_e, strict=True)]
        self._own: dict[Hashable, list[float]] = {}
        for site, energy in known:
            if site is not None:
                self._own.setdefault(site, []).append(float(energy))
        self._compositions = {e.bulk.composition for e in source.environments if e.bulk is not None}

    def predict(
        self, environments: Sequence[SiteEnvironment]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Mean and standard deviation of the source's ΔE, eV, and whether it holds the very site."""
        mean, std = self._model.predict(environments)
        is_own = np.zeros(len(environments), dtype=bool)
        std = self._factor * std
        for i, environment in enumerate(environments):
            if environment.bulk is None or environment.bulk.composition not in self._compositions:
                continue
            if own := self._own.get(_site(environment)):
                count = len(own) / _OWN_STD_EV**2
                precision = 1.0 / std[i] ** 2 + count
                mean[i] += count / precision * (np.mean(own) - mean[i])
                std[i], is_own[i] = precision**-0.5, True
        return mean, std, is_own


def _site(environment: SiteEnvironment) -> Hashable:
    """What a site and its crystal are told apart by, if the crystal is known.

    The face is not part of it, as other faces cut alike.
    """
    bulk = environment.bulk
    if bulk is None:
        return None
    volume = None if bulk.volume_per_atom is None else round(bulk.volume_per_atom, 1)
    return environment.canonical(), environment.neighbours, bulk.composition, volume


@lru_cache(maxsize=64)
def model_of(source: Source, adsorbate: str, model: str, seed: int) -> SourceModel:
    """Train on a source once, however often a campaign trains on top of it."""
    prior = prior_of(adsorbate if source.kind == "same" else "", source.delta_e)
    return SourceModel(source, prior, model, seed)
