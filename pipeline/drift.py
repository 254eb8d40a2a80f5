"""How a campaign's predictions turned out: each was made before its candidate was computed.

Only candidates whose adsorbate stayed on its site are counted: a prediction is of one site. The seed round's
predictions are the prior's and not the surrogate's; they are listed, and the tests leave them out.
Candidates are chosen for what is predicted of them, so their predictions err otherwise than those of all
candidates (``docs/how-to/choose-candidates.md``). Energies in eV.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.store.records import SEED_ROUND
from surrogate.drift import drift

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pipeline.campaign import Campaign
    from pipeline.store.records import ModelRecord
    from surrogate.drift import Drift

RECENT = 50
"""Last results that the tests look at."""


@dataclass(frozen=True)
class Forecast:
    """A prediction and what came of it."""

    round: int
    delta_e_ev: float
    mean_ev: float
    std_ev: float
    hit_probability: float
    """Predicted."""
    is_hit: bool
    has_unseen: bool
    """An element around the site was not among those that the surrogate had learned from."""


def forecasts(campaign: Campaign, adsorbate: str, models: Iterable[ModelRecord]) -> list[Forecast]:
    """Pair an adsorbate's energies with what was predicted of them, in the order of the rounds.

    Parameters
    ----------
    models
        Of the campaign.
    """
    from surrogate.acquisition import hit_probability

    target = campaign.settings.adsorbates[adsorbate]
    observed = {o.calculation_id: o for o in campaign.observations(adsorbate)}
    wanted = {o.site_id for o in observed.values()}
    around = {s.id: (*s.first_shell, *s.second_shell) for s in campaign.sites if s.id in wanted}
    elements = {site: {symbol for symbol, _ in shells} for site, shells in around.items()}
    trained = {m.round: m for m in models if m.adsorbate == adsorbate}
    found = []
    for record in campaign.rounds():
        model = trained.get(record.number)
        ended = [
            (s, observed[s.calculation_id])
            for s in record.selections
            if s.calculation_id in observed
            and s.mean_ev is not None
            and s.std_ev is not None
            and observed[s.calculation_id].site_id == s.site_id
        ]
        if not ended or model is None:
            continue
        ids = [i for i in model.training_ids if i in observed]
        known = set().union(*(elements[observed[i].site_id] for i in ids))
        mean, std = np.array([(s.mean_ev, s.std_ev) for s, _ in ended]).T
        likely = hit_probability(mean, std, target.target_ev, target.window_ev, _freedom(model))
        found += [
            Forecast(
                record.number,
                o.delta_e_ev,
                float(s.mean_ev or 0.0),
                float(s.std_ev or 0.0),
                float(p),
                abs(o.delta_e_ev - target.target_ev) <= target.window_ev,
                not elements[o.site_id] <= known,
            )
            for (s, o), p in zip(ended, likely, strict=True)
        ]
    return found


def _freedom(model: ModelRecord) -> float:
    """Degrees of freedom of a model's predictions; models of early releases were normal."""
    freedom = model.record.get("calibration", {}).get("degrees_of_freedom")
    return np.inf if freedom is None else float(freedom)


def drift_document(campaign: Campaign, models: Sequence[ModelRecord]) -> list[dict[str, Any]]:
    """How the predictions of each adsorbate turned out, lately and round by round, as plain JSON values.

    Returns
    -------
    list of dict
        ``adsorbate``, ``recent`` (of the last :data:`RECENT` results after the seed round; null without
        any) and ``rounds`` (:func:`round_rows`).
    """
    document = []
    for adsorbate in campaign.settings.adsorbates:
        found = forecasts(campaign, adsorbate, models)
        lately = summary([f for f in found if f.round != SEED_ROUND][-RECENT:])
        rows = round_rows(found, campaign.settings.batch_size if campaign.is_async else 1)
        document.append(
            {"adsorbate": adsorbate, "recent": asdict(lately) if lately else None, "rounds": rows}
        )
    return document


def round_rows(found: Sequence[Forecast], least: int) -> list[dict[str, Any]]:
    """How predictions turned out, round by round.

    Parameters
    ----------
    least
        Results in a row: rounds of ``mode: async``, decisions of a result or two, are put together.
    """
    blocks: list[list[Forecast]] = []
    for f in found:
        last = blocks[-1] if blocks else []
        is_full = len(last) >= least and last[-1].round != f.round
        if not last or is_full or (last[-1].round == SEED_ROUND) != (f.round == SEED_ROUND):
            blocks.append([f])
        else:
            last.append(f)
    rows = []
    for block in blocks:
        figures = summary(block)
        assert figures is not None
        rows.append(
            {
                "first_round": block[0].round,
                "last_round": block[-1].round,
                "n": figures.n,
                "mae_ev": figures.mae_ev,
                "bias_ev": figures.bias_ev,
                "coverage_90": figures.coverage_90,
                "hits_promised": sum(f.hit_probability for f in block),
                "hits_found": sum(f.is_hit for f in block),
                "with_unseen_elements": sum(f.has_unseen for f in block),
            }
        )
    return rows


def summary(found: Sequence[Forecast]) -> Drift | None:
    """How some predictions turned out; None without any."""
    table = np.array([(f.delta_e_ev, f.mean_ev, f.std_ev) for f in found]).reshape(-1, 3)
    return drift(*table.T)


def in_words(adsorbate: str, figures: Drift) -> str:
    """One line for people on an adsorbate's last results."""
    inside = round(figures.coverage_90 * figures.n)
    line = (
        f"{adsorbate}: {inside} of the last {figures.n} energies within the stated 90 %, "
        f"{figures.bias_ev:+.2f} eV on average from the prediction, MAE {figures.mae_ev:.2f} eV"
    )
    if figures.is_coverage_off:
        line += f"; too {'few' if figures.coverage_90 < 0.9 else 'many'} for chance"
    if figures.is_biased:
        line += "; more on one side than chance explains"
    return line
