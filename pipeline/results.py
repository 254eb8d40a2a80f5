"""What a campaign leaves for people: rankings and observations as CSV, plots as PNG.

Files in ``<home>/results``: ``ranking-<adsorbate>.csv``, ``observations.csv``, ``parity.png``,
``learning-curve.png``, ``drift.csv``. They are written whole, after every round.
"""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dft.jobs import write_atomically
from pipeline import plots
from pipeline.drift import drift_document
from pipeline.learning import latest_predictions
from pipeline.ranking import RankedSurface, rank
from pipeline.source_files import site_columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pipeline.campaign import Campaign

CSV_COLUMNS = (
    "rank",
    "adsorbate",
    "surface",
    "bulk",
    "bulk_source",
    "site",
    "delta_e_ev",
    "std_ev",
    "ensemble_std_ev",
    "deviation_ev",
    "is_hit",
    "is_confirmed",
    "basis",
    "n_sites_computed",
    "n_sites",
    "surface_id",
    "site_id",
    "calculation_id",
    "warning",
)

DRIFT_COLUMNS = (
    "adsorbate",
    "first_round",
    "last_round",
    "n",
    "mae_ev",
    "bias_ev",
    "coverage_90",
    "hits_promised",
    "hits_found",
    "with_unseen_elements",
)


def ranking(campaign: Campaign, adsorbate: str, *, with_predicted: bool) -> list[RankedSurface]:
    """Rank the campaign's surfaces for one adsorbate as things stand."""
    latest = latest_predictions(campaign, adsorbate)
    open_sites = {c.site.id for c in campaign.open_candidates() if c.adsorbate == adsorbate}
    predicted = latest.by_site() if latest is not None else {}
    return rank(
        adsorbate,
        campaign.settings.adsorbates[adsorbate],
        bulks=campaign.bulks,
        surfaces=campaign.surfaces,
        sites=campaign.sites,
        observations=campaign.observations(adsorbate),
        predictions={site: guess for site, guess in predicted.items() if site in open_sites},
        with_predicted=with_predicted,
    )


def observation_rows(campaign: Campaign) -> list[dict[str, Any]]:
    """Every adsorption energy with what was predicted before it was computed, one row each."""
    sites = {s.id: s for s in campaign.sites}
    surfaces = {s.id: s for s in campaign.surfaces}
    bulks = {b.id: b for b in campaign.bulks}
    # An observation's own round is that of the campaign that computed it first.
    chosen = {s.calculation_id: (r.number, s) for r in campaign.rounds() for s in r.selections}
    mine = [o for o in campaign.observations() if o.calculation_id in chosen]
    rows = []
    for o in sorted(mine, key=lambda o: (chosen[o.calculation_id][0], o.calculation_id)):
        number, selection = chosen[o.calculation_id]
        rows.append(
            {
                "round": number,
                "adsorbate": o.adsorbate,
                "delta_e_ev": o.delta_e_ev,
                "ensemble_std_ev": o.ensemble_std_ev,
                "predicted_ev": selection.mean_ev,
                "predicted_std_ev": selection.std_ev,
                "reason": selection.reason,
                "bulk": bulks[o.bulk_id].formula,
                "bulk_source": bulks[o.bulk_id].source_id,
                "miller": " ".join(map(str, surfaces[o.surface_id].miller)),
                "surface": surfaces[o.surface_id].label,
                "site": sites[o.site_id].label,
                "start_site": sites[o.start_site_id].label,
                **site_columns(sites[o.site_id]),
                "bulk_id": o.bulk_id,
                "surface_id": o.surface_id,
                "site_id": o.site_id,
                "calculation_id": o.calculation_id,
                "recipe_digest": o.recipe_digest,
                "warning": o.warning,
            }
        )
    return rows


def drift_rows(campaign: Campaign) -> list[dict[str, Any]]:
    """How predictions turned out, by adsorbate and round."""
    models = campaign.store.models(campaign.name)
    return [
        {"adsorbate": of_one["adsorbate"], **row}
        for of_one in drift_document(campaign, models)
        for row in of_one["rounds"]
    ]


def to_csv(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """Render rows as CSV with a header."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(columns), lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def write_results(campaign: Campaign) -> list[Path]:
    """Write all tables and plots as things stand; return their paths."""
    folder = campaign.home.results
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for adsorbate in campaign.settings.adsorbates:
        path = folder / f"ranking-{adsorbate}.csv"
        rows = [asdict(row) for row in ranking(campaign, adsorbate, with_predicted=True)]
        write_atomically(path, to_csv(rows, CSV_COLUMNS))
        written.append(path)
    rows = observation_rows(campaign)
    if rows:
        path = folder / "drift.csv"
        write_atomically(path, to_csv(drift_rows(campaign), DRIFT_COLUMNS))
        written.append(path)
        path = folder / "observations.csv"
        write_atomically(path, to_csv(rows, list(rows[0])))
        written.append(path)
        written.append(plots.parity(rows, folder / "parity.png", title=campaign.name))
        written.append(
            plots.learning_curve(
                rows, campaign.settings.adsorbates, folder / "learning-curve.png", title=campaign.name
            )
        )
    return written


def close_round(campaign: Campaign, number: int) -> None:
    """Write the results, then mark the round closed: a killed driver writes them again."""
    write_results(campaign)
    campaign.store.close_round(campaign.name, number)


def is_closed(campaign: Campaign, number: int) -> bool:
    """Tell whether a round is closed."""
    record = campaign.store.round(campaign.name, number)
    return record is not None and record.is_closed
