"""What a pretrained potential says of a shortlist: computed once, kept, and heard by the surrogate.

ASE's EMT potential stands in for the pretrained one: it has the same interface and is there everywhere.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from config.adsorbates import AdsorbateSettings
from config.campaign import BulkSelection
from config.errors import MissingExtraError
from config.loader import load_campaign
from config.surrogate import SurrogateSettings
from dft import pretrained as potential
from pipeline import pretrained
from pipeline.batch import Watch
from pipeline.campaign import Campaign
from pipeline.ends import Drained
from pipeline.learning import train
from pipeline.selection import choose_round
from tests.pipeline.enumerated import enumerated

if TYPE_CHECKING:
    from pathlib import Path

    from ase.calculators.calculator import Calculator

    from pipeline.store.repository import Store


def emt() -> Calculator:
    """Load the stand-in."""
    from ase.calculators.emt import EMT

    return EMT()


@pytest.fixture
def campaign(store: Store, tmp_path: Path) -> Campaign:
    """Give an enumerated campaign on Cu and CuPd with H that asks a potential about six sites."""
    settings = load_campaign("emt").model_copy(
        update={
            "bulks": BulkSelection(ids=("mp-30", "mp-1018029")),
            "adsorbates": {"H": AdsorbateSettings(target_ev=-0.27)},
            "surrogate": SurrogateSettings(pretrained="diep", pretrained_sites=6),
        }
    )
    return enumerated(settings, store, tmp_path)


def energies(campaign: Campaign) -> list[dict[str, object]]:
    return [json.loads(line) for line in (campaign.home.path / "pretrained.jsonl").read_text().splitlines()]


def test_every_site_of_the_shortlist_is_looked_at_once(campaign: Campaign) -> None:
    notices: list[str] = []
    assert not pretrained.is_complete(campaign)
    pretrained.compute(campaign, Watch(on_notice=notices.append), emt)
    assert pretrained.is_complete(campaign)
    rows = energies(campaign)
    assert sorted(str(r["site"]) for r in rows) == sorted(c.site.id for c in pretrained.shortlist(campaign))
    assert any(isinstance(r["delta_e_ev"], float) for r in rows)
    assert "6 sites" in notices[0]

    def never() -> Calculator:
        pytest.fail("the potential was loaded again")

    pretrained.compute(campaign, Watch(), never)
    assert energies(campaign) == rows


def test_a_killed_driver_s_half_line_costs_one_site(campaign: Campaign) -> None:
    *done, lost = pretrained.shortlist(campaign)
    lines = [
        json.dumps({"site": c.site.id, "adsorbate": "H", "potential": "diep 2", "delta_e_ev": 0.1})
        for c in (*done, lost)
    ]
    path = campaign.home.path / "pretrained.jsonl"
    path.write_text("\n".join(lines)[:-9])
    assert pretrained.missing(campaign) == [lost]
    pretrained.compute(campaign, Watch(), emt)
    assert pretrained.is_complete(campaign)
    assert path.read_text().startswith("\n".join(lines)[:-9] + "\n")
    assert json.loads(path.read_text().splitlines()[-1])["site"] == lost.site.id


def test_a_drained_driver_stops_and_the_next_goes_on(campaign: Campaign) -> None:
    with pytest.raises(Drained, match="of 6 sites"):
        pretrained.compute(campaign, Watch(is_draining=lambda: True), emt)
    done = len(energies(campaign))
    assert 0 < done < 6
    pretrained.compute(campaign, Watch(), emt)
    assert len(energies(campaign)) == 6


def test_a_longer_shortlist_holds_the_shorter_and_takes_crystals_in_turn(campaign: Campaign) -> None:
    def ids(n: int) -> list[str]:
        longer = campaign.settings.model_copy(
            update={"surrogate": SurrogateSettings(pretrained="diep", pretrained_sites=n)}
        )
        return [c.site.id for c in pretrained.shortlist(Campaign(longer, campaign.home, campaign.store))]

    two, eight = ids(2), ids(8)
    assert len(two) == 2
    assert set(two) < set(eight)
    sites = {site.id: site for site in campaign.sites}
    assert len({sites[i].bulk_id for i in two}) == 2
    described = [(sites[i].bulk_id, campaign.environments[i].canonical()) for i in eight]
    assert len(set(described)) == 8


def test_the_surrogate_ranks_by_what_the_potential_says(campaign: Campaign) -> None:
    campaign.home.path.mkdir(exist_ok=True)
    said = {c.site.id: -0.6 + 0.2 * k for k, c in enumerate(pretrained.shortlist(campaign))}
    lines = [
        json.dumps({"site": i, "adsorbate": "H", "potential": "diep 2", "delta_e_ev": e})
        for i, e in said.items()
    ]
    (campaign.home.path / "pretrained.jsonl").write_text("\n".join(lines))
    (trained,) = train(campaign, 0).values()
    predicted = trained.predictions.by_site()
    mean = np.array([predicted[i][0] for i in said])
    assert np.corrcoef(mean, list(said.values()))[0, 1] > 0.75
    (heard,) = (s for s in trained.model.record["parameters"]["sources"] if s["name"] == "diep 2")
    assert heard["n"] == 6


def test_energies_of_two_versions_of_the_potential_do_not_mix(campaign: Campaign) -> None:
    lines = [
        json.dumps({"site": c.site.id, "adsorbate": "H", "potential": f"diep {2 + k % 2}", "delta_e_ev": 0.1})
        for k, c in enumerate(pretrained.shortlist(campaign))
    ]
    (campaign.home.path / "pretrained.jsonl").write_text("\n".join(lines))
    assert pretrained.is_complete(campaign)
    assert {s.name: len(s.delta_e) for s in campaign.guesses["H"]} == {"diep 2": 3, "diep 3": 3}


def test_the_seed_follows_a_ranking_after_the_pure_metals(campaign: Campaign) -> None:
    said = {c.site.id: -0.27 + 0.8 * k for k, c in enumerate(pretrained.shortlist(campaign))}
    lines = [
        json.dumps({"site": i, "adsorbate": "H", "potential": "diep 2", "delta_e_ev": e})
        for i, e in said.items()
    ]
    (campaign.home.path / "pretrained.jsonl").write_text("\n".join(lines))
    predictions = {name: t.predictions for name, t in train(campaign, 0, with_metrics=False).items()}
    seed = choose_round(campaign, 0, predictions, 5).selections
    reasons = [s.reason for s in seed]
    n_metals = sum(bulk.is_element for bulk in campaign.bulks)
    assert reasons == ["seed"] * n_metals + ["promise"] * (5 - n_metals)
    assert len({s.site_id for s in seed}) == 5


def test_without_the_setting_nothing_is_asked(campaign: Campaign) -> None:
    silent = campaign.settings.model_copy(update={"surrogate": SurrogateSettings()})
    other = Campaign(silent, campaign.home, campaign.store)
    assert pretrained.is_complete(other)
    assert other.guesses == {}


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"sabatier\[mlip\]"):
        potential.load()
