"""What a campaign's failures teach about the candidates that are left."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from config.adsorbates import AdsorbateSettings
from config.campaign import Budget, BulkSelection
from config.loader import load_campaign
from dft.codes import FailureCode
from pipeline.campaign import Campaign
from pipeline.domain import CalculationState as State
from pipeline.failures import TELLING, draw_tree, failures_document, features, learned, outcomes
from pipeline.learning import train_round
from pipeline.selection import select_round
from tests.pipeline.enumerated import enumerated

if TYPE_CHECKING:
    from pipeline.domain import Candidate
    from pipeline.store.repository import Store

METALS = ("mp-30", "mp-2", "mp-124", "mp-81", "mp-126", "mp-23")


@pytest.fixture
def chosen(store: Store, tmp_path: Path) -> tuple[Campaign, list[Candidate]]:
    """Give a campaign on six metals with H, and the candidates of its large seed."""
    settings = load_campaign("emt").model_copy(
        update={
            "bulks": BulkSelection(ids=METALS),
            "adsorbates": {"H": AdsorbateSettings(target_ev=-0.27, window_ev=0.1)},
            "budget": Budget(calculations=1000, rounds=50),
            "seed_size": 60,
        }
    )
    campaign = enumerated(settings, store, tmp_path)
    train_round(campaign, 0)
    ids = select_round(campaign, 0).calculation_ids
    by_id = {c.calculation_id: c for c in campaign.candidates}
    return campaign, [by_id[i] for i in ids]


def end(campaign: Campaign, candidate: Candidate, state: State, code: FailureCode | None = None) -> None:
    way = [State.PLANNED, State.SUBMITTING, State.SUBMITTED, State.RUNNING]
    way += [State.FAILED] if state is State.FAILED else [State.DONE, state]
    for before, after in itertools.pairwise(way):
        campaign.store.transition(
            candidate.calculation_id, before, after, **({"code": code} if after is state and code else {})
        )


def let_tops_desorb(campaign: Campaign, candidates: list[Candidate]) -> None:
    for candidate in candidates:
        if candidate.site.kind == "top":
            end(campaign, candidate, State.REJECTED, FailureCode.DESORBED)
        else:
            end(campaign, candidate, State.VALID)


def test_sites_like_those_that_failed_have_a_lower_chance(chosen, tmp_path):
    campaign, candidates = chosen
    let_tops_desorb(campaign, candidates)
    model = learned(campaign, outcomes(campaign, "H"))
    tops = [campaign.environments[s.id] for s in campaign.sites if s.kind == "top"]
    hollows = [campaign.environments[s.id] for s in campaign.sites if s.kind == "hollow"]
    assert model.predict(features(tops)).mean() + 0.4 < model.predict(features(hollows)).mean()
    document = failures_document("H", outcomes(campaign, "H"), model)
    assert document["codes"] == {"DESORBED": document["n_failure"]}
    assert any("first" in rule or "coordination" in rule for rule in document["rules"])
    draw_tree(model, tmp_path / "tree.png")
    assert (tmp_path / "tree.png").stat().st_size > 10_000


def test_what_a_queue_or_a_node_did_says_nothing_about_a_candidate(chosen):
    campaign, candidates = chosen
    for candidate, code in zip(candidates, sorted(set(FailureCode) - TELLING), strict=False):
        end(campaign, candidate, State.FAILED, code)
    found = outcomes(campaign, "H")
    assert found.codes == {}
    assert len(found.succeeded) == 1  # one that migrated: its energy counts, elsewhere


def test_the_choice_avoids_what_fails_only_if_it_is_to_learn(chosen, monkeypatch):
    campaign, candidates = chosen
    let_tops_desorb(campaign, candidates)
    seen = []

    def spy(strategy, groups, **options):
        seen.append(groups["H"].success)
        return {"H": np.zeros(0, dtype=np.int64)}

    monkeypatch.setattr("surrogate.batches.choose_batch", spy)
    from pipeline.learning import read_predictions
    from pipeline.selection import choose_round

    predictions = {"H": read_predictions(campaign, 0, "H")}
    choose_round(campaign, 1, predictions, 3)
    acquisition = campaign.settings.acquisition.model_copy(update={"learn_from_failures": False})
    deaf = Campaign(
        campaign.settings.model_copy(update={"acquisition": acquisition}), campaign.home, campaign.store
    )
    choose_round(deaf, 1, predictions, 3)
    is_top = np.array([c.site.kind == "top" for c in campaign.open_candidates()])
    chance = seen[0][: len(is_top)]
    assert chance[is_top].max() < chance[~is_top].min()
    assert set(seen[-1]) == {1.0}
