"""Campaigns that weigh hits against their cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.tasks.campaigns import TINY, results, sabatier

if TYPE_CHECKING:
    from pathlib import Path

GREEDY_FOR_HITS = "acquisition: {strategy: hits_per_cpu_hour, least_hits_per_cpu_hour: 1.0e+9}\n"


@pytest.mark.parametrize("mode", ["batch", "async"])
def test_a_campaign_stops_when_too_few_hits_are_to_be_expected(tmp_path: Path, mode: str) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY + GREEDY_FOR_HITS + f"mode: {mode}\n")
    done = sabatier("run", "tiny.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "acquisition.least_hits_per_cpu_hour is 1e+09" in done.stderr
    computed = len(results(tmp_path / "runs" / "tiny"))
    status = sabatier("status", cwd=tmp_path).stdout
    assert "ended: the next round promises" in status
    assert "'sabatier run' starts one" not in status
    again = sabatier("run", "tiny.yaml", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert len(results(tmp_path / "runs" / "tiny")) == computed


def test_a_campaign_goes_on_when_the_threshold_is_lowered(tmp_path: Path) -> None:
    campaign = tmp_path / "tiny.yaml"
    campaign.write_text(TINY + GREEDY_FOR_HITS)
    assert sabatier("run", "tiny.yaml", cwd=tmp_path).returncode == 0
    before = len(results(tmp_path / "runs" / "tiny"))
    campaign.write_text(TINY + "acquisition: {strategy: hits_per_cpu_hour}\n")
    done = sabatier("run", "tiny.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(results(tmp_path / "runs" / "tiny")) > before
