"""What a campaign under chaos left behind, and whether any of it is wrong.

First come the jobs' own records (``runs.jsonl``, ``claim``, ``result.json`` of every attempt), which no
driver can embellish; then the store is held against them. Each function returns sentences that name the
evidence; none means that all is well. Units: eV, s.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.adsorbates import presets
from dft.codes import RETRYABLE, FailureCode
from dft.jobs import (
    CLAIM_FILE,
    LATE_RESULT_FILE,
    RESULT_FILE,
    RUNS_FILE,
    CalculationKind,
    JobResult,
    ResultState,
)
from pipeline.domain import TERMINAL, CalculationState
from pipeline.harvest import adsorption_energy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pipeline.campaign import Campaign
    from pipeline.domain import Calculation

ENERGY_TOLERANCE_EV = 1e-9
CPU_TOLERANCE_S = 1e-3
COMPUTED = frozenset({CalculationState.VALID, CalculationState.REJECTED})
"""Terminal states that rest on a result."""


@dataclass(frozen=True)
class AttemptRecord:
    """What the directory of one attempt says."""

    calculation_id: str
    number: int
    path: Path
    starts: int
    """Computations that began here."""
    claimed_by: str | None
    """``worker``, ``driver``, or None when nobody took the claim."""
    result: JobResult | None
    late: JobResult | None
    """What a worker brought after the attempt had been given up."""

    @property
    def is_done(self) -> bool:
        """True if an energy was computed in time."""
        return self.result is not None and self.result.state is ResultState.DONE


def read_attempts(home: Path) -> list[AttemptRecord]:
    """Read every job directory of a home, ordered by calculation and attempt.

    Raises
    ------
    ValueError
        If a result or a claim is there but is not whole.
    """
    folders = [p for p in home.glob("jobs/*/attempt-*") if p.is_dir()]
    records = [_read_attempt(folder) for folder in folders]
    return sorted(records, key=lambda r: (r.calculation_id, r.number))


def _read_attempt(folder: Path) -> AttemptRecord:
    runs, claim = folder / RUNS_FILE, folder / CLAIM_FILE
    return AttemptRecord(
        calculation_id=folder.parent.name,
        number=int(folder.name.removeprefix("attempt-")),
        path=folder,
        starts=len(runs.read_text().splitlines()) if runs.exists() else 0,
        claimed_by=json.loads(claim.read_text())["role"] if claim.exists() else None,
        result=_read_result(folder / RESULT_FILE),
        late=_read_result(folder / LATE_RESULT_FILE),
    )


def _read_result(path: Path) -> JobResult | None:
    return JobResult.model_validate_json(path.read_text()) if path.exists() else None


def done_results(attempts: Iterable[AttemptRecord]) -> dict[str, list[AttemptRecord]]:
    """Attempts that computed an energy in time, by calculation."""
    found: dict[str, list[AttemptRecord]] = defaultdict(list)
    for attempt in attempts:
        if attempt.is_done:
            found[attempt.calculation_id].append(attempt)
    return found


def wrong_in_jobs(attempts: list[AttemptRecord]) -> list[str]:
    """Hold the jobs' records against the promises made about attempts."""
    wrong = []
    for a in attempts:
        if a.starts > 1:
            wrong.append(f"{a.path} was started {a.starts} times")
        if a.claimed_by == "driver" and a.starts:
            wrong.append(f"{a.path} was computed although a driver had revoked it")
        if a.starts and a.claimed_by is None:
            wrong.append(f"{a.path} was computed without a claim")
        if a.result is not None and (a.result.calculation_id, a.result.attempt) != (
            a.calculation_id,
            a.number,
        ):
            wrong.append(f"{a.path} holds the result of another attempt")
    done = done_results(attempts)
    for calculation_id in sorted({a.calculation_id for a in attempts}):
        n_results = len(done.get(calculation_id, ()))
        if n_results > 1:
            wrong.append(f"{calculation_id} was computed to its end {n_results} times")
        elif n_results == 0:
            last = [a.result.code for a in attempts if a.calculation_id == calculation_id and a.result]
            if not last or last[-1] in RETRYABLE:
                wrong.append(f"{calculation_id} was given up: {', '.join(map(str, last)) or 'no result'}")
    return wrong


def lost_results(campaign: Campaign, attempts: list[AttemptRecord]) -> list[str]:
    """Name energies on disk that the store does not hold, and those that came late and were needed."""
    stored = {c.id: c for c in campaign.calculations()}
    done = done_results(attempts)
    lost = []
    for calculation_id, records in done.items():
        calculation = stored.get(calculation_id)
        result = campaign.store.result(calculation_id)
        energies = [r.result.energy for r in records if r.result]
        if calculation is None or calculation.state not in COMPUTED:
            lost.append(f"{records[-1].path} holds an energy that the store does not know")
        elif result is None or result.energy not in energies or calculation.energy not in energies:
            lost.append(f"{records[-1].path} holds {energies} eV, the store {calculation.energy}")
    late = [a for a in attempts if a.late is not None and a.late.state is ResultState.DONE]
    return lost + [f"{a.path} brought its energy late" for a in late if a.calculation_id not in done]


def wrong_in_store(campaign: Campaign, attempts: list[AttemptRecord]) -> list[str]:
    """Hold the store against the jobs' records."""
    by_id: dict[str, list[AttemptRecord]] = defaultdict(list)
    for attempt in attempts:
        by_id[attempt.calculation_id].append(attempt)
    calculations = campaign.calculations()
    wrong = [f"the store does not know {i}" for i in sorted(set(by_id) - {c.id for c in calculations})]
    for calculation in calculations:
        records = by_id.get(calculation.id, [])
        wrong += [f"{calculation.id} ({calculation.label}) {w}" for w in _wrong_in_one(calculation, records)]
    return wrong + _wrong_observations(campaign, calculations, attempts) + _wrong_rounds(campaign)


def _wrong_in_one(calculation: Calculation, records: list[AttemptRecord]) -> list[str]:
    wrong = []
    if calculation.state not in TERMINAL:
        wrong.append(f"is still {calculation.state}")
    never_ran = calculation.code is FailureCode.DEPENDENCY_FAILED
    last = max((r.number for r in records), default=0)
    if not never_ran and calculation.attempt != last:
        wrong.append(f"is at attempt {calculation.attempt}, but the last directory is attempt-{last}")
    current = next((r for r in records if r.number == calculation.attempt), None)
    if calculation.state in COMPUTED and (current is None or not current.is_done):
        wrong.append(f"is {calculation.state} without a result in attempt-{calculation.attempt}")
    if calculation.state in COMPUTED and (current is None or calculation.job_dir != str(current.path)):
        wrong.append(f"points to {calculation.job_dir} instead of its own directory")
    spent = sum(r.result.cpu_seconds for r in records if r.result)
    if abs(calculation.cpu_seconds - spent) > CPU_TOLERANCE_S:
        wrong.append(f"was charged {calculation.cpu_seconds:.3f} CPU-s, its results say {spent:.3f}")
    return wrong


def _wrong_observations(
    campaign: Campaign, calculations: list[Calculation], attempts: list[AttemptRecord]
) -> list[str]:
    """Recompute every ΔE from the jobs' own results."""
    energies = {a.calculation_id: a.result.energy for a in attempts if a.is_done and a.result}
    by_id = {c.id: c for c in calculations}
    observed = {o.calculation_id: o.delta_e_ev for o in campaign.observations()}
    wrong = []
    for calculation_id, delta_e_ev in observed.items():
        own = recomputed_delta_e(by_id[calculation_id], by_id, energies)
        if own is None or abs(own - delta_e_ev) > ENERGY_TOLERANCE_EV:
            wrong.append(f"the ΔE of {calculation_id} is {delta_e_ev} eV, its results say {own}")
    for c in calculations:
        if c.kind is CalculationKind.ADSLAB and c.state is CalculationState.VALID and c.id not in observed:
            wrong.append(f"{c.id} is VALID without an observation")
    return wrong


def recomputed_delta_e(
    adslab: Calculation, calculations: Mapping[str, Calculation], energies: Mapping[str, float | None]
) -> float | None:
    """ΔE by the energies on disk, eV; None if one of them is missing."""
    required = [calculations[i] for i in adslab.requires]
    slab = next(c for c in required if c.kind is CalculationKind.SLAB)
    gases = {c.gas: energies.get(c.id) for c in required if c.kind is CalculationKind.GAS}
    assert adslab.adsorbate is not None
    try:
        reference = presets()[adslab.adsorbate].reference
        return adsorption_energy(energies.get(adslab.id), energies.get(slab.id), gases, reference)
    except ValueError:
        return None


def _wrong_rounds(campaign: Campaign) -> list[str]:
    rounds = campaign.rounds()
    wrong = [f"round {r.number} is open" for r in rounds if not r.is_closed]
    if [r.number for r in rounds] != list(range(len(rounds))):
        wrong.append(f"rounds are numbered {[r.number for r in rounds]}")
    chosen, budget = campaign.chosen_ids(), campaign.settings.budget.calculations
    if len(chosen) != len(set(chosen)):
        wrong.append("a candidate was chosen twice")
    calculations = campaign.store.calculations(ids=chosen)
    spent = sum(c.code is not FailureCode.DEPENDENCY_FAILED for c in calculations)
    if spent != budget:
        wrong.append(f"{spent} adsorption energies were computed for a budget of {budget}")
    return wrong
