"""What is explained is the surrogate that chose the candidates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from config.adsorbates import AdsorbateSettings
from config.campaign import Budget, BulkSelection
from config.errors import ConfigError
from config.loader import load_campaign
from dft.jobs import CalculationKind
from pipeline import explaining
from pipeline.campaign import Campaign
from pipeline.domain import Observation
from pipeline.explaining import (
    best_sites,
    campaign_document,
    map_document,
    rebuilt,
    site_document,
    sites_of,
)
from pipeline.explanation_plots import draw_contributions, draw_map, draw_survey
from pipeline.learning import keep, train
from pipeline.selection import select_round
from tests.pipeline.enumerated import enumerated
from tests.surrogate.worlds import law

if TYPE_CHECKING:
    from pipeline.store.repository import Store


@pytest.fixture
def campaign(store: Store, tmp_path: Path) -> Campaign:
    """Give an enumerated campaign on Cu, Pd and CuPd with H alone, without any energy."""
    settings = load_campaign("emt").model_copy(
        update={
            "bulks": BulkSelection(ids=("mp-30", "mp-2", "mp-1018029")),
            "adsorbates": {"H": AdsorbateSettings(target_ev=-0.27, window_ev=0.1)},
            "budget": Budget(calculations=1000, rounds=50),
            "seed_size": 4,
        }
    )
    return enumerated(settings, store, tmp_path)


def train_round(campaign: Campaign) -> None:
    for model in train(campaign, 0, with_metrics=False).values():
        keep(campaign, model)


def observe(campaign: Campaign, site_id: str, delta_e_ev: float, attempt: int = 0) -> None:
    candidate = next(c for c in campaign.candidates if c.site.id == site_id)
    site = candidate.site
    campaign.store.save_observation(
        Observation(
            candidate.calculation_id, site.id, site.id, site.surface_id, site.bulk_id, "H", delta_e_ev,
            campaign.settings.recipe.digest(), 0, attempt,
        )
    )  # fmt: skip


@pytest.fixture
def trained(campaign: Campaign) -> Campaign:
    """Give the campaign with a third of its sites computed, by a law, before the round was trained."""
    chosen = [site.id for site in campaign.sites][::3]
    for site_id in chosen:
        observe(campaign, site_id, float(law([campaign.environments[site_id]])[0]))
    train_round(campaign)
    return campaign


def test_the_surrogate_is_rebuilt_as_it_was(trained: Campaign) -> None:
    later = next(s.id for s in trained.sites if s.id not in {o.site_id for o in trained.observations()})
    observe(trained, later, 3.0)  # came after the training and must not count
    model = rebuilt(trained, "H")
    mean, std = model.surrogate.predict([trained.environments[i] for i in model.predictions.site_ids])
    assert mean == pytest.approx(model.predictions.mean_ev, abs=1e-9)
    assert std == pytest.approx(model.predictions.std_ev, abs=1e-9)
    assert model.difference_ev < 1e-9
    assert model.warning() == ""


def test_an_automatic_choice_is_not_made_again(trained: Campaign) -> None:
    surrogate = trained.settings.surrogate.model_copy(update={"model": "auto"})
    settings = trained.settings.model_copy(update={"surrogate": surrogate})
    train_round(Campaign(settings, trained.home, trained.store))
    model = rebuilt(trained, "H")
    assert model.surrogate.model == "ensemble"
    assert model.difference_ev < 1e-9


def test_an_energy_that_was_computed_again_is_told(trained: Campaign) -> None:
    again = trained.observations()[0]
    observe(trained, again.site_id, again.delta_e_ev + 1.0, attempt=1)
    model = rebuilt(trained, "H")
    assert model.difference_ev > 0.05
    assert "computed again" in model.warning()
    assert "surrogate.sources" in model.warning()


def test_contributions_lead_from_the_typical_site_to_the_prediction(
    trained: Campaign, tmp_path: Path
) -> None:
    model = rebuilt(trained, "H")
    site_id = best_sites(trained, "H", 1)[0]
    document = site_document(trained, model, site_id)
    contributions = [row["contribution_ev"] for row in document["contributions"]]
    assert document["typical_ev"] + sum(contributions) == pytest.approx(document["predicted_ev"])
    assert document["predicted_ev"] == pytest.approx(model.predictions.by_site()[site_id][0])
    assert document["computed_ev"] == pytest.approx(law([trained.environments[site_id]])[0])
    for row in document["substitutions"]:
        assert row["delta_e_ev"] - row["change_ev"] == pytest.approx(document["predicted_ev"])
        assert row["is_hit"] == (abs(row["delta_e_ev"] + 0.27) <= 0.1)
        assert {row["old"], row["new"]} <= {"Cu", "Pd"}
    picture = draw_contributions([document], tmp_path / "bars.png", title="t")
    assert picture.stat().st_size > 10_000


def test_on_the_whole_the_law_is_found(trained: Campaign, tmp_path: Path) -> None:
    """The law knows the electronegativity of the first shell only: Pd binds more strongly than Cu."""
    document = campaign_document(trained, rebuilt(trained, "H"))
    assert document["importances"][0]["fact"] == "binding elements"
    assert [row["element"] for row in document["binding_elements"]] == ["Pd", "Cu"]
    assert all(row["n_known"] > 0 for row in document["binding_elements"])
    trends = {row["words"]: row["rank_correlation"] for row in document["dependences"]}
    assert trends["electronegativity of the binding elements"] < -0.9
    picture = draw_survey(document, tmp_path / "survey.svg", title="t")
    assert picture.read_text(encoding="utf-8").startswith("<?xml")


def test_every_site_has_a_place_on_the_map(
    trained: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = map_document(trained, "H")
    assert sorted(i for p in document["points"] for i in p["site_ids"]) == sorted(trained.environments)
    n_computed = sum(p["computed_ev"] is not None for p in document["points"])
    assert 0 < n_computed < document["n_points"]
    assert draw_map(document, tmp_path / "map.pdf", title="t").read_bytes().startswith(b"%PDF")
    monkeypatch.setattr(explaining, "MAX_POINTS", n_computed + 3)
    thinned = map_document(trained, "H")
    assert thinned["n_points"] == n_computed + 3
    assert sum(p["computed_ev"] is not None for p in thinned["points"]) == n_computed


def test_an_id_stands_for_sites(trained: Campaign) -> None:
    select_round(trained, 0)
    observed = trained.observations()
    low = min(observed, key=lambda o: o.delta_e_ev)
    own = [o for o in observed if o.surface_id == low.surface_id]
    assert sites_of(trained, "surface", low.surface_id, ["H"]) == [
        ("H", min(own, key=lambda o: o.delta_e_ev).site_id)
    ]
    chosen = trained.store.calculations(ids=trained.chosen_ids(), kinds={CalculationKind.ADSLAB})[0]
    assert sites_of(trained, "calculation", chosen.id, ["H"]) == [("H", chosen.site_id)]
    assert sites_of(trained, "site", low.site_id, ["H"]) == [("H", low.site_id)]
    with pytest.raises(ConfigError, match="is of H, not of CO"):
        sites_of(trained, "calculation", chosen.id, ["CO"])
    with pytest.raises(ConfigError, match=rf"is a bulk; give one of its surfaces.*{low.surface_id}"):
        sites_of(trained, "bulk", low.bulk_id, ["H"])
    slab = trained.store.closure([chosen.id])
    other = next(c for c in trained.store.calculations(ids=slab) if c.kind is not CalculationKind.ADSLAB)
    with pytest.raises(ConfigError, match="no adsorption energy"):
        sites_of(trained, "calculation", other.id, ["H"])


def test_without_predictions_there_is_nothing_to_explain(campaign: Campaign) -> None:
    for ask in (rebuilt, map_document):
        with pytest.raises(ConfigError, match="no predictions of H yet"):
            ask(campaign, "H")


def test_a_map_needs_sites(trained: Campaign) -> None:
    few = dict(list(trained.environments.items())[:4])
    trained.__dict__["environments"] = few
    with pytest.raises(ConfigError, match=r"at least 10 sites.*has [1-4]"):
        map_document(trained, "H")


def test_without_observations_what_the_published_metals_say_is_explained(campaign: Campaign) -> None:
    train_round(campaign)
    document = site_document(campaign, rebuilt(campaign, "H"), campaign.sites[0].id)
    assert document["n_train"] == 0
    assert document["computed_ev"] is None
    owed = {row["fact"]: abs(row["contribution_ev"]) for row in document["contributions"]}
    assert max(owed, key=owed.__getitem__) == "binding elements"
