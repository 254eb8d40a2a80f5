"""The ``acquisition`` section: what it refuses, and what it leaves as it was."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from config.campaign import CampaignSettings
from config.loader import load_campaign
from config.surrogate import NEWER_KEYS, AcquisitionSettings


@pytest.mark.parametrize("asked", [{"sharing": "promise"}, {"goal": "all"}])
def test_what_rests_on_probabilities_is_refused_with_strategies_that_have_none(asked: dict[str, str]) -> None:
    (key, value) = next(iter(asked.items()))
    with pytest.raises(ValidationError, match=f"{key}: {value} rests on the probability of a hit"):
        AcquisitionSettings(strategy="greedy", **asked)  # type: ignore[arg-type]
    assert AcquisitionSettings(strategy="hits_per_cpu_hour", **asked)  # type: ignore[arg-type]


def test_campaigns_of_releases_that_knew_fewer_keys_keep_their_digest() -> None:
    # That of the preset before exploration, sharing and goal were there.
    assert load_campaign("emt").digest() == "7317adb8e244769f"


def test_newer_keys_count_in_the_digest_once_they_are_set() -> None:
    settings = load_campaign("emt")
    changed = [
        settings.model_copy(update={"acquisition": AcquisitionSettings(**{key: value})})  # type: ignore[arg-type]
        for key, value in zip(NEWER_KEYS["acquisition"], (0.1, "promise", "all"), strict=True)
    ]
    assert len({settings.digest(), *(s.digest() for s in changed)}) == 4


def test_a_home_of_an_earlier_release_still_opens() -> None:
    stored = load_campaign("emt").model_dump(mode="json")
    for section, keys in NEWER_KEYS.items():
        for key in keys:
            del stored[section][key]
    assert CampaignSettings.model_validate_json(json.dumps(stored)) == load_campaign("emt")
