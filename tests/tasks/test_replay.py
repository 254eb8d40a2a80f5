"""``sabatier replay`` on a campaign that has been run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import pytest

from config.errors import ConfigError
from pipeline.replaying import ReplayPlan
from tasks.cli.replay import _with_enough
from tests.tasks.campaigns import TINY, completed, sabatier

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a campaign of a dozen energies of H."""
    text = TINY.replace("CO: {}, ", "").replace("calculations: 8, rounds: 2", "calculations: 20, rounds: 0")
    text = text.replace("seed_size: 4", "seed_size: 20").replace("[[1, 1, 1]]", "[[1, 1, 1], [1, 0, 0]]")
    return completed(tmp_path_factory.mktemp("observed"), "tiny.yaml", text)


def test_strategies_are_compared_on_the_campaigns_own_energies(observed: Path) -> None:
    done = sabatier("replay", "--json", "-a", "H", "--seeds", "2", "--strategy", "greedy", cwd=observed)
    assert done.returncode == 0, done.stderr
    (replayed,) = json.loads(done.stdout)["replays"]
    (greedy,) = replayed["strategies"].values()
    assert len(greedy["hits"]) == len(replayed["labels"])
    assert greedy["hits"] == sorted(greedy["hits"])
    assert greedy["hits"][-1] <= replayed["hits"] <= replayed["observations"]


def test_without_options_the_own_strategy_is_compared_with_chance(observed: Path) -> None:
    done = sabatier("replay", "-a", "H", cwd=observed)
    assert done.returncode == 0, done.stderr
    assert "hit_probability" in done.stdout
    assert "random" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--strategy", "magic"], "strategy"),
        (["-a", "Xx"], "adsorbate"),
        (["--seed-size", "1000"], "--seed-size 1000 leaves strategies too little"),
    ],
)
def test_a_name_that_is_none_is_refused(observed: Path, arguments: list[str], told: str) -> None:
    done = sabatier("replay", *arguments, cwd=observed)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_an_adsorbate_of_few_energies_keeps_no_other_from_being_replayed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pool(campaign: object, adsorbate: str, seed_size: int | None) -> None:
        if adsorbate != "H":
            message = f"too few of {adsorbate}"
            raise ConfigError(message)

    monkeypatch.setattr("pipeline.replaying.observed_pool", pool)
    assert _with_enough(cast("Any", None), ["CO", "H"], ReplayPlan()) == ["H"]
    assert "note: too few of CO" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="too few of CO\ntoo few of OH"):
        _with_enough(cast("Any", None), ["CO", "OH"], ReplayPlan())


def test_too_few_energies_are_refused_by_number(finished: Path) -> None:
    done = sabatier("replay", cwd=finished)
    assert done.returncode == 2
    assert "a replay needs at least 10" in done.stderr
