"""``sabatier failures``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.tasks.campaigns import sabatier

if TYPE_CHECKING:
    from pathlib import Path


def test_successes_and_failures_are_counted_as_status_counts_them(finished: Path) -> None:
    told = json.loads(sabatier("failures", "--json", cwd=finished).stdout)["failures"]
    status = json.loads(sabatier("status", "--json", cwd=finished).stdout)
    assert {row["adsorbate"] for row in told} == {"CO", "H"}
    ended = sum(row["n_success"] + row["n_failure"] for row in told)
    assert ended == sum(status["kinds"]["adslab"].values())
    assert "gave an adsorption energy" in sabatier("failures", cwd=finished).stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--plot", "tree.doc", "-a", "H"], ".png, .svg, .pdf"),
        (["--plot", "nowhere/tree.png", "-a", "H"], "there is no folder"),
        (["--plot", "tree.png"], "choose with -a"),
        (["-a", "Xx"], "adsorbate"),
    ],
)
def test_a_mistake_is_named(finished: Path, arguments: list[str], told: str) -> None:
    done = sabatier("failures", *arguments, cwd=finished)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_tree_of_nothing_is_not_drawn(finished: Path) -> None:
    done = sabatier("failures", "--plot", "tree.png", "-a", "H", cwd=finished)
    assert done.returncode == 0
    assert "nothing was learned of H" in done.stderr
    assert not (finished / "tree.png").exists()
