"""Training the surrogate of a round and keeping what it predicts.

One surrogate per adsorbate, trained on the observations that precede the round. The model is not
kept as an object: its record says what it was trained on, and it is rebuilt from that. The predictions are
kept, one file per round and adsorbate, because ranking and plots need them as they were. Units: eV.
"""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from config.errors import StoreError
from dft.jobs import write_atomically
from pipeline.source_files import read_sources
from pipeline.sources import sources_of
from pipeline.store.records import ModelRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.campaign import Campaign
    from pipeline.domain import Observation
    from pipeline.source_files import SourceTable
    from surrogate.models import AdsorptionSurrogate
    from surrogate.sites import SiteEnvironment
    from surrogate.transfer import Source

CROSS_VALIDATION_FOLDS = 5


@dataclass(frozen=True)
class Predictions:
    """What the surrogate of one round says of every site, for one adsorbate."""

    adsorbate: str
    round: int
    site_ids: tuple[str, ...]
    mean_ev: NDArray[np.float64]
    std_ev: NDArray[np.float64]
    freedom: float = np.inf
    """Degrees of freedom of their distribution (:mod:`surrogate.calibration`)."""

    def by_site(self) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation by site id."""
        rows = zip(self.site_ids, self.mean_ev, self.std_ev, strict=True)
        return {site: (float(mean), float(std)) for site, mean, std in rows}


def lowest_by_site(observations: list[Observation]) -> list[Observation]:
    """Keep one observation per site: the lowest, since adsorbates that ended there share the minimum."""
    best: dict[str, Observation] = {}
    for o in sorted(observations, key=lambda o: (o.delta_e_ev, o.calculation_id)):
        best.setdefault(o.site_id, o)
    return sorted(best.values(), key=lambda o: o.site_id)


@dataclass(frozen=True)
class Trained:
    """A surrogate's record and what it predicts, before either is kept."""

    predictions: Predictions
    model: ModelRecord


def train_round(campaign: Campaign, number: int) -> None:
    """Train the surrogates of a round, predict every site, and record both."""
    for trained in train(campaign, number).values():
        keep(campaign, trained)


def is_trained(campaign: Campaign, number: int) -> bool:
    """Tell whether a round's models and predictions are all there."""
    recorded = {(m.round, m.adsorbate) for m in campaign.store.models(campaign.name)}
    return all(
        (number, adsorbate) in recorded and _is_readable(campaign, number, adsorbate)
        for adsorbate in campaign.settings.adsorbates
    )


def _is_readable(campaign: Campaign, number: int, adsorbate: str) -> bool:
    try:
        read_predictions(campaign, number, adsorbate)
    except StoreError:
        return False
    return True


def train(campaign: Campaign, number: int, *, with_metrics: bool = True) -> dict[str, Trained]:
    """Train a surrogate for each adsorbate on all observations so far and predict every site.

    Parameters
    ----------
    number
        Round that it is for.
    with_metrics
        Whether to cross-validate, which costs several times as much as the rest.
    """
    observed = {name: lowest_by_site(campaign.observations(name)) for name in campaign.settings.adsorbates}
    tables = read_sources(campaign.settings)
    return {
        adsorbate: _train(campaign, number, adsorbate, observed, tables, with_metrics=with_metrics)
        for adsorbate in observed
    }


def keep(campaign: Campaign, trained: Trained) -> None:
    """Store a surrogate's record and its predictions."""
    predictions = trained.predictions
    _write_predictions(predictions_file(campaign, predictions.round, predictions.adsorbate), predictions)
    campaign.store.save_model(trained.model)


def _train(
    campaign: Campaign,
    number: int,
    adsorbate: str,
    observed: Mapping[str, list[Observation]],
    tables: Sequence[SourceTable],
    *,
    with_metrics: bool,
) -> Trained:
    from surrogate.models import AdsorptionSurrogate

    known = campaign.environments
    observations = observed[adsorbate]
    environments = [known[o.site_id] for o in observations]
    delta_e = np.array([o.delta_e_ev for o in observations])

    key = campaign.settings.species(adsorbate).key

    def factory() -> AdsorptionSurrogate:
        return AdsorptionSurrogate(key, campaign.settings.surrogate.model, seed=campaign.settings.seed)

    surrogate = factory()
    bulks = [o.bulk_id for o in observations]
    sources = sources_of(campaign, adsorbate, tables, observed)
    surrogate.fit(environments, delta_e, bulks, sources)
    mean, std = surrogate.predict(list(known.values()))
    metrics = _grouped_metrics(factory, environments, delta_e, bulks, sources) if with_metrics else {}
    return Trained(
        Predictions(adsorbate, number, tuple(known), mean, std, surrogate.calibration_.freedom),
        ModelRecord(
            campaign=campaign.name,
            round=number,
            adsorbate=adsorbate,
            record={**surrogate.record(), "source_files": [table.document() for table in tables]},
            metrics=metrics,
            training_ids=tuple(o.calculation_id for o in observations),
        ),
    )


def _grouped_metrics(
    factory: Callable[[], AdsorptionSurrogate],
    environments: list[SiteEnvironment],
    delta_e: NDArray[np.float64],
    groups: list[str],
    sources: Sequence[Source],
) -> dict[str, Any]:
    """Cross-validated accuracy with folds grouped by bulk; says so when there are too few bulks."""
    from surrogate.metrics import cross_validate

    n_splits = CROSS_VALIDATION_FOLDS
    result = cross_validate(factory, environments, delta_e, groups, n_splits=n_splits, sources=sources)
    return {"grouped_by": "bulk", "n": len(delta_e), **(result.summary() if result else {})}


def predictions_file(campaign: Campaign, number: int, adsorbate: str) -> Path:
    """Return where the predictions of a round are kept."""
    return campaign.home.predictions / f"round-{number:03d}-{adsorbate}.npz"


def _write_predictions(path: Path, predictions: Predictions) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    memory = io.BytesIO()
    np.savez_compressed(
        memory,
        round=predictions.round,
        site_ids=np.array(predictions.site_ids),
        mean_ev=predictions.mean_ev,
        std_ev=predictions.std_ev,
        freedom=predictions.freedom,
    )
    write_atomically(path, memory.getvalue())


def read_predictions(campaign: Campaign, number: int, adsorbate: str) -> Predictions:
    """Read the predictions of a round.

    Raises
    ------
    StoreError
        If they are missing.
    """
    path = predictions_file(campaign, number, adsorbate)
    try:
        with np.load(path, allow_pickle=False) as data:
            return Predictions(
                adsorbate,
                int(data["round"]),
                tuple(str(i) for i in data["site_ids"]),
                data["mean_ev"].astype(float),
                data["std_ev"].astype(float),
                float(data["freedom"]) if "freedom" in data else np.inf,
            )
    except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
        message = f"cannot read the predictions {path}: {error}; 'sabatier run' makes them again"
        raise StoreError(message) from error


def latest_predictions(campaign: Campaign, adsorbate: str) -> Predictions | None:
    """Read the newest readable predictions for an adsorbate; None where there are none."""
    rounds = [m.round for m in campaign.store.models(campaign.name) if m.adsorbate == adsorbate]
    for number in sorted(rounds, reverse=True):
        with suppress(StoreError):
            return read_predictions(campaign, number, adsorbate)
    return None
