"""Why a campaign's surrogate says what it says of a site; its documents for people and programs.

The surrogate of the newest round is trained again from what its record says it was trained on, and held
against the predictions that were kept of that round. Sites are compared with a sample of the
campaign's own: the *typical* site. Plain JSON values. Units: eV.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from config.errors import ConfigError
from pipeline.learning import latest_predictions, lowest_by_site
from pipeline.results import ranking
from pipeline.source_files import read_sources
from pipeline.sources import sources_of
from surrogate.features import FEATURE_VERSION
from surrogate.sites import distinct

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from pipeline.campaign import Campaign
    from pipeline.domain import Observation
    from pipeline.learning import Predictions
    from pipeline.store.records import ModelRecord
    from surrogate.models import AdsorptionSurrogate
    from surrogate.sites import SiteEnvironment
    from surrogate.transfer import Source

N_BACKGROUND = 30
"""Sites that stand for the typical one."""
N_SURVEYED = 30
"""Sites whose explanations are averaged to say what matters on the whole."""
N_CHECKED = 2000
"""Sites on which the surrogate that was trained again is held against the one that was."""
SAME_EV = 1e-3
"""Predictions that differ by less are the same: another processor rounds differently."""
MAX_POINTS = 5000
"""Sites on a map; more take minutes and cover each other."""


@dataclass(frozen=True)
class Rebuilt:
    """A surrogate of the newest round, trained again."""

    adsorbate: str
    surrogate: AdsorptionSurrogate
    observations: list[Observation]
    """What it was trained on."""
    sources: list[Source]
    """Energies from elsewhere that it was trained with."""
    predictions: Predictions
    """What was kept of it."""
    difference_ev: float
    """Greatest difference between the two."""

    def warning(self) -> str:
        """Say that it is not the surrogate that it was; empty when it is."""
        if self.difference_ev <= SAME_EV:
            return ""
        return (
            f"{self.adsorbate}: trained again, the surrogate of round {self.predictions.round} predicts up "
            f"to {self.difference_ev:.2g} eV otherwise than it did; since then an energy was computed again, "
            "surrogate.sources or a file of theirs was changed, or Sabatier was updated. What is explained "
            "is the one of now"
        )


def rebuilt(campaign: Campaign, adsorbate: str) -> Rebuilt:
    """Train the newest surrogate of an adsorbate again.

    Raises
    ------
    ConfigError
        If there is none yet.
    """
    from surrogate.models import AdsorptionSurrogate

    predictions = _predictions(campaign, adsorbate)
    models = campaign.store.models(campaign.name)
    records = {m.adsorbate: m for m in models if m.round == predictions.round}
    record, known = records[adsorbate], campaign.environments
    observed = {name: _learned_from(campaign, m) for name, m in records.items()}
    observations = observed[adsorbate]
    sources = sources_of(campaign, adsorbate, read_sources(campaign.settings), observed)
    # The automatic choice is not made again: it depends on the time that there was.
    chosen = record.record["parameters"].get("chosen", record.record["model"])
    surrogate = AdsorptionSurrogate(record.record["adsorbate"], chosen, seed=record.record["seed"])
    surrogate.fit(
        [known[o.site_id] for o in observations],
        np.array([o.delta_e_ev for o in observations]),
        [o.bulk_id for o in observations],
        sources,
    )
    rows = np.unique(np.linspace(0, len(predictions.site_ids) - 1, N_CHECKED).astype(int))
    again, _ = surrogate.predict([known[predictions.site_ids[i]] for i in rows])
    difference = float(np.abs(again - predictions.mean_ev[rows]).max())
    return Rebuilt(adsorbate, surrogate, observations, sources, predictions, difference)


def _learned_from(campaign: Campaign, record: ModelRecord) -> list[Observation]:
    ids = set(record.training_ids)
    found = [o for o in campaign.observations(record.adsorbate) if o.calculation_id in ids]
    return lowest_by_site(found)


def _predictions(campaign: Campaign, adsorbate: str) -> Predictions:
    latest = latest_predictions(campaign, adsorbate)
    if latest is None or not latest.site_ids:
        message = (
            f"campaign {campaign.name!r} has no predictions of {adsorbate} yet, so there is "
            "nothing to explain; 'sabatier run' trains the surrogate"
        )
        raise ConfigError(message)
    return latest


def best_sites(campaign: Campaign, adsorbate: str, n: int) -> list[str]:
    """Ids of the lowest sites of the first surfaces of the ranking, predicted ones after computed ones."""
    return [row.site_id for row in ranking(campaign, adsorbate, with_predicted=True)[:n]]


def sites_of(
    campaign: Campaign, kind: str, identifier: str, adsorbates: Sequence[str]
) -> list[tuple[str, str]]:
    """Adsorbates and sites that an id stands for.

    A calculation stands for its own adsorbate where that was put, a surface for its lowest site.

    Parameters
    ----------
    kind
        What the id is one of, as :meth:`pipeline.store.repository.Store.resolve_id` says.
    adsorbates
        Those that are wanted.

    Raises
    ------
    ConfigError
        If it stands for no site, or for one of another adsorbate.
    """
    if kind == "site":
        return [(adsorbate, identifier) for adsorbate in adsorbates]
    if kind == "surface":
        return [(adsorbate, _lowest_site(campaign, identifier, adsorbate)) for adsorbate in adsorbates]
    if kind == "bulk":
        own = [s for s in campaign.surfaces if s.bulk_id == identifier]
        listed = ", ".join(f"{s.id} ({s.label})" for s in own[:8])
        message = f"{identifier} is a bulk; give one of its surfaces or sites: {listed}"
        raise ConfigError(message)
    calculation = campaign.store.calculation(identifier)
    if calculation is None or calculation.site_id is None or calculation.adsorbate is None:
        message = (
            f"{identifier} is no adsorption energy; give a surface, a site or the calculation of an adslab"
        )
        raise ConfigError(message)
    if calculation.adsorbate not in adsorbates:
        message = f"{identifier} is of {calculation.adsorbate}, not of {', '.join(adsorbates)}"
        raise ConfigError(message)
    return [(calculation.adsorbate, calculation.site_id)]


def _lowest_site(campaign: Campaign, surface_id: str, adsorbate: str) -> str:
    ranked = [r for r in ranking(campaign, adsorbate, with_predicted=True) if r.surface_id == surface_id]
    if ranked:
        return ranked[0].site_id
    predicted = _predictions(campaign, adsorbate).by_site()
    own = [s.id for s in campaign.sites if s.surface_id == surface_id and s.id in predicted]
    if not own:
        message = f"nothing is predicted of {surface_id}: it has no site"
        raise ConfigError(message)
    return min(own, key=lambda site: predicted[site])


def site_document(campaign: Campaign, model: Rebuilt, site_id: str) -> dict[str, Any]:
    """What the facts of a site contribute to its prediction, and what other atoms would change."""
    from surrogate.explain import explain, substitutions
    from surrogate.hybrids import FACTS, told

    environment = campaign.environments[site_id]
    predict = model.surrogate.predict
    background = _sample(campaign, N_BACKGROUND)
    found = explain(predict, environment, background)
    target = campaign.settings.adsorbates[model.adsorbate]
    observed = [o.delta_e_ev for o in campaign.observations(model.adsorbate) if o.site_id == site_id]
    in_first, in_second = _known_elements(campaign, model)
    return {
        **_heading(campaign, model),
        "site_id": site_id,
        "site": campaign.site(site_id).label,
        "surface_id": campaign.site(site_id).surface_id,
        "predicted_ev": found.predicted_ev,
        "std_ev": found.std_ev,
        "computed_ev": min(observed, default=None),
        "is_trained_on": site_id in {o.site_id for o in model.observations},
        "typical_ev": found.typical_ev,
        "n_background": len(background),
        "contributions": [
            {"fact": fact, "value": told(fact, environment), "contribution_ev": found.by_fact[fact]}
            for fact in sorted(FACTS, key=lambda fact: -abs(found.by_fact[fact]))
        ],
        "substitutions": [
            {
                **row._asdict(),
                "is_hit": abs(row.delta_e_ev - target.target_ev) <= target.window_ev,
                "n_known": (in_first if row.is_binding else in_second)[row.new],
            }
            for row in substitutions(predict, environment, _elements(campaign))
        ],
    }


def campaign_document(campaign: Campaign, model: Rebuilt) -> dict[str, Any]:
    """Which facts matter to a surrogate on the whole, and how ΔE depends on them."""
    from surrogate.explain import DESCRIPTORS, element_dependence, held_out_importances, survey
    from surrogate.hybrids import FACTS
    from surrogate.models import AdsorptionSurrogate

    background, sites = _sample(campaign, N_BACKGROUND), _sample(campaign, N_SURVEYED, stream=1)
    found = survey(model.surrogate.predict, sites, background)
    surrogate, known = model.surrogate, campaign.environments
    held_out = held_out_importances(
        lambda: AdsorptionSurrogate(surrogate.adsorbate, surrogate.model, seed=surrogate.seed),
        [known[o.site_id] for o in model.observations],
        np.array([o.delta_e_ev for o in model.observations]),
        [o.bulk_id for o in model.observations],
        campaign.settings.seed,
        model.sources,
    )
    importances = found.importances()
    n_known, _ = _known_elements(campaign, model)
    by_element = element_dependence(surrogate.predict, sites, _elements(campaign))
    dependences = []
    for d in DESCRIPTORS:
        means = found.dependence[:, FACTS.index(d.fact)].tolist()
        given = [(d.of(site), mean) for site, mean in zip(background, means, strict=True)]
        points = sorted((x, y) for x, y in given if x is not None)
        if len({x for x, _ in points}) > 1:
            row = {
                "fact": d.fact,
                "words": d.words,
                "unit": d.unit,
                "rank_correlation": _rank_correlation(points),
            }
            dependences.append({**row, "points": [{"x": x, "delta_e_ev": y} for x, y in points]})
    return {
        **_heading(campaign, model),
        "n_background": len(background),
        "n_surveyed": len(sites),
        "importances": [
            {
                "fact": fact,
                "mean_size_ev": importances[fact],
                "held_out_error_growth_ev": held_out[fact] if held_out else None,
            }
            for fact in sorted(FACTS, key=lambda fact: -importances[fact])
        ],
        "binding_elements": [
            {"element": element, "delta_e_ev": by_element[element], "n_known": n_known[element]}
            for element in sorted(by_element, key=lambda element: by_element[element])
        ],
        "dependences": dependences,
    }


def map_document(campaign: Campaign, adsorbate: str) -> dict[str, Any]:
    """Places of a campaign's sites on a map, with what is predicted and what was computed of them.

    Sites that are described alike share a point. Of more than :data:`MAX_POINTS` points those without
    computed sites are thinned out.

    Raises
    ------
    ConfigError
        If there are too few sites, or no predictions yet.
    """
    from surrogate.site_map import FEWEST, site_map

    predictions = _predictions(campaign, adsorbate)
    known, predicted = campaign.environments, predictions.by_site()
    ids = [site for site in predictions.site_ids if site in known]
    keys, labels = distinct([_key(known[site]) for site in ids])
    if len(keys) < FEWEST:
        message = (
            f"a map needs at least {FEWEST} sites that are described differently; campaign {campaign.name!r} "
            f"has {len(keys)}"
        )
        raise ConfigError(message)
    computed = {o.site_id: o.delta_e_ev for o in lowest_by_site(campaign.observations(adsorbate))}
    points: list[list[str]] = [[] for _ in keys]
    for site, label in zip(ids, labels, strict=True):
        points[label].append(site)
    points = _thinned(points, computed, campaign.settings.seed)
    places = site_map([known[point[0]] for point in points], campaign.settings.seed)
    labels_of = {site.id: site.label for site in campaign.sites}
    target = campaign.settings.adsorbates[adsorbate]
    return {
        "adsorbate": adsorbate,
        "round": predictions.round,
        "target_ev": target.target_ev,
        "window_ev": target.window_ev,
        "n_sites": len(ids),
        "n_points": len(points),
        "points": [
            {
                "x": x,
                "y": y,
                "predicted_ev": predicted[point[0]][0],
                "computed_ev": min((computed[site] for site in point if site in computed), default=None),
                "site": labels_of[point[0]],
                "site_ids": point,
            }
            for point, (x, y) in zip(points, places.tolist(), strict=True)
        ],
    }


def _key(environment: SiteEnvironment) -> Hashable:
    """Equal for sites that are described alike; crystals by identity, which is quick."""
    rest = (getattr(environment, f.name) for f in fields(environment) if f.name != "bulk")
    return (*rest, id(environment.bulk))


def _thinned(points: list[list[str]], computed: dict[str, float], seed: int) -> list[list[str]]:
    if len(points) <= MAX_POINTS:
        return points
    is_computed = np.array([any(site in computed for site in point) for point in points])
    order = np.random.default_rng(seed).permutation(len(points))
    kept = order[np.argsort(~is_computed[order], kind="stable")][:MAX_POINTS]
    return [points[i] for i in np.sort(kept)]


def _heading(campaign: Campaign, model: Rebuilt) -> dict[str, Any]:
    target = campaign.settings.adsorbates[model.adsorbate]
    return {
        "adsorbate": model.adsorbate,
        "round": model.predictions.round,
        "model": model.surrogate.model,
        "features": FEATURE_VERSION,
        "n_train": len(model.observations),
        "differs_from_kept_ev": model.difference_ev,
        "target_ev": target.target_ev,
        "window_ev": target.window_ev,
    }


def _sample(campaign: Campaign, n: int, stream: int = 0) -> list[SiteEnvironment]:
    """Some of the campaign's sites, the same every time."""
    known = list(campaign.environments.values())
    rng = np.random.default_rng([campaign.settings.seed, stream])
    return [known[i] for i in np.sort(rng.permutation(len(known))[:n])]


def _elements(campaign: Campaign) -> list[str]:
    return sorted({element for bulk in campaign.bulks for element in bulk.elements})


def _known_elements(campaign: Campaign, model: Rebuilt) -> tuple[Counter[str], Counter[str]]:
    """How many of the sites that were learned from have an element in their first shell, and second."""
    sites = [campaign.environments[o.site_id] for o in model.observations]
    first = Counter(symbol for site in sites for symbol, _ in site.first_shell)
    return first, Counter(symbol for site in sites for symbol, _ in site.second_shell)


def _rank_correlation(points: Sequence[tuple[float, float]]) -> float:
    from scipy.stats import spearmanr

    x, y = zip(*points, strict=True)
    return float(spearmanr(x, y).statistic) if np.ptp(y) > 0.0 else 0.0
