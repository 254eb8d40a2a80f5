"""The texts that are made from the settings models."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.campaign import CampaignSettings
from config.errors import ConfigError
from config.loader import load_campaign, load_recipe
from config.template import render_reference, render_template

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"


def test_the_template_loads_to_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(render_template("my-campaign"), encoding="utf-8")
    campaign = load_campaign(path)
    assert campaign.name == "my-campaign"
    assert campaign.recipe == load_recipe("screening")
    for key, field in CampaignSettings.model_fields.items():
        if not field.is_required():
            assert getattr(campaign, key) == field.default


def test_the_template_shows_every_key() -> None:
    text = render_template("x")
    for key, field in CampaignSettings.model_fields.items():
        assert f"\n{key}:" in text
        section = field.annotation
        if isinstance(section, type) and hasattr(section, "model_fields") and key != "recipe":
            assert all(f"{inner}:" in text for inner in section.model_fields)


@pytest.mark.parametrize("name", ["1", "no", "true", "null", "1e3", "2026-01-01", "0x1F", "a.b", "x-1"])
def test_a_name_that_yaml_could_misread_stays_itself(name: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(render_template(name), encoding="utf-8")
    assert load_campaign(path).name == name


@pytest.mark.parametrize("name", ["", "a b", "../up", "-x", "é", "a: b", 'quo"te', "line\nbreak", "x" * 61])
def test_a_name_that_no_campaign_may_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="name: "):
        render_template(name)


def test_the_settings_reference_is_up_to_date() -> None:
    assert REFERENCE.read_text(encoding="utf-8") == render_reference(), (
        "run: python -m config.template > docs/reference/settings.md"
    )
