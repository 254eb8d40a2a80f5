"""The texts that are made from the settings models."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from config.campaign import CampaignSettings
from config.describe import all_keys, section_models
from config.errors import ConfigError
from config.execution import SlurmExecution
from config.loader import load_campaign, load_recipe, parse_campaign
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
        if key != "recipe":
            for section in section_models(field).values():
                assert all(f"{inner}:" in text for inner in section.model_fields)


def test_the_section_for_a_cluster_only_needs_its_marks_of_a_comment_taken_off() -> None:
    before, local, rest = re.split(r"^execution:\n|^#\n(?=# execution:)", render_template("x"), flags=re.M)
    assert "backend: local" in local
    cluster = re.sub("^# ", "", rest.split("\n\n")[0], flags=re.M)
    assert parse_campaign(before + cluster, "x", Path()).execution == SlurmExecution(backend="slurm")
    with_examples = re.sub(r"^  # (?=\w+: [^ ])", "  ", cluster, flags=re.M)
    execution = parse_campaign(before + with_examples, "x", Path()).execution
    assert isinstance(execution, SlurmExecution)
    assert (execution.partition, execution.setup) == ("xeon40", ("module load gpaw",))


def test_the_reference_tells_of_every_key_of_every_back_end() -> None:
    text = render_reference()
    for key, _ in all_keys(CampaignSettings):
        assert f"| `{key}` |" in text


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
