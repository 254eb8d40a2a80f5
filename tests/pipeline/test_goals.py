"""What a round goes for: hits of each adsorbate or of all, exploration; what it promises, what came of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from config.adsorbates import AdsorbateSettings
from config.campaign import Budget, BulkSelection
from config.loader import load_campaign
from config.surrogate import AcquisitionSettings
from pipeline.campaign import Campaign
from pipeline.costs import CandidateCosts
from pipeline.domain import Observation
from pipeline.drift import Forecast, drift_document, in_words, round_rows
from pipeline.ends import NothingLeft
from pipeline.joint_ranking import joint_ranking
from pipeline.learning import Predictions, Trained, keep
from pipeline.pools import gather_pools
from pipeline.prospects import latest_prospects
from pipeline.selection import choose_round
from pipeline.store.records import ModelRecord, Selection
from surrogate.drift import Drift
from tests.pipeline.enumerated import enumerated

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.domain import Candidate
    from pipeline.store.records import RoundRecord
    from pipeline.store.repository import Store

TARGETS = {"CO": -0.67, "H": -0.27}
FAR = 1.0


@pytest.fixture
def campaign(store: Store, tmp_path: Path) -> Campaign:
    """Give an enumerated campaign on two faces of Cu and Pd with CO and H."""
    emt = load_campaign("emt")
    settings = emt.model_copy(
        update={
            "bulks": BulkSelection(ids=("mp-30", "mp-2")),
            "surfaces": emt.surfaces.model_copy(update={"miller_indices": ((1, 1, 1), (1, 0, 0))}),
            "adsorbates": {name: AdsorbateSettings(target_ev=t) for name, t in TARGETS.items()},
            "budget": Budget(calculations=1000, rounds=50),
            "acquisition": AcquisitionSettings(learn_from_failures=False),
        }
    )
    return enumerated(settings, store, tmp_path)


def that(campaign: Campaign, **acquisition: Any) -> Campaign:
    """The same campaign with another acquisition."""
    changed = AcquisitionSettings(learn_from_failures=False, **acquisition)
    settings = campaign.settings.model_copy(update={"acquisition": changed})
    return Campaign(settings, campaign.home, campaign.store)


def predicted(campaign: Campaign, number: int = 1, **on: dict[str, float]) -> dict[str, Predictions]:
    """Predictions by adsorbate: a mean for each surface by its label, far from the target elsewhere."""
    label = {s.id: s.label for s in campaign.surfaces}
    ids = tuple(s.id for s in campaign.sites)
    return {
        name: Predictions(
            name,
            number,
            ids,
            np.array([on.get(name, {}).get(label[s.surface_id], FAR) for s in campaign.sites]),
            np.full(len(ids), 0.1),
        )
        for name in TARGETS
    }


def chosen(campaign: Campaign, record: RoundRecord) -> list[Candidate]:
    by_id = {c.calculation_id: c for c in campaign.candidates}
    return [by_id[i] for i in record.calculation_ids]


def faces(campaign: Campaign, record: RoundRecord) -> list[tuple[str, str]]:
    return [(c.adsorbate, campaign.surface(c.site.surface_id).label) for c in chosen(campaign, record)]


def observe(campaign: Campaign, candidate: Candidate, delta_e_ev: float) -> Observation:
    site = candidate.site
    observation = Observation(
        candidate.calculation_id, site.id, site.id, site.surface_id, site.bulk_id, candidate.adsorbate,
        delta_e_ev, campaign.settings.recipe.digest(), 1,
    )  # fmt: skip
    campaign.store.save_observation(observation)
    return observation


def on(campaign: Campaign, adsorbate: str, face: str) -> list[Candidate]:
    label = {s.id: s.label for s in campaign.surfaces}
    return [c for c in campaign.candidates if c.adsorbate == adsorbate and label[c.site.surface_id] == face]


def test_for_all_adsorbates_at_once_a_surface_good_for_both_comes_before_better_ones_for_one(
    campaign: Campaign,
) -> None:
    guesses = {"CO": {"Cu(111)": -0.67, "Pd(111)": -0.60}, "H": {"Cu(100)": -0.27, "Pd(111)": -0.20}}
    each = faces(campaign, choose_round(campaign, 1, predicted(campaign, **guesses), 2))
    both = faces(campaign, choose_round(that(campaign, goal="all"), 1, predicted(campaign, **guesses), 2))
    assert each == [("CO", "Cu(111)"), ("H", "Cu(100)")]
    assert both == [("CO", "Pd(111)"), ("H", "Pd(111)")]


def test_a_surface_that_misses_for_one_adsorbate_is_not_looked_at_for_the_other(campaign: Campaign) -> None:
    observe(campaign, on(campaign, "H", "Pd(111)")[0], -0.9)
    guesses = {"CO": {"Pd(111)": -0.67, "Cu(111)": -0.5}, "H": {"Cu(111)": -0.27}}
    record = choose_round(that(campaign, goal="all"), 1, predicted(campaign, **guesses), 2)
    assert set(faces(campaign, record)) == {("CO", "Cu(111)"), ("H", "Cu(111)")}


def test_all_of_a_single_adsorbate_is_that_adsorbate(campaign: Campaign) -> None:
    one = {"adsorbates": {"H": campaign.settings.adsorbates["H"]}}
    alone = Campaign(campaign.settings.model_copy(update=one), campaign.home, campaign.store)
    guesses = predicted(campaign, H={"Pd(111)": -0.27})
    each, both = (choose_round(that(alone, goal=goal), 1, guesses, 2) for goal in ("each", "all"))
    assert each.selections == both.selections


def test_a_seed_is_chosen_although_every_site_of_an_adsorbate_is_known_already(campaign: Campaign) -> None:
    for candidate in campaign.candidates:
        if candidate.adsorbate == "H":
            observe(campaign, candidate, 0.1)
    assert {a for a, _ in faces(campaign, choose_round(campaign, 0, predicted(campaign), 4))} == {"CO"}


def test_a_seed_takes_what_is_under_way_elsewhere_when_nothing_else_is_left(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Campaign, "pending", lambda self: self.candidates)
    guesses = predicted(campaign, CO={"Cu(100)": -0.67}, H={"Cu(100)": -0.27})
    reasons = [s.reason for s in choose_round(campaign, 0, guesses, 8).selections]
    assert sorted(reasons) == ["elsewhere"] * 4 + ["seed"] * 4  # pure metals come first all the same


def test_sharing_by_promise_gives_the_places_to_the_adsorbate_that_has_hits_to_find(
    campaign: Campaign,
) -> None:
    guesses = {"H": {s.label: -0.27 for s in campaign.surfaces}}
    even = faces(campaign, choose_round(campaign, 1, predicted(campaign, **guesses), 4))
    by_promise = that(campaign, sharing="promise")
    unequal = faces(campaign, choose_round(by_promise, 1, predicted(campaign, **guesses), 4))
    assert [a for a, _ in even].count("H") == 2
    assert [a for a, _ in unequal].count("H") == 3  # one stays with CO, of which nothing is under way


def test_a_share_of_the_round_explores_and_every_choice_says_why(campaign: Campaign) -> None:
    guesses = predicted(campaign, H={"Cu(111)": -0.27})
    stranger = on(campaign, "H", "Pd(100)")[-1].site.id
    std = np.array([2.0 if s.id == stranger else 0.1 for s in campaign.sites])
    guesses["H"] = replace(guesses["H"], std_ev=std, mean_ev=guesses["H"].mean_ev - 0.01 * (std > 1.0))
    record = choose_round(that(campaign, exploration=0.5), 1, guesses, 4)
    campaign.store.create_round(record)
    (kept,) = campaign.rounds()
    assert [s.reason for s in kept.selections] == ["promise", "exploration"] * 2
    assert stranger in {s.site_id for s in kept.selections if s.reason == "exploration"}
    assert kept.prospects == record.prospects
    without = choose_round(campaign, 1, guesses, 4)
    assert {s.reason for s in without.selections} == {"promise"}


def test_a_round_keeps_what_it_promises_and_what_is_left(campaign: Campaign) -> None:
    guesses = predicted(campaign, H={"Cu(111)": -0.27, "Pd(111)": -0.27})
    assert latest_prospects(campaign) is None
    campaign.store.create_round(choose_round(campaign, 1, guesses, 2))
    found = latest_prospects(campaign)
    assert found is not None
    by_goal = {p["goal"]: p for p in found["goals"]}
    # P(|Z| <= 1) of the standard normal is 0.6826895: one H is chosen, one left; all of CO is far off.
    assert by_goal["H"]["hits"] == pytest.approx(0.6826895, abs=1e-6)
    assert by_goal["H"]["hits_left"] == pytest.approx(0.6826895, abs=1e-6)
    assert by_goal["CO"]["hits"] + by_goal["CO"]["hits_left"] < 1e-6
    assert found["hits_per_cpu_hour"] == pytest.approx(found["hits"] / found["cpu_hours"])
    with pytest.raises(NothingLeft, match="least_hits_per_cpu_hour"):
        choose_round(that(campaign, least_hits_per_cpu_hour=2 * found["hits_per_cpu_hour"]), 1, guesses, 2)


def test_a_surface_that_is_known_to_be_a_hit_promises_no_new_one(campaign: Campaign) -> None:
    guesses = predicted(campaign, H={"Cu(111)": -0.30, "Pd(111)": -0.27})
    observe(campaign, on(campaign, "H", "Cu(111)")[0], -0.25)
    record = choose_round(campaign, 1, guesses, 6)
    assert ("H", "Cu(111)") in faces(campaign, record)
    (of_h,) = (p for p in record.prospects if p.goal == "H")
    assert of_h.hits + of_h.hits_left == pytest.approx(0.6826895, abs=1e-6)


def test_for_all_adsorbates_at_once_a_surface_counts_once(campaign: Campaign) -> None:
    guesses = predicted(campaign, CO={"Pd(111)": -0.67}, H={"Pd(111)": -0.27})
    (promised,) = choose_round(that(campaign, goal="all"), 1, guesses, 2).prospects
    assert promised.goal == "all"
    assert promised.hits == pytest.approx(0.6826895**2, abs=1e-6)
    assert promised.hits_left < 1e-6


def test_what_fills_a_round_promises_nothing_for_the_surfaces_that_it_is_on(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way = on(campaign, "H", "Pd(111)")[0]
    monkeypatch.setattr(Campaign, "pending", lambda self: [under_way])
    observe(campaign, on(campaign, "CO", "Pd(111)")[0], -0.67)  # no other CO is predicted lower
    guesses = predicted(campaign, H={"Pd(111)": -0.27})
    record = choose_round(that(campaign, goal="all"), 1, guesses, 1000)
    filling = {s.calculation_id for s in record.selections if s.reason == "filling"}
    assert {c.calculation_id for c in on(campaign, "H", "Pd(111)")[1:]} <= filling
    assert record.prospects[0].hits + record.prospects[0].hits_left < 1e-6


def test_candidates_that_failures_cannot_tell_apart_are_looked_at_once(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Informed:
        is_informed = True

        def predict(self, features: np.ndarray) -> np.ndarray:
            assert len(features) == 1
            return np.array([0.25])

    monkeypatch.setattr("pipeline.pools.learned", lambda *_: Informed())
    learning = campaign.settings.model_copy(update={"acquisition": AcquisitionSettings()})
    other = Campaign(learning, campaign.home, campaign.store)
    sites = list(campaign.environments.values())
    one = sites[0]
    alike = {"first_shell": one.first_shell, "second_shell": one.second_shell, "neighbours": one.neighbours}
    assert len({site.geometry for site in sites}) > 1
    other.__dict__["environments"] = {i: replace(e, **alike) for i, e in campaign.environments.items()}
    success = gather_pools(other, predicted(campaign))["H"].success
    assert success.tolist() == [0.25] * len(campaign.sites)


def keep_round(
    campaign: Campaign, number: int, guesses: dict[str, Predictions], adsorbate: str = "H"
) -> None:
    """Record a round that chose every candidate of an adsorbate that is left, and the models of all."""
    for name, guess in guesses.items():
        ids = tuple(o.calculation_id for o in campaign.observations(name))
        keep(campaign, Trained(guess, ModelRecord(campaign.name, number, name, {}, {}, ids)))
    record = choose_round(campaign, number, guesses, 1000)
    mine = [c for c in campaign.open_candidates() if c.adsorbate == adsorbate]
    selections = tuple(
        Selection(c.calculation_id, c.site.id, adsorbate, None, *guesses[adsorbate].by_site()[c.site.id])
        for c in mine
    )
    campaign.store.create_round(replace(record, selections=selections))


def test_predictions_are_held_against_what_came_out_where_the_adsorbate_stayed(campaign: Campaign) -> None:
    guesses = predicted(campaign, H={s.label: -0.27 for s in campaign.surfaces})
    keep_round(campaign, 1, guesses)
    first, second, moved = on(campaign, "H", "Cu(111)")[:3]
    observe(campaign, first, -0.27)
    observe(campaign, second, 0.03)
    gone = observe(campaign, moved, -2.0)
    campaign.store.save_observation(replace(gone, attempt=1, site_id=first.site.id))
    models = campaign.store.models(campaign.name)
    of_co, of_h = drift_document(campaign, models)
    assert of_co == {"adsorbate": "CO", "recent": None, "rounds": []}
    (row,) = of_h["rounds"]
    assert (row["first_round"], row["n"], row["hits_found"]) == (1, 2, 1)
    assert row["mae_ev"] == pytest.approx(0.15)
    assert row["bias_ev"] == pytest.approx(0.15)
    assert row["coverage_90"] == 0.5
    assert row["hits_promised"] == pytest.approx(2 * 0.6826895, abs=1e-6)
    assert row["with_unseen_elements"] == 2  # the model had seen nothing
    assert "1 of the last 2" in in_words("H", Drift(**of_h["recent"]))


def test_a_surrogate_that_is_sure_and_wrong_is_reported(campaign: Campaign) -> None:
    keep_round(campaign, 1, predicted(campaign, H={s.label: -0.27 for s in campaign.surfaces}))
    for surface in campaign.surfaces:
        for candidate in on(campaign, "H", surface.label):
            observe(campaign, candidate, 0.5)
    recent = drift_document(campaign, campaign.store.models(campaign.name))[1]["recent"]
    assert recent["is_coverage_off"]
    assert recent["is_biased"]
    assert "too few for chance" in in_words("H", Drift(**recent))


def test_surfaces_are_ranked_by_their_chance_to_hit_for_all(campaign: Campaign) -> None:
    guesses = predicted(
        campaign, CO={"Cu(100)": -0.67, "Pd(111)": -0.67}, H={"Cu(100)": -0.27, "Pd(111)": -0.27}
    )
    for name, guess in guesses.items():
        keep(campaign, Trained(guess, ModelRecord(campaign.name, 1, name, {}, {}, ())))
    observe(campaign, on(campaign, "CO", "Pd(111)")[0], -0.67)
    observe(campaign, on(campaign, "CO", "Pd(100)")[0], -0.67)
    observe(campaign, on(campaign, "H", "Pd(100)")[0], -0.30)
    observe(campaign, on(campaign, "H", "Cu(111)")[0], -0.27)
    observe(campaign, on(campaign, "CO", "Cu(111)")[0], -1.50)
    rows = joint_ranking(campaign, with_predicted=False)
    assert [r.surface for r in rows] == ["Pd(100)", "Pd(111)", "Cu(111)"]
    best = rows[0]
    assert best.is_hit
    assert best.is_confirmed
    assert best.probability == pytest.approx(1.0)
    # P(Z < -1) of the standard normal is 0.1586553: another site may still spoil CO; H is a prediction.
    assert rows[1].probability == pytest.approx((1 - 0.1586553) * 0.6826895, abs=1e-6)
    assert not rows[1].is_hit
    assert rows[2].probability == 0.0
    with_predicted = joint_ranking(campaign, with_predicted=True)
    assert [r.surface for r in with_predicted] == ["Pd(100)", "Pd(111)", "Cu(100)", "Cu(111)"]
    assert [v.basis for v in with_predicted[2].verdicts] == ["predicted", "predicted"]


def test_decisions_of_a_result_or_two_are_put_together_but_never_with_the_seed() -> None:
    numbers = [0, 0, 0, 1, 1, 2, 3, 3, 4]
    found = [Forecast(n, -0.3, -0.2, 0.1, 0.5, True, False) for n in numbers]
    rows = round_rows(found, least=3)
    assert [(r["first_round"], r["last_round"], r["n"]) for r in rows] == [(0, 0, 3), (1, 2, 3), (3, 4, 3)]
    assert [r["first_round"] for r in round_rows(found, least=1)] == [0, 1, 2, 3, 4]


def test_of_many_surfaces_those_that_promise_most_are_priced(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_priced: dict[str, str] = {}
    labels = {s.id: s.label for s in campaign.surfaces}
    price = CandidateCosts._of

    def noted(costs: CandidateCosts, candidate: Candidate) -> float:
        first_priced.setdefault(candidate.adsorbate, labels[candidate.site.surface_id])
        return price(costs, candidate)

    monkeypatch.setattr("pipeline.costs.SURFACES_PRICED", 1)
    monkeypatch.setattr(CandidateCosts, "_of", noted)
    guesses = predicted(campaign, CO={"Pd(100)": -0.67}, H={"Cu(111)": -0.27})
    choose_round(that(campaign, strategy="hits_per_cpu_hour"), 1, guesses, 2)
    assert first_priced == {"CO": "Pd(100)", "H": "Cu(111)"}
