"""The examination at the end of the chaos run notices what it is there for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.chaos_evidence import lost_results, read_attempts, wrong_in_jobs, wrong_in_store
from dft.jobs import CalculationKind
from pipeline.campaign import open_campaign
from pipeline.domain import CalculationState
from pipeline.home import CampaignHome


def examined(home: Path) -> list[str]:
    attempts = read_attempts(home)
    with open_campaign(CampaignHome(home).load_settings(), home) as campaign:
        return [
            *wrong_in_jobs(attempts),
            *lost_results(campaign, attempts),
            *wrong_in_store(campaign, attempts),
        ]


def edit_result(folder: Path, **changes: object) -> None:
    path = folder / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def start_again(attempt: Path) -> None:
    path = attempt / "runs.jsonl"
    path.write_text(2 * path.read_text())


def revoke_afterwards(attempt: Path) -> None:
    (attempt / "claim").write_text('{"role": "driver"}')


def change_energy(attempt: Path) -> None:
    edit_result(attempt, energy=1.0)


def change_cost(attempt: Path) -> None:
    edit_result(attempt, cpu_seconds=1000.0)


def lose_result(attempt: Path) -> None:
    (attempt / "result.json").unlink()


def compute_again(attempt: Path) -> None:
    again = attempt.with_name("attempt-2")
    shutil.copytree(attempt, again)
    edit_result(again, attempt=2)


def bring_late(attempt: Path) -> None:
    shutil.copy(attempt / "result.json", attempt / "late-result.json")
    edit_result(attempt, state="FAILED", code="WORKER_LOST", energy=None)


FAULTS: dict[Callable[[Path], None], str] = {
    start_again: "was started 2 times",
    revoke_afterwards: "although a driver had revoked it",
    change_energy: "the store",
    change_cost: "was charged",
    lose_result: "without a result",
    compute_again: "was computed to its end 2 times",
    bring_late: "brought its energy late",
}


@pytest.fixture
def home(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished home; its calculations point to where it was."""
    moved = tmp_path / "home"
    shutil.copytree(finished / "runs" / "tiny", moved)
    return moved


@pytest.fixture
def expected(home: Path) -> set[str]:
    """What is said of the copy itself: that its directories have moved."""
    return set(examined(home))


def test_nothing_is_wrong_with_an_undisturbed_campaign(expected: set[str]) -> None:
    assert all("instead of its own directory" in sentence for sentence in expected)


@pytest.mark.parametrize(("fault", "said"), FAULTS.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_a_fault_in_a_job_directory_is_named(
    home: Path, expected: set[str], fault: Callable[[Path], None], said: str
) -> None:
    fault(next(a.path for a in read_attempts(home) if a.result and a.result.kind is CalculationKind.ADSLAB))
    assert any(said in sentence for sentence in set(examined(home)) - expected)


def test_a_calculation_that_was_forgotten_is_named(home: Path, expected: set[str]) -> None:
    with open_campaign(CampaignHome(home).load_settings(), home) as campaign:
        some = next(c for c in campaign.calculations() if c.state is CalculationState.VALID)
        assert campaign.store.transition(some.id, CalculationState.VALID, CalculationState.PLANNED)
    said = set(examined(home)) - expected
    assert any("is still PLANNED" in sentence for sentence in said)
    assert any("holds an energy that the store does not know" in sentence for sentence in said)
