"""An adsorbate that ended on another site: the energy is that site's, and the starting site remembers."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from config.adsorbates import AdsorbateSettings
from config.campaign import BulkSelection
from config.loader import load_campaign
from dft.codes import FailureCode
from pipeline.campaign import Campaign
from pipeline.domain import CalculationState as State
from pipeline.domain import Observation
from pipeline.learning import train, train_round
from pipeline.report import show_document
from pipeline.results import observation_rows, ranking
from pipeline.selection import select_round
from tests.pipeline.enumerated import enumerated

if TYPE_CHECKING:
    from pipeline.domain import Candidate, Site
    from pipeline.store.repository import Store

DELTA_E_EV = -0.31


@pytest.fixture
def campaign(store: Store, tmp_path: Path) -> Campaign:
    settings = load_campaign("emt").model_copy(
        update={
            "bulks": BulkSelection(ids=("mp-30",)),
            "adsorbates": {"H": AdsorbateSettings(target_ev=-0.27, window_ev=0.1)},
            "seed_size": 3,
        }
    )
    return enumerated(settings, store, tmp_path)


@pytest.fixture
def moved(campaign: Campaign) -> tuple[Candidate, Site]:
    """The first candidate of the seed round, computed, and the site of its surface where it ended."""
    train_round(campaign, 0)
    first = select_round(campaign, 0).calculation_ids[0]
    candidate = next(c for c in campaign.candidates if c.calculation_id == first)
    start = candidate.site
    others = (s for s in campaign.sites if s.surface_id == start.surface_id)
    end = next(s for s in others if s.first_shell != start.first_shell)
    campaign.store.save_observation(
        Observation(
            calculation_id=candidate.calculation_id,
            site_id=end.id,
            start_site_id=start.id,
            surface_id=start.surface_id,
            bulk_id=start.bulk_id,
            adsorbate="H",
            delta_e_ev=DELTA_E_EV,
            recipe_digest=campaign.settings.recipe.digest(),
            round=0,
        )
    )
    path = (State.PLANNED, State.SUBMITTING, State.SUBMITTED, State.RUNNING, State.DONE)
    for before, after in itertools.pairwise(path):
        campaign.store.transition(candidate.calculation_id, before, after)
    campaign.store.transition(
        candidate.calculation_id, State.DONE, State.REJECTED, code=FailureCode.MIGRATED, message="moved"
    )
    return candidate, end


def test_the_store_keeps_both_sites(campaign: Campaign, moved: tuple[Candidate, Site]) -> None:
    candidate, end = moved
    (kept,) = campaign.observations("H")
    assert (kept.site_id, kept.start_site_id) == (end.id, candidate.site.id)
    (row,) = observation_rows(campaign)
    assert (row["site"], row["start_site"]) == (end.label, candidate.site.label)


def test_the_energy_is_ranked_under_the_site_where_it_was_found(
    campaign: Campaign, moved: tuple[Candidate, Site]
) -> None:
    (row,) = ranking(campaign, "H", with_predicted=False)
    assert (row.site_id, row.delta_e_ev) == (moved[1].id, DELTA_E_EV)


def test_the_surrogate_learns_nothing_of_the_starting_site(
    campaign: Campaign, moved: tuple[Candidate, Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    from surrogate.models import AdsorptionSurrogate

    seen: list[object] = []
    fit = AdsorptionSurrogate.fit

    def spy(self: AdsorptionSurrogate, environments: list[object], *rest: object) -> AdsorptionSurrogate:
        seen.extend(environments)
        return fit(self, environments, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(AdsorptionSurrogate, "fit", spy)
    train(campaign, 1, with_metrics=False)
    assert [environment.first_shell for environment in seen] == [moved[1].first_shell]  # type: ignore[attr-defined]


def test_the_starting_site_is_not_tried_again(campaign: Campaign, moved: tuple[Candidate, Site]) -> None:
    assert moved[0].calculation_id not in {c.calculation_id for c in campaign.open_candidates()}


def test_show_tells_at_the_starting_site_where_the_adsorbate_went(
    campaign: Campaign, moved: tuple[Candidate, Site]
) -> None:
    candidate, end = moved
    start_document = show_document(campaign, "site", candidate.site.id)
    assert start_document["observations"] == []
    assert start_document["moved_away"] == [
        {
            "adsorbate": "H",
            "to": end.label,
            "site_id": end.id,
            "delta_e_ev": DELTA_E_EV,
            "calculation_id": candidate.calculation_id,
        }
    ]
    end_document = show_document(campaign, "site", end.id)
    assert [o["start_site_id"] for o in end_document["observations"]] == [candidate.site.id]
    assert end_document["moved_away"] == []
