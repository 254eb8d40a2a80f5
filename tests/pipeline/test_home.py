"""A campaign's home: what may change between runs, where attempts are."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.campaign import CampaignSettings
from config.errors import ConfigError
from config.loader import load_campaign
from dft.jobs import CalculationKind
from pipeline.domain import Calculation
from pipeline.home import CampaignHome


@pytest.fixture
def settings() -> CampaignSettings:
    """Give the settings of a preset."""
    return load_campaign("emt")


def test_settings_come_back_as_they_were(settings: CampaignSettings, tmp_path: Path) -> None:
    home = CampaignHome(tmp_path / "home")
    assert not home.exists()
    home.adopt(settings)
    assert home.load_settings() == settings


@pytest.mark.parametrize("content", ["", "{}", '{"name": 7}', "\ud800"])
def test_settings_that_cannot_be_read_are_told_in_one_line_with_the_remedy(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "campaign.json").write_text(content, errors="surrogatepass")
    with pytest.raises(ConfigError) as caught:
        CampaignHome(tmp_path).load_settings()
    file = tmp_path / "campaign.json"
    assert str(caught.value) == (f"{file} cannot be read: remove this file and run the campaign file again")


def test_a_home_with_too_long_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="xxx: File name too long"):
        CampaignHome(tmp_path / ("x" * 300)).load_settings()


@pytest.mark.parametrize(
    "change",
    [{"batch_size": 99}, {"seed_size": 99}, {"budget": {"calculations": 999, "rounds": 9, "cpu_hours": 9}}],
    ids=lambda c: next(iter(c)),
)
def test_what_does_not_define_the_campaign_may_change(
    settings: CampaignSettings, tmp_path: Path, change: dict[str, object]
) -> None:
    home = CampaignHome(tmp_path)
    home.adopt(settings)
    changed = CampaignSettings.model_validate(settings.model_dump() | change)
    home.adopt(changed)
    assert home.load_settings() == changed


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 77}, "seed was"),
        ({"name": "other"}, "name was 'emt', is 'other'"),
        ({"adsorbates": {"H": {}}}, "adsorbate names was"),
    ],
    ids=["seed", "name", "adsorbates"],
)
def test_what_defines_the_campaign_may_not_change(
    settings: CampaignSettings, tmp_path: Path, change: dict[str, object], told: str
) -> None:
    home = CampaignHome(tmp_path)
    home.adopt(settings)
    with pytest.raises(ConfigError, match=told):
        home.adopt(CampaignSettings.model_validate(settings.model_dump() | change))
    assert home.load_settings() == settings


def test_an_attempt_is_looked_for_here_and_then_where_it_was_made(tmp_path: Path) -> None:
    home = CampaignHome(tmp_path / "home")
    elsewhere = CampaignHome(tmp_path / "other").job_dir("calc-1", 2)
    calculation = Calculation("calc-1", CalculationKind.GAS, "gas H2", attempt=2, job_dir=str(elsewhere))
    assert home.locate(calculation) == elsewhere, "another campaign's"
    home.job_dir("calc-1", 2).mkdir(parents=True)
    assert home.locate(calculation) == home.job_dir("calc-1", 2), "the home was moved here"


def test_the_last_attempt_is_the_highest_number(tmp_path: Path) -> None:
    home = CampaignHome(tmp_path)
    assert home.last_attempt("calc-1") == 0
    for attempt in (1, 2, 10):
        home.job_dir("calc-1", attempt).mkdir(parents=True)
    assert home.last_attempt("calc-1") == 10


def test_a_home_that_cannot_be_written_is_named(settings: CampaignSettings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write the campaign's home"):
        CampaignHome(tmp_path / "file" / "home").adopt(settings)
